//! Requests and replies in the forms of the Conductor server.

use std::fmt;
use std::str::FromStr;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::{EngineError, Violation};

/// Result of a handler.
pub(super) type Reply = Result<Response, EngineError>;

/// Returns a body with a content type.
fn with_type(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 200 with JSON that is rendered already.
pub(super) fn json_text(body: String) -> Response {
    with_type("application/json", body)
}

/// 200 with a value as JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Reply {
    serde_json::to_string(value).map(json_text).map_err(|error| EngineError::internal(error.to_string()))
}

/// 200 with plain text: identifiers come so, whatever the client accepts.
pub(super) fn text(body: impl Into<String>) -> Response {
    with_type("text/plain;charset=UTF-8", body.into())
}

/// 200 without a body.
pub(super) fn empty() -> Response {
    StatusCode::OK.into_response()
}

/// 204.
pub(super) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    status: u16,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'static str>,
    retryable: bool,
    #[serde(skip_serializing_if = "<[Violation]>::is_empty")]
    validation_errors: &'a [Violation],
}

/// Returns a failure in the server's shape.
pub(super) fn failure(error: &EngineError) -> Response {
    let body = Failure {
        status: error.status,
        message: &error.message,
        instance: error.violations.is_empty().then_some("embedded"),
        retryable: false,
        validation_errors: &error.violations,
    };
    let mut response = json_text(serde_json::to_string(&body).unwrap_or_default());
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

impl IntoResponse for EngineError {
    fn into_response(self) -> Response {
        failure(&self)
    }
}

/// A JSON body; what does not parse is a 500, as on the server.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = EngineError;

    async fn from_request(request: Request, state: &S) -> Result<Self, EngineError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("application/octet-stream").to_owned();
        if !content_type.trim_start().to_ascii_lowercase().starts_with("application/json") {
            return Err(EngineError::internal(format!("Content-Type '{content_type}' is not supported")));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| EngineError::invalid(error.to_string()))?;
        if body.is_empty() {
            return Err(EngineError::internal("Required request body is missing"));
        }
        let parsed = serde_json::from_slice(&body);
        parsed.map(Json).map_err(|error| EngineError::internal(format!("JSON parse error: {error}")))
    }
}

/// The parameters of a query.
pub(super) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = EngineError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, EngineError> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}

impl Query {
    /// Returns the first value of a parameter, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        first.filter(|value| !value.is_empty())
    }

    /// Returns every value of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Parses a parameter; what is no number is a 500, as on the server.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, EngineError>
    where
        T::Err: fmt::Display,
    {
        let parsed = self.get(name).map(|text| {
            text.parse().map_err(|_| {
                EngineError::internal(format!(
                    "Method parameter '{name}': Failed to convert value of type 'java.lang.String' to required \
                     type 'int'; For input string: \"{text}\""
                ))
            })
        });
        parsed.transpose()
    }

    /// Parses a parameter that is true or false.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, EngineError> {
        self.number(name)
    }

    /// Returns a parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, EngineError> {
        let message =
            || format!("Required request parameter '{name}' for method parameter type String is not present");
        self.get(name).ok_or_else(|| EngineError::internal(message()))
    }
}
