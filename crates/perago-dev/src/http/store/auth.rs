//! Credentials: a key pair with every call, or a token made from it.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::parameters::JsonBody;
use super::reply::{Reply, nothing, ok};
use crate::shared::{Shared, now};
use crate::store::{StoreError, USER};

/// Seconds that a token lives.
const TOKEN_LIFE: i64 = 7 * 24 * 3600;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/healthcheck", get(async || nothing()))
        .route("/setup_lakefs", get(setup))
        .route("/auth/login", post(login))
        .route("/user", get(user))
}

/// What a request presents.
enum Presented {
    Nothing,
    Right,
    Wrong,
}

fn unauthenticated() -> StoreError {
    StoreError::new(401, "error authenticating request")
}

fn presented(shared: &Shared, headers: &HeaderMap) -> Presented {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(token) = value.strip_prefix("Bearer ") {
        return if is_valid(shared, token) { Presented::Right } else { Presented::Wrong };
    }
    let pair = value.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok());
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        None => Presented::Nothing,
        Some((id, secret)) if shared.store_key().matches(id, secret) => Presented::Right,
        Some(_) => Presented::Wrong,
    }
}

/// Lets a request pass that presents the key pair or a token made from it.
pub(super) async fn demand_credentials(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    match presented(&shared, request.headers()) {
        Presented::Right => next.run(request).await,
        _ => unauthenticated().into_response(),
    }
}

async fn setup() -> Reply {
    ok(&json!({
        "comm_prefs_missing": false,
        "login_config": {
            "RBAC": "none",
            "login_cookie_names": ["internal_auth_session"],
            "login_failed_message": "The credentials don't match.",
            "login_url": "",
            "login_url_method": "none",
            "logout_url": "",
        },
        "state": "initialized",
    }))
}

async fn user(State(shared): State<Shared>, headers: HeaderMap) -> Reply {
    match presented(&shared, &headers) {
        Presented::Wrong => Err(unauthenticated()),
        Presented::Nothing => ok(&json!({"user": {"creation_date": 0, "id": ""}})),
        Presented::Right => {
            let user = json!({"creation_date": 0, "email": "", "friendly_name": "", "id": USER});
            ok(&json!({ "user": user }))
        }
    }
}

async fn login(State(shared): State<Shared>, body: JsonBody) -> Reply {
    let fields = body.fields("LoginInformation")?;
    let (id, secret) = (fields.text("access_key_id")?, fields.text("secret_access_key")?);
    if !shared.store_key().matches(id, secret) {
        return Err(unauthenticated());
    }
    let expiry = now() / 1000 + TOKEN_LIFE;
    let signature = signature(&shared, expiry);
    ok(&json!({"token": format!("{expiry}.{signature}"), "token_expiration": expiry}))
}

fn is_valid(shared: &Shared, token: &str) -> bool {
    let Some((expiry, given)) = token.split_once('.') else { return false };
    let Ok(expiry) = expiry.parse() else { return false };
    expiry > now() / 1000 && crate::access::same(&signature(shared, expiry), given)
}

fn signature(shared: &Shared, expiry: i64) -> String {
    shared.storage().read(|store| store.sign(&format!("token {expiry}")))
}
