//! Calls on task and workflow definitions.

use reqwest::Method;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;

impl Client {
    /// Reads a task definition; `None` when it is not registered.
    ///
    /// `GET /metadata/taskdefs/{name}`.
    pub async fn get_task_def(&self, name: &str) -> Result<Option<Value>, Error> {
        let call = self.call("read a TaskDef", Method::GET, &["metadata", "taskdefs", name]);
        match self.send_for_existing(&call).await? {
            Some(reply) => reply.json().map(Some).map_err(|kind| self.fail(&call, kind)),
            None => Ok(None),
        }
    }

    /// Registers task definitions, replacing those of the same names.
    ///
    /// `POST /metadata/taskdefs` with an array.
    pub async fn register_task_defs(&self, definitions: &[Value]) -> Result<(), Error> {
        let call =
            self.call("register TaskDefs", Method::POST, &["metadata", "taskdefs"]).json(&definitions)?;
        self.send(&call).await.map(drop)
    }

    /// Registers a workflow definition that does not exist yet; the server answers 409 for one that does.
    ///
    /// `POST /metadata/workflow`.
    pub async fn register_workflow(&self, definition: &Value) -> Result<(), Error> {
        let call =
            self.call("register a workflow", Method::POST, &["metadata", "workflow"]).json(definition)?;
        self.send(&call).await.map(drop)
    }

    /// Registers workflow definitions, replacing those of the same names and versions.
    ///
    /// `PUT /metadata/workflow` with an array.
    pub async fn put_workflows(&self, definitions: &[Value]) -> Result<(), Error> {
        let call =
            self.call("register workflows", Method::PUT, &["metadata", "workflow"]).json(&definitions)?;
        self.send(&call).await.map(drop)
    }
}
