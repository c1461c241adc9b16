//! What a worker makes ready while its executors start: everything that needs no word of them.

use perago_conductor::{Client, Error};
use serde_json::Value;
use tokio::task::{JoinHandle, spawn_local};

use crate::executor::code::CodeHash;
use crate::logs::Logger;
use crate::outbox::{Outbox, OutboxOptions};
use crate::state_disk::{StateDisk, Watcher};
use crate::worker_error::WorkerError;
use crate::worker_options::WorkerOptions;

/// What needs no word of an executor.
pub(crate) struct Prepared {
    /// What is owed to the server.
    pub outbox: Outbox,
    /// Whether there is room for more.
    pub disk: StateDisk,
    /// Ends the watching of the disk.
    pub disk_watcher: Watcher,
    /// The hash of the code, where no executor says it.
    pub code_hash: Option<String>,
}

/// Opens what lies in the state directory. Needs a `LocalSet`.
///
/// # Errors
/// The journal cannot be used.
pub(crate) async fn prepare(
    options: &WorkerOptions,
    code: CodeHash,
    logger: &Logger,
) -> Result<Prepared, WorkerError> {
    let directory = &options.state_directory;
    // First, and on a thread of its own: the orders to start executors are sent meanwhile.
    let (disk, disk_watcher) = StateDisk::watch(directory, logger).await;
    let settings = &options.settings;
    let outbox_options =
        OutboxOptions { is_synced: settings.journal_is_synced, retention: settings.outbox_retention };
    let outbox = Outbox::open(directory, outbox_options, logger)?;
    Ok(Prepared { outbox, disk, disk_watcher, code_hash: code.finish().await })
}

/// The question for a task's definition, which is under way if the task's name is known.
pub(crate) struct Definition(Option<Asked>);

struct Asked {
    task_name: String,
    answer: JoinHandle<Result<Option<Value>, Error>>,
}

impl Definition {
    /// Asks for it if the name is known. Needs a `LocalSet`.
    pub(crate) fn ask(client: &Client, task_name: Option<&String>) -> Self {
        Self(task_name.cloned().map(|task_name| {
            let (client, name) = (client.clone(), task_name.clone());
            Asked { task_name, answer: spawn_local(async move { client.get_task_def(&name).await }) }
        }))
    }

    /// Whether the server knows the task.
    ///
    /// # Errors
    /// It does not, or cannot be asked.
    pub(crate) async fn exists(self, client: &Client, task_name: &str) -> Result<(), WorkerError> {
        let answer = match self.0 {
            Some(asked) if asked.task_name == task_name => asked.answer.await.ok(),
            _ => None,
        };
        let answer = match answer {
            Some(answer) => answer,
            None => client.get_task_def(task_name).await,
        };
        match answer {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(WorkerError::NotRegistered(task_name.to_owned())),
            Err(error) => Err(WorkerError::TaskDef(error)),
        }
    }
}
