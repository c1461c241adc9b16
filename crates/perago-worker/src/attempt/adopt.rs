//! The result of an earlier attempt at the same work, taken over instead of running the body again.

use perago_contract::envelope::WorkspaceRef;
use perago_workspace::Stamp;
use serde_json::value::RawValue;

use super::body::{Body, BodyRun, failure_of, not_begun, refused};
use crate::executor::message::{Ended, Outcome};
use crate::executor::pool::BodyEnd;
use crate::logs::{Level, Record};
use crate::outbox::Adoptable;
use crate::workspace::{AdoptedWork, Adopting, KeptWork, Published, Workspaces};

/// More retries of one task than this are not followed back.
const MOST_PREDECESSORS: usize = 100;

impl BodyRun {
    /// A kept result of a task without workspace.
    pub(super) async fn adopt_kept(&self) -> Option<Body> {
        let kept = self.kept()?;
        if !self.is_predecessor(&kept.task_id).await {
            return None;
        }
        self.log_adopted(&kept.task_id, None);
        Some(self.adopted(kept.result, None, Some(kept.number)))
    }

    /// A result of a workspace task, with the commit that holds its workspace.
    pub(super) async fn adopt_workspace(
        &self,
        workspaces: &Workspaces,
        input: &WorkspaceRef,
        stamp: &Stamp,
    ) -> Option<Body> {
        if !self.has_predecessor() {
            return None;
        }
        let predecessors = self.predecessors().await;
        let kept = self.kept().filter(|kept| predecessors.contains(&kept.task_id));
        if workspaces.service().spec.read_only {
            let kept = kept.filter(|kept| kept.published.as_deref() == Some(&input.reference))?;
            self.log_adopted(&kept.task_id, None);
            return Some(self.adopted(kept.result, Some(input.clone()), Some(kept.number)));
        }
        let work = kept.as_ref().map(|kept| KeptWork {
            published: kept.published.clone(),
            staged: kept.staged.clone(),
            result: Some(kept.result.get().to_owned()),
        });
        let found = workspaces.adopt(Adopting {
            input: input.clone(),
            stamp: stamp.clone(),
            predecessors,
            kept: work.unwrap_or_default(),
            mail: self.mail.clone(),
            stop: self.stop.subscribe(),
            alive: self.alive.clone(),
            logger: self.context.logger.clone(),
        });
        match found.await {
            Ok(Ok(Some(found))) => self.adopt_found(found, kept),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(refused(failure_of(&error))),
            Err(_) => Some(not_begun()),
        }
    }

    fn adopt_found(&self, found: AdoptedWork, kept: Option<Adoptable>) -> Option<Body> {
        let number = kept.as_ref().map(|kept| kept.number);
        let (result, task_id) = match (found.result, found.task_id, kept) {
            (Some(result), Some(task_id), _) => (RawValue::from_string(result).ok()?, task_id),
            (_, _, Some(kept)) => (kept.result, kept.task_id),
            _ => return None,
        };
        self.log_adopted(&task_id, Some(&found.report.commit));
        let output = found.output;
        if found.report.is_new {
            self.log_published(&Published { output: output.clone(), report: Some(found.report) });
        }
        Some(self.adopted(result, Some(output), number))
    }

    fn adopted(&self, result: Box<RawValue>, workspace: Option<WorkspaceRef>, adopted: Option<u64>) -> Body {
        let ended = Ended {
            attempt: self.number,
            outcome: Outcome::Completed(result),
            body_seconds: 0.0,
            exception: None,
        };
        Body::Ended { end: BodyEnd::Ended(Box::new(ended)), workspace, adopted }
    }

    /// Whether there was an attempt before this one.
    fn has_predecessor(&self) -> bool {
        self.task.retry_count > 0 || self.task.poll_count > 1
    }

    fn kept(&self) -> Option<Adoptable> {
        self.has_predecessor().then(|| self.context.outbox.adoptable(&self.task, &self.key)).flatten()
    }

    async fn is_predecessor(&self, task_id: &str) -> bool {
        self.task.task_id == task_id || self.predecessors().await.iter().any(|id| id == task_id)
    }

    /// Our task and those that it retries, newest first, as far as the server knows them. A run that was restarted has
    /// the same work under other tasks, and is to be done again.
    async fn predecessors(&self) -> Vec<String> {
        let mut found = vec![self.task.task_id.clone()];
        let mut next = self.task.retried_task_id.clone();
        while let Some(task_id) = next.filter(|_| found.len() < MOST_PREDECESSORS) {
            let read = self.context.client.get_task(&task_id).await;
            next = read.ok().flatten().and_then(|task| task.retried_task_id);
            found.push(task_id);
        }
        found
    }

    fn log_adopted(&self, task_id: &str, commit: Option<&str>) {
        let message = "the result of an earlier attempt is taken over; the body does not run";
        let record = Record::new(Level::Info, "result_adopted", message)
            .with("adopted_task_id", task_id)
            .with_some("commit", commit);
        self.context.logger.write(self.context.open.label(self.number, record));
    }
}
