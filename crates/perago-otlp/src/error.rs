//! Errors of the exporter's set-up, and failures of single pushes.

/// Why an exporter cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not an HTTP or HTTPS address.
    #[error("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT must be an http:// or https:// URL")]
    Endpoint,
    /// A header's name or value cannot be sent. The value is secret and not shown.
    #[error("header {name:?} for the metrics endpoint cannot be sent")]
    Header {
        /// The header's name.
        name: String,
    },
    /// Connections cannot be made as asked, for example because of the certificate file.
    #[error("connections to the metrics endpoint cannot be made: {0}")]
    Connection(#[from] perago_http::ConnectionError),
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Endpoint => "PERAGO-OTLP-ENDPOINT",
            Self::Header { .. } => "PERAGO-OTLP-HEADER",
            Self::Connection(_) => "PERAGO-OTLP-CONNECTION",
        }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Endpoint => Some("for example http://localhost:8428/opentelemetry/v1/metrics"),
            Self::Header { .. } => Some("headers are key=value pairs between commas, percent-encoded"),
            Self::Connection(_) => {
                Some("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE names a file of PEM certificates")
            }
        }
    }
}

/// Why a push did not arrive. Totals are cumulative, so the next push makes up for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushFailure {
    /// No connection, or it broke.
    #[error("metrics endpoint cannot be reached: {0}")]
    Connection(String),
    /// The server refused the request.
    #[error("metrics endpoint answered {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        message: String,
    },
    /// Time ran out, retries included.
    #[error("metrics endpoint did not answer in time")]
    Deadline,
}

impl PushFailure {
    /// Whether the server cannot take what was sent, so that the same without some of it may be taken.
    pub(crate) fn is_about_content(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 413 | 422, .. })
    }

    /// Whether the request was too large.
    pub(crate) fn is_about_size(&self) -> bool {
        matches!(self, Self::Status { status: 413, .. })
    }
}
