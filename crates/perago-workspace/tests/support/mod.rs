//! A repository in memory that behaves as lakeFS does, and can fail or be written to by others at every call.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "each suite uses its part of what they share")]

pub mod gate;
pub mod memory;
pub mod rig;
