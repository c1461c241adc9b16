//! The server's address: the API base and the URLs below it.

use std::fmt;

use url::{Host, Url};

/// Why a text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither `http` nor `https`.
    #[error("the server URL must start with http:// or https://")]
    Scheme,
    /// No host.
    #[error("the server URL has no host")]
    Host,
    /// No URL at all.
    #[error("the server URL is not a URL: {0}")]
    Syntax(url::ParseError),
}

/// The base URL of a server's API, such as `http://localhost:8080/api`, with or without a trailing slash.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    base: Url,
}

impl Address {
    /// Parses a base URL.
    ///
    /// # Errors
    /// When the text is no absolute `http` or `https` URL with a host.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let mut base = Url::parse(text.trim()).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => AddressError::Scheme,
            url::ParseError::EmptyHost => AddressError::Host,
            other => AddressError::Syntax(other),
        })?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(AddressError::Scheme);
        }
        if base.host_str().is_none_or(str::is_empty) {
            return Err(AddressError::Host);
        }
        base.set_query(None);
        base.set_fragment(None);
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        Ok(Self { base })
    }

    /// The URL of `segments` below the base; each segment is percent-encoded, so that a slash in an id stays in it.
    pub fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Whether requests are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Whether the server runs on this machine, so that no proxy can reach it for us.
    pub fn is_loopback(&self) -> bool {
        match self.base.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
            Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
            Some(Host::Ipv6(ip)) => {
                ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
            }
            None => false,
        }
    }
}

impl fmt::Display for Address {
    /// The URL without user name and password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.base.clone();
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        formatter.write_str(shown.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError};

    #[test]
    fn trailing_slashes_make_no_difference() {
        for text in ["http://host:8080/api", "http://host:8080/api/", " http://host:8080/api// "] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.join(&["tasks", "x"]).as_str(), "http://host:8080/api/tasks/x");
        }
        let bare = Address::parse("http://host:8080").unwrap();
        assert_eq!(bare.join(&["tasks"]).as_str(), "http://host:8080/tasks");
    }

    #[test]
    fn segments_are_encoded() {
        let address = Address::parse("http://[::1]:8080/api").unwrap();
        assert_eq!(address.join(&["tasks", "a/b c?"]).as_str(), "http://[::1]:8080/api/tasks/a%2Fb%20c%3F");
    }

    #[test]
    fn loopback_addresses_are_recognised() {
        for text in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
        ] {
            assert!(Address::parse(&format!("http://{text}:1/api")).unwrap().is_loopback(), "{text}");
        }
        for text in ["localhost.example.com", "128.0.0.1", "[2001:db8::1]", "conductor"] {
            assert!(!Address::parse(&format!("http://{text}:1/api")).unwrap().is_loopback(), "{text}");
        }
    }

    #[test]
    fn what_is_no_http_address_is_refused() {
        for (text, expected) in [
            ("", AddressError::Scheme),
            ("host:8080/api", AddressError::Scheme),
            ("/api", AddressError::Scheme),
            ("ftp://host/", AddressError::Scheme),
            ("http://", AddressError::Host),
            ("http://host:port/", AddressError::Syntax(url::ParseError::InvalidPort)),
        ] {
            assert_eq!(Address::parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn passwords_in_the_address_are_not_shown() {
        let address = Address::parse("https://user:hunter2@host/api").unwrap();
        assert_eq!(format!("{address} {address:?}"), "https://host/api Address(https://host/api)");
    }
}
