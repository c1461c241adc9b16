//! One search for what dead attempts have left, by a worker's timer or by a person.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use perago_workspace::{
    CollectOptions, Collected, Garbage, Keep, Outcome, StoreError, StoreErrorKind, collect_branches,
    collect_directories, collect_run_directories,
};
use serde::Serialize;

use super::verdict::ConductorJudge;
use super::{LakeFsRepository, UsedRepositories};
use crate::settings::Settings;
use crate::worker_error::WorkerError;

/// Where to look and what may go.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// The workspace root.
    pub root: PathBuf,
    /// The Conductor that is asked about attempts.
    pub conductor: perago_conductor::Client,
    /// The lakeFS server; without one only directories are looked at.
    pub lakefs: Option<perago_lakefs::Client>,
    /// The repositories whose staging branches are looked at.
    pub repositories: Vec<String>,
    /// Nothing that began later than this long ago is removed.
    pub older_than: Duration,
    /// As `older_than`, for directories whose processes are gone for certain.
    pub abandoned_older_than: Duration,
    /// Finds what would be removed and removes nothing.
    pub is_dry_run: bool,
}

impl SweepOptions {
    /// What a person's search needs, from the settings in the directory `cwd`: everything of age
    /// `PERAGO_WORKSPACE_GC_TTL`, and the repositories that workers of this workspace root have used.
    ///
    /// # Errors
    /// Conductor is not configured, or an address cannot be used.
    pub fn of_settings(settings: &Settings, cwd: &Path) -> Result<Self, WorkerError> {
        let Some(conductor) = &settings.conductor else {
            return Err(WorkerError::Missing("CONDUCTOR_SERVER_URL is required for perago gc".to_owned()));
        };
        let conductor =
            perago_conductor::Client::new(&conductor.client_options()?).map_err(WorkerError::Client)?;
        let lakefs = match &settings.lakefs {
            Some(lakefs) => {
                Some(perago_lakefs::Client::new(&lakefs.client_options()?).map_err(WorkerError::LakeFs)?)
            }
            None => None,
        };
        let used = UsedRepositories::open(&settings.state_dir);
        Ok(Self {
            root: cwd.join(&settings.workspace_root),
            conductor,
            repositories: lakefs.as_ref().map(|client| used.of_server(&client.server())).unwrap_or_default(),
            lakefs,
            older_than: settings.workspace_gc_ttl,
            abandoned_older_than: settings.workspace_gc_ttl,
            is_dry_run: false,
        })
    }
}

/// Directory or branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A local directory of an attempt.
    Directory,
    /// A staging branch.
    Branch,
}

/// What became of something that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is gone, or would be.
    Removed,
    /// It is left.
    Kept,
    /// It should be gone and could not be removed.
    Failed,
}

/// Something that an attempt has left or still uses, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Directory or branch.
    pub kind: Kind,
    /// Path or branch name.
    pub name: String,
    /// The repository of a branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The attempt's task id, where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Its run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_instance_id: Option<String>,
    /// Its worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// When it began, or committed to the branch, in seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// What became of it.
    pub fate: Fate,
    /// Stable name of why it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why it was kept or not removed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// Nothing but a person will ever remove it.
    pub is_for_a_person: bool,
}

/// What a search has found.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    /// Every directory and staging branch.
    pub leftovers: Vec<Leftover>,
    /// What could not be looked at, and why.
    pub failures: Vec<String>,
    /// The repositories that hold nothing of this Conductor's attempts.
    pub idle_repositories: Vec<String>,
    /// The repositories that the server does not know.
    pub missing_repositories: Vec<String>,
}

impl Sweep {
    /// How many leftovers have this fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.leftovers.iter().filter(|leftover| leftover.fate == fate).count()
    }

    fn add(&mut self, collected: Collected, repository: Option<&str>) {
        self.leftovers.push(Leftover::of(collected, repository));
    }
}

/// Looks once at everything that `options` name.
pub async fn sweep(options: &SweepOptions) -> Sweep {
    let mut swept = Sweep::default();
    let mut judge = ConductorJudge::new(options.conductor.clone());
    let collect = CollectOptions {
        conductor: options.conductor.server(),
        older_than: options.older_than,
        abandoned_older_than: options.abandoned_older_than,
        now: now(),
        is_dry_run: options.is_dry_run,
    };
    let mut running = Running::default();
    match collect_directories(&options.root, &collect, &mut judge).await {
        Ok(collected) => {
            for entry in collected {
                running.add(&entry);
                swept.add(entry, None);
            }
        }
        Err(error) => swept.failures.push(error.to_string()),
    }
    sweep_run_directories(options, &collect, &mut swept).await;
    if let Some(client) = &options.lakefs {
        sweep_branches(options, client, &collect, &running, &mut judge, &mut swept).await;
    }
    swept.failures.extend(judge.silence().map(str::to_owned));
    swept
}

/// Those of `perago run`: below the workspace root, and in the folder for temporary files.
async fn sweep_run_directories(options: &SweepOptions, collect: &CollectOptions, swept: &mut Sweep) {
    let temporary = std::env::temp_dir();
    for place in [&options.root, &temporary] {
        match collect_run_directories(place, collect).await {
            Ok(collected) => {
                for entry in collected {
                    // Others use the folder for temporary files too: what they run is nothing to report.
                    if *place == options.root || !matches!(entry.outcome, Outcome::Kept(_)) {
                        swept.add(entry, None);
                    }
                }
            }
            Err(error) => swept.failures.push(error.to_string()),
        }
    }
}

async fn sweep_branches(
    options: &SweepOptions,
    client: &perago_lakefs::Client,
    collect: &CollectOptions,
    running: &Running,
    judge: &mut ConductorJudge,
    swept: &mut Sweep,
) {
    for (position, name) in options.repositories.iter().enumerate() {
        let repository = Arc::new(LakeFsRepository::new(client.clone(), name));
        let error = match collect_branches(&repository, collect, &running.executions, judge).await {
            Ok(collected) => {
                let is_idle = !collected.iter().any(is_of_this_conductor);
                if is_idle && !running.repositories.contains(name) {
                    swept.idle_repositories.push(name.clone());
                }
                for entry in collected {
                    swept.add(entry, Some(name));
                }
                continue;
            }
            Err(error) => error,
        };
        let store = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<StoreError>());
        // Deleted with all of its branches, so nothing is left to be looked for.
        if store.is_some_and(|store| store.kind() == StoreErrorKind::NotFound) {
            swept.missing_repositories.push(name.clone());
            continue;
        }
        swept.failures.push(format!("repository {name}: {error}"));
        // The others are on the same server.
        if store.is_some_and(StoreError::is_transient) {
            let others = &options.repositories[position + 1..];
            swept
                .failures
                .extend(others.iter().map(|name| format!("repository {name}: not looked at either")));
            return;
        }
    }
}

/// The attempts that run on this machine, or may run elsewhere.
#[derive(Default)]
struct Running {
    executions: BTreeSet<String>,
    repositories: BTreeSet<String>,
}

impl Running {
    fn add(&mut self, entry: &Collected) {
        if let (Garbage::Directory { marker: Some(marker), .. }, Outcome::Kept(_)) =
            (&entry.garbage, &entry.outcome)
        {
            self.repositories.insert(marker.repository.clone());
            if matches!(entry.outcome, Outcome::Kept(Keep::Running)) {
                self.executions.insert(marker.execution_id.clone());
            }
        }
    }
}

fn is_of_this_conductor(entry: &Collected) -> bool {
    !matches!(entry.outcome, Outcome::Removed | Outcome::Kept(Keep::NotOurs | Keep::OtherConductor))
}

impl Leftover {
    fn of(collected: Collected, repository: Option<&str>) -> Self {
        let leftover = match collected.garbage {
            Garbage::Directory { place, marker } => Self {
                task_id: marker.as_ref().map(|marker| marker.task_id.clone()),
                workflow_instance_id: marker.as_ref().map(|marker| marker.workflow_instance_id.clone()),
                worker_id: marker.as_ref().map(|marker| marker.owner_worker_id.clone()),
                since: marker.as_ref().map(|marker| marker.started_at),
                ..Self::new(Kind::Directory, place.display().to_string())
            },
            Garbage::Branch { name, attempt, stamp, committed_at } => Self {
                repository: repository.map(str::to_owned),
                task_id: attempt.map(|attempt| attempt.task_id.clone()),
                workflow_instance_id: stamp.as_ref().map(|stamp| stamp.work.workflow_instance_id.clone()),
                worker_id: stamp.as_ref().map(|stamp| stamp.worker_id.clone()),
                since: committed_at,
                ..Self::new(Kind::Branch, name)
            },
        };
        match collected.outcome {
            Outcome::Removed => leftover,
            Outcome::Kept(keep) => Self {
                fate: Fate::Kept,
                reason: Some(keep.code()),
                explanation: Some(keep.explanation()),
                is_for_a_person: keep.is_for_a_person(),
                ..leftover
            },
            Outcome::Failed(error) => {
                Self { fate: Fate::Failed, explanation: Some(error.to_string()), ..leftover }
            }
        }
    }

    fn new(kind: Kind, name: String) -> Self {
        Self {
            kind,
            name,
            repository: None,
            task_id: None,
            workflow_instance_id: None,
            worker_id: None,
            since: None,
            fate: Fate::Removed,
            reason: None,
            explanation: None,
            is_for_a_person: false,
        }
    }
}

/// The time, in seconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
