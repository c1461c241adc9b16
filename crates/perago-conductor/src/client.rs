//! The client: authorised calls and their answers.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::Serialize;
use url::Url;

use crate::auth::TokenKeeper;
use crate::error::{Error, ErrorKind};
use crate::in_process::InProcessServer;
use crate::options::ClientOptions;
use crate::reply::Reply;
use crate::transport::{Request, Transport};

/// A client of one Conductor server. Clones share connections and token.
///
/// Each call sends its request once. The exceptions were certainly not acted on: a request that never left because
/// the pooled connection was closed, and one refused for its expired token.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    tokens: Option<Arc<TokenKeeper>>,
}

/// A call in the making.
pub(crate) struct Call {
    request: Request,
}

impl Client {
    /// Builds a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Options`] for an unusable proxy or certificate file.
    pub fn new(options: &ClientOptions) -> Result<Self, Error> {
        Ok(Self::over(Transport::new(options)?, options))
    }

    /// A client of a server in the same process. Tokens and time limits are as with any other server; the address
    /// is only a name.
    pub fn in_process(options: &ClientOptions, server: Arc<dyn InProcessServer>) -> Self {
        Self::over(Transport::in_process(options, server), options)
    }

    fn over(transport: Transport, options: &ClientOptions) -> Self {
        let tokens = options.credentials.clone().map(|credentials| {
            Arc::new(TokenKeeper::new(credentials, options.token_lifetime, Arc::clone(&options.on_warning)))
        });
        Self { transport, tokens }
    }

    /// The server's address, without secrets.
    pub fn server(&self) -> String {
        self.transport.address.to_string()
    }

    /// Starts a call of `method` on the path `segments` below the API base.
    pub(crate) fn call(&self, operation: &'static str, method: Method, segments: &[&str]) -> Call {
        Call {
            request: Request {
                operation,
                method,
                url: self.transport.address.join(segments),
                content_type: "application/json",
                body: None,
                server_wait: Duration::ZERO,
            },
        }
    }

    /// Sends the call and returns its successful answer.
    pub(crate) async fn send(&self, call: &Call) -> Result<Reply, Error> {
        let request = &call.request;
        let reply = self.exchange(request).await?;
        if reply.is_success() { Ok(reply) } else { Err(self.transport.fail(request, reply.failure())) }
    }

    /// Sends the call; `None` when Conductor says that the thing does not exist.
    pub(crate) async fn send_for_existing(&self, call: &Call) -> Result<Option<Reply>, Error> {
        match self.send(call).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Attaches the call to a failure to read its answer.
    pub(crate) fn fail(&self, call: &Call, kind: ErrorKind) -> Error {
        self.transport.fail(&call.request, kind)
    }

    async fn exchange(&self, request: &Request) -> Result<Reply, Error> {
        let Some(tokens) = &self.tokens else {
            return self.transport.send(request, None).await;
        };
        let token = tokens.token(&self.transport).await?;
        let reply = self.transport.send(request, token.as_ref()).await?;
        if !reply.wants_new_token() {
            return Ok(reply);
        }
        match tokens.token_after_refusal(token.as_ref(), &self.transport).await? {
            Some(renewed) => self.transport.send(request, Some(&renewed)).await,
            None => Ok(reply),
        }
    }
}

impl Call {
    /// Adds a query parameter.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.request.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Adds a query parameter if there is a value.
    pub(crate) fn optional_query(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Time that the server is asked to wait before it answers.
    pub(crate) fn server_wait(mut self, wait: Duration) -> Self {
        self.request.server_wait = wait;
        self
    }

    /// Sets a JSON body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        match serde_json::to_vec(body) {
            Ok(bytes) => {
                self.request.body = Some(bytes);
                Ok(self)
            }
            Err(error) => {
                let server = origin(&self.request.url);
                Err(Error::new(self.request.operation, server, ErrorKind::Encode(error.to_string())))
            }
        }
    }

    /// Sets a plain text body.
    pub(crate) fn text(mut self, body: &str) -> Self {
        self.request.content_type = "text/plain";
        self.request.body = Some(body.as_bytes().to_vec());
        self
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
