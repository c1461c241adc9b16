//! The control path of faults: `/perago/faults` and `/perago/clock`. Never met by a fault itself.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::nothing;
use crate::faults::{FaultError, Rule};
use crate::shared::Shared;

/// Where the control path begins.
pub(crate) const PREFIX: &str = "/perago/faults";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(PREFIX, get(shown).post(script).delete(clear))
        .route(&format!("{PREFIX}/{{id}}"), delete(lift))
        .route("/perago/clock", post(advance))
}

/// What was scripted, and how often calls came.
async fn shown(State(shared): State<Shared>) -> Result<Response, FaultError> {
    let faults = shared.faults()?;
    Ok(with_status(StatusCode::OK, &json!({"rules": faults.shown(), "calls": faults.counted()})))
}

async fn script(State(shared): State<Shared>, body: Bytes) -> Result<Response, Refused> {
    let rule: Rule = parsed(&body)?;
    let id = shared.faults()?.script(rule)?.id();
    Ok(with_status(StatusCode::CREATED, &json!({"id": id})))
}

async fn clear(State(shared): State<Shared>) -> Result<Response, FaultError> {
    shared.faults()?.clear();
    Ok(nothing())
}

async fn lift(State(shared): State<Shared>, Path(id): Path<u64>) -> Result<Response, FaultError> {
    let counts = shared.faults()?.lift(id);
    Ok(counts.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |counts| with_status(StatusCode::OK, &json!(counts)),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    advance_seconds: f64,
}

async fn advance(State(shared): State<Shared>, body: Bytes) -> Result<Response, Refused> {
    let step: Step = parsed(&body)?;
    let by = Duration::try_from_secs_f64(step.advance_seconds).map_err(|_| FaultError::Value {
        reason: "time passes by a number of seconds that is not negative",
    })?;
    let ahead = shared.advance(by)?;
    Ok(with_status(StatusCode::OK, &json!({"ahead_seconds": ahead as f64 / 1000.0})))
}

/// What a request is refused for.
enum Refused {
    Json(serde_json::Error),
    Fault(FaultError),
}

impl From<FaultError> for Refused {
    fn from(error: FaultError) -> Self {
        Self::Fault(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Fault(error) => error.into_response(),
            Self::Json(error) => refusal("PERAGO-FAULT-VALUE", &error.to_string(), "mend the rule"),
        }
    }
}

impl IntoResponse for FaultError {
    fn into_response(self) -> Response {
        refusal(self.code(), &self.to_string(), self.hint())
    }
}

fn refusal(code: &str, message: &str, hint: &str) -> Response {
    with_status(StatusCode::BAD_REQUEST, &json!({"code": code, "message": message, "hint": hint}))
}

fn parsed<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(Refused::Json)
}

fn with_status(status: StatusCode, value: &Value) -> Response {
    let mut response = super::reply::json_text(value.to_string());
    *response.status_mut() = status;
    response
}
