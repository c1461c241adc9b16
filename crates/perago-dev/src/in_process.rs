//! The embedded services without a port, on a clock of the caller's choice: for simulations.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::engine::{Engine, Retention};
use crate::http;
use crate::shared::Shared;
use crate::storage::{ObjectStore, Storage};
use crate::telemetry::Telemetry;

/// Services that answer within the process. Clones are the same services; they end with the last one.
#[derive(Clone, Debug)]
pub struct InProcess {
    shared: Shared,
    router: Router,
    _timers: Arc<Timers>,
}

#[derive(Debug)]
struct Timers(JoinHandle<()>);

impl Drop for Timers {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl InProcess {
    /// Starts the engine on the current tokio runtime, whose timers it uses.
    ///
    /// `retention` bounds what is kept of finished runs, `seed` feeds identifiers and jitter, and `clock` tells the
    /// engine's time in epoch milliseconds; it must go with the runtime's.
    pub fn start(retention: Retention, seed: u64, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        let (engine, storage) = (Engine::new(retention, seed), Storage::in_memory(ObjectStore::default()));
        let shared = Shared::with_clock(engine, Telemetry::default(), storage, None, None, Box::new(clock));
        let timers = Arc::new(Timers(tokio::spawn(shared.clone().run_timers())));
        Self { router: http::router(shared.clone()), shared, _timers: timers }
    }

    /// Answers a request as the port would; returns status and body. 400 when it is no HTTP request.
    pub async fn answer(&self, method: &str, path_and_query: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .header("content-type", "application/json")
            .body(Body::from(body));
        let Ok(request) = request else { return (400, Vec::new()) };
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
        (status, body.to_vec())
    }

    /// Returns how many runs and task attempts the engine holds.
    pub fn held(&self) -> (usize, usize) {
        self.shared.read(Engine::held)
    }
}
