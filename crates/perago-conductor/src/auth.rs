//! Tokens of Conductor servers that ask for authentication.
//!
//! Protocol: `POST /token` with `{keyId, keySecret}` answers `{token}`, which goes into `X-Authorization` and lives
//! 45 minutes. The open-source server has no `/token` and answers 404.

use std::time::{Duration, Instant};

use perago_http::{Secret, WarningSink};
use reqwest::Method;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::error::{Error, ErrorKind};
use crate::options::Credentials;
use crate::reply::Reply;
use crate::transport::{Request, Transport};

const OPERATION: &str = "obtain a token";

/// Holds the current token and renews it, one exchange at a time however many calls wait for it.
pub(crate) struct TokenKeeper {
    credentials: Credentials,
    lifetime: Duration,
    on_warning: WarningSink,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The server has no `/token`; calls go without until it refuses one.
    is_open_server: bool,
    has_warned: bool,
}

#[derive(Clone)]
struct Token {
    text: Secret,
    obtained: Instant,
}

#[derive(Deserialize)]
struct TokenBody {
    token: String,
}

impl TokenKeeper {
    pub(crate) fn new(credentials: Credentials, lifetime: Duration, on_warning: WarningSink) -> Self {
        Self { credentials, lifetime, on_warning, state: Mutex::default() }
    }

    /// The token for the next call, renewed when eight ninths of its life are over; none on an open server.
    pub(crate) async fn token(&self, transport: &Transport) -> Result<Option<Secret>, Error> {
        let mut state = self.state.lock().await;
        if state.is_open_server {
            return Ok(None);
        }
        let Some(token) = state.token.clone() else {
            return self.renew(&mut state, transport).await;
        };
        let age = token.obtained.elapsed();
        if age < self.lifetime / 9 * 8 {
            return Ok(Some(token.text));
        }
        match self.renew(&mut state, transport).await {
            // The old token still serves for a while: an outage of the token service is no outage yet.
            Err(error) if error.is_retryable() && age < self.lifetime => Ok(Some(token.text)),
            other => other,
        }
    }

    /// The token to try after the server refused `refused`: a newer one if another call has fetched it already.
    pub(crate) async fn token_after_refusal(
        &self,
        refused: Option<&Secret>,
        transport: &Transport,
    ) -> Result<Option<Secret>, Error> {
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && Some(&token.text) != refused
        {
            return Ok(Some(token.text.clone()));
        }
        self.renew(&mut state, transport).await
    }

    async fn renew(&self, state: &mut State, transport: &Transport) -> Result<Option<Secret>, Error> {
        let body = serde_json::json!({
            "keyId": self.credentials.key.expose(),
            "keySecret": self.credentials.secret.expose(),
        });
        let request = Request {
            operation: OPERATION,
            method: Method::POST,
            url: transport.address.join(&["token"]),
            content_type: "application/json",
            body: Some(body.to_string().into_bytes()),
            server_wait: Duration::ZERO,
        };
        let reply = transport.send(&request, None).await?;
        if reply.status == 404 {
            state.token = None;
            state.is_open_server = true;
            if !std::mem::replace(&mut state.has_warned, true) {
                (self.on_warning)(
                    "CONDUCTOR_AUTH_KEY is set but the server has no authentication; going on without",
                );
            }
            return Ok(None);
        }
        let text = self.read(&reply).map_err(|kind| transport.fail(&request, kind))?;
        state.is_open_server = false;
        state.token = Some(Token { text: text.clone(), obtained: Instant::now() });
        Ok(Some(text))
    }

    fn read(&self, reply: &Reply) -> Result<Secret, ErrorKind> {
        if reply.is_success() {
            // The body holds a token: its text must not reach the error.
            return serde_json::from_slice::<TokenBody>(&reply.body)
                .map(|body| Secret::new(body.token))
                .map_err(|_| ErrorKind::Decode("the answer of /token holds no token".to_owned()));
        }
        Err(match reply.failure() {
            ErrorKind::Authentication { status, message } => {
                ErrorKind::Authentication { status, message: self.without_credentials(message) }
            }
            ErrorKind::Status { status, message, retryable, from_conductor } => {
                let message = self.without_credentials(message);
                if status == 400 {
                    ErrorKind::Authentication { status, message }
                } else {
                    ErrorKind::Status { status, message, retryable, from_conductor }
                }
            }
            other => other,
        })
    }

    /// Some servers repeat what they were sent.
    fn without_credentials(&self, message: String) -> String {
        [&self.credentials.secret, &self.credentials.key]
            .iter()
            .filter(|secret| !secret.expose().is_empty())
            .fold(message, |text, secret| text.replace(secret.expose(), "***"))
    }
}

impl std::fmt::Debug for TokenKeeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TokenKeeper").finish_non_exhaustive()
    }
}
