//! What a client needs to know before its first call.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perago_http::{Address, ConnectionOptions, ProxyOptions, Secret, WarningSink};

use crate::retry::RetryOptions;

/// Key pair of a user, sent with every call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key id (`LAKECTL_CREDENTIALS_ACCESS_KEY_ID`).
    pub access_key_id: Secret,
    /// Secret access key (`LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY`).
    pub secret_access_key: Secret,
}

/// Options of a [`crate::Client`].
#[derive(Clone)]
pub struct ClientOptions {
    /// The server, with or without `/api/v1`.
    pub address: Address,
    /// Credentials.
    pub credentials: Credentials,
    /// Proxies, for the server and for its object store.
    pub proxies: ProxyOptions,
    /// PEM files with certificate authorities trusted in addition to the system's.
    pub extra_ca_files: Vec<PathBuf>,
    /// Whether objects may be moved between us and the object store directly, where the server offers it
    /// (`PERAGO_LAKEFS_PRESIGN`).
    pub presign: bool,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// Limit for a call that moves no object, and for the answer after an object was sent.
    pub request_timeout: Duration,
    /// Longest time in which a transfer may move no byte.
    pub stall_timeout: Duration,
    /// Idle connections kept open.
    pub idle_connections: usize,
    /// Objects below this many bytes are uploaded through the server even where the store can be reached: one
    /// call instead of three.
    pub direct_upload_minimum: u64,
    /// Objects of this many bytes and more are uploaded in parts, where the store takes parts.
    pub multipart_minimum: u64,
    /// Bytes of a part; more where an object would have too many parts.
    pub part_size: u64,
    /// How failed calls are repeated.
    pub retry: RetryOptions,
    /// Receives warnings.
    pub on_warning: WarningSink,
}

impl ClientOptions {
    /// Options with defaults for the server at `address`.
    pub fn new(address: Address, credentials: Credentials) -> Self {
        Self {
            address,
            credentials,
            proxies: ProxyOptions::default(),
            extra_ca_files: Vec::new(),
            presign: true,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            idle_connections: 256,
            direct_upload_minimum: 256 * 1024,
            multipart_minimum: 64 * 1024 * 1024,
            part_size: 16 * 1024 * 1024,
            retry: RetryOptions::default(),
            on_warning: Arc::new(|_| {}),
        }
    }

    /// How connections to the server at `address`, lakeFS or its store, are made.
    ///
    /// One connection a request: bulk transfers that share one connection share its window.
    pub(crate) fn connection(&self, address: Address) -> ConnectionOptions {
        ConnectionOptions {
            address,
            proxies: self.proxies.clone(),
            extra_ca_files: self.extra_ca_files.clone(),
            connect_timeout: self.connect_timeout,
            idle_connections: self.idle_connections,
            offers_http2: false,
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
            .field("presign", &self.presign)
            .finish_non_exhaustive()
    }
}
