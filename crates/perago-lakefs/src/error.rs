//! What can go wrong between us, the server and its object store, and what it means for the caller.

use std::fmt;
use std::time::Duration;

use perago_http::{AddressError, ExchangeFailure};

/// A failed call: what was tried, on which server, and why it failed. Never holds a key, signature or body of ours.
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
    /// A transfer stood still; the server may have acted on what it has.
    #[error("no byte moved for {:.1} s", .0.as_secs_f64())]
    Stalled(Duration),
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
        /// Whether the body had the shape of a lakeFS error rather than of a proxy or an object store.
        from_lakefs: bool,
    },
    /// The server did not accept our key pair.
    #[error("authentication failed ({status}): {message}")]
    Authentication {
        /// HTTP status code.
        status: u16,
        /// The server's own words.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("the answer is not understood: {0}")]
    Decode(String),
    /// The request cannot be written.
    #[error("the request cannot be encoded: {0}")]
    Encode(String),
    /// What should be uploaded cannot be read.
    #[error("cannot read what should be uploaded: {0}")]
    Source(String),
    /// What the store has is not what was sent to it.
    #[error("the upload arrived damaged: {0}")]
    Checksum(String),
    /// Some paths of a bulk deletion are still there.
    #[error("{failed} of the paths were not deleted; the first is {path:?} ({status}): {message}")]
    Deletion {
        /// How many.
        failed: usize,
        /// The first of them.
        path: String,
        /// Its status.
        status: u16,
        /// The server's words about it.
        message: String,
    },
}

impl Error {
    pub(crate) fn new(operation: &'static str, server: String, kind: ErrorKind) -> Self {
        Self { operation, server, kind: Box::new(kind) }
    }

    pub(crate) fn options(reason: String) -> Self {
        Self::new("configure the lakeFS client", String::new(), ErrorKind::Options(reason))
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

    /// Whether lakeFS itself (not a proxy in between) says that the thing asked for does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(*self.kind, ErrorKind::Status { status: 404, from_lakefs: true, .. })
    }

    /// Whether lakeFS says that the branch is protected or the repository read-only.
    pub fn is_forbidden(&self) -> bool {
        matches!(*self.kind, ErrorKind::Status { status: 403, from_lakefs: true, .. })
    }

    /// Whether lakeFS says that the branch has staged changes that nobody has committed.
    pub fn is_dirty_branch(&self) -> bool {
        self.says(400, "uncommitted changes") || self.says(400, "dirty branch")
    }

    /// Whether lakeFS says that there is nothing to do.
    pub(crate) fn is_no_changes(&self) -> bool {
        self.says(400, "no changes")
    }

    /// Whether lakeFS says that two sides changed the same paths.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(*self.kind, ErrorKind::Status { status: 409, from_lakefs: true, .. })
    }

    /// Whether the same call can succeed later without anyone changing anything.
    ///
    /// Says nothing about whether repeating it is harmless: see [`Error::may_have_been_received`].
    pub fn is_retryable(&self) -> bool {
        match &*self.kind {
            ErrorKind::Connect(_)
            | ErrorKind::Timeout(_)
            | ErrorKind::Stalled(_)
            | ErrorKind::Interrupted(_)
            | ErrorKind::Checksum(_)
            | ErrorKind::Status { status: 429 | 502..=504, .. } => true,
            ErrorKind::Status { status: 500, message, from_lakefs } => {
                !from_lakefs || message.contains("predicate failed") || message.contains("InternalError")
            }
            _ => false,
        }
    }

    /// Whether the server may have acted on the call although it failed for us.
    pub fn may_have_been_received(&self) -> bool {
        match &*self.kind {
            ErrorKind::Options(_)
            | ErrorKind::Connect(_)
            | ErrorKind::Tls(_)
            | ErrorKind::Encode(_)
            | ErrorKind::Authentication { .. }
            | ErrorKind::Status { status: 400..=499, .. } => false,
            // lakeFS says this when it lost a compare-and-swap.
            ErrorKind::Status { status: 500, message, from_lakefs: true } => {
                !message.contains("predicate failed")
            }
            _ => true,
        }
    }

    /// Whether the server could not be reached at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(*self.kind, ErrorKind::Connect(_) | ErrorKind::Tls(_))
    }

    /// The stable code of this class of failure.
    pub fn code(&self) -> &'static str {
        match *self.kind {
            ErrorKind::Options(_) => "PERAGO-LAKEFS-OPTIONS",
            ErrorKind::Connect(_) => "PERAGO-LAKEFS-CONNECT",
            ErrorKind::Tls(_) => "PERAGO-LAKEFS-TLS",
            ErrorKind::Timeout(_) => "PERAGO-LAKEFS-TIMEOUT",
            ErrorKind::Stalled(_) => "PERAGO-LAKEFS-STALLED",
            ErrorKind::Interrupted(_) => "PERAGO-LAKEFS-INTERRUPTED",
            ErrorKind::Status { .. } => "PERAGO-LAKEFS-STATUS",
            ErrorKind::Authentication { .. } => "PERAGO-LAKEFS-AUTHENTICATION",
            ErrorKind::Decode(_) => "PERAGO-LAKEFS-DECODE",
            ErrorKind::Encode(_) => "PERAGO-LAKEFS-ENCODE",
            ErrorKind::Source(_) => "PERAGO-LAKEFS-SOURCE",
            ErrorKind::Checksum(_) => "PERAGO-LAKEFS-CHECKSUM",
            ErrorKind::Deletion { .. } => "PERAGO-LAKEFS-DELETION",
        }
    }

    /// What the operator can do, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match &*self.kind {
            ErrorKind::Options(_) => {
                Some("set LAKECTL_SERVER_ENDPOINT_URL to the server, such as http://localhost:8000")
            }
            ErrorKind::Connect(_) => {
                Some("check LAKECTL_SERVER_ENDPOINT_URL and that the lakeFS server is running")
            }
            ErrorKind::Tls(_) => {
                Some("if the server uses a private certificate authority, name its PEM file in SSL_CERT_FILE")
            }
            ErrorKind::Timeout(_) | ErrorKind::Stalled(_) => Some(
                "the server or its object store is overloaded, or a proxy or firewall swallows the traffic",
            ),
            ErrorKind::Status { status: 300..=399, .. } => {
                Some("the server redirects elsewhere; set LAKECTL_SERVER_ENDPOINT_URL to the final address")
            }
            ErrorKind::Status { status: 403, from_lakefs: true, .. } => {
                Some("the branch is protected, the repository read-only, or the user may not do this")
            }
            ErrorKind::Status { status: 410, .. } => {
                Some("the object is listed but its bytes are gone from the object store")
            }
            ErrorKind::Decode(_) | ErrorKind::Status { status: 404 | 405, from_lakefs: false, .. } => {
                Some("the address is perhaps not a lakeFS server: check LAKECTL_SERVER_ENDPOINT_URL")
            }
            ErrorKind::Authentication { .. } => {
                Some("check LAKECTL_CREDENTIALS_ACCESS_KEY_ID and LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY")
            }
            _ => None,
        }
    }

    fn says(&self, expected: u16, words: &str) -> bool {
        matches!(&*self.kind, ErrorKind::Status { status, message, from_lakefs: true }
            if *status == expected && message.contains(words))
    }
}

impl ErrorKind {
    /// The class of an exchange that failed within a time limit.
    pub(crate) fn of_exchange(error: &reqwest::Error, limit: Duration) -> Self {
        match ExchangeFailure::of(error) {
            ExchangeFailure::Connect(detail) => Self::Connect(detail),
            ExchangeFailure::Tls(detail) => Self::Tls(detail),
            ExchangeFailure::Timeout => Self::Timeout(limit),
            ExchangeFailure::Interrupted(detail) => Self::Interrupted(detail),
            ExchangeFailure::Encode(detail) => Self::Encode(detail),
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

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind};

    fn status(status: u16, message: &str, from_lakefs: bool) -> Error {
        let kind = ErrorKind::Status { status, message: message.to_owned(), from_lakefs };
        Error::new("merge", "http://host".to_owned(), kind)
    }

    #[test]
    fn contention_is_retryable_and_had_no_effect() {
        for error in
            [status(429, "Too many attempts, try again later", true), status(500, "predicate failed", true)]
        {
            assert!(error.is_retryable() && !error.may_have_been_received(), "{error}");
        }
        let throttled = status(503, "Throughput exceeded. Slow down and retry", true);
        assert!(throttled.is_retryable() && throttled.may_have_been_received());
        assert!(!status(500, "local adapter presigned URL: operation not supported", true).is_retryable());
        assert!(status(500, "<html>", false).is_retryable());
    }

    #[test]
    fn only_lakefs_says_what_is_missing_or_forbidden() {
        assert!(status(404, "branch not found", true).is_missing());
        assert!(!status(404, "<html>", false).is_missing());
        assert!(status(403, "cannot write to protected branch", true).is_forbidden());
        assert!(!status(403, "SignatureDoesNotMatch", false).is_forbidden());
        assert!(status(400, "uncommitted changes (dirty branch)", true).is_dirty_branch());
        assert!(status(400, "update branch main: no changes", true).is_no_changes());
    }
}
