//! What a client needs to know before its first call.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::secret::Secret;

/// Key and secret of an application, exchanged for tokens at `POST /token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The key id (`CONDUCTOR_AUTH_KEY`).
    pub key: Secret,
    /// The key's secret (`CONDUCTOR_AUTH_SECRET`).
    pub secret: Secret,
}

/// Receives the few warnings that are no failure of a call.
pub type WarningSink = Arc<dyn Fn(&str) + Send + Sync>;

/// Proxies by the conventions of the environment. They are never used for a server on this machine.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyOptions {
    /// Proxy for `http` addresses.
    pub http: Option<String>,
    /// Proxy for `https` addresses.
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached directly, comma-separated.
    pub no_proxy: Option<String>,
}

impl ProxyOptions {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` (or their lower-case forms, which win) through
    /// `lookup`; blank values count as unset.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| {
            [name.to_ascii_lowercase(), name.to_owned()]
                .iter()
                .filter_map(|name| lookup(name))
                .map(|value| value.trim().to_owned())
                .find(|value| !value.is_empty())
        };
        let all = read("ALL_PROXY");
        Self {
            http: read("HTTP_PROXY").or_else(|| all.clone()),
            https: read("HTTPS_PROXY").or(all),
            no_proxy: read("NO_PROXY"),
        }
    }
}

impl fmt::Debug for ProxyOptions {
    /// Shows which proxies are set but not their addresses, which may hold passwords.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxyOptions")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
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

#[cfg(test)]
mod tests {
    use super::ProxyOptions;

    fn read(pairs: &[(&str, &str)]) -> ProxyOptions {
        ProxyOptions::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn lower_case_wins_and_blank_is_unset() {
        let proxies =
            read(&[("HTTP_PROXY", "http://upper"), ("http_proxy", "http://lower"), ("HTTPS_PROXY", " ")]);
        assert_eq!(proxies.http.as_deref(), Some("http://lower"));
        assert_eq!(proxies.https, None);
    }

    #[test]
    fn all_proxy_fills_the_gaps() {
        let proxies =
            read(&[("ALL_PROXY", "http://all"), ("HTTPS_PROXY", "http://tls"), ("NO_PROXY", "a,b")]);
        assert_eq!(proxies.http.as_deref(), Some("http://all"));
        assert_eq!(proxies.https.as_deref(), Some("http://tls"));
        assert_eq!(proxies.no_proxy.as_deref(), Some("a,b"));
    }

    #[test]
    fn debug_hides_proxy_passwords() {
        let shown = format!("{:?}", read(&[("HTTP_PROXY", "http://user:hunter2@proxy")]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
