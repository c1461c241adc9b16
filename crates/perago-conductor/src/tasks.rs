//! Calls on tasks: poll, update, beat, read, log.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::wire::{Task, TaskResult, TaskSnapshot};

impl Client {
    /// Claims up to `count` tasks of a type, waiting on the server for at most `timeout_ms` milliseconds (the server
    /// refuses more than 5,000).
    ///
    /// The HTTP timeout is the client's request timeout longer than the poll's. **Do not drop the future**: the
    /// server claims a task also for a client that has gone away, and only the response timeout frees it again.
    /// With `count` above what is queued the server waits the whole time.
    ///
    /// `GET /tasks/poll/batch/{type}?count=&timeout=&workerid=&domain=`, 200 with an array.
    pub async fn poll_batch(
        &self,
        task_type: &str,
        worker_id: &str,
        domain: Option<&str>,
        count: u32,
        timeout_ms: u32,
    ) -> Result<Vec<Task>, Error> {
        let call = self
            .call("poll for tasks", Method::GET, &["tasks", "poll", "batch", task_type])
            .query("count", &count.to_string())
            .query("timeout", &timeout_ms.to_string())
            .query("workerid", worker_id)
            .optional_query("domain", domain)
            .server_wait(Duration::from_millis(timeout_ms.into()));
        let reply = self.send(&call).await?;
        if reply.status == 204 || reply.body.is_empty() {
            return Ok(Vec::new());
        }
        reply.json().map_err(|kind| self.fail(&call, kind))
    }

    /// Claims one task if one is there within the server's fixed wait of about 100 ms. Do not drop the future.
    ///
    /// `GET /tasks/poll/{type}?workerid=&domain=`, 200 with a task or 204.
    pub async fn poll_one(
        &self,
        task_type: &str,
        worker_id: &str,
        domain: Option<&str>,
    ) -> Result<Option<Task>, Error> {
        let call = self
            .call("poll for a task", Method::GET, &["tasks", "poll", task_type])
            .query("workerid", worker_id)
            .optional_query("domain", domain);
        let reply = self.send(&call).await?;
        if reply.status == 204 || reply.body.is_empty() {
            return Ok(None);
        }
        reply.json().map(Some).map_err(|kind| self.fail(&call, kind))
    }

    /// Reports a result. The server answers 200 also for updates that it ignores: read the task to be sure.
    ///
    /// `POST /tasks`; `update-v2` is not used, as it claims further tasks.
    pub async fn update_task(&self, result: &TaskResult) -> Result<(), Error> {
        let call = self.call("update a task", Method::POST, &["tasks"]).json(result)?;
        self.send(&call).await.map(drop)
    }

    /// Renews the lease of a claimed task. Never let it overlap the final update: the server rewrites the whole record.
    ///
    /// `POST /tasks` with `extendLease`; 200 also for a task that was lost.
    pub async fn extend_lease(&self, workflow_id: &str, task_id: &str) -> Result<(), Error> {
        let body = json!({
            "workflowInstanceId": workflow_id,
            "taskId": task_id,
            "status": "IN_PROGRESS",
            "extendLease": true,
        });
        let call = self.call("extend a lease", Method::POST, &["tasks"]).json(&body)?;
        self.send(&call).await.map(drop)
    }

    /// Reads a task; `None` when Conductor does not know it.
    ///
    /// `GET /tasks/{id}`.
    pub async fn get_task(&self, task_id: &str) -> Result<Option<TaskSnapshot>, Error> {
        let call = self.call("read a task", Method::GET, &["tasks", task_id]);
        match self.send_for_existing(&call).await? {
            Some(reply) => reply.json().map(Some).map_err(|kind| self.fail(&call, kind)),
            None => Ok(None),
        }
    }

    /// Adds one line to a task's log.
    ///
    /// `POST /tasks/{id}/log` with the text as it is: the server keeps JSON quotes as part of the line.
    pub async fn append_task_log(&self, task_id: &str, line: &str) -> Result<(), Error> {
        let call = self.call("write a task log", Method::POST, &["tasks", task_id, "log"]).text(line);
        self.send(&call).await.map(drop)
    }

    /// Number of queued tasks of a type.
    ///
    /// `GET /tasks/queue/size?taskType=&domain=`, 200 with a bare number.
    pub async fn queue_size(&self, task_type: &str, domain: Option<&str>) -> Result<u64, Error> {
        let call = self
            .call("read a queue's size", Method::GET, &["tasks", "queue", "size"])
            .query("taskType", task_type)
            .optional_query("domain", domain);
        let reply = self.send(&call).await?;
        reply.json().map_err(|kind| self.fail(&call, kind))
    }

    /// Whether the server calls itself healthy.
    ///
    /// `GET /health` below the API base.
    pub async fn health(&self) -> Result<bool, Error> {
        let call = self.call("read the server's health", Method::GET, &["health"]);
        let reply = self.send(&call).await?;
        let body: serde_json::Value = reply.json().map_err(|kind| self.fail(&call, kind))?;
        body.get("healthy")
            .and_then(serde_json::Value::as_bool)
            .ok_or_else(|| self.fail(&call, ErrorKind::Decode("there is no field `healthy`".to_owned())))
    }
}
