//! The directory of a workspace task: made or opened before the body, looked at after it, published never.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use perago_contract::WorkspaceSpec;
use perago_lakefs::Client;
use perago_worker::settings::{LakeFsSettings, Settings, SettingsError};
use perago_worker::workspace::LakeFsRepository;
use perago_workspace::{
    Cache, CacheOptions, Directory, Edits, GlobDialect, GuardPhase, Manifest, MaterialiseRequest,
    Materialised, Prefix, Progress, Repository as _, RunDirectory, WorkspaceError, blocking,
    check_guardrails, materialise,
};
use serde::Serialize;

use super::Halt;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::transfer_bar::{Moved, watched};

/// A failed call is repeated less often than in a worker: somebody waits for the answer.
const MOST_REPETITIONS: u32 = 3;

/// Why there is no directory to work on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The attempt has failed, as it would in a worker.
    Attempt(WorkspaceError),
    /// It cannot be made.
    Halted(Halt),
}

impl From<WorkspaceError> for Trouble {
    fn from(error: WorkspaceError) -> Self {
        Self::Attempt(error)
    }
}

impl From<Halt> for Trouble {
    fn from(halt: Halt) -> Self {
        Self::Halted(halt)
    }
}

impl From<SettingsError> for Trouble {
    fn from(error: SettingsError) -> Self {
        Self::Halted(Halt::Failed(error.into()))
    }
}

/// A commit of a repository.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pinned<'a> {
    /// The repository.
    pub repository: &'a str,
    /// The commit, or what names one.
    pub reference: &'a str,
    /// Whether the directory stays.
    pub keep: bool,
}

/// The directory that a body works on.
#[derive(Debug)]
pub(super) struct Workspace {
    directory: Arc<Directory>,
    spec: WorkspaceSpec,
    dialect: GlobDialect,
    /// What was there before the body; none where a read-only task's directory cannot be compared.
    before: Option<Arc<Manifest>>,
    report: WorkspaceReport,
}

/// What is said of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct WorkspaceReport {
    /// The directory.
    pub directory: PathBuf,
    /// Whether it is still there when the command has ended.
    pub kept: bool,
    /// Whether a worker would publish nothing.
    pub read_only: bool,
    /// Where it was downloaded from.
    pub download: Option<Download>,
    /// What the body has changed; none when it did not run.
    pub changes: Option<Changes>,
}

/// What was downloaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Download {
    /// The repository.
    pub repository: String,
    /// The commit.
    #[serde(rename = "ref")]
    pub commit: String,
    /// Files of the directory.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
    /// Those among them that came from the cache.
    pub cached_files: u64,
    /// Their length together.
    pub cached_bytes: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What a body has changed, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Changes {
    /// New files.
    pub added: Vec<Change>,
    /// Files with other content.
    pub changed: Vec<Change>,
    /// Files that are gone.
    pub removed: Vec<Change>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    /// Its path in the directory.
    pub path: String,
    /// Its length, if it is there.
    pub bytes: Option<u64>,
    /// Its length before the body, if it was there.
    pub bytes_before: Option<u64>,
}

impl Changes {
    fn of(edits: &Edits, before: &Manifest) -> Self {
        let bytes_before = |path| before.files.get(path).map(|entry| entry.state.size);
        let (mut changes, name) = (Self::default(), |path: &perago_workspace::RelativePath| path.to_string());
        for (path, state) in &edits.written {
            let change =
                Change { path: name(path), bytes: Some(state.size), bytes_before: bytes_before(path) };
            let list = if change.bytes_before.is_some() { &mut changes.changed } else { &mut changes.added };
            list.push(change);
        }
        let removed = edits.removed.iter();
        changes.removed = removed
            .map(|path| Change { path: name(path), bytes: None, bytes_before: bytes_before(path) })
            .collect();
        changes
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl Workspace {
    /// Opens a directory of the author's and notes what is in it.
    pub async fn open(path: &Path, spec: &WorkspaceSpec, dialect: GlobDialect) -> Result<Self, Trouble> {
        let place = path.to_owned();
        let (directory, before) = blocking(move || {
            let directory = opened(&place)?;
            let before = Manifest::of(&directory);
            Ok((directory, before))
        })
        .await?;
        let before = match before {
            // A worker never looks at what a read-only task has changed.
            Err(_) if spec.read_only => None,
            before => Some(before?),
        };
        Ok(Self::new(directory, before, spec, dialect))
    }

    /// Makes a directory of a pinned commit, in `folder`, whose owner removes it.
    pub async fn download(
        pinned: Pinned<'_>,
        settings: &Settings,
        spec: &WorkspaceSpec,
        dialect: GlobDialect,
        folder: &mut Option<RunDirectory>,
        printer: &Printer,
    ) -> Result<Self, Trouble> {
        let lakefs = configured(settings)?;
        let repository = Arc::new(LakeFsRepository::new(client(lakefs)?, pinned.repository));
        let commit = repository.commit_of(pinned.reference).await.map_err(|error| {
            WorkspaceError::store(&format!("find {:?} in {}", pinned.reference, pinned.repository), error)
        })?;
        let folder = folder.insert(RunDirectory::create(&absolute(&settings.workspace_root)?, super::now())?);
        let directory = opened(folder.path())?;
        let prefix = Prefix::of_spec(spec)?;
        let (cache, progress) = (cache(settings, printer)?, Arc::new(Progress::default()));
        let request = MaterialiseRequest {
            reference: &commit.id,
            prefix: &prefix,
            directory: &directory,
            cache: cache.as_ref(),
            options: lakefs.transfer_options(),
            progress: &progress,
        };
        let begun = Instant::now();
        let filled = watched("downloading", &progress, materialise(&repository, &request)).await?;
        let moved = Moved {
            files: filled.manifest.files.len() as u64,
            bytes: filled.manifest.bytes(),
            duration: begun.elapsed(),
        };
        if pinned.keep {
            folder.keep()?;
        }
        say(&filled, moved, folder, printer);
        let download = Download {
            repository: pinned.repository.to_owned(),
            commit: commit.id,
            files: moved.files,
            bytes: moved.bytes,
            cached_files: filled.cached_files,
            cached_bytes: filled.cached_bytes,
            seconds: moved.duration.as_secs_f64(),
        };
        let mut this = Self::new(directory, Some(filled.manifest), spec, dialect);
        this.report.download = Some(download);
        this.report.kept = pinned.keep;
        Ok(this)
    }

    fn new(
        directory: Arc<Directory>,
        before: Option<Manifest>,
        spec: &WorkspaceSpec,
        dialect: GlobDialect,
    ) -> Self {
        let report = WorkspaceReport {
            directory: directory.path().to_owned(),
            kept: true,
            read_only: spec.read_only,
            download: None,
            changes: None,
        };
        Self { directory, spec: spec.clone(), dialect, before: before.map(Arc::new), report }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What can be said of it.
    pub fn report(&self) -> &WorkspaceReport {
        &self.report
    }

    /// Checks the guardrails of a phase.
    pub async fn check(&self, phase: GuardPhase) -> Result<(), WorkspaceError> {
        let guardrails = match phase {
            GuardPhase::Pre => self.spec.pre.clone(),
            GuardPhase::Post => self.spec.post.clone(),
        };
        let (directory, dialect) = (Arc::clone(&self.directory), self.dialect);
        blocking(move || check_guardrails(directory.path(), &guardrails, phase, dialect)).await
    }

    /// Finds what the body has changed.
    ///
    /// # Errors
    /// What a worker could not publish.
    pub async fn compare(&mut self) -> Result<(), WorkspaceError> {
        let Some(before) = self.before.clone() else { return Ok(()) };
        let (directory, manifest) = (Arc::clone(&self.directory), Arc::clone(&before));
        let edits = match blocking(move || manifest.edits_in(&directory)).await {
            Err(_) if self.spec.read_only => return Ok(()),
            edits => edits?,
        };
        self.report.changes = Some(Changes::of(&edits, &before));
        if self.spec.read_only {
            return Ok(());
        }
        let prefix = Prefix::of_spec(&self.spec)?;
        edits.written.keys().try_for_each(|path| prefix.key_of(path).map(drop)).map_err(WorkspaceError::from)
    }
}

/// The lakeFS server that is configured.
fn configured(settings: &Settings) -> Result<&LakeFsSettings, Trouble> {
    settings.lakefs.as_ref().ok_or_else(|| {
        Trouble::from(Halt::Failed(Failure::with_hint(
            "LakeFS config is required for --repository",
            Some(
                "set LAKECTL_SERVER_ENDPOINT_URL, LAKECTL_CREDENTIALS_ACCESS_KEY_ID and \
                 LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY; perago dev runs such a store"
                    .to_owned(),
            ),
        )))
    })
}

fn client(lakefs: &LakeFsSettings) -> Result<Client, Trouble> {
    let mut options = lakefs.client_options()?;
    options.retry.attempts = options.retry.attempts.min(MOST_REPETITIONS);
    options.on_warning = Arc::new(|warning| Printer::default().warning(warning));
    Client::new(&options).map_err(|error| Halt::Failed(Failure::new(error.to_string())).into())
}

/// The cache of the workers of this host; one that cannot be used is worth a warning.
fn cache(settings: &Settings, printer: &Printer) -> Result<Option<Arc<Cache>>, WorkspaceError> {
    let Some(cache) = &settings.workspace_cache else { return Ok(None) };
    let options = CacheOptions { place: absolute(&cache.directory)?, most_bytes: cache.most_bytes };
    match Cache::open(options) {
        Ok(cache) => Ok(Some(Arc::new(cache))),
        Err(error) => {
            printer.warning(&format!("files are not cached: {error}\n  hint: {}", error.hint()));
            Ok(None)
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, WorkspaceError> {
    std::path::absolute(path).map_err(|error| WorkspaceError::local("find", path.display(), error))
}

fn say(filled: &Materialised, moved: Moved, folder: &RunDirectory, printer: &Printer) {
    for warning in &filled.warnings {
        printer.warning(warning);
    }
    let cached = match filled.cached_files {
        0 => String::new(),
        all if all == moved.files => ", all from the cache".to_owned(),
        some => format!(", {some} of them from the cache"),
    };
    // Said now, because the attempt may be stopped before its report.
    let place =
        if folder.is_kept() { format!(", kept in {}", folder.path().display()) } else { String::new() };
    printer.message(&format!("downloaded {moved}{cached}{place}"));
}

fn opened(path: &Path) -> Result<Arc<Directory>, WorkspaceError> {
    let directory =
        Directory::open(path).map_err(|error| WorkspaceError::local("open", path.display(), error))?;
    Ok(Arc::new(directory))
}
