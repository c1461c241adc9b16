//! Snapshot to OTLP bytes, push loop, retry classes
