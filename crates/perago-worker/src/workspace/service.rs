//! The workspace side of an attempt: the pinned commit before the body, the publication after it.
//!
//! Every step says how long it took and what it carried, also when it failed; whoever drives the attempt records that.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use perago_contract::WorkspaceSpec;
use perago_contract::envelope::WorkspaceRef;
use perago_lakefs::Client;
use perago_workspace::{
    AttemptControl, AttemptDirectory, AttemptMarker, Cache, Directory, GlobDialect, GuardPhase, Manifest,
    MaterialiseRequest, Materialised, Prefix, Progress, PublishReport, PublishRequest, Repository, Stamp,
    StoreErrorKind, Target, TransferOptions, WorkspaceError, blocking, check_guardrails, materialise,
    publish,
};

use super::keeper::told_to_stop;
use super::sweep::now;
use super::{LakeFsRepository, UsedRepositories};

/// Files that are uploaded at once: each holds up to two blocks of 256 KiB.
const UPLOADS_AT_ONCE: usize = 16;

/// After a failed removal that came after a pause of this length, a directory is left.
const LONGEST_REMOVAL_PAUSE: Duration = Duration::from_secs(1);

/// A transfer that was timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// From the pinned commit to the directory.
    Download,
    /// From the directory to the staging branch.
    Upload,
    /// From the first look at the branch to the published commit, without the upload.
    Publish,
}

impl Operation {
    /// Its name as a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Publish => "publish",
        }
    }
}

/// What one transfer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Which one.
    pub operation: Operation,
    /// How long.
    pub duration: Duration,
    /// The bytes that it carried for the attempt; none for a publication and for what failed.
    pub bytes: Option<u64>,
    /// How many of them came from the cache of the host.
    pub cached_bytes: u64,
}

/// What all attempts of a workspace task share.
#[derive(Debug, Clone)]
pub struct WorkspaceService {
    /// The lakeFS server.
    pub client: Client,
    /// Directory for the files of attempts.
    pub root: PathBuf,
    /// Contents of earlier downloads.
    pub cache: Option<Arc<Cache>>,
    /// How transfers are done.
    pub transfers: TransferOptions,
    /// What the task declares.
    pub spec: WorkspaceSpec,
    /// What patterns of guardrails mean.
    pub dialect: GlobDialect,
    /// Time limit of one merge.
    pub merge_limit: Duration,
    /// Where attempts have been, for the search for what dead ones have left.
    pub used: UsedRepositories,
}

/// A workspace that a body can use.
#[derive(Debug)]
pub struct Workspace {
    attempt: AttemptDirectory,
    directory: Arc<Directory>,
    manifest: Arc<Manifest>,
    prefix: Prefix,
    repository: Arc<LakeFsRepository>,
    input: WorkspaceRef,
    stamp: Stamp,
    /// What the operator should know of the download.
    pub warnings: Vec<String>,
}

impl Workspace {
    /// The directory of the body.
    pub fn files(&self) -> PathBuf {
        self.attempt.files()
    }

    /// The name of its repository.
    pub fn repository_name(&self) -> &str {
        &self.input.repository
    }

    /// The branch that its publication stages on.
    pub fn staging_branch(&self) -> String {
        self.stamp.staging_branch()
    }

    /// Removes the directory.
    ///
    /// # Errors
    /// What the system says; it is found later by its marker.
    pub async fn discard(self) -> Result<(), WorkspaceError> {
        remove(self.attempt).await
    }
}

/// How a body's workspace was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The workspace as the task left it.
    pub output: WorkspaceRef,
    /// What the publication did; none for a read-only task.
    pub report: Option<PublishReport>,
}

impl WorkspaceService {
    /// Makes the directory of an attempt, fills it and checks the guardrails before the body, unless `stopped` comes
    /// to its end before that is done.
    ///
    /// # Errors
    /// A failure of the attempt; no directory is left then.
    pub async fn prepare(
        &self,
        input: WorkspaceRef,
        stamp: Stamp,
        progress: &Arc<Progress>,
        record: &(dyn Fn(Transfer) + Sync),
        stopped: impl Future<Output = ()> + Send,
    ) -> Result<Workspace, WorkspaceError> {
        let prefix = Prefix::of_spec(&self.spec)?;
        let marker = AttemptMarker::new(&stamp, &input.repository, now());
        let (root, used, server) = (self.root.clone(), self.used.clone(), self.client.server());
        let (attempt, directory, note) = blocking(move || {
            let note = used.note(&server, &marker.repository, marker.started_at);
            let attempt = AttemptDirectory::create(&root, &marker)?;
            let files = attempt.files();
            let directory = Directory::open(&files).map_err(|error| {
                // The failure that counts is the first one; a directory that stays is found by its marker.
                let _ = attempt.remove();
                WorkspaceError::local("open", files.display(), error)
            })?;
            Ok((attempt, Arc::new(directory), note.err()))
        })
        .await?;
        let repository = Arc::new(LakeFsRepository::new(self.client.clone(), &input.repository));
        let filled = tokio::select! {
            filled = self.fill(&repository, &input, &prefix, &directory, progress, record) => filled,
            () = stopped => Err(told_to_stop()),
        };
        match filled {
            Ok(filled) => Ok(Workspace {
                attempt,
                directory,
                manifest: Arc::new(filled.manifest),
                warnings: filled.warnings.into_iter().chain(note.as_ref().map(not_noted)).collect(),
                prefix,
                repository,
                input,
                stamp,
            }),
            Err(error) => {
                // As above.
                let _ = remove(attempt).await;
                Err(error)
            }
        }
    }

    async fn fill(
        &self,
        repository: &Arc<LakeFsRepository>,
        input: &WorkspaceRef,
        prefix: &Prefix,
        directory: &Arc<Directory>,
        progress: &Arc<Progress>,
        record: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Materialised, WorkspaceError> {
        let begun = Instant::now();
        let request = MaterialiseRequest {
            reference: &input.reference,
            prefix,
            directory,
            cache: self.cache.as_ref(),
            options: self.transfers,
            progress,
        };
        let filled = materialise(repository, &request).await;
        record(Transfer {
            operation: Operation::Download,
            duration: begun.elapsed(),
            bytes: filled.as_ref().ok().map(|filled| filled.manifest.bytes()),
            cached_bytes: filled.as_ref().map_or(0, |filled| filled.cached_bytes),
        });
        let filled = filled?;
        self.check(directory, GuardPhase::Pre).await?;
        Ok(filled)
    }

    /// Deletes the staging branch of a publication that was stopped, if there is one.
    ///
    /// # Errors
    /// The store does not delete it; it is found later by its name.
    pub async fn withdraw(&self, repository: &str, branch: &str) -> Result<(), WorkspaceError> {
        let repository = LakeFsRepository::new(self.client.clone(), repository);
        match repository.delete_branch(branch).await {
            Err(error) if error.kind() != StoreErrorKind::NotFound => {
                Err(WorkspaceError::store(&format!("delete the branch {branch}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Checks the guardrails after the body and publishes what it has changed; `result` is what it has returned, as
    /// JSON.
    ///
    /// # Errors
    /// A failure of the attempt; nothing of it stays on the branch unless the failure says so.
    pub async fn publish<C: AttemptControl>(
        &self,
        workspace: &Workspace,
        result: &str,
        control: &C,
        record: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Published, WorkspaceError> {
        self.check(&workspace.directory, GuardPhase::Post).await?;
        if self.spec.read_only {
            return Ok(Published { output: workspace.input.clone(), report: None });
        }
        let begun = Instant::now();
        let control = Timed { control, record, uploading: Mutex::new(Duration::ZERO) };
        let published = self.publish_edits(workspace, result, &control).await;
        let uploading = *control.uploading.lock().unwrap_or_else(PoisonError::into_inner);
        let duration = begun.elapsed().saturating_sub(uploading);
        record(Transfer { operation: Operation::Publish, duration, bytes: None, cached_bytes: 0 });
        let report = published?;
        let output = workspace.input.published_output(report.commit.clone());
        Ok(Published { output, report: Some(report) })
    }

    async fn publish_edits<C: AttemptControl>(
        &self,
        workspace: &Workspace,
        result: &str,
        control: &C,
    ) -> Result<PublishReport, WorkspaceError> {
        let (directory, manifest) = (Arc::clone(&workspace.directory), Arc::clone(&workspace.manifest));
        let edits = blocking(move || manifest.edits_in(&directory)).await?;
        let branch = &workspace.input.branch;
        let request = PublishRequest {
            target: self.target(branch, &workspace.prefix, &workspace.stamp, Some(result)),
            directory: &workspace.directory,
            manifest: &workspace.manifest,
            edits: &edits,
            transfers: UPLOADS_AT_ONCE,
        };
        publish(&workspace.repository, control, &request).await
    }

    /// Where an attempt at this task publishes or adopts.
    pub(super) fn target<'a>(
        &self,
        branch: &'a str,
        prefix: &'a Prefix,
        stamp: &'a Stamp,
        result: Option<&'a str>,
    ) -> Target<'a> {
        let (on_moved_head, merge_limit) = (self.spec.on_moved_head, self.merge_limit);
        Target { branch, prefix, stamp, on_moved_head, merge_limit, result }
    }

    async fn check(&self, directory: &Arc<Directory>, phase: GuardPhase) -> Result<(), WorkspaceError> {
        let guardrails = match phase {
            GuardPhase::Pre => self.spec.pre.clone(),
            GuardPhase::Post => self.spec.post.clone(),
        };
        if guardrails.is_empty() {
            return Ok(());
        }
        let (directory, dialect) = (Arc::clone(directory), self.dialect);
        blocking(move || check_guardrails(directory.path(), &guardrails, phase, dialect)).await
    }
}

/// Passes everything on and notes how long uploads took.
struct Timed<'a, C> {
    control: &'a C,
    record: &'a (dyn Fn(Transfer) + Sync),
    uploading: Mutex<Duration>,
}

impl<C: AttemptControl> AttemptControl for Timed<'_, C> {
    async fn fence(&self, effect: Duration) -> Result<(), String> {
        self.control.fence(effect).await
    }

    async fn staged(&self, branch: &str, commit: &str) {
        self.control.staged(branch, commit).await;
    }

    fn uploaded(&self, duration: Duration, bytes: Option<u64>) {
        *self.uploading.lock().unwrap_or_else(PoisonError::into_inner) += duration;
        (self.record)(Transfer { operation: Operation::Upload, duration, bytes, cached_bytes: 0 });
        self.control.uploaded(duration, bytes);
    }
}

fn not_noted(error: &std::io::Error) -> String {
    format!("the repository is not noted for the search for what dead attempts have left: {error}")
}

/// Tries again for a short while: file work that was stopped may still be at its last file.
async fn remove(attempt: AttemptDirectory) -> Result<(), WorkspaceError> {
    let mut pause = Duration::from_millis(10);
    let attempt = Arc::new(attempt);
    loop {
        let attempt = Arc::clone(&attempt);
        match blocking(move || attempt.remove()).await {
            Err(_) if pause < LONGEST_REMOVAL_PAUSE => tokio::time::sleep(pause).await,
            result => return result,
        }
        pause *= 2;
    }
}
