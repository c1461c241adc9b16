//! `/api/tasks`: polls, updates, logs, queues.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use uuid::Uuid;

use super::reply::{Json, Query, Reply, json, json_text, nothing, text};
use crate::engine::{EngineError, Raw, TaskUpdate, UpdateStatus};
use crate::shared::Shared;

/// The server's fixed wait of a poll for one task.
const SINGLE_POLL: Duration = Duration::from_millis(100);
const LONGEST_POLL_MILLISECONDS: i64 = 5_000;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/tasks", post(update))
        .route("/tasks/update-v2", post(update_and_poll))
        .route("/tasks/poll/{type}", get(poll))
        .route("/tasks/poll/batch/{type}", get(poll_batch))
        .route("/tasks/queue/size", get(queue_size))
        .route("/tasks/queue/sizes", get(queue_sizes))
        .route("/tasks/queue/all", get(all_queues))
        .route("/tasks/queue/all/verbose", get(all_queues_verbose))
        .route("/tasks/queue/polldata", get(poll_data))
        .route("/tasks/queue/polldata/all", get(all_poll_data))
        .route("/tasks/queue/requeue/{type}", post(requeue))
        .route("/tasks/{id}", get(read))
        .route("/tasks/{id}/log", get(logs).post(append_log))
        .route("/tasks/{workflow}/{reference}/{status}", post(update_by_reference))
        .route("/tasks/{workflow}/{reference}/{status}/sync", post(update_by_reference_sync))
}

async fn poll(State(shared): State<Shared>, Path(task_type): Path<String>, query: Query) -> Reply {
    let (domain, worker) = (query.all("domain").next(), query.get("workerid"));
    let claimed = shared.poll(&task_type, domain, worker, 1, SINGLE_POLL).await;
    Ok(shared.read(|engine| one_task(engine.claimed(&claimed).pop().as_ref())))
}

fn one_task<T: serde::Serialize>(task: Option<&T>) -> Response {
    task.and_then(|task| serde_json::to_string(task).ok()).map_or_else(nothing, json_text)
}

async fn poll_batch(State(shared): State<Shared>, Path(task_type): Path<String>, query: Query) -> Reply {
    let count: i64 = query.number("count")?.unwrap_or(1);
    let timeout: i64 = query.number("timeout")?.unwrap_or(100);
    if timeout > LONGEST_POLL_MILLISECONDS {
        return Err(EngineError::invalid("Long Poll Timeout value cannot be more than 5 seconds"));
    }
    let wait = Duration::from_millis(timeout.max(0) as u64);
    let count = usize::try_from(count).unwrap_or(0);
    let (domain, worker) = (query.all("domain").next(), query.get("workerid"));
    let claimed: Vec<Uuid> = shared.poll(&task_type, domain, worker, count, wait).await;
    if claimed.is_empty() {
        return Ok(json_text("[]".to_owned()));
    }
    shared.read(|engine| json(&engine.claimed(&claimed)))
}

async fn update(State(shared): State<Shared>, Json(update): Json<TaskUpdate>) -> Reply {
    let id = update.task_id.clone().unwrap_or_default();
    shared.change(|engine, now| engine.update(update, now))?;
    Ok(text(id))
}

async fn update_and_poll(State(shared): State<Shared>, Json(update): Json<TaskUpdate>) -> Reply {
    let worker = update.worker_id.clone();
    let updated = shared.change(|engine, now| engine.update(update, now)).map_err(|error| {
        // Here the server validates in its web layer, whose failures are a 500.
        let status = if error.violations.is_empty() { error.status } else { 500 };
        let first = error.violations.first().map(|violation| violation.message.clone());
        EngineError { status, message: first.unwrap_or(error.message), violations: Vec::new() }
    })?;
    let Some((task_type, domain)) = updated.poll_next else { return Ok(nothing()) };
    let claimed = shared.poll(&task_type, domain.as_deref(), worker.as_deref(), 1, SINGLE_POLL).await;
    Ok(shared.read(|engine| one_task(engine.claimed(&claimed).pop().as_ref())))
}

type ByReference = (String, String, UpdateStatus);

async fn update_by_reference(
    State(shared): State<Shared>,
    Path(path): Path<ByReference>,
    query: Query,
    Json(output): Json<Raw>,
) -> Reply {
    let found = by_reference(&shared, path, &query, output)?;
    Ok(found.map_or_else(super::reply::empty, |id| text(id.to_string())))
}

async fn update_by_reference_sync(
    State(shared): State<Shared>,
    Path(path): Path<ByReference>,
    query: Query,
    Json(output): Json<Raw>,
) -> Reply {
    let (run, reference) = (path.0.clone(), path.1.clone());
    if by_reference(&shared, path, &query, output)?.is_none() {
        let message = format!("Found no running task {reference} of workflow {run} to update");
        return Err(EngineError::not_found(message));
    }
    shared.read(|engine| json(&engine.workflow(&run, true)?))
}

fn by_reference(
    shared: &Shared,
    (run, reference, status): ByReference,
    query: &Query,
    output: Raw,
) -> Result<Option<Uuid>, EngineError> {
    let update = TaskUpdate {
        status: Some(status),
        output_data: Some(output),
        worker_id: query.get("workerid").map(str::to_owned),
        ..TaskUpdate::default()
    };
    shared.change(|engine, now| engine.update_by_reference(&run, &reference, update, now))
}

async fn read(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    shared.read(|engine| json(&engine.task(&id)?))
}

async fn append_log(State(shared): State<Shared>, Path(id): Path<String>, body: Bytes) -> Reply {
    let line = String::from_utf8_lossy(&body).into_owned();
    shared.change(|engine, now| engine.append_log(&id, line, now));
    Ok(super::reply::empty())
}

async fn logs(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    shared.read(|engine| {
        let lines = engine.logs(&id);
        if lines.is_empty() { Ok(nothing()) } else { json(&lines) }
    })
}

async fn queue_size(State(shared): State<Shared>, query: Query) -> Reply {
    let task_type = query.required("taskType")?;
    json(&shared.read(|engine| engine.queue_size(task_type, query.all("domain").next())))
}

async fn queue_sizes(State(shared): State<Shared>, query: Query) -> Reply {
    shared.read(|engine| {
        let sizes = query.all("taskType").map(|name| (name, engine.queue_size(name, None)));
        json(&sizes.collect::<BTreeMap<_, _>>())
    })
}

async fn all_queues(State(shared): State<Shared>) -> Reply {
    shared.read(|engine| json(&engine.queue_sizes().collect::<BTreeMap<_, _>>()))
}

async fn all_queues_verbose(State(shared): State<Shared>) -> Reply {
    shared.read(|engine| {
        let shown = engine
            .queue_sizes()
            .map(|(name, size)| (name, serde_json::json!({"a": {"size": size, "uacked": 0}})));
        json(&shown.collect::<BTreeMap<_, _>>())
    })
}

async fn poll_data(State(shared): State<Shared>, query: Query) -> Reply {
    let task_type = query.required("taskType")?;
    shared.read(|engine| json(&engine.poll_records(Some(task_type))))
}

async fn all_poll_data(State(shared): State<Shared>) -> Reply {
    shared.read(|engine| json(&engine.poll_records(None)))
}

async fn requeue(State(shared): State<Shared>, Path(task_type): Path<String>) -> Reply {
    let count = shared.change(|engine, now| engine.requeue(&task_type, now));
    Ok(text(count.to_string()))
}
