//! Why an exchange failed before there was an answer to judge.

use std::error::Error as _;

/// The class of an exchange that brought no complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeFailure {
    /// No connection: the request was not sent.
    Connect(String),
    /// The server's certificate is not trusted or TLS failed otherwise; the request was not sent.
    Tls(String),
    /// A time limit of the request passed; the server may have acted.
    Timeout,
    /// The connection broke before the answer was complete; the server may have acted.
    Interrupted(String),
    /// The request cannot be built; it was not sent.
    Encode(String),
}

impl ExchangeFailure {
    /// Classifies what the HTTP library reports.
    pub fn of(error: &reqwest::Error) -> Self {
        let detail = deepest(error);
        if error.is_connect() {
            if has_tls_cause(error) { Self::Tls(detail) } else { Self::Connect(detail) }
        } else if error.is_timeout() {
            Self::Timeout
        } else if error.is_builder() {
            Self::Encode(detail)
        } else {
            Self::Interrupted(detail)
        }
    }
}

/// The innermost cause, which is the one that says something; outer ones repeat the URL.
pub(crate) fn deepest(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = None;
    while let Some(inner) = cause {
        text = Some(inner.to_string());
        cause = inner.source();
    }
    text.unwrap_or_else(
        || if error.is_timeout() { "timed out".to_owned() } else { "request failed".to_owned() },
    )
}

fn has_tls_cause(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    // An I/O error hides the error that it wraps from `source`.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.is_some_and(|wrapped| has_tls_cause(wrapped)) || error.source().is_some_and(has_tls_cause)
}
