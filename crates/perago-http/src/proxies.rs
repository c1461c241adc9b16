//! Proxies by the conventions of the environment.

use std::fmt;

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
