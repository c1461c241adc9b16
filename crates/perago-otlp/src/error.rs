//! Errors of the exporter's set-up, and failures of single pushes.

use std::path::PathBuf;

/// Why an exporter cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not an HTTP or HTTPS address.
    #[error("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT must be an http:// or https:// address")]
    Endpoint,
    /// A header's name or value cannot be sent. The value is secret and not shown.
    #[error("header {name:?} for the metrics endpoint cannot be sent")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The certificate cannot be read.
    #[error("read certificate {}", path.display())]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The HTTP client cannot be made, for example because of an invalid certificate.
    #[error("set up the HTTP client for the metrics endpoint")]
    Client {
        /// What the client said.
        source: reqwest::Error,
    },
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Endpoint => "PERAGO-OTLP-ENDPOINT",
            Self::Header { .. } => "PERAGO-OTLP-HEADER",
            Self::CertificateFile { .. } => "PERAGO-OTLP-CERTIFICATE",
            Self::Client { .. } => "PERAGO-OTLP-CLIENT",
        }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Endpoint => Some("for example http://localhost:8428/opentelemetry/v1/metrics"),
            Self::Header { .. } => Some("headers are key=value pairs between commas, percent-encoded"),
            Self::CertificateFile { .. } | Self::Client { .. } => {
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
