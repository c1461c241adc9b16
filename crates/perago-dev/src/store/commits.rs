//! Commits and logs.

use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use super::error::{RefError, StoreError};
use super::listing::PageOf;
use super::model::{Branch, Commit, Metadata, Repository, Staged};
use super::refs::check_branch_argument;
use super::tree::{Tree, differences, hexadecimal, same};
use super::{Change, Planned, Store, USER};

/// What to commit.
#[derive(Clone, Debug, Default)]
pub struct CommitCreation {
    /// Message.
    pub message: String,
    /// Metadata.
    pub metadata: Metadata,
    /// Its date, if not now, in epoch seconds.
    pub date: Option<i64>,
    /// Whether a commit without a change is made.
    pub allow_empty: bool,
}

/// Which part of a log is asked for.
#[derive(Clone, Debug, Default)]
pub struct LogRequest {
    /// Only what comes after this commit.
    pub after: Option<String>,
    /// Most commits.
    pub amount: usize,
    /// Whether the page is the last one, however many there are.
    pub limit: bool,
    /// Whether only first parents are followed.
    pub first_parent: bool,
    /// The commit to end with.
    pub stop_at: Option<String>,
    /// Only commits that are not older than this, in epoch seconds.
    pub since: Option<i64>,
    /// Only commits that changed one of these paths, or one of the prefixes.
    pub objects: Vec<String>,
    /// Only commits that changed a path below one of these, or one of the objects.
    pub prefixes: Vec<String>,
}

/// What a new commit says about itself.
pub(super) struct Made<'a> {
    pub(super) message: &'a str,
    pub(super) metadata: Metadata,
    pub(super) date: i64,
    pub(super) generation: i64,
}

/// A commit on `parents` with the tree `tree`, made by the user of the store.
pub(super) fn new_commit(parents: &[&Commit], made: Made<'_>, tree: &Tree, repository: &str) -> Commit {
    let mut commit = Commit {
        id: String::new(),
        parents: parents.iter().map(|parent| parent.id.clone()).collect(),
        committer: USER.to_owned(),
        message: made.message.to_owned(),
        creation_date: made.date,
        meta_range_id: tree.id(),
        metadata: made.metadata,
        generation: made.generation,
        version: 1,
    };
    // First commits of two repositories are two commits.
    let text = serde_json::to_string(&(repository, &commit)).unwrap_or_default();
    commit.id = hexadecimal(blake3::hash(text.as_bytes()).as_bytes());
    commit
}

impl Branch {
    /// What is staged and differs from the head's tree.
    pub(super) fn effective<'a>(
        &'a self,
        tree: &'a Tree,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Staged)> {
        self.staged.iter().filter(|(path, staged)| !same(tree.get(path), staged.as_ref()))
    }
}

/// Plans a commit on top of a branch's head; what is staged stays as it is.
pub(super) fn advance(
    repository: &str,
    branch: &str,
    commit: Commit,
    delta: Vec<(Arc<str>, Staged)>,
) -> (Commit, Vec<Change>) {
    let changes = vec![
        Change::Committed { repository: repository.to_owned(), commit: Arc::new(commit.clone()), delta },
        Change::BranchSet {
            repository: repository.to_owned(),
            branch: branch.to_owned(),
            head: commit.id.clone(),
            hidden: false,
        },
    ];
    (commit, changes)
}

impl Store {
    /// Commits everything that is staged on a branch. `run` names the run of the hooks that there are none of.
    pub fn commit(
        &self,
        repository: &str,
        name: &str,
        creation: CommitCreation,
        now: i64,
        run: &str,
    ) -> Planned<Commit> {
        let found = self.state.writable(repository)?;
        check_branch_argument(name, "branch")?;
        let branch = found.branches.get(name).ok_or_else(|| {
            StoreError::missing(format!(
                "prepare-commit hook aborted, run id '{run}': list actions from commit: listing actions: not found"
            ))
        })?;
        if found.is_protected(name) {
            return Err(StoreError::new(403, "cannot commit to protected branch"));
        }
        let head = found.at(&branch.head).map_err(|error| error.within("commit", name))?;
        let delta: Vec<_> =
            branch.effective(head.tree).map(|(path, staged)| (Arc::clone(path), staged.clone())).collect();
        if delta.is_empty() && !creation.allow_empty {
            return Err(StoreError::invalid("commit: no changes"));
        }
        let mut tree = head.tree.clone();
        for (path, staged) in &delta {
            tree.set(path, staged);
        }
        let date = creation.date.unwrap_or(now);
        let generation = head.commit.generation + 1;
        let (message, metadata) = (creation.message.as_str(), creation.metadata);
        let made = Made { message, metadata, date, generation };
        let commit = new_commit(&[head.commit], made, &tree, repository);
        let (commit, mut changes) = advance(repository, name, commit, delta);
        if !branch.staged.is_empty() {
            let (repository, branch) = (repository.to_owned(), name.to_owned());
            changes.push(Change::Unstaged { repository, branch, paths: None });
        }
        Ok((commit, changes))
    }

    /// Shows a commit.
    pub fn commit_at(&self, repository: &str, reference: &str) -> Result<Arc<Commit>, StoreError> {
        let found = self.state.repository(repository)?.resolve(reference).map_err(|error| match error {
            RefError::Missing => StoreError::missing("commit not found"),
            error => error.within("commit", reference),
        })?;
        if found.is_staging {
            let message = "ref: invalid value: validation error: should point to a commit";
            return Err(StoreError::new(500, message));
        }
        Ok(Arc::clone(found.commit))
    }

    /// Lists the commits that lead to a ref, newest first.
    pub fn log(
        &self,
        repository: &str,
        reference: &str,
        request: &LogRequest,
    ) -> Result<PageOf<Arc<Commit>>, StoreError> {
        let found = self.state.repository(repository)?;
        let from = found.resolve_commit(reference).map_err(|error| error.within("ref", reference))?;
        if let Some(after) = &request.after {
            found.resolve_commit(after).map_err(|error| error.within("from ref", after))?;
        }
        let mut page = PageOf { rows: Vec::new(), next: None };
        let mut is_after = request.after.is_none();
        let commits = History::new(found, from.commit, request.first_parent);
        for commit in commits {
            let is_last = request.stop_at.as_ref() == Some(&commit.id);
            let is_old = request.since.is_some_and(|since| commit.creation_date < since);
            if is_after && !is_old && touches(found, commit, request) {
                if page.rows.len() >= request.amount {
                    page.next = page.rows.last().map(|commit: &Arc<Commit>| commit.id.clone());
                    break;
                }
                page.rows.push(Arc::clone(commit));
            }
            is_after |= request.after.as_ref() == Some(&commit.id);
            if is_last {
                break;
            }
        }
        if request.limit {
            page.next = None;
        }
        Ok(page)
    }
}

/// Whether a commit changed a path that is asked for.
fn touches(repository: &Repository, commit: &Commit, request: &LogRequest) -> bool {
    if request.objects.is_empty() && request.prefixes.is_empty() {
        return true;
    }
    let empty = Tree::default();
    let tree = |id: &String| repository.commits.get(id).map_or(&empty, |(_, tree)| tree);
    let (Some(parent), own) = (commit.parents.first(), tree(&commit.id)) else { return false };
    differences(tree(parent), own).any(|difference| {
        request.objects.iter().any(|path| path.as_str() == &**difference.path)
            || request.prefixes.iter().any(|prefix| difference.path.starts_with(prefix.as_str()))
    })
}

/// Walks a history: newest first, equal dates by id from the greatest.
struct History<'a> {
    repository: &'a Repository,
    waiting: BinaryHeap<(i64, &'a str)>,
    seen: BTreeSet<&'a str>,
    first_parent: bool,
}

impl<'a> History<'a> {
    fn new(repository: &'a Repository, from: &'a Commit, first_parent: bool) -> Self {
        let waiting = BinaryHeap::from([(from.creation_date, from.id.as_str())]);
        Self { repository, waiting, seen: BTreeSet::from([from.id.as_str()]), first_parent }
    }
}

impl<'a> Iterator for History<'a> {
    type Item = &'a Arc<Commit>;

    fn next(&mut self) -> Option<&'a Arc<Commit>> {
        let (_, id) = self.waiting.pop()?;
        let (commit, _) = self.repository.commits.get(id)?;
        let followed = if self.first_parent { 1 } else { commit.parents.len() };
        for parent in commit.parents.iter().take(followed) {
            if let Some((parent, _)) = self.repository.commits.get(parent)
                && self.seen.insert(&parent.id)
            {
                self.waiting.push((parent.creation_date, &parent.id));
            }
        }
        Some(commit)
    }
}
