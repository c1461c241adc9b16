//! Tasks in Rust that the test suites and benchmarks run: each binary is a worker of its own.
