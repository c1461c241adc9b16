//! Merges, reverts and cherry-picks: new commits out of others.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::commits::{Made, advance, new_commit};
use super::error::StoreError;
use super::model::{Branch, Commit, Metadata, Repository, Staged};
use super::refs::Resolved;
use super::tree::{Tree, differences, same};
use super::{Change, Planned, Store, USER};

/// Key of the metadata in which lakeFS notes how conflicts were settled.
const STRATEGY_KEY: &str = ".lakefs.merge.strategy";

/// Who wins where both sides changed a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody: a conflict.
    #[default]
    None,
    /// The source.
    SourceWins,
    /// The destination.
    DestinationWins,
}

/// How to merge.
#[derive(Clone, Debug, Default)]
pub struct Merge {
    /// Message, if not the default one.
    pub message: String,
    /// Metadata.
    pub metadata: Metadata,
    /// Who wins.
    pub strategy: Strategy,
    /// Whether the commit has the destination as its only parent.
    pub squash: bool,
    /// Whether a merge that brings nothing makes a commit.
    pub allow_empty: bool,
}

/// What to revert.
#[derive(Clone, Debug, Default)]
pub struct Revert {
    /// The commit.
    pub reference: String,
    /// Which parent to go back to, from 1; 0 for commits with one.
    pub parent_number: usize,
    /// Whether a revert that changes nothing makes a commit.
    pub allow_empty: bool,
    /// Message, if not the default one.
    pub message: Option<String>,
    /// Metadata.
    pub metadata: Metadata,
}

/// What to pick.
#[derive(Clone, Debug, Default)]
pub struct CherryPick {
    /// The commit.
    pub reference: String,
    /// Which parent to compare it with, from 1; needed for merges.
    pub parent_number: Option<usize>,
    /// Message, if not the commit's own.
    pub message: Option<String>,
    /// Metadata, if not the commit's own.
    pub metadata: Option<Metadata>,
}

/// Where two branches parted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MergeBase {
    #[serde(rename = "base_commit_id")]
    base: String,
    #[serde(rename = "destination_commit_id")]
    destination: String,
    #[serde(rename = "source_commit_id")]
    source: String,
}

/// The changes that lead from one tree to another, applied to a third.
enum Applied {
    Delta(Vec<(Arc<str>, Staged)>),
    Conflict,
}

///
/// Where both sides made the same change, a merge takes the source's version for its place and time.
fn apply_changes(base: &Tree, theirs: &Tree, ours: &Tree, strategy: Strategy, is_merge: bool) -> Applied {
    let mut delta = Vec::new();
    for difference in differences(base, theirs) {
        let own = ours.get(difference.path);
        if same(own, difference.right) {
            if is_merge && own != difference.right {
                delta.push((Arc::clone(difference.path), difference.right.cloned()));
            }
            continue;
        }
        if !same(own, difference.left) {
            match strategy {
                Strategy::None => return Applied::Conflict,
                Strategy::DestinationWins => continue,
                Strategy::SourceWins => {}
            }
        }
        delta.push((Arc::clone(difference.path), difference.right.cloned()));
    }
    Applied::Delta(delta)
}

/// The id of the newest common ancestor of two commits.
pub(super) fn base_of(repository: &Repository, left: &Commit, right: &Commit) -> String {
    let ours = ancestors(repository, left);
    let theirs = ancestors(repository, right);
    let shared = ours.intersection(&theirs).filter_map(|id| repository.commits.get(*id));
    let best = shared.max_by_key(|(commit, _)| (commit.generation, commit.creation_date, &commit.id));
    best.map(|(commit, _)| commit.id.clone()).unwrap_or_default()
}

/// The ids of a commit and everything that leads to it.
fn ancestors<'a>(repository: &'a Repository, from: &'a Commit) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([from.id.as_str()]);
    let mut waiting = vec![from];
    while let Some(commit) = waiting.pop() {
        for parent in &commit.parents {
            if let Some((parent, _)) = repository.commits.get(parent)
                && seen.insert(&parent.id)
            {
                waiting.push(parent);
            }
        }
    }
    seen
}

impl Repository {
    /// A branch without effective staged changes, and its head.
    fn clean(&self, name: &str, argument: &str) -> Result<(&Branch, Resolved<'_>), StoreError> {
        let branch = self.branch(name, argument)?;
        let head = self.at(&branch.head).map_err(|error| error.within("branch", name))?;
        if branch.effective(head.tree).next().is_some() {
            return Err(StoreError::dirty_branch());
        }
        Ok((branch, head))
    }
}

/// Plans a commit that changes a clean branch; staged entries without effect go.
fn extend(
    repository: &str,
    (name, branch): (&str, &Branch),
    (parents, head): (&[&Commit], &Resolved<'_>),
    delta: Vec<(Arc<str>, Staged)>,
    made: Made<'_>,
) -> (Commit, Vec<Change>) {
    let mut tree = head.tree.clone();
    for (path, staged) in &delta {
        tree.set(path, staged);
    }
    let commit = new_commit(parents, made, &tree, repository);
    let (commit, mut changes) = advance(repository, name, commit, delta);
    if !branch.staged.is_empty() {
        let (repository, branch) = (repository.to_owned(), name.to_owned());
        changes.push(Change::Unstaged { repository, branch, paths: None });
    }
    (commit, changes)
}

impl Store {
    /// Merges a ref into a branch; answers the new commit's id.
    pub fn merge(
        &self,
        repository: &str,
        source: &str,
        destination: &str,
        merge: &Merge,
        now: i64,
    ) -> Planned<String> {
        let found = self.state.writable(repository)?;
        let (branch, head) = found.clean(destination, "destination")?;
        let context = format!("update branch {destination}: get commit by ref {source}");
        let theirs = found.resolve_commit(source).map_err(|error| error.within(context, source))?;
        let base = base_of(found, head.commit, theirs.commit);
        let base = found.at(&base).map_err(|error| error.within("merge base", source))?;
        let brings_nothing = base.commit.id == theirs.commit.id || base.tree.id() == theirs.tree.id();
        if brings_nothing && !merge.allow_empty {
            return Err(StoreError::invalid(format!("update branch {destination}: no changes")));
        }
        let delta = match apply_changes(base.tree, theirs.tree, head.tree, merge.strategy, true) {
            Applied::Delta(delta) => delta,
            Applied::Conflict => return Err(StoreError::conflict()),
        };
        let default = format!("Merge '{source}' into '{destination}'");
        let message = if merge.message.is_empty() { &default } else { &merge.message };
        let mut metadata = merge.metadata.clone();
        let strategy = match merge.strategy {
            Strategy::None => "default",
            Strategy::SourceWins => "source-wins",
            Strategy::DestinationWins => "dest-wins",
        };
        metadata.insert(STRATEGY_KEY.to_owned(), strategy.to_owned());
        let parents: &[&Commit] = if merge.squash { &[head.commit] } else { &[head.commit, theirs.commit] };
        // A squash counts the generations of the commits that it hides.
        let generation = head.commit.generation.max(theirs.commit.generation) + 1;
        let made = Made { message, metadata, date: now, generation };
        let (commit, changes) = extend(repository, (destination, branch), (parents, &head), delta, made);
        Ok((commit.id, changes))
    }

    /// Where two refs parted.
    pub fn merge_base(
        &self,
        repository: &str,
        source: &str,
        destination: &str,
    ) -> Result<MergeBase, StoreError> {
        let found = self.state.repository(repository)?;
        let context = format!("get commit by branch {source}");
        let theirs = found.resolve_commit(source).map_err(|error| error.within(context, source))?;
        let context = format!("get commit by ref {destination}");
        let ours = found.resolve_commit(destination);
        let ours = ours.map_err(|error| error.within(context, destination))?;
        Ok(MergeBase {
            base: base_of(found, ours.commit, theirs.commit),
            // The server names the two the wrong way round, and so do we.
            destination: theirs.commit.id.clone(),
            source: ours.commit.id.clone(),
        })
    }

    /// Takes the changes of a commit back by a new one.
    pub fn revert(&self, repository: &str, name: &str, revert: &Revert, now: i64) -> Planned<()> {
        let found = self.state.writable(repository)?;
        let (branch, head) = found.clean(name, "branch")?;
        let reference = &revert.reference;
        let context = format!("get commit from ref {reference}");
        let undone = found.resolve_commit(reference).map_err(|error| error.within(context, reference))?;
        let parents = &undone.commit.parents;
        let number = match revert.parent_number {
            0 if parents.len() > 1 => {
                let message = "must specify 1-based parent number for reverting merge commit";
                return Err(StoreError::new(409, message));
            }
            0 => 1,
            number => number,
        };
        let parent = parent(found, undone.commit, number)?;
        let delta = match apply_changes(undone.tree, parent.tree, head.tree, Strategy::None, false) {
            Applied::Delta(delta) => delta,
            Applied::Conflict => return Err(StoreError::new(409, "update branch: conflict found")),
        };
        if delta.is_empty() && !revert.allow_empty {
            return Err(StoreError::invalid("update branch: no changes"));
        }
        let default = format!("Revert {reference}");
        let message = revert.message.as_deref().unwrap_or(&default);
        let generation = head.commit.generation + 1;
        let made = Made { message, metadata: revert.metadata.clone(), date: now, generation };
        let (_, changes) = extend(repository, (name, branch), (&[head.commit], &head), delta, made);
        Ok(((), changes))
    }

    /// Repeats the changes of a commit on a branch.
    pub fn cherry_pick(&self, repository: &str, name: &str, pick: &CherryPick, now: i64) -> Planned<Commit> {
        let found = self.state.writable(repository)?;
        let (branch, head) = found.clean(name, "branch")?;
        let reference = &pick.reference;
        let context = format!("get commit from ref {reference}");
        let picked = found.resolve_commit(reference).map_err(|error| error.within(context, reference))?;
        let number = match pick.parent_number {
            None if picked.commit.parents.len() > 1 => {
                let message = "must specify 1-based parent number for cherry-picking merge commit";
                return Err(StoreError::invalid(message));
            }
            number => number.unwrap_or(1),
        };
        let parent = parent(found, picked.commit, number)?;
        let delta = match apply_changes(parent.tree, picked.tree, head.tree, Strategy::None, false) {
            Applied::Delta(delta) => delta,
            Applied::Conflict => return Err(StoreError::new(409, "update branch: conflict found")),
        };
        let mut metadata = pick.metadata.clone().unwrap_or_else(|| picked.commit.metadata.clone());
        metadata.insert("cherry-pick-origin".to_owned(), picked.commit.id.clone());
        metadata.insert("cherry-pick-committer".to_owned(), USER.to_owned());
        let message = pick.message.as_deref().unwrap_or(&picked.commit.message);
        let generation = head.commit.generation + 1;
        let made = Made { message, metadata, date: now, generation };
        Ok(extend(repository, (name, branch), (&[head.commit], &head), delta, made))
    }
}

/// A commit's parent by its number from 1.
fn parent<'a>(
    repository: &'a Repository,
    commit: &Commit,
    number: usize,
) -> Result<Resolved<'a>, StoreError> {
    let id = number.checked_sub(1).and_then(|index| commit.parents.get(index)).ok_or_else(|| {
        let message = format!("given commit does not have the given parent number: parent {number}");
        StoreError::invalid(message)
    })?;
    repository.at(id).map_err(|error| error.within("parent", id))
}
