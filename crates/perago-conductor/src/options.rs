//! What a client needs to know before its first call.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perago_http::{Address, ConnectionOptions, ProxyOptions, Secret, WarningSink};

/// Key and secret of an application, exchanged for tokens at `POST /token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The key id (`CONDUCTOR_AUTH_KEY`).
    pub key: Secret,
    /// The key's secret (`CONDUCTOR_AUTH_SECRET`).
    pub secret: Secret,
}

/// Options of a [`crate::Client`].
#[derive(Clone)]
pub struct ClientOptions {
    /// The API base.
    pub address: Address,
    /// Credentials, for servers that ask for them.
    pub credentials: Option<Credentials>,
    /// Proxies.
    pub proxies: ProxyOptions,
    /// PEM files with certificate authorities trusted in addition to the system's.
    pub extra_ca_files: Vec<PathBuf>,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// Limit for a whole call; a poll gets the time it asks the server to wait on top.
    pub request_timeout: Duration,
    /// Idle connections kept open.
    pub idle_connections: usize,
    /// How long the server honours a token; it is renewed after eight ninths of that (40 of 45 minutes).
    pub token_lifetime: Duration,
    /// Receives warnings.
    pub on_warning: WarningSink,
}

impl ClientOptions {
    /// Options with defaults for the server at `address`.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            credentials: None,
            proxies: ProxyOptions::default(),
            extra_ca_files: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            idle_connections: 4,
            token_lifetime: Duration::from_secs(45 * 60),
            on_warning: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientOptions")
            .field("address", &self.address)
            .field("credentials", &self.credentials)
            .field("proxies", &self.proxies)
            .field("extra_ca_files", &self.extra_ca_files)
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    /// How connections to the server are made.
    pub(crate) fn connection(&self) -> ConnectionOptions {
        ConnectionOptions {
            address: self.address.clone(),
            proxies: self.proxies.clone(),
            extra_ca_files: self.extra_ca_files.clone(),
            connect_timeout: self.connect_timeout,
            idle_connections: self.idle_connections,
            offers_http2: true,
        }
    }
}
