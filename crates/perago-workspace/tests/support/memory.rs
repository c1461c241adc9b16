//! The repository in memory: branches, commits, three-way merges, reverts; faults and foreign writers by a script.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use perago_workspace::{
    Branch, ByteStream, Commit, CommitText, ObjectEntry, Page, Repository, StoreError, StoreErrorKind,
    UploadSource,
};

const PAGE: usize = 7;

/// The content of a commit or branch: key to bytes.
pub type Tree = BTreeMap<String, Bytes>;

/// What happens at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails without effect.
    Refused(StoreErrorKind),
    /// The call has its effect and its reply is lost.
    ReplyLost,
}

/// Anything done to the repository just before a call.
type Interference = Box<dyn FnMut(&mut State, &Call) -> Option<Fault> + Send>;

/// Decides how a read goes.
type ReadScript = Box<dyn FnMut(&ObjectEntry, &[u8]) -> ReadPlan + Send>;

/// One call as a script sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number, from 0, over all calls of this repository.
    pub number: usize,
    /// The method.
    pub name: &'static str,
    /// The branch, reference or key that it is about.
    pub about: String,
}

/// Everything the repository holds.
#[derive(Default)]
pub struct State {
    branches: BTreeMap<String, Line>,
    commits: HashMap<String, (Commit, Tree)>,
    protected: BTreeSet<String>,
    claimed_sizes: BTreeMap<String, u64>,
    calls: Vec<Call>,
    bytes_read: u64,
}

struct Line {
    head: String,
    staged: Option<Tree>,
}

/// A repository in memory.
pub struct MemoryRepository {
    state: Mutex<State>,
    interference: Mutex<Option<Interference>>,
    reading: Mutex<Option<ReadScript>>,
}

/// How one read goes.
pub enum ReadPlan {
    /// As it should.
    Whole,
    /// It breaks after so many bytes.
    BreaksAfter(usize),
    /// It ends after so many bytes as if that were all.
    EndsAfter(usize),
    /// It never goes on after so many bytes.
    StallsAfter(usize),
    /// Other bytes arrive.
    Delivers(Vec<u8>),
}

/// The bytes of one read.
pub struct MemoryStream {
    rest: Bytes,
    left: usize,
    then: Then,
}

enum Then {
    End,
    Break,
    Stall,
}

impl ByteStream for MemoryStream {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.left == 0 {
            return match self.then {
                Then::End => Ok(None),
                Then::Break => Err(fault(StoreErrorKind::Lost, "the connection broke")),
                Then::Stall => std::future::pending().await,
            };
        }
        let length = self.left.min(1000);
        self.left -= length;
        Ok(Some(self.rest.split_to(length)))
    }
}

impl State {
    /// Commits files directly to a branch, as another writer would; `None` deletes.
    pub fn foreign_commit(&mut self, branch: &str, files: &[(&str, Option<&str>)], by: &str) -> String {
        let head = self.branches[branch].head.clone();
        let mut tree = self.commits[&head].1.clone();
        apply(&mut tree, files);
        let text = CommitText { message: "theirs".to_owned(), metadata: BTreeMap::new() };
        self.add_commit(branch, vec![head], by, &text, tree)
    }

    /// Leaves something uncommitted on a branch.
    pub fn foreign_upload(&mut self, branch: &str, key: &str, content: &str) {
        let mut tree = self.working_tree(branch);
        tree.insert(key.to_owned(), Bytes::copy_from_slice(content.as_bytes()));
        self.branches.get_mut(branch).unwrap().staged = Some(tree);
    }

    /// Protects a branch against merges.
    pub fn protect(&mut self, branch: &str) {
        self.protected.insert(branch.to_owned());
    }

    /// Lets listings show another size of an object than it has.
    pub fn claim_size(&mut self, key: &str, size: u64) {
        self.claimed_sizes.insert(key.to_owned(), size);
    }

    /// The first-parent history of a branch, newest first.
    pub fn log(&self, branch: &str) -> Vec<Commit> {
        let mut log = Vec::new();
        let mut next = Some(self.branches[branch].head.clone());
        while let Some(id) = next {
            let commit = self.commits[&id].0.clone();
            next = commit.parents.first().cloned();
            log.push(commit);
        }
        log
    }

    /// What a commit holds.
    pub fn tree(&self, commit: &str) -> Tree {
        self.commits[commit].1.clone()
    }

    /// The head of a branch.
    pub fn head(&self, branch: &str) -> String {
        self.branches[branch].head.clone()
    }

    /// The names of all branches.
    pub fn branch_names(&self) -> Vec<String> {
        self.branches.keys().cloned().collect()
    }

    /// All calls so far.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Bytes of objects that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn working_tree(&self, branch: &str) -> Tree {
        let line = &self.branches[branch];
        line.staged.clone().unwrap_or_else(|| self.commits[&line.head].1.clone())
    }

    fn line(&mut self, branch: &str) -> Result<&mut Line, StoreError> {
        self.branches
            .get_mut(branch)
            .ok_or_else(|| fault(StoreErrorKind::NotFound, &format!("branch {branch} not found")))
    }

    fn resolve(&self, reference: &str) -> Result<String, StoreError> {
        if let Some(line) = self.branches.get(reference) {
            return Ok(line.head.clone());
        }
        if self.commits.contains_key(reference) {
            return Ok(reference.to_owned());
        }
        Err(fault(StoreErrorKind::NotFound, &format!("{reference} not found")))
    }

    fn add_commit(
        &mut self,
        branch: &str,
        parents: Vec<String>,
        by: &str,
        text: &CommitText,
        tree: Tree,
    ) -> String {
        let id = format!("{:064x}", self.commits.len());
        let commit = Commit {
            id: id.clone(),
            parents,
            committer: by.to_owned(),
            message: text.message.clone(),
            created_at: 0,
            metadata: text.metadata.clone(),
        };
        self.commits.insert(id.clone(), (commit, tree));
        let line = self
            .branches
            .entry(branch.to_owned())
            .or_insert_with(|| Line { head: String::new(), staged: None });
        line.head.clone_from(&id);
        line.staged = None;
        id
    }

    fn ancestors(&self, of: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![of.to_owned()];
        while let Some(id) = open.pop() {
            if !found.contains(&id) {
                open.extend(self.commits[&id].0.parents.iter().cloned());
                found.push(id);
            }
        }
        found
    }

    // The common ancestor with the longest history, which is enough for histories without criss-cross merges.
    fn merge_base(&self, left: &str, right: &str) -> String {
        let right = self.ancestors(right);
        let common = self.ancestors(left).into_iter().filter(|id| right.contains(id));
        common.max_by_key(|id| self.ancestors(id).len()).expect("all histories start at one commit")
    }

    fn three_way(&self, base: &str, source: &str, destination: &str) -> Result<Tree, Vec<String>> {
        let [base, source, destination] = [base, source, destination].map(|id| &self.commits[id].1);
        let keys: BTreeSet<&String> = base.keys().chain(source.keys()).chain(destination.keys()).collect();
        let (mut merged, mut conflicts) = (Tree::new(), Vec::new());
        for key in keys {
            let [old, theirs, ours] = [base.get(key), source.get(key), destination.get(key)];
            let result = match (theirs == ours, old == theirs, old == ours) {
                (true, ..) | (false, true, _) => ours,
                (false, false, true) => theirs,
                (false, false, false) => {
                    conflicts.push(key.clone());
                    None
                }
            };
            merged.extend(result.map(|content| (key.clone(), content.clone())));
        }
        if conflicts.is_empty() { Ok(merged) } else { Err(conflicts) }
    }

    fn merge(&mut self, source: &str, destination: &str, text: &CommitText) -> Result<String, StoreError> {
        if !self.branches.contains_key(destination) {
            return Err(fault(StoreErrorKind::NotFound, "branch not found"));
        }
        if self.protected.contains(destination) {
            return Err(fault(StoreErrorKind::Forbidden, "the branch is protected"));
        }
        let source = self.resolve(source)?;
        let head = self.head(destination);
        if self.working_tree(destination) != self.commits[&head].1 {
            return Err(fault(StoreErrorKind::Dirty, "uncommitted changes (dirty branch)"));
        }
        let base = self.merge_base(&source, &head);
        if base == source {
            return Err(fault(StoreErrorKind::NoChanges, "no changes"));
        }
        let tree = self
            .three_way(&base, &source, &head)
            .map_err(|_| fault(StoreErrorKind::Conflict, "conflict found"))?;
        Ok(self.add_commit(destination, vec![head, source], "admin", text, tree))
    }

    fn revert(&mut self, branch: &str, commit: &str, text: &CommitText) -> Result<(), StoreError> {
        let head = self.line(branch)?.head.clone();
        if self.working_tree(branch) != self.commits[&head].1 {
            return Err(fault(StoreErrorKind::Dirty, "uncommitted changes (dirty branch)"));
        }
        let parent = self.commits[commit].0.parents[0].clone();
        let tree = self
            .three_way(commit, &parent, &head)
            .map_err(|_| fault(StoreErrorKind::Conflict, "conflict found"))?;
        if tree == self.commits[&head].1 {
            return Err(fault(StoreErrorKind::NoChanges, "no changes"));
        }
        self.add_commit(branch, vec![head], "admin", text, tree);
        Ok(())
    }
}

impl MemoryRepository {
    /// A repository whose branch `main` holds these files in one commit.
    pub fn new(files: &[(&str, &str)]) -> (Self, String) {
        let mut state = State::default();
        let text = CommitText { message: "base".to_owned(), metadata: BTreeMap::new() };
        let root = state.add_commit("main", Vec::new(), "admin", &text, Tree::new());
        let mut tree = Tree::new();
        let files: Vec<(&str, Option<&str>)> =
            files.iter().map(|&(key, content)| (key, Some(content))).collect();
        apply(&mut tree, &files);
        let head = state.add_commit("main", vec![root], "admin", &text, tree);
        let repository =
            Self { state: Mutex::new(state), interference: Mutex::new(None), reading: Mutex::new(None) };
        (repository, head)
    }

    /// What it holds.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What the head of `main` holds.
    pub fn main(&self) -> Tree {
        let state = self.state();
        state.tree(&state.head("main"))
    }

    /// How many commits `main` has above this one.
    pub fn commits_above(&self, commit: &str) -> usize {
        self.state().log("main").iter().take_while(|above| above.id != commit).count()
    }

    /// Runs `interference` just before every call; what it returns happens to the call.
    pub fn interfere(&self, interference: impl FnMut(&mut State, &Call) -> Option<Fault> + Send + 'static) {
        *self.interference.lock().unwrap() = Some(Box::new(interference));
    }

    /// Lets everything go well from now on.
    pub fn behave(&self) {
        *self.interference.lock().unwrap() = None;
        *self.reading.lock().unwrap() = None;
    }

    /// Decides how reads go; the bytes are those that were asked for.
    pub fn plan_reads(&self, plan: impl FnMut(&ObjectEntry, &[u8]) -> ReadPlan + Send + 'static) {
        *self.reading.lock().unwrap() = Some(Box::new(plan));
    }

    fn call<T>(
        &self,
        name: &'static str,
        about: &str,
        work: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state();
        let call = Call { number: state.calls.len(), name, about: about.to_owned() };
        state.calls.push(call.clone());
        let planned = self.interference.lock().unwrap().as_mut().and_then(|run| run(&mut state, &call));
        match planned {
            Some(Fault::Refused(kind)) => Err(fault(kind, &format!("{name} was refused"))),
            Some(Fault::ReplyLost) => {
                let _ = work(&mut state);
                Err(fault(StoreErrorKind::Lost, &format!("the reply of {name} was lost")))
            }
            None => work(&mut state),
        }
    }
}

impl Repository for MemoryRepository {
    type Stream = MemoryStream;

    fn identity(&self) -> String {
        "memory".to_owned()
    }

    async fn objects(
        &self,
        reference: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page<ObjectEntry>, StoreError> {
        self.call("objects", reference, |state| {
            let tree = &state.commits[&state.resolve(reference)?].1;
            let matching = tree
                .iter()
                .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
            let shown = matching.map(|(key, content)| {
                let entry = entry(key, content);
                let size = state.claimed_sizes.get(key).copied().unwrap_or(entry.size);
                ObjectEntry { size, ..entry }
            });
            let items: Vec<ObjectEntry> = shown.take(PAGE + 1).collect();
            Ok(page(items, |item| item.key.clone()))
        })
    }

    async fn read(
        &self,
        _reference: &str,
        object: &ObjectEntry,
        range: Option<Range<u64>>,
    ) -> Result<MemoryStream, StoreError> {
        self.call("read", &object.key, |state| {
            let mut trees = state.commits.values().filter_map(|(_, tree)| tree.get(&object.key));
            let content = trees
                .find(|content| address(content) == object.physical_address)
                .cloned()
                .ok_or_else(|| fault(StoreErrorKind::Damaged, "no data"))?;
            let range = range.unwrap_or(0..content.len() as u64);
            let wanted = content.slice(range.start as usize..range.end as usize);
            let plan =
                self.reading.lock().unwrap().as_mut().map_or(ReadPlan::Whole, |plan| plan(object, &wanted));
            let (rest, left, then) = match plan {
                ReadPlan::Whole => (wanted.clone(), wanted.len(), Then::End),
                ReadPlan::BreaksAfter(left) => (wanted.clone(), left.min(wanted.len()), Then::Break),
                ReadPlan::EndsAfter(left) => (wanted.clone(), left.min(wanted.len()), Then::End),
                ReadPlan::StallsAfter(left) => (wanted.clone(), left.min(wanted.len()), Then::Stall),
                ReadPlan::Delivers(bytes) => (Bytes::from(bytes.clone()), bytes.len(), Then::End),
            };
            state.bytes_read += left as u64;
            Ok(MemoryStream { rest, left, then })
        })
    }

    async fn upload(
        &self,
        branch: &str,
        key: &str,
        source: &UploadSource,
    ) -> Result<ObjectEntry, StoreError> {
        self.call("upload", key, |state| {
            state.line(branch)?;
            let mut content = vec![0; source.size as usize];
            source.file.read_exact_at(&mut content, 0).unwrap();
            let mut tree = state.working_tree(branch);
            let uploaded = entry(key, &content);
            tree.insert(key.to_owned(), content.into());
            state.line(branch)?.staged = Some(tree);
            Ok(uploaded)
        })
    }

    async fn delete(&self, branch: &str, keys: &[String]) -> Result<(), StoreError> {
        assert!(keys.len() <= 1000);
        self.call("delete", branch, |state| {
            state.line(branch)?;
            let mut tree = state.working_tree(branch);
            tree.retain(|key, _| !keys.contains(key));
            state.line(branch)?.staged = Some(tree);
            Ok(())
        })
    }

    async fn head(&self, branch: &str) -> Result<String, StoreError> {
        self.call("head", branch, |state| Ok(state.line(branch)?.head.clone()))
    }

    async fn branches(&self, prefix: &str, after: Option<&str>) -> Result<Page<Branch>, StoreError> {
        self.call("branches", prefix, |state| {
            let matching = state.branches.iter().filter(|(name, _)| {
                name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after)
            });
            let items = matching
                .map(|(name, line)| Branch { name: name.clone(), head: line.head.clone() })
                .take(PAGE + 1)
                .collect();
            Ok(page(items, |item: &Branch| item.name.clone()))
        })
    }

    async fn create_branch(&self, name: &str, source: &str) -> Result<(), StoreError> {
        self.call("create_branch", name, |state| {
            if state.branches.contains_key(name) {
                return Err(fault(StoreErrorKind::AlreadyExists, "branch already exists"));
            }
            let head = state.resolve(source)?;
            state.branches.insert(name.to_owned(), Line { head, staged: None });
            Ok(())
        })
    }

    async fn delete_branch(&self, name: &str) -> Result<(), StoreError> {
        self.call("delete_branch", name, |state| {
            state.line(name)?;
            state.branches.remove(name);
            Ok(())
        })
    }

    async fn commit_of(&self, reference: &str) -> Result<Commit, StoreError> {
        self.call("commit_of", reference, |state| Ok(state.commits[&state.resolve(reference)?].0.clone()))
    }

    async fn history(&self, reference: &str, after: Option<&str>) -> Result<Page<Commit>, StoreError> {
        self.call("history", reference, |state| {
            let mut items = Vec::new();
            let mut next = Some(state.resolve(reference)?);
            while let Some(id) = next {
                let commit = state.commits[&id].0.clone();
                next = commit.parents.first().cloned();
                items.push(commit);
            }
            let start =
                after.map_or(0, |after| items.iter().position(|commit| commit.id == after).unwrap() + 1);
            Ok(page(items.into_iter().skip(start).take(PAGE + 1).collect(), |item| item.id.clone()))
        })
    }

    async fn commit(&self, branch: &str, text: &CommitText) -> Result<String, StoreError> {
        self.call("commit", branch, |state| {
            let head = state.line(branch)?.head.clone();
            let tree = state.working_tree(branch);
            if tree == state.commits[&head].1 {
                return Err(fault(StoreErrorKind::NoChanges, "no changes"));
            }
            Ok(state.add_commit(branch, vec![head], "admin", text, tree))
        })
    }

    async fn merge(
        &self,
        source: &str,
        destination: &str,
        text: &CommitText,
        _limit: Duration,
    ) -> Result<String, StoreError> {
        self.call("merge", destination, |state| state.merge(source, destination, text))
    }

    async fn revert_merge(&self, branch: &str, commit: &str, text: &CommitText) -> Result<(), StoreError> {
        self.call("revert_merge", branch, |state| state.revert(branch, commit, text))
    }

    async fn conflicts(
        &self,
        destination: &str,
        source: &str,
        prefix: &str,
    ) -> Result<Vec<String>, StoreError> {
        self.call("conflicts", destination, |state| {
            let (source, head) = (state.resolve(source)?, state.resolve(destination)?);
            let base = state.merge_base(&source, &head);
            let conflicts = state.three_way(&base, &source, &head).err().unwrap_or_default();
            Ok(conflicts.into_iter().filter(|key| key.starts_with(prefix)).collect())
        })
    }
}

fn apply(tree: &mut Tree, files: &[(&str, Option<&str>)]) {
    for (key, content) in files {
        match content {
            Some(content) => tree.insert((*key).to_owned(), Bytes::copy_from_slice(content.as_bytes())),
            None => tree.remove(*key),
        };
    }
}

fn entry(key: &str, content: &[u8]) -> ObjectEntry {
    ObjectEntry {
        key: key.to_owned(),
        size: content.len() as u64,
        checksum: md5_of(content),
        physical_address: address(content),
        access: None,
    }
}

fn address(content: &[u8]) -> String {
    format!("memory://{}", md5_of(content))
}

/// The MD5 of some bytes in hex.
pub fn md5_of(content: &[u8]) -> String {
    use md5::{Digest, Md5};

    Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<String>>().concat()
}

fn page<T>(mut items: Vec<T>, name: impl Fn(&T) -> String) -> Page<T> {
    let has_more = items.len() > PAGE;
    items.truncate(PAGE);
    let next = if has_more { items.last().map(name) } else { None };
    Page { items, next }
}

fn fault(kind: StoreErrorKind, message: &str) -> StoreError {
    StoreError::new(kind, message)
}
