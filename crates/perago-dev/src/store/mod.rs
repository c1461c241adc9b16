//! The store: repositories, branches, commits, objects. Synchronous and pure: a request is planned against the
//! state and yields changes; time and randomness are arguments, bytes live elsewhere.
//!
//! Protocol: the recorded exchanges in `tests/fixtures/lakefs`.

use std::collections::HashSet;

mod branches;
mod change;
mod commits;
mod diffs;
mod error;
mod listing;
mod merges;
mod model;
mod objects;
mod refs;
mod repositories;
mod staging;
mod tags;
mod tree;

pub use branches::{BranchRow, Reset};
pub use change::Change;
pub use commits::{CommitCreation, LogRequest};
pub use diffs::{DiffForm, DiffRow};
pub use error::StoreError;
pub use listing::{PageOf, PageRequest, Row};
pub use merges::{CherryPick, Merge, MergeBase, Revert, Strategy};
pub use model::{Commit, Entry, Metadata, Staged, StoredObject};
pub use objects::{DeletionFailure, ObjectRow, Upload};
pub use repositories::{RepositoryCreation, RepositoryView};
pub use staging::{Link, PartReference, bytes_of};
pub use tags::TagView;

pub(crate) use model::State;
pub use tree::hexadecimal;

/// Who makes all commits: the store has one user.
pub const USER: &str = "admin";

/// What a planned request answers, and what it changes.
pub type Planned<T> = Result<(T, Vec<Change>), StoreError>;

/// All repositories with their objects' places.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pub(crate) state: State,
}

impl Store {
    /// An empty store that signs with `key`.
    pub fn new(key: [u8; 32]) -> Self {
        Self { state: State { key, ..State::default() } }
    }

    /// Makes changes that a request planned against this very state, or that were written down before.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.state.apply(change);
        }
    }

    /// The names of all blobs that are still of use.
    pub fn blobs(&self) -> HashSet<&str> {
        self.state.blobs()
    }

    /// The shortest list of changes that leads here from nothing.
    pub fn snapshot(&self) -> Vec<Change> {
        self.state.snapshot()
    }
}
