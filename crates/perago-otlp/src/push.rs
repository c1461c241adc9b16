//! One request to the receiver, and what its answer means by OTLP's rules.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use perago_http::{Address, ConnectionOptions, ExchangeFailure};
use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use tokio::time::Instant;

use crate::error::{Error, PushFailure};
use crate::exporter::ExporterOptions;

const LONGEST_ANSWER: usize = 64 * 1024;
const LONGEST_MESSAGE: usize = 300;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
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

/// Why a request did not arrive.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The last answer.
    pub(crate) failure: PushFailure,
    /// How long from now the server asked to be left alone.
    pub(crate) leave_alone: Option<Duration>,
}

impl Failed {
    /// A failure that no repetition mends.
    pub(crate) fn for_good(failure: PushFailure) -> Self {
        Self { failure, leave_alone: None }
    }
}

#[derive(Debug)]
enum Answer {
    Accepted(Accepted),
    Retry { after: Option<Duration>, failure: PushFailure },
    Refused(PushFailure),
}

/// Sends encoded requests to one endpoint.
pub(crate) struct Pusher {
    client: Client,
    endpoint: Url,
    headers: HeaderMap,
    gzip: bool,
}

impl fmt::Debug for Pusher {
    /// Leaves out the endpoint and the headers, which may hold passwords.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pusher").field("gzip", &self.gzip).finish_non_exhaustive()
    }
}

/// Whether metrics can be sent to `endpoint`: an absolute `http` or `https` URL with a host.
pub fn check_endpoint(endpoint: &str) -> Result<(), Error> {
    parse_endpoint(endpoint).map(|_| ())
}

fn parse_endpoint(endpoint: &str) -> Result<(Address, Url), Error> {
    let address = Address::parse(endpoint).map_err(|_| Error::Endpoint)?;
    let url = Url::parse(endpoint.trim()).map_err(|_| Error::Endpoint)?;
    Ok((address, url))
}

impl Pusher {
    pub(crate) fn new(options: &ExporterOptions) -> Result<Self, Error> {
        let (address, endpoint) = parse_endpoint(options.endpoint.expose())?;
        let connection = ConnectionOptions {
            address,
            proxies: options.proxies.clone(),
            extra_ca_files: options.extra_ca_files.clone(),
            connect_timeout: CONNECT_WITHIN,
            idle_connections: 1,
            offers_http2: true,
        };
        let client = match &options.certificate {
            Some(certificate) => connection.http_client_trusting_only(certificate)?,
            None => connection.http_client()?,
        };
        Ok(Self { client, endpoint, headers: headers(options)?, gzip: options.gzip })
    }

    /// Sends `request`, again and again where OTLP allows it, until `deadline`.
    pub(crate) async fn push(&self, request: Vec<u8>, deadline: Instant) -> Result<Accepted, Failed> {
        let body = bytes::Bytes::from(if self.gzip { compress(&request) } else { request });
        let mut delay = FIRST_DELAY;
        loop {
            let Ok(answer) = tokio::time::timeout_at(deadline, self.send(body.clone())).await else {
                return Err(Failed::for_good(PushFailure::Deadline));
            };
            let (after, failure) = match answer {
                Answer::Accepted(accepted) => return Ok(accepted),
                Answer::Refused(failure) => return Err(Failed::for_good(failure)),
                Answer::Retry { after, failure } => (after, failure),
            };
            let wait = after.unwrap_or_else(|| jittered(delay));
            if Instant::now() + wait >= deadline {
                return Err(Failed { failure, leave_alone: after });
            }
            tokio::time::sleep(wait).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    async fn send(&self, body: bytes::Bytes) -> Answer {
        let mut request = self
            .client
            .post(self.endpoint.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
            .body(body);
        if self.gzip {
            request = request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return not_answered(&ExchangeFailure::of(&error)),
        };
        let status = response.status();
        let after = retry_after(response.headers(), SystemTime::now());
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
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| error())?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

/// A connection that failed or broke is worth another try, as OTLP says.
fn not_answered(failure: &ExchangeFailure) -> Answer {
    let text = match failure {
        ExchangeFailure::Connect(reason) | ExchangeFailure::Interrupted(reason) => reason.clone(),
        ExchangeFailure::Tls(reason) => format!("TLS: {reason}"),
        ExchangeFailure::Timeout => "timed out".to_owned(),
        ExchangeFailure::Encode(reason) => return Answer::Refused(PushFailure::Connection(reason.clone())),
    };
    Answer::Retry { after: None, failure: PushFailure::Connection(text) }
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

/// The time that a server asks for, in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
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
    fn a_server_says_when_to_come_back_in_seconds_or_as_a_date() {
        // 1994-11-06 08:49:37 UTC.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:48:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
