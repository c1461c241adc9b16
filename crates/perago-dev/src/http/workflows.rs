//! `/api/workflow`: runs.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post, put};

use super::reply::{Json, Query, Reply, empty, json, nothing, text};
use crate::engine::{EngineError, Raw, StartRequest};
use crate::shared::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/workflow", post(start))
        .route("/workflow/search", get(search))
        .route("/workflow/bulk/terminate", post(terminate_all))
        .route("/workflow/running/{name}", get(running))
        .route("/workflow/decide/{id}", put(decide))
        .route("/workflow/{id}", post(start_by_name).get(read).delete(terminate))
        .route("/workflow/{id}/status", get(status))
        .route("/workflow/{id}/pause", put(pause))
        .route("/workflow/{id}/resume", put(resume))
        .route("/workflow/{id}/retry", post(retry))
        .route("/workflow/{id}/remove", delete(remove))
}

async fn start(State(shared): State<Shared>, Json(request): Json<StartRequest>) -> Reply {
    shared.change(|engine, now| engine.start(request, now)).map(|id| text(id.to_string()))
}

async fn start_by_name(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    query: Query,
    Json(input): Json<Raw>,
) -> Reply {
    let request = StartRequest {
        version: query.number("version")?,
        correlation_id: query.get("correlationId").map(str::to_owned),
        priority: query.number("priority")?,
        input: Some(input),
        name: Some(name.clone()),
        ..StartRequest::default()
    };
    let version = request.version;
    let started = shared.change(|engine, now| {
        engine.workflow_definition(&name, version)?;
        engine.start(request, now)
    });
    started.map(|id| text(id.to_string()))
}

async fn read(State(shared): State<Shared>, Path(id): Path<String>, query: Query) -> Reply {
    let include_tasks = query.flag("includeTasks")?.unwrap_or(true);
    shared.read(|engine| json(&engine.workflow(&id, include_tasks)?))
}

async fn status(State(shared): State<Shared>, Path(id): Path<String>, query: Query) -> Reply {
    let include_output = query.flag("includeOutput")?.unwrap_or(false);
    let include_variables = query.flag("includeVariables")?.unwrap_or(false);
    shared.read(|engine| json(&engine.status(&id, include_output, include_variables)?))
}

async fn running(State(shared): State<Shared>, Path(name): Path<String>, query: Query) -> Reply {
    if query.get("startTime").is_some() || query.get("endTime").is_some() {
        return Err(EngineError::unsupported("a time range of running workflows"));
    }
    let version = query.number("version")?.unwrap_or(1);
    shared.read(|engine| json(&engine.running(&name, Some(version))))
}

async fn search(State(shared): State<Shared>, query: Query) -> Reply {
    if query.get("freeText").is_some_and(|text| text != "*") {
        return Err(EngineError::unsupported("a search for free text"));
    }
    let descending = match query.get("sort") {
        None | Some("startTime:ASC" | "startTime") => false,
        Some("startTime:DESC") => true,
        Some(other) => return Err(EngineError::unsupported(format!("the sort order {other:?}"))),
    };
    let (start, size) = (query.number("start")?.unwrap_or(0), query.number("size")?.unwrap_or(100));
    let condition = query.get("query").unwrap_or_default();
    shared.read(|engine| json(&engine.search(condition, start, size, descending)?))
}

async fn decide(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    shared.change(|engine, now| engine.decide(&id, now))?;
    Ok(empty())
}

async fn pause(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    shared.change(|engine, now| engine.pause(&id, now))?;
    Ok(empty())
}

async fn resume(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    shared.change(|engine, now| engine.resume(&id, now))?;
    Ok(empty())
}

async fn retry(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    shared.change(|engine, now| engine.retry_workflow(&id, now))?;
    Ok(nothing())
}

async fn terminate(State(shared): State<Shared>, Path(id): Path<String>, query: Query) -> Reply {
    let reason = query.get("reason").map(str::to_owned);
    shared.change(|engine, now| engine.terminate(&id, reason, now))?;
    Ok(empty())
}

async fn terminate_all(State(shared): State<Shared>, query: Query, Json(ids): Json<Vec<String>>) -> Reply {
    json(&shared.change(|engine, now| engine.terminate_all(&ids, query.get("reason"), now)))
}

async fn remove(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    shared.change(|engine, _| engine.remove(&id))?;
    Ok(empty())
}
