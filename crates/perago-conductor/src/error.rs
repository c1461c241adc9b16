//! What can go wrong between us and the server, and what it means for the caller.

use std::fmt;
use std::time::Duration;

use perago_http::AddressError;

/// A failed call: what was tried, on which server, and why it failed. Never holds a token, key or body of ours.
#[derive(Debug)]
pub struct Error {
    operation: &'static str,
    server: String,
    kind: Box<ErrorKind>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client cannot be built from what it was given.
    #[error("{0}")]
    Options(String),
    /// No connection: the request was not sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server's certificate is not trusted or TLS failed otherwise; the request was not sent.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// No complete answer in time; the server may have acted.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The connection broke before the answer was complete; the server may have acted.
    #[error("the connection broke: {0}")]
    Interrupted(String),
    /// The server refused.
    #[error("the server answered {status}: {message}")]
    Status {
        /// HTTP status code.
        status: u16,
        /// The server's own words, cut to a readable length.
        message: String,
        /// The `retryable` field of Conductor's error body, if there was one.
        retryable: Option<bool>,
        /// Whether the body had the shape of a Conductor error rather than of a proxy or another server.
        from_conductor: bool,
    },
    /// The answer is not what the protocol says.
    #[error("the answer is not understood: {0}")]
    Decode(String),
    /// The request cannot be written as JSON.
    #[error("the request cannot be encoded: {0}")]
    Encode(String),
    /// The server did not accept our key or token.
    #[error("authentication failed ({status}): {message}")]
    Authentication {
        /// HTTP status code.
        status: u16,
        /// The server's own words.
        message: String,
    },
}

impl Error {
    pub(crate) fn new(operation: &'static str, server: String, kind: ErrorKind) -> Self {
        Self { operation, server, kind: Box::new(kind) }
    }

    pub(crate) fn options(reason: String) -> Self {
        Self::new("configure the Conductor client", String::new(), ErrorKind::Options(reason))
    }

    /// Why the call failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The HTTP status, when the server answered at all.
    pub fn status(&self) -> Option<u16> {
        match *self.kind {
            ErrorKind::Status { status, .. } | ErrorKind::Authentication { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether Conductor itself (not a proxy in between) says that the thing asked for does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(*self.kind, ErrorKind::Status { status: 404, from_conductor: true, .. })
    }

    /// Whether the same call can succeed later without anyone changing anything.
    ///
    /// Says nothing about whether repeating it is harmless: see [`Error::may_have_been_received`].
    pub fn is_retryable(&self) -> bool {
        match &*self.kind {
            ErrorKind::Connect(_)
            | ErrorKind::Timeout(_)
            | ErrorKind::Interrupted(_)
            | ErrorKind::Status { status: 429 | 502..=504, .. } => true,
            ErrorKind::Status { status: 500, message, retryable, from_conductor } => {
                *retryable == Some(true) || !from_conductor || is_database_trouble(message)
            }
            _ => false,
        }
    }

    /// Whether the server may have acted on the call although it failed for us.
    pub fn may_have_been_received(&self) -> bool {
        !matches!(
            *self.kind,
            ErrorKind::Options(_) | ErrorKind::Connect(_) | ErrorKind::Tls(_) | ErrorKind::Encode(_)
        )
    }

    /// The stable code of this class of failure.
    pub fn code(&self) -> &'static str {
        match *self.kind {
            ErrorKind::Options(_) => "PERAGO-CONDUCTOR-OPTIONS",
            ErrorKind::Connect(_) => "PERAGO-CONDUCTOR-CONNECT",
            ErrorKind::Tls(_) => "PERAGO-CONDUCTOR-TLS",
            ErrorKind::Timeout(_) => "PERAGO-CONDUCTOR-TIMEOUT",
            ErrorKind::Interrupted(_) => "PERAGO-CONDUCTOR-INTERRUPTED",
            ErrorKind::Status { .. } => "PERAGO-CONDUCTOR-STATUS",
            ErrorKind::Decode(_) => "PERAGO-CONDUCTOR-DECODE",
            ErrorKind::Encode(_) => "PERAGO-CONDUCTOR-ENCODE",
            ErrorKind::Authentication { .. } => "PERAGO-CONDUCTOR-AUTHENTICATION",
        }
    }

    /// What the operator can do, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match &*self.kind {
            ErrorKind::Options(_) => {
                Some("set CONDUCTOR_SERVER_URL to the API base, such as http://localhost:8080/api")
            }
            ErrorKind::Connect(_) => {
                Some("check CONDUCTOR_SERVER_URL and that the Conductor server is running")
            }
            ErrorKind::Tls(_) => {
                Some("if the server uses a private certificate authority, name its PEM file in SSL_CERT_FILE")
            }
            ErrorKind::Timeout(_) => {
                Some("the server is overloaded, or a proxy or firewall swallows the traffic")
            }
            ErrorKind::Status { status: 300..=399, .. } => {
                Some("the server redirects elsewhere; set CONDUCTOR_SERVER_URL to the final address")
            }
            ErrorKind::Decode(_) | ErrorKind::Status { status: 404 | 405, from_conductor: false, .. } => {
                Some(
                    "the address is perhaps not the Conductor API: CONDUCTOR_SERVER_URL usually ends in /api",
                )
            }
            ErrorKind::Authentication { .. } => {
                Some("check CONDUCTOR_AUTH_KEY and CONDUCTOR_AUTH_SECRET and what the key may do")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.server.is_empty() {
            return write!(formatter, "{}", self.kind);
        }
        write!(formatter, "failed to {} on {}: {}", self.operation, self.server, self.kind)
    }
}

impl std::error::Error for Error {}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Self::options(error.to_string())
    }
}

/// Whether a 500 speaks of the server's database rather than of our request.
///
/// Conductor marks transient database failures as retryable only where it recognised them; drivers' own exceptions
/// pass through with their text alone.
fn is_database_trouble(message: &str) -> bool {
    const SIGNS: [&str; 9] = [
        "sqlite",
        "jdbc",
        "sqlexception",
        "deadlock",
        "database",
        "redis",
        "transaction",
        "connection",
        "lock",
    ];
    let message = message.to_ascii_lowercase();
    !message.contains("json parse error") && SIGNS.iter().any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind};

    fn status(status: u16, message: &str, retryable: Option<bool>, from_conductor: bool) -> Error {
        let kind = ErrorKind::Status { status, message: message.to_owned(), retryable, from_conductor };
        Error::new("poll", "http://host/api".to_owned(), kind)
    }

    #[test]
    fn only_failures_that_can_pass_are_retryable() {
        for code in [429, 502, 503, 504] {
            assert!(status(code, "", None, false).is_retryable(), "{code}");
        }
        assert!(status(500, "boom", Some(true), true).is_retryable());
        assert!(status(500, "[SQLITE_BUSY] The database file is locked", Some(false), true).is_retryable());
        assert!(status(500, "<html>", None, false).is_retryable());
        assert!(!status(500, "JSON parse error: Unexpected character", Some(false), true).is_retryable());
        for code in [400, 401, 403, 404, 405, 409, 501] {
            assert!(!status(code, "", Some(false), true).is_retryable(), "{code}");
        }
    }

    #[test]
    fn a_proxy_404_is_not_a_missing_thing() {
        assert!(status(404, "No such task", Some(false), true).is_missing());
        assert!(!status(404, "<html>", None, false).is_missing());
        assert!(status(404, "<html>", None, false).hint().unwrap().contains("/api"));
    }
}
