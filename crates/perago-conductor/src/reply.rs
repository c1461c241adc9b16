//! A received answer and how it is read.

use perago_http::excerpt;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ErrorKind;

/// Status and body of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Conductor's error body; gateways with authentication put a code in `error`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    status: Option<u16>,
    message: Option<String>,
    error: Option<String>,
    retryable: Option<bool>,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the server says that our token is missing or no longer valid, so that a new one may help.
    pub(crate) fn wants_new_token(&self) -> bool {
        match self.status {
            401 => true,
            403 => matches!(self.error_body().error.as_deref(), Some("EXPIRED_TOKEN" | "INVALID_TOKEN")),
            _ => false,
        }
    }

    /// The failure that a status outside 2xx means.
    pub(crate) fn failure(&self) -> ErrorKind {
        let parsed = serde_json::from_slice::<ErrorBody>(&self.body).ok();
        let from_conductor = parsed
            .as_ref()
            .is_some_and(|body| body.message.is_some() || body.status.is_some() || body.error.is_some());
        let body = parsed.unwrap_or_default();
        let text =
            body.message.or(body.error).unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        let message = excerpt(&text);
        match self.status {
            401 | 403 => ErrorKind::Authentication { status: self.status, message },
            status => ErrorKind::Status { status, message, retryable: body.retryable, from_conductor },
        }
    }

    /// Reads the body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ErrorKind> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ErrorKind::Decode(format!("{error}{}", self.seen())))
    }

    /// Reads the body as the bare text in which Conductor returns ids.
    pub(crate) fn text(&self) -> Result<String, ErrorKind> {
        let text = std::str::from_utf8(&self.body).map_err(|error| ErrorKind::Decode(error.to_string()))?;
        Ok(text.trim().trim_matches('"').to_owned())
    }

    fn error_body(&self) -> ErrorBody {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A short remark on bodies that are plainly not JSON; JSON bodies are not repeated, as they hold inputs.
    fn seen(&self) -> &'static str {
        match self.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => " (the body is empty)",
            Some(b'<') => " (the body looks like HTML)",
            Some(_) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reply;
    use crate::error::ErrorKind;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_conductor_error_keeps_its_message() {
        let failure =
            reply(404, r#"{"status":404,"message":"No such task","retryable":false,"extra":1}"#).failure();
        let ErrorKind::Status { status: 404, message, retryable: Some(false), from_conductor: true } =
            failure
        else {
            panic!("{failure:?}");
        };
        assert_eq!(message, "No such task");
    }

    #[test]
    fn only_token_trouble_asks_for_a_new_token() {
        assert!(reply(401, "").wants_new_token());
        assert!(reply(403, r#"{"error":"EXPIRED_TOKEN"}"#).wants_new_token());
        assert!(!reply(403, r#"{"message":"forbidden"}"#).wants_new_token());
        assert!(!reply(500, r#"{"error":"EXPIRED_TOKEN"}"#).wants_new_token());
    }
}
