//! Makes the workspaces of a worker from its settings and its task.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perago_contract::{TaskDescription, WorkspaceSpec};
use perago_lakefs::{Client, ErrorKind};
use perago_workspace::{Cache, CacheOptions, GlobDialect};

use super::{Housekeeping, UsedRepositories, WorkspaceService, Workspaces};
use crate::logs::{Level, Logger, Record};
use crate::settings::{LakeFsSettings, Settings, WorkspaceCacheSettings};
use crate::worker_error::WorkerError;

/// Limit of one merge where the task declares no `PublishBudget`.
const MERGE_LIMIT: Duration = Duration::from_secs(60);
/// A server that does not answer for this long holds up no start.
const GREET_WITHIN: Duration = Duration::from_secs(5);

/// The workspaces of a task's attempts; `None` for a task without workspace.
///
/// # Errors
/// The address of lakeFS cannot be used, or it refuses the key pair. One that cannot be reached is a
/// line in the log: it may be back when the first task comes.
pub(crate) async fn open(
    settings: &Settings,
    task: &TaskDescription,
    dialect: GlobDialect,
    logger: &Logger,
) -> Result<Option<Workspaces>, WorkerError> {
    let (Some(spec), Some(lakefs)) = (&task.workspace, &settings.lakefs) else { return Ok(None) };
    let budget = task.controls.publish_budget.as_ref();
    let merge_limit = budget
        .and_then(|budget| u64::try_from(budget.lakefs_merge_timeout_seconds).ok().map(Duration::from_secs));
    let service = WorkspaceService {
        client: client(lakefs, logger)?,
        root: absolute(&settings.workspace_root)?,
        cache: cache(settings, logger)?.map(Arc::new),
        transfers: lakefs.transfer_options(),
        spec: WorkspaceSpec::clone(spec),
        dialect,
        merge_limit: merge_limit.unwrap_or(MERGE_LIMIT),
        used: UsedRepositories::open(&settings.state_dir),
    };
    let workspaces = Workspaces::start(service)?;
    greet(&workspaces, logger).await?;
    Ok(Some(workspaces))
}

/// The housekeeping of a worker that has workspaces; with a client of its own, because it works on another thread than
/// the transfers.
///
/// # Errors
/// The address of lakeFS cannot be used.
pub(crate) fn housekeeping(
    settings: &Settings,
    workspaces: Option<&Workspaces>,
    conductor: &perago_conductor::Client,
    logger: &Logger,
) -> Result<Option<Housekeeping>, WorkerError> {
    let (Some(workspaces), Some(lakefs)) = (workspaces, &settings.lakefs) else { return Ok(None) };
    let service = workspaces.service();
    Ok(Some(Housekeeping {
        root: service.root.clone(),
        conductor: conductor.clone(),
        lakefs: client(lakefs, logger)?,
        used: service.used.clone(),
        ttl: settings.workspace_gc_ttl,
        interval: settings.workspace_gc_interval,
        logger: logger.clone(),
    }))
}

/// The client of a worker for its lakeFS server.
fn client(lakefs: &LakeFsSettings, logger: &Logger) -> Result<Client, WorkerError> {
    let mut options = lakefs.client_options()?;
    let logger = logger.clone();
    options.on_warning = Arc::new(move |warning| {
        logger.event(Level::Warning, "lakefs_warning", warning);
    });
    Client::new(&options).map_err(WorkerError::LakeFs)
}

/// Opens the cache that the settings name. One that cannot be used is a line in the log: attempts go on without it.
fn cache(settings: &Settings, logger: &Logger) -> Result<Option<Cache>, WorkerError> {
    let Some(WorkspaceCacheSettings { directory, most_bytes }) = &settings.workspace_cache else {
        return Ok(None);
    };
    let place = absolute(directory)?;
    match Cache::open(CacheOptions { place, most_bytes: *most_bytes }) {
        Ok(cache) => Ok(Some(cache)),
        Err(error) => {
            logger.write(
                Record::new(Level::Warning, "cache_unusable", "files are not cached on this host")
                    .with("path", directory.display().to_string())
                    .with("error", error.to_string())
                    .with("hint", error.hint()),
            );
            Ok(None)
        }
    }
}

async fn greet(workspaces: &Workspaces, logger: &Logger) -> Result<(), WorkerError> {
    let greeting = workspaces
        .ask(|service| async move { service.client.storage_config().await.map(|_| service.client.server()) });
    let refused = match tokio::time::timeout(GREET_WITHIN, greeting).await {
        Ok(Some(Ok(_)) | None) => return Ok(()),
        Ok(Some(Err(error))) if matches!(error.kind(), ErrorKind::Authentication { .. }) => {
            return Err(WorkerError::LakeFs(error));
        }
        Ok(Some(Err(error))) => error.to_string(),
        Err(_) => format!("no answer within {} s", GREET_WITHIN.as_secs()),
    };
    logger.write(
        Record::new(
            Level::Warning,
            "lakefs_unreachable",
            "lakeFS does not answer; tasks are polled all the same",
        )
        .with("error", refused),
    );
    Ok(())
}

fn absolute(path: &std::path::Path) -> Result<PathBuf, WorkerError> {
    std::path::absolute(path).map_err(WorkerError::System)
}
