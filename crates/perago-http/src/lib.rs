//! What the clients of Conductor and lakeFS share: how a server is addressed and reached, and why it was not.
//!
//! Owns addresses, proxies, TLS, secrets, backoff and the classes of a failed exchange. It refuses to know any
//! protocol: paths, bodies, statuses and what they mean belong to the client of each server.

mod address;
mod backoff;
mod connection;
mod exchange;
mod proxies;
mod secret;
mod text;

pub use address::{Address, AddressError};
pub use backoff::Backoff;
pub use connection::{ConnectionError, ConnectionOptions};
pub use exchange::ExchangeFailure;
pub use proxies::ProxyOptions;
pub use secret::Secret;
pub use text::excerpt;

use std::sync::Arc;

/// Receives the few warnings that are no failure of a call.
pub type WarningSink = Arc<dyn Fn(&str) + Send + Sync>;
