//! Calls on workflow runs.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;
use crate::wire::WorkflowRun;

/// What to start: the body of `POST /workflow`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartWorkflow {
    /// Name of the definition.
    pub name: String,
    /// Version; the latest if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Input, an object.
    pub input: Value,
    /// Id of the caller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Priority from 0 to 99, high first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Queue domain by task type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub task_to_domain: BTreeMap<String, String>,
}

impl Client {
    /// Starts a workflow and returns its id.
    ///
    /// `POST /workflow`, 200 with a bare id. A lost answer may have started a run; the server does not deduplicate.
    pub async fn start_workflow(&self, start: &StartWorkflow) -> Result<String, Error> {
        let call = self.call("start a workflow", Method::POST, &["workflow"]).json(start)?;
        let reply = self.send(&call).await?;
        reply.text().map_err(|kind| self.fail(&call, kind))
    }

    /// Reads a run with its tasks; `None` when Conductor does not know it.
    ///
    /// `GET /workflow/{id}?includeTasks=true`.
    pub async fn get_workflow(&self, workflow_id: &str) -> Result<Option<WorkflowRun>, Error> {
        self.read_workflow(workflow_id, "true").await
    }

    /// Reads a run without its tasks, which may be many; `None` when Conductor does not know it.
    ///
    /// `GET /workflow/{id}?includeTasks=false`.
    pub async fn get_workflow_alone(&self, workflow_id: &str) -> Result<Option<WorkflowRun>, Error> {
        self.read_workflow(workflow_id, "false").await
    }

    async fn read_workflow(&self, workflow_id: &str, with_tasks: &str) -> Result<Option<WorkflowRun>, Error> {
        let call = self
            .call("read a workflow", Method::GET, &["workflow", workflow_id])
            .query("includeTasks", with_tasks);
        match self.send_for_existing(&call).await? {
            Some(reply) => reply.json().map(Some).map_err(|kind| self.fail(&call, kind)),
            None => Ok(None),
        }
    }

    /// Terminates a running workflow; the server answers 409 for one that has ended.
    ///
    /// `DELETE /workflow/{id}?reason=`.
    pub async fn terminate_workflow(&self, workflow_id: &str, reason: Option<&str>) -> Result<(), Error> {
        let call = self
            .call("terminate a workflow", Method::DELETE, &["workflow", workflow_id])
            .optional_query("reason", reason);
        self.send(&call).await.map(drop)
    }
}
