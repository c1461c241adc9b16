//! One push: the request, and what its answer means by OTLP's rules.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode, Url, redirect};
use tokio::time::Instant;

use crate::error::{Error, PushFailure};
use crate::exporter::ExporterOptions;

const LONGEST_ANSWER: usize = 64 * 1024;
const LONGEST_MESSAGE: usize = 300;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(32);

/// What the server said about a request that it took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Accepted {
    /// Data points that it dropped.
    pub(crate) rejected: i64,
    /// Why, or a warning.
    pub(crate) message: String,
}

#[derive(Debug)]
enum Answer {
    Accepted(Accepted),
    Retry { after: Option<Duration>, failure: PushFailure },
    Refused(PushFailure),
}

/// Sends encoded requests to one endpoint.
#[derive(Debug)]
pub(crate) struct Pusher {
    client: Client,
    endpoint: Url,
    gzip: bool,
}

impl Pusher {
    pub(crate) fn new(options: &ExporterOptions) -> Result<Self, Error> {
        let endpoint = Url::parse(&options.endpoint).map_err(|_| Error::Endpoint)?;
        if !["http", "https"].contains(&endpoint.scheme()) || endpoint.host().is_none() {
            return Err(Error::Endpoint);
        }
        // Another part of the process may have chosen the provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .default_headers(headers(options)?)
            .user_agent(concat!("perago/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&endpoint) {
            builder = builder.no_proxy();
        }
        if let Some(path) = &options.certificate {
            let pem = std::fs::read(path)
                .map_err(|source| Error::CertificateFile { path: path.clone(), source })?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|source| Error::Client { source })?;
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|source| Error::Client { source })?;
        Ok(Self { client, endpoint, gzip: options.gzip })
    }

    /// Sends `request`, again and again where OTLP allows it, until `deadline`.
    pub(crate) async fn push(&self, request: Vec<u8>, deadline: Instant) -> Result<Accepted, PushFailure> {
        let body = bytes::Bytes::from(if self.gzip { compress(&request) } else { request });
        let mut delay = FIRST_DELAY;
        loop {
            let Ok(answer) = tokio::time::timeout_at(deadline, self.send(body.clone())).await else {
                return Err(PushFailure::Deadline);
            };
            let (after, failure) = match answer {
                Answer::Accepted(accepted) => return Ok(accepted),
                Answer::Refused(failure) => return Err(failure),
                Answer::Retry { after, failure } => (after, failure),
            };
            let wait = after.unwrap_or_else(|| jittered(delay));
            if Instant::now() + wait >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(wait).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    async fn send(&self, body: bytes::Bytes) -> Answer {
        let mut request = self
            .client
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
            .body(body);
        if self.gzip {
            request = request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return connection_failed(error),
        };
        let status = response.status();
        let after = retry_after(response.headers());
        let mut answer = Vec::new();
        // If the body breaks off, what the status says of the request still holds.
        while answer.len() < LONGEST_ANSWER
            && let Ok(Some(chunk)) = response.chunk().await
        {
            answer.extend_from_slice(&chunk);
        }
        classify(status, after, &answer)
    }
}

fn headers(options: &ExporterOptions) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        let error = || Error::Header { name: name.clone() };
        let key = HeaderName::try_from(name.as_str()).map_err(|_| error())?;
        let mut value = HeaderValue::try_from(value.reveal()).map_err(|_| error())?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

fn is_loopback(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn connection_failed(error: reqwest::Error) -> Answer {
    let is_retryable = !error.is_builder();
    // The address may hold credentials.
    let error = error.without_url();
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    let failure = PushFailure::Connection(message);
    if is_retryable { Answer::Retry { after: None, failure } } else { Answer::Refused(failure) }
}

/// The retryable statuses are those that the OTLP specification lists, and no others.
fn classify(status: StatusCode, after: Option<Duration>, answer: &[u8]) -> Answer {
    if status.is_success() {
        // Some stores answer with an empty or a foreign body; the status is what counts.
        let partial =
            ExportMetricsServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
        return Answer::Accepted(partial.map_or_else(Accepted::default, |partial| Accepted {
            rejected: partial.rejected_data_points,
            message: partial.error_message,
        }));
    }
    let message: String = String::from_utf8_lossy(answer).chars().take(LONGEST_MESSAGE).collect();
    let failure = PushFailure::Status { status: status.as_u16(), message };
    match status.as_u16() {
        429 | 502 | 503 | 504 => Answer::Retry { after, failure },
        _ => Answer::Refused(failure),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn compress(request: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(request.len() / 4), Compression::fast());
    let written = encoder.write_all(request).and_then(|()| encoder.finish());
    written.expect("writing to memory cannot fail")
}

/// `delay` give or take a fifth, so that workers that failed together do not come back together.
fn jittered(delay: Duration) -> Duration {
    // The hasher is seeded at random by the standard library.
    let random = RandomState::new().hash_one(0) % 1_000;
    delay.mul_f64(0.8 + 0.4 * random as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_statuses_are_retried() {
        for status in (100..600).filter(|status| !(200..300).contains(status)) {
            let answer = classify(StatusCode::from_u16(status).unwrap(), None, b"why");
            let retried = matches!(answer, Answer::Retry { .. });
            assert_eq!(retried, [429, 502, 503, 504].contains(&status), "{status}");
        }
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for _ in 0..100 {
            let delay = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&delay), "{delay:?}");
        }
    }

    #[test]
    fn loopback_addresses_are_known() {
        for (address, expected) in [
            ("http://localhost:1", true),
            ("http://127.0.0.9", true),
            ("http://[::1]:3", true),
            ("http://example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(address).unwrap()), expected, "{address}");
        }
    }
}
