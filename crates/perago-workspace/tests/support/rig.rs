//! One attempt at a piece of work, from checkout to publication, against the repository in memory.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perago_contract::OnMovedHead;
use perago_workspace::{
    AdoptRequest, Adopted, AttemptControl, Basis, Directory, Epoch, FileCreator, FileState, Manifest,
    ManifestEntry, ObjectIdentity, Prefix, PublishReport, PublishRequest, Repository, Stamp, Target, Work,
    WorkspaceError, adopt, publish,
};

use super::memory::{Tree, md5_of};

/// A fence that holds until it has been asked so often, or until a newer attempt has begun.
pub struct Control {
    holds: usize,
    asked: AtomicUsize,
    attempt: usize,
    newest: Arc<AtomicUsize>,
    staged: Mutex<Vec<String>>,
    uploads: Mutex<Vec<Option<u64>>>,
}

impl Control {
    /// A fence that always holds.
    pub fn holding() -> Self {
        Self::holding_times(usize::MAX)
    }

    /// A fence that is lost after `holds` answers.
    pub fn holding_times(holds: usize) -> Self {
        Self { holds, ..Self::of_attempt(0, &Arc::default()) }
    }

    /// A fence as a server keeps it: attempt number `attempt` holds until `newest` is a higher one.
    pub fn of_attempt(attempt: usize, newest: &Arc<AtomicUsize>) -> Self {
        Self {
            holds: usize::MAX,
            asked: AtomicUsize::new(0),
            attempt,
            newest: Arc::clone(newest),
            staged: Mutex::default(),
            uploads: Mutex::default(),
        }
    }

    /// The bytes of each upload, nothing where it failed.
    pub fn uploads(&self) -> Vec<Option<u64>> {
        self.uploads.lock().unwrap().clone()
    }

    /// The commits that were recorded before their merge.
    pub fn staged(&self) -> Vec<String> {
        self.staged.lock().unwrap().clone()
    }
}

impl AttemptControl for Control {
    async fn fence(&self, _effect: Duration) -> Result<(), String> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if asked < self.holds && self.newest.load(Ordering::SeqCst) <= self.attempt {
            return Ok(());
        }
        Err("the task was given to another worker".to_owned())
    }

    async fn staged(&self, _branch: &str, commit: &str) {
        self.staged.lock().unwrap().push(commit.to_owned());
    }

    fn uploaded(&self, _duration: Duration, bytes: Option<u64>) {
        self.uploads.lock().unwrap().push(bytes);
    }
}

/// A checkout of one commit and who works on it.
pub struct Attempt {
    _folder: tempfile::TempDir,
    /// The directory.
    pub directory: Arc<Directory>,
    /// What was checked out.
    pub manifest: Manifest,
    /// Who works.
    pub stamp: Stamp,
    /// The part of the repository.
    pub prefix: Prefix,
    /// What a moved head means.
    pub on_moved_head: OnMovedHead,
    /// What the body has returned.
    pub result: Option<&'static str>,
}

impl Attempt {
    /// Checks out the part `prefix` of a commit for retry number `retry_count`.
    pub fn new(tree: &Tree, input: &str, prefix: &str, retry_count: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let prefix = Prefix::new(prefix).unwrap();
        let mut manifest = Manifest::default();
        let mut creator = FileCreator::new(&directory);
        for (key, content) in tree {
            let Some(path) = prefix.path_of(key).unwrap() else { continue };
            let mut file = creator.create(&path).unwrap();
            file.write_all(content).unwrap();
            let object = ObjectIdentity { size: content.len() as u64, checksum: md5_of(content) };
            let entry =
                ManifestEntry { state: FileState::of(&file).unwrap(), hash: blake3::hash(content), object };
            manifest.files.insert(path, entry);
        }
        manifest.taken_at = directory.now().unwrap();
        Self {
            directory: Arc::new(directory),
            _folder: folder,
            manifest,
            stamp: stamp(input, retry_count),
            prefix,
            on_moved_head: OnMovedHead::Fail,
            result: None,
        }
    }

    /// Writes down what the body has returned, and what that depends on.
    pub fn returning(mut self, result: &'static str) -> Self {
        self.result = Some(result);
        let digits = |text: &str| Some(text.to_owned());
        self.stamp.basis = Basis { input_hash: digits("input"), code_hash: digits("code") };
        self
    }

    /// Lets a moved head be merged.
    pub fn merging(mut self) -> Self {
        self.on_moved_head = OnMovedHead::Merge;
        self
    }

    /// Writes or removes files, as a body would.
    pub fn edit(&self, files: &[(&str, Option<&str>)]) {
        for (name, content) in files {
            let path = self.directory.path().join(name);
            match content {
                Some(content) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, content).unwrap();
                }
                None => std::fs::remove_file(path).unwrap(),
            }
        }
    }

    /// What the whole repository must hold when this attempt alone has published over `tree`.
    pub fn wanted(&self, tree: &Tree) -> Tree {
        let outside = tree.iter().filter(|(key, _)| self.prefix.path_of(key).unwrap().is_none());
        let mut wanted: Tree = outside.map(|(key, content)| (key.clone(), content.clone())).collect();
        for (path, _) in self.directory.scan().unwrap() {
            let content = std::fs::read(self.directory.path().join(path.as_str())).unwrap();
            wanted.insert(self.prefix.key_of(&path).unwrap(), content.into());
        }
        wanted
    }

    /// Publishes to `main`.
    pub async fn publish<R: Repository>(
        &self,
        repository: &Arc<R>,
        control: &Control,
    ) -> Result<PublishReport, WorkspaceError> {
        let edits = self.manifest.edits_in(&self.directory)?;
        let request = PublishRequest {
            target: self.target(),
            directory: &self.directory,
            manifest: &self.manifest,
            edits: &edits,
            transfers: 4,
        };
        publish(repository, control, &request).await
    }

    /// Adopts what earlier attempts have left for `main`.
    pub async fn adopt<R: Repository>(
        &self,
        repository: &Arc<R>,
        control: &Control,
    ) -> Result<Option<Adopted>, WorkspaceError> {
        let retries = 0..=self.stamp.epoch.retry_count;
        let predecessors: Vec<String> = retries.map(|retry| format!("task-{retry}")).collect();
        let target = Target { result: None, ..self.target() };
        let request = AdoptRequest { target, predecessors: &predecessors, published: None, staged: None };
        adopt(repository, control, &request).await
    }

    fn target(&self) -> Target<'_> {
        Target {
            branch: "main",
            prefix: &self.prefix,
            stamp: &self.stamp,
            on_moved_head: self.on_moved_head,
            merge_limit: Duration::from_secs(60),
            result: self.result,
        }
    }
}

/// The stamp of retry number `retry_count` at the only piece of work there is.
pub fn stamp(input: &str, retry_count: u64) -> Stamp {
    Stamp {
        work: Work {
            conductor: "http://conductor/api".to_owned(),
            workflow_instance_id: "workflow-1".to_owned(),
            reference_task_name: "mix".to_owned(),
            iteration: 0,
        },
        epoch: Epoch { retry_count, poll_count: 1 },
        task_id: format!("task-{retry_count}"),
        task_name: "audio.mix".to_owned(),
        seq: 1 + retry_count,
        execution: format!("{retry_count:032x}"),
        worker_id: "worker".to_owned(),
        input_ref: input.to_owned(),
        link: "http://conductor/execution/workflow-1".to_owned(),
        basis: Basis::default(),
    }
}
