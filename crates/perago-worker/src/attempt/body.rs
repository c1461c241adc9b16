//! What an attempt does beside its lease: the workspace, the body, the publication.

use std::path::Path;
use std::rc::Rc;

use perago_conductor::Task;
use perago_contract::envelope::{TaskInput, WorkspaceRef};
use perago_contract::failure::FailureCode;
use perago_workspace::{Epoch, Stamp, Work, WorkspaceError};
use serde_json::value::RawValue;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};

use super::busy_slot::BusySlot;
use super::drive::Context;
use super::outcome::refused_result;
use crate::executor::message::{Assignment, Ended, Failure, Outcome};
use crate::executor::pool::BodyEnd;
use crate::logs::{Level, Record};
use crate::outbox::Key;
use crate::workspace::{Keeping, KeeperHandle, Published, WorkspaceMail, Workspaces};

/// How the attempt's body came to an end, or did not begin.
pub(super) enum Body {
    /// It ended, or could not be started for a reason that Conductor is told.
    Ended {
        /// How.
        end: BodyEnd,
        /// The workspace as it was published, of a workspace task that completed.
        workspace: Option<WorkspaceRef>,
        /// The number of the kept entry that it was taken from, instead of running the body.
        adopted: Option<u64>,
    },
    /// It has not begun and will not: the task can be given back.
    NotStarted,
}

/// One body from its input to its published workspace.
pub(super) struct BodyRun {
    /// What the worker's attempts share.
    pub(super) context: Rc<Context>,
    /// The task.
    pub(super) task: Rc<Task>,
    /// The supervisor's number of the attempt.
    pub(super) number: u64,
    /// The number of its entry in the outbox.
    pub(super) entry: u64,
    /// What makes an earlier result one of the same work on the same basis.
    pub(super) key: Key,
    /// The slot that it holds.
    pub(super) slot: Rc<BusySlot>,
    /// Turns true when the body must not go on.
    pub(super) stop: watch::Sender<bool>,
    /// Where the keeper of the workspace writes to.
    pub(super) mail: mpsc::UnboundedSender<WorkspaceMail>,
    /// Held by the keeper as long as it has something to remove.
    pub(super) alive: mpsc::Sender<()>,
}

impl BodyRun {
    pub(super) async fn run(self) -> Body {
        let context = Rc::clone(&self.context);
        let input = match input_of(&self.task, context.workspaces.is_some()) {
            Ok(input) => input,
            Err(failure) => return refused(failure),
        };
        match (&context.workspaces, input.workspace) {
            (Some(workspaces), Some(reference)) => {
                self.in_workspace(workspaces, reference, input.params).await
            }
            _ => match self.adopt_kept().await {
                Some(body) => body,
                None => self.assign(input.params, None).await,
            },
        }
    }

    /// Hands the body to an executor and waits for its end.
    async fn assign(&self, params: Box<RawValue>, workspace: Option<&Path>) -> Body {
        let context = &self.context;
        let assignment = Assignment {
            attempt: self.number,
            slot: self.slot.lease().slot(),
            workflow_id: self.task.workflow_instance_id.clone(),
            task_id: self.task.task_id.clone(),
            reference_name: self.task.reference_task_name.clone(),
            retry_count: u32::try_from(self.task.retry_count).unwrap_or(0),
            poll_count: self.task.poll_count,
            params,
            workspace: workspace.map(Path::to_owned),
        };
        let mut stopped = self.stop.subscribe();
        loop {
            // A body that is told to stop while its executor is being replaced does not begin.
            let assigned = tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => return not_begun(),
                assigned = self.slot.lease().assign(assignment.clone()) => assigned,
            };
            let Ok(ended) = assigned else { return Body::NotStarted };
            let started = Record::new(Level::Info, "task_started", "task handed to an executor");
            context.logger.write(context.open.label(self.number, started));
            match self.end_within_limit(ended).await {
                // Nothing has happened yet: its replacement gets it.
                Ok(BodyEnd::NotRead) if !*self.stop.borrow() => {}
                Ok(end) => return ended_by(end),
                Err(_) => return Body::NotStarted,
            }
        }
    }

    /// Waits for the end of a body, and stops one that runs for too long.
    async fn end_within_limit(&self, mut ended: oneshot::Receiver<BodyEnd>) -> Result<BodyEnd, RecvError> {
        let lease = self.slot.lease();
        let Some(limit) = lease.time_limit() else { return ended.await };
        if let Ok(end) = tokio::time::timeout(limit, &mut ended).await {
            return end;
        }
        let seconds = limit.as_secs_f64();
        let reason =
            format!("the body ran for longer than PERAGO_ATTEMPT_TIMEOUT ({seconds} s) and was stopped");
        let code = FailureCode::AttemptTimeout.code();
        let record = Record::new(Level::Warning, "attempt_stopped", reason.as_str())
            .with("failure_code", code)
            .with("limit_seconds", seconds);
        self.context.logger.write(self.context.open.label(self.number, record));
        lease.stop_body(self.number, self.context.cancel_grace);
        ended.await.map(|_| BodyEnd::Refused(Failure { code: code.to_owned(), reason }))
    }

    async fn in_workspace(
        &self,
        workspaces: &Workspaces,
        input: WorkspaceRef,
        params: Box<RawValue>,
    ) -> Body {
        let stamp = self.stamp(&input);
        if let Some(body) = self.adopt_workspace(workspaces, &input, &stamp).await {
            return body;
        }
        let KeeperHandle { ready, publish, published } = workspaces.keep(Keeping {
            input,
            stamp,
            mail: self.mail.clone(),
            stop: self.stop.subscribe(),
            alive: self.alive.clone(),
            logger: self.context.logger.clone(),
        });
        let filled = tokio::select! {
            filled = ready => filled,
            // A worker that ends has no executor for it any more: another one gets the task.
            () = self.slot.lease().pool_stops() => {
                self.stop.send_replace(true);
                return Body::NotStarted;
            }
        };
        let files = match filled {
            Ok(Ok(files)) => files,
            Ok(Err(error)) => return refused(failure_of(&error)),
            Err(_) => return refused(interrupted()),
        };
        let ended = match self.assign(params, Some(&files)).await {
            Body::Ended { end: BodyEnd::Ended(ended), .. } => ended,
            // The keeper sees that nothing is to be published, and removes the directory.
            body => return body,
        };
        let result = match publishable(&ended) {
            Some(result) if !*self.stop.borrow() => result,
            _ => return ended_by(BodyEnd::Ended(ended)),
        };
        self.context.outbox.returned(self.entry, result);
        if publish.send(result.get().to_owned()).is_err() {
            return ended_by(BodyEnd::Ended(ended));
        }
        match published.await {
            Ok(Ok(published)) => {
                self.log_published(&published);
                let (end, workspace) = (BodyEnd::Ended(ended), Some(published.output));
                Body::Ended { end, workspace, adopted: None }
            }
            Ok(Err(error)) => refused(failure_of(&error)),
            Err(_) => ended_by(BodyEnd::Ended(ended)),
        }
    }

    fn stamp(&self, input: &WorkspaceRef) -> Stamp {
        let (task, context) = (&self.task, &self.context);
        let conductor = context.client.server();
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        Stamp {
            link: format!("{conductor}/workflow/{}", task.workflow_instance_id),
            work: Work {
                conductor,
                workflow_instance_id: task.workflow_instance_id.clone(),
                reference_task_name: task.reference_task_name.clone(),
                iteration: number(task.iteration),
            },
            epoch: Epoch { retry_count: number(task.retry_count), poll_count: number(task.poll_count) },
            task_id: task.task_id.clone(),
            task_name: task.task_type.clone(),
            seq: number(task.seq),
            execution: format!("{:032x}", fastrand::u128(..)),
            worker_id: context.worker_id.clone(),
            input_ref: input.reference.clone(),
            basis: self.key.basis.clone(),
        }
    }

    pub(super) fn log_published(&self, published: &Published) {
        let context = &self.context;
        let Some(report) = &published.report else { return };
        let message = if report.is_new { "workspace published" } else { "workspace unchanged" };
        let record = Record::new(Level::Info, "workspace_published", message)
            .with("commit", report.commit.as_str())
            .with("is_new", report.is_new)
            .with("uploaded_files", report.uploaded_files)
            .with("uploaded_bytes", report.uploaded_bytes)
            .with("deleted_files", report.deleted_files);
        context.logger.write(context.open.label(self.number, record));
        if let Some(error) = &report.left_staging {
            let message = "a staging branch could not be deleted; it is found later by its name";
            let record = Record::new(Level::Warning, "staging_left", message).with("error", error.as_str());
            context.logger.write(context.open.label(self.number, record));
        }
    }
}

/// The result of a body whose workspace is to be published: one that can be reported.
fn publishable(ended: &Ended) -> Option<&RawValue> {
    match &ended.outcome {
        Outcome::Completed(result) if refused_result(result).is_none() => Some(result),
        _ => None,
    }
}

/// The workspace and the parameters in the task's input.
fn input_of(task: &Task, has_workspace: bool) -> Result<TaskInput, Failure> {
    let refuse = |code: FailureCode, reason: String| Failure { code: code.code().to_owned(), reason };
    if let Some(path) = task.external_input_payload_storage_path.as_deref() {
        let reason =
            format!("Conductor moved the input to external storage ({path}), which a worker cannot read");
        return Err(refuse(FailureCode::ExternalPayload, reason));
    }
    TaskInput::parse(task.input_data.get(), has_workspace)
        .map_err(|error| refuse(FailureCode::InputInvalid, error.to_string()))
}

pub(super) fn not_begun() -> Body {
    ended_by(BodyEnd::NotRead)
}

pub(super) fn refused(failure: Failure) -> Body {
    ended_by(BodyEnd::Refused(failure))
}

fn ended_by(end: BodyEnd) -> Body {
    Body::Ended { end, workspace: None, adopted: None }
}

pub(super) fn failure_of(error: &WorkspaceError) -> Failure {
    Failure { code: error.code().code().to_owned(), reason: format!("{error}; {}", error.hint()) }
}

fn interrupted() -> Failure {
    let reason = "the keeper of the workspace was interrupted".to_owned();
    Failure { code: FailureCode::Internal.code().to_owned(), reason }
}
