//! Keeps the workspace of one attempt: fills it, waits for the body, publishes, removes it.
//!
//! Transfers run on threads of their own, so that no beat waits for a large file. What a keeper needs of its attempt
//! it asks for by [`WorkspaceMail`].

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perago_contract::FailureCode;
use perago_contract::envelope::WorkspaceRef;
use perago_workspace::{AttemptControl, Progress, Stamp, WorkspaceError};
use tokio::sync::{mpsc, oneshot, watch};

use super::service::{Published, Transfer, WorkspaceService};
use crate::kill_point::{Step, around};
use crate::logs::{Level, Logger, Record};

/// Threads that move the files of all attempts of a worker.
const TRANSFER_THREADS: usize = 2;

/// Most threads that read and write files for them. Each keeps a stack and up to some 200 KiB of freed memory while it
/// lives, and more of them make no disk faster.
const FILE_THREADS: usize = 32;

/// A branch that cannot be deleted in this time stays: a forced stop of the worker waits a little longer than this.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(1);

/// What a keeper tells its attempt, or asks of it.
#[derive(Debug)]
pub enum WorkspaceMail {
    /// Is the task ours, and does its lease last for this long? The answer comes when it is known.
    Fence(Duration, oneshot::Sender<()>),
    /// A transfer was timed.
    Moved(Transfer),
    /// This was staged and is about to be merged: branch and commit.
    Staged(String, String),
}

/// An attempt's end of its keeper.
#[derive(Debug)]
pub struct KeeperHandle {
    /// The directory once it is filled, or why it cannot be.
    pub ready: oneshot::Receiver<Result<PathBuf, WorkspaceError>>,
    /// Sent: publish for this result of the body, as JSON. Dropped: the directory is not needed any more.
    pub publish: oneshot::Sender<String>,
    /// What came of the publication; closed without an answer when it was stopped.
    pub published: oneshot::Receiver<Result<Published, WorkspaceError>>,
}

/// What one attempt's keeper works with.
#[derive(Debug)]
pub struct Keeping {
    /// The workspace that the task got.
    pub input: WorkspaceRef,
    /// Whose workspace it is.
    pub stamp: Stamp,
    /// Where it writes to its attempt.
    pub mail: mpsc::UnboundedSender<WorkspaceMail>,
    /// Turns true when transfers must stop.
    pub stop: watch::Receiver<bool>,
    /// Dropped when everything is removed.
    pub alive: mpsc::Sender<()>,
    /// The worker's log.
    pub logger: Logger,
}

/// The workspaces of a worker.
#[derive(Debug)]
pub struct Workspaces {
    pub(super) service: Arc<WorkspaceService>,
    // Only empty while it is dropped: a runtime must not be dropped where tasks run.
    threads: Option<tokio::runtime::Runtime>,
}

impl Workspaces {
    /// Starts the threads that serve `service`.
    ///
    /// # Errors
    /// The system does not start them.
    pub fn start(service: WorkspaceService) -> std::io::Result<Self> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(TRANSFER_THREADS)
            .max_blocking_threads(FILE_THREADS)
            .thread_name("perago-transfer")
            .enable_all()
            .build()?;
        Ok(Self { service: Arc::new(service), threads: Some(threads) })
    }

    /// What all attempts share.
    pub fn service(&self) -> &WorkspaceService {
        &self.service
    }

    /// Begins to fill the workspace of an attempt.
    pub fn keep(&self, keeping: Keeping) -> KeeperHandle {
        let (ready_sender, ready) = oneshot::channel();
        let (publish, wanted) = oneshot::channel();
        let (published_sender, published) = oneshot::channel();
        let ends = Ends { ready: ready_sender, wanted, published: published_sender };
        self.spawn(keep(Arc::clone(&self.service), keeping, ends));
        KeeperHandle { ready, publish, published }
    }

    /// Runs a call of the store where all of them run, and returns what it says; `None` if it was interrupted.
    pub async fn ask<F, A>(&self, call: impl FnOnce(Arc<WorkspaceService>) -> F) -> Option<A>
    where
        F: Future<Output = A> + Send + 'static,
        A: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let call = call(Arc::clone(&self.service));
        self.spawn(async move {
            let _ = answer.send(call.await);
        });
        answered.await.ok()
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(threads) = &self.threads {
            threads.spawn(work);
        }
    }
}

impl Drop for Workspaces {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

struct Ends {
    ready: oneshot::Sender<Result<PathBuf, WorkspaceError>>,
    wanted: oneshot::Receiver<String>,
    published: oneshot::Sender<Result<Published, WorkspaceError>>,
}

async fn keep(service: Arc<WorkspaceService>, keeping: Keeping, ends: Ends) {
    let Keeping { input, stamp, mail, stop, alive, logger } = keeping;
    let about = Labels::of(&stamp);
    let record = {
        let mail = mail.clone();
        move |transfer| {
            let _ = mail.send(WorkspaceMail::Moved(transfer));
        }
    };
    let progress = Arc::new(Progress::default());
    let preparing = service.prepare(input, stamp, &progress, &record, stopped(stop.clone()));
    let prepared = around(Step::Checkout, preparing).await;
    let workspace = match prepared {
        Ok(workspace) => workspace,
        Err(error) => {
            let _ = ends.ready.send(Err(error));
            return;
        }
    };
    for warning in &workspace.warnings {
        logger.write(about.label(Record::new(Level::Warning, "workspace_warning", warning.as_str())));
    }
    if ends.ready.send(Ok(workspace.files())).is_ok()
        && let Ok(result) = ends.wanted.await
    {
        let control = Control { mail };
        let outcome = tokio::select! {
            biased;
            () = stopped(stop) => None,
            published = service.publish(&workspace, &result, &control, &record) => Some(published),
        };
        match outcome {
            Some(published) => {
                let _ = ends.published.send(published);
            }
            None => {
                withdraw(&service, workspace.repository_name(), &workspace.staging_branch(), &about, &logger)
                    .await;
            }
        }
    }
    let place = workspace.files();
    if let Err(error) = workspace.discard().await {
        let message = "the directory of an attempt could not be removed; it is found later by its marker";
        let failed = Record::new(Level::Warning, "workspace_left", message)
            .with("path", place.display().to_string())
            .with("error", error.to_string());
        logger.write(about.label(failed));
    }
    drop(alive);
}

/// Takes back what a publication that was stopped may have staged, soon or not at all: who stopped it may be waiting.
pub(super) async fn withdraw(
    service: &WorkspaceService,
    repository: &str,
    branch: &str,
    about: &Labels,
    logger: &Logger,
) {
    let withdrawn = tokio::time::timeout(WITHDRAW_WITHIN, service.withdraw(repository, branch)).await;
    let left = match withdrawn {
        Ok(result) => result.err().map(|error| error.to_string()),
        Err(_) => Some(format!("no answer within {} s", WITHDRAW_WITHIN.as_secs())),
    };
    if let Some(error) = left {
        let message = "a staging branch could not be deleted; it is found later by its name";
        let failed = Record::new(Level::Warning, "staging_left", message)
            .with("staging_branch", branch)
            .with("error", error);
        logger.write(about.label(failed));
    }
}

pub(super) async fn stopped(mut stop: watch::Receiver<bool>) {
    // An attempt that is gone wants nothing any more either.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The ids of an attempt for log lines that are written after it has ended.
pub(super) struct Labels {
    task_name: String,
    workflow_id: String,
    task_id: String,
    retry_count: u64,
}

impl Labels {
    pub(super) fn of(stamp: &Stamp) -> Self {
        Self {
            task_name: stamp.task_name.clone(),
            workflow_id: stamp.work.workflow_instance_id.clone(),
            task_id: stamp.task_id.clone(),
            retry_count: stamp.epoch.retry_count,
        }
    }

    fn label(&self, record: Record) -> Record {
        record
            .with("task_name", self.task_name.as_str())
            .with("workflow_instance_id", self.workflow_id.as_str())
            .with("task_id", self.task_id.as_str())
            .with("retry_count", self.retry_count)
    }
}

pub(super) struct Control {
    pub(super) mail: mpsc::UnboundedSender<WorkspaceMail>,
}

impl AttemptControl for Control {
    async fn fence(&self, effect: Duration) -> Result<(), String> {
        let (lift, lifted) = oneshot::channel();
        let _ = self.mail.send(WorkspaceMail::Fence(effect, lift));
        lifted.await.map_err(|_| "the task is no longer ours".to_owned())
    }

    async fn staged(&self, branch: &str, commit: &str) {
        let _ = self.mail.send(WorkspaceMail::Staged(branch.to_owned(), commit.to_owned()));
    }

    fn uploaded(&self, _duration: Duration, _bytes: Option<u64>) {}
}

/// The failure of an attempt whose transfers were told to stop.
pub(super) fn told_to_stop() -> WorkspaceError {
    WorkspaceError::new(FailureCode::WorkerStopped, "the transfer was told to stop")
}
