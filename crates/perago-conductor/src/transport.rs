//! One request to one answer.

use std::sync::Arc;
use std::time::Duration;

use perago_http::{Address, ExchangeFailure, Secret};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::in_process::InProcessServer;
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
    way: Way,
    pub(crate) address: Address,
    request_timeout: Duration,
}

/// How a request gets to the server.
#[derive(Debug, Clone)]
enum Way {
    Network(reqwest::Client),
    InProcess(Arc<dyn InProcessServer>),
}

impl Transport {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, Error> {
        let http = options.connection().http_client().map_err(|error| Error::options(error.to_string()))?;
        Ok(Self::over(Way::Network(http), options))
    }

    pub(crate) fn in_process(options: &ClientOptions, server: Arc<dyn InProcessServer>) -> Self {
        Self::over(Way::InProcess(server), options)
    }

    fn over(way: Way, options: &ClientOptions) -> Self {
        Self { way, address: options.address.clone(), request_timeout: options.request_timeout }
    }

    /// Sends a request once and reads the whole answer, whatever its status.
    pub(crate) async fn send(&self, request: &Request, token: Option<&Secret>) -> Result<Reply, Error> {
        let limit = self.request_timeout.saturating_add(request.server_wait);
        let http = match &self.way {
            Way::Network(http) => http,
            Way::InProcess(server) => return self.send_in_process(server.as_ref(), request, limit).await,
        };
        let mut builder = http.request(request.method.clone(), request.url.clone()).timeout(limit);
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

    async fn send_in_process(
        &self,
        server: &dyn InProcessServer,
        request: &Request,
        limit: Duration,
    ) -> Result<Reply, Error> {
        let path = match request.url.query() {
            Some(query) => format!("{}?{query}", request.url.path()),
            None => request.url.path().to_owned(),
        };
        let body = request.body.clone().unwrap_or_default();
        let answer = server.answer(request.method.as_str(), path, body);
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok((status, body))) => Ok(Reply { status, body }),
            Ok(Err(failure)) => Err(self.fail(request, kind_of(failure, limit))),
            Err(_) => Err(self.fail(request, ErrorKind::Timeout(limit))),
        }
    }

    /// An error of this server and request.
    pub(crate) fn fail(&self, request: &Request, kind: ErrorKind) -> Error {
        Error::new(request.operation, self.address.to_string(), kind)
    }
}

/// The class of a failed exchange.
fn classify(error: &reqwest::Error, limit: Duration) -> ErrorKind {
    kind_of(ExchangeFailure::of(error), limit)
}

fn kind_of(failure: ExchangeFailure, limit: Duration) -> ErrorKind {
    match failure {
        ExchangeFailure::Connect(detail) => ErrorKind::Connect(detail),
        ExchangeFailure::Tls(detail) => ErrorKind::Tls(detail),
        ExchangeFailure::Timeout => ErrorKind::Timeout(limit),
        ExchangeFailure::Interrupted(detail) => ErrorKind::Interrupted(detail),
        ExchangeFailure::Encode(detail) => ErrorKind::Encode(detail),
    }
}
