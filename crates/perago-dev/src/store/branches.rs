//! Branches: creation, deletion, resets.

use std::sync::Arc;

use serde::Serialize;

use super::error::StoreError;
use super::listing::{PageOf, PageRequest};
use super::repositories::items;
use super::{Change, Planned, Store};

/// A branch as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BranchRow {
    /// Name.
    pub id: String,
    /// Head.
    pub commit_id: String,
}

/// What to take back of what is staged.
#[derive(Clone, Debug)]
pub enum Reset {
    /// One path.
    Object(String),
    /// Every path that starts so.
    Prefix(String),
    /// Everything.
    All,
}

impl Store {
    /// Shows a branch.
    pub fn branch(&self, repository: &str, name: &str) -> Result<BranchRow, StoreError> {
        let branch = self.state.repository(repository)?.branches.get(name);
        let branch = branch.ok_or_else(StoreError::no_branch)?;
        Ok(BranchRow { id: name.to_owned(), commit_id: branch.head.clone() })
    }

    /// Lists branches.
    pub fn branches(
        &self,
        repository: &str,
        request: &PageRequest,
        hidden_too: bool,
    ) -> Result<PageOf<BranchRow>, StoreError> {
        let branches = self.state.repository(repository)?.branches.iter();
        let shown = branches
            .filter(|(_, branch)| hidden_too || !branch.hidden)
            .map(|(name, branch)| (name, BranchRow { id: name.clone(), commit_id: branch.head.clone() }));
        Ok(items(request.cut(shown)))
    }

    /// Creates a branch; answers the id of its commit.
    pub fn create_branch(&self, repository: &str, name: &str, source: &str, hidden: bool) -> Planned<String> {
        let found = self.state.writable(repository)?;
        if name.is_empty() {
            return Err(StoreError::new(500, "argument branch: required value: validation error"));
        }
        if name.starts_with('-')
            || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
        {
            return Err(StoreError::invalid(
                "argument branch: branch id: invalid value: validation error: branch id must consist of letters, \
                 digits, underscores and dashes, and cannot start with a dash",
            ));
        }
        if found.branches.contains_key(name) {
            return Err(StoreError::new(409, "branch already exists: not unique"));
        }
        if found.tags.contains_key(name) {
            return Err(StoreError::new(409, format!("tag ID {name}: conflict found")));
        }
        let context = format!("source reference '{source}'");
        let resolved = found.resolve(source).map_err(|error| error.within(&context, source))?;
        if resolved.is_staging {
            return Err(StoreError::new(500, format!("{context}: can't create a branch without commit")));
        }
        let head = resolved.commit.id.clone();
        let change = Change::BranchSet {
            repository: repository.to_owned(),
            branch: name.to_owned(),
            head: head.clone(),
            hidden,
        };
        Ok((head, vec![change]))
    }

    /// Deletes a branch with everything staged on it.
    pub fn delete_branch(&self, repository: &str, name: &str) -> Planned<()> {
        let found = self.state.writable(repository)?;
        if found.default_branch == name {
            return Err(StoreError::new(403, "cannot delete repository default branch"));
        }
        found.branches.get(name).ok_or_else(StoreError::no_branch)?;
        let (repository, branch) = (repository.to_owned(), name.to_owned());
        Ok(((), vec![Change::BranchDeleted { repository, branch }]))
    }

    /// Takes back what is staged.
    pub fn reset(&self, repository: &str, name: &str, reset: &Reset) -> Planned<()> {
        let found = self.state.writable(repository)?;
        let branch = found.branch(name, "branch")?;
        if found.is_protected(name) {
            return Err(protected());
        }
        let paths = match reset {
            Reset::All => None,
            Reset::Object(path) => {
                Some(branch.staged.get_key_value(path.as_str()).map(|(path, _)| Arc::clone(path)))
                    .map(|path| path.into_iter().collect())
            }
            Reset::Prefix(prefix) => {
                let paths = branch.staged.keys().filter(|path| path.starts_with(prefix.as_str()));
                Some(paths.cloned().collect())
            }
        };
        let (repository, branch) = (repository.to_owned(), name.to_owned());
        Ok(((), vec![Change::Unstaged { repository, branch, paths }]))
    }

    /// Moves a branch to a commit, whatever is staged on it: that stays.
    pub fn hard_reset(&self, repository: &str, name: &str, reference: &str) -> Planned<()> {
        let found = self.state.writable(repository)?;
        found.branch(name, "branch")?;
        if found.is_protected(name) {
            return Err(StoreError::new(403, "protected branch"));
        }
        let context = format!("hard-reset {name} to {reference}");
        let target = found.resolve_commit(reference).map_err(|error| error.within(context, reference))?;
        let change = Change::BranchSet {
            repository: repository.to_owned(),
            branch: name.to_owned(),
            head: target.commit.id.clone(),
            hidden: false,
        };
        Ok(((), vec![change]))
    }
}

/// The refusal of a direct write to a protected branch.
pub(super) fn protected() -> StoreError {
    StoreError::new(403, "cannot write to protected branch")
}
