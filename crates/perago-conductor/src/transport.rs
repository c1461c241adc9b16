//! One request to one answer.

use std::time::Duration;

use perago_http::{Address, ExchangeFailure, Secret};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::options::ClientOptions;
use crate::reply::Reply;

/// Header in which Conductor servers with authentication expect the token.
const TOKEN_HEADER: &str = "X-Authorization";

/// A request before it is sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// What the call does, in words that follow "failed to".
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) content_type: &'static str,
    pub(crate) body: Option<Vec<u8>>,
    /// Time that the server was asked to wait before it answers.
    pub(crate) server_wait: Duration,
}

/// The HTTP side of a client; clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: reqwest::Client,
    pub(crate) address: Address,
    request_timeout: Duration,
}

impl Transport {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, Error> {
        let http = options.connection().http_client().map_err(|error| Error::options(error.to_string()))?;
        Ok(Self { http, address: options.address.clone(), request_timeout: options.request_timeout })
    }

    /// Sends a request once and reads the whole answer, whatever its status.
    pub(crate) async fn send(&self, request: &Request, token: Option<&Secret>) -> Result<Reply, Error> {
        let limit = self.request_timeout.saturating_add(request.server_wait);
        let mut builder = self.http.request(request.method.clone(), request.url.clone()).timeout(limit);
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, request.content_type).body(body.clone());
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose()).map_err(|_| {
                self.fail(request, ErrorKind::Decode("the token is no header value".to_owned()))
            })?;
            value.set_sensitive(true);
            builder = builder.header(TOKEN_HEADER, value);
        }
        let response = builder.send().await.map_err(|error| self.fail(request, classify(&error, limit)))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| self.fail(request, classify(&error, limit)))?;
        Ok(Reply { status, body: body.into() })
    }

    /// An error of this server and request.
    pub(crate) fn fail(&self, request: &Request, kind: ErrorKind) -> Error {
        Error::new(request.operation, self.address.to_string(), kind)
    }
}

/// The class of a failed exchange.
fn classify(error: &reqwest::Error, limit: Duration) -> ErrorKind {
    match ExchangeFailure::of(error) {
        ExchangeFailure::Connect(detail) => ErrorKind::Connect(detail),
        ExchangeFailure::Tls(detail) => ErrorKind::Tls(detail),
        ExchangeFailure::Timeout => ErrorKind::Timeout(limit),
        ExchangeFailure::Interrupted(detail) => ErrorKind::Interrupted(detail),
        ExchangeFailure::Encode(detail) => ErrorKind::Encode(detail),
    }
}
