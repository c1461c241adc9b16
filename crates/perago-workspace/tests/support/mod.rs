//! A repository in memory that behaves as lakeFS does, and can fail or be written to by others at every call.

#![expect(dead_code, reason = "each suite uses its part of what they share")]

pub mod gate;
pub mod memory;
pub mod rig;
