//! The perago command line as a library
