//! `/api/metadata`: task and workflow definitions.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};

use super::reply::{Json, Query, Reply, empty, json};
use crate::engine::{TaskDefinition, WorkflowDefinition};
use crate::shared::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/metadata/taskdefs", post(register_tasks).put(update_task).get(list_tasks))
        .route("/metadata/taskdefs/{name}", get(task).delete(delete_task))
        .route("/metadata/workflow", post(register_workflow).put(update_workflows).get(list_workflows))
        .route("/metadata/workflow/{name}", get(workflow))
        .route("/metadata/workflow/{name}/{version}", delete(delete_workflow))
}

async fn register_tasks(State(shared): State<Shared>, Json(definitions): Json<Vec<TaskDefinition>>) -> Reply {
    shared.change(|engine, now| engine.register_task_definitions(definitions, now))?;
    Ok(empty())
}

async fn update_task(State(shared): State<Shared>, Json(definition): Json<TaskDefinition>) -> Reply {
    shared.change(|engine, now| engine.update_task_definition(definition, now))?;
    Ok(empty())
}

async fn list_tasks(State(shared): State<Shared>) -> Reply {
    shared.read(|engine| json(&engine.task_definitions()))
}

async fn task(State(shared): State<Shared>, Path(name): Path<String>) -> Reply {
    shared.read(|engine| json(engine.task_definition(&name)?))
}

async fn delete_task(State(shared): State<Shared>, Path(name): Path<String>) -> Reply {
    shared.change(|engine, _| engine.delete_task_definition(&name))?;
    Ok(empty())
}

async fn register_workflow(
    State(shared): State<Shared>,
    Json(definition): Json<WorkflowDefinition>,
) -> Reply {
    shared.change(|engine, now| engine.register_workflow(definition, now))?;
    Ok(empty())
}

async fn update_workflows(
    State(shared): State<Shared>,
    Json(definitions): Json<Vec<WorkflowDefinition>>,
) -> Reply {
    json(&shared.change(|engine, now| engine.update_workflows(definitions, now))?)
}

async fn list_workflows(State(shared): State<Shared>) -> Reply {
    shared.read(|engine| json(&engine.workflow_definitions()))
}

async fn workflow(State(shared): State<Shared>, Path(name): Path<String>, query: Query) -> Reply {
    let version = query.number("version")?;
    shared.read(|engine| json(engine.workflow_definition(&name, version)?))
}

async fn delete_workflow(State(shared): State<Shared>, Path((name, version)): Path<(String, i64)>) -> Reply {
    shared.change(|engine, _| engine.delete_workflow_definition(&name, version))?;
    Ok(empty())
}
