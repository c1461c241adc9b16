//! Scripted faults of the embedded services, and their virtual time.
//!
//! A layer in front of all handlers looks at the script for each request: [`Rule`]s name a call, what goes wrong with
//! it ([`Fault`]) and at which of its occurrences ([`When`]). The services are the real ones of this crate, so that
//! what a client meets after a fault is what it would meet from a server in that state. Without
//! [`DevOptions::faults`](crate::DevOptions) there is no such layer, nor the control path.

mod calls;
mod connection;
mod layer;
mod script;

pub(crate) use connection::{FaultListener, Line};
pub(crate) use layer::inject;

pub use calls::{Call, Service};
pub use script::{Counts, Fault, FaultError, Faults, Rule, Scripted, When};

#[cfg(test)]
mod tests;
