//! The first-parent history of a branch, and what it says about our own work and that of others. Pure.

use crate::stamp::{CommitStamp, Epoch, Work};
use crate::store::{Commit, CommitId};

/// The commits of a branch above the input commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The head of the branch.
    pub head: CommitId,
    /// Newest first, from the head down to the input commit, without that one.
    pub commits: Vec<Commit>,
    /// Whether the input commit was reached; if not, the commits end somewhere below.
    pub reaches_input: bool,
    /// The input commit.
    pub input: CommitId,
}

impl History {
    /// The commits above `lower`; `None` when it is not in this history.
    pub fn since(&self, lower: &str) -> Option<Self> {
        let end = match self.commits.iter().position(|commit| commit.id == lower) {
            Some(end) => end,
            None if self.reaches_input && self.input == lower => self.commits.len(),
            None => return None,
        };
        Some(self.part(0, end))
    }

    /// The commits below `upper` and above `lower`; `None` when one of them is not in this history.
    pub fn between(&self, upper: &str, lower: &str) -> Option<Self> {
        let since = self.since(lower)?;
        let start = since.commits.iter().position(|commit| commit.id == upper)? + 1;
        Some(since.part(start, since.commits.len()))
    }

    /// The merge commit that brought `staged` in.
    pub fn merge_of(&self, staged: &str) -> Option<&Commit> {
        self.commits.iter().find(|commit| commit.parents.get(1).is_some_and(|parent| parent == staged))
    }

    fn part(&self, start: usize, end: usize) -> Self {
        Self {
            head: self.commits.get(start).map_or_else(|| self.input.clone(), |commit| commit.id.clone()),
            commits: self.commits[start..end].to_vec(),
            reaches_input: true,
            input: self.input.clone(),
        }
    }
}

/// One of our own merges on the branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnMerge {
    /// The merge commit.
    pub commit: CommitId,
    /// What it brought in.
    pub staged: CommitId,
}

/// What a history holds, as one piece of work sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walk {
    /// The newest commit of anybody else.
    pub newest_foreign: Option<Commit>,
    /// How many commits of others there are.
    pub foreign_count: usize,
    /// Whether a commit of this work is there.
    pub has_own: bool,
    /// The newest merge of this work, unless a revert of this work lies above it.
    pub newest_own_merge: Option<OwnMerge>,
    newest_epoch: Option<Epoch>,
}

impl Walk {
    /// Looks through a history.
    pub fn of(history: &History, work: &Work) -> Self {
        let mut walk = Self::default();
        let mut is_reverted = false;
        for commit in &history.commits {
            let Some(stamp) = CommitStamp::of(commit).filter(|stamp| stamp.work == *work) else {
                walk.foreign_count += 1;
                walk.newest_foreign.get_or_insert_with(|| commit.clone());
                continue;
            };
            walk.has_own = true;
            walk.newest_epoch = walk.newest_epoch.max(Some(stamp.epoch));
            match commit.parents.get(1) {
                None => is_reverted = true,
                Some(staged) if !is_reverted && walk.newest_own_merge.is_none() => {
                    walk.newest_own_merge =
                        Some(OwnMerge { commit: commit.id.clone(), staged: staged.clone() });
                }
                Some(_) => {}
            }
        }
        walk
    }

    /// Whether a newer attempt at this work has committed.
    pub fn has_newer_than(&self, epoch: Epoch) -> bool {
        self.newest_epoch > Some(epoch)
    }
}
