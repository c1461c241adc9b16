//! Conductor wire types and HTTP client
