//! Differences: of what is staged, and between refs.

use std::sync::Arc;

use super::Store;
use super::error::StoreError;
use super::listing::{PageOf, PageRequest, Row};
use super::merges::base_of;
use super::model::Entry;
use super::tree::{Difference, differences, same};

/// What two refs are compared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffForm {
    /// Left with right.
    TwoDot,
    /// Their common ancestor with right.
    ThreeDot,
}

/// One path of a diff.
#[derive(Clone, Debug)]
pub struct DiffRow {
    /// Path.
    pub path: String,
    /// `added`, `removed`, `changed` or `conflict`.
    pub kind: &'static str,
    /// Bytes; of the old version for what was removed.
    pub size: u64,
    /// The version on the right; the old one of what was removed.
    pub shown: Option<Arc<Entry>>,
}

impl DiffRow {
    fn of(difference: &Difference<'_>) -> Self {
        let (left, right) = (difference.left, difference.right);
        let kind = match (left, right) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            _ => "changed",
        };
        Self {
            path: difference.path.to_string(),
            kind,
            size: right.or(left).map_or(0, |entry| entry.size),
            shown: right.or(left).cloned(),
        }
    }
}

impl Store {
    /// What is staged on a branch and differs from its head.
    pub fn uncommitted(
        &self,
        repository: &str,
        name: &str,
        request: &PageRequest,
    ) -> Result<PageOf<Row<DiffRow>>, StoreError> {
        let found = self.state.repository(repository)?;
        let branch = found.branch(name, "branch")?;
        let head = found.at(&branch.head).map_err(|error| error.within("branch", name))?;
        Ok(request.cut(branch.effective(head.tree).map(|(path, staged)| {
            let difference = Difference { path, left: head.tree.get(path), right: staged.as_ref() };
            let mut row = DiffRow::of(&difference);
            if staged.is_none() {
                row.size = 0;
            }
            (path, row)
        })))
    }

    /// The differences between two refs.
    pub fn diff(
        &self,
        repository: &str,
        (left, right): (&str, &str),
        form: DiffForm,
        request: &PageRequest,
    ) -> Result<PageOf<Row<DiffRow>>, StoreError> {
        let found = self.state.repository(repository)?;
        let resolved = found.resolve_commit(left);
        let ours = resolved.map_err(|error| error.within(format!("get commit by branch {left}"), left))?;
        let resolved = found.resolve_commit(right);
        let theirs = resolved.map_err(|error| error.within(format!("get commit by ref {right}"), right))?;
        if form == DiffForm::TwoDot {
            let rows = differences(ours.tree, theirs.tree);
            return Ok(request.cut(rows.map(|difference| (difference.path, DiffRow::of(&difference)))));
        }
        let base = base_of(found, ours.commit, theirs.commit);
        let base = found.at(&base).map_err(|error| error.within("merge base", left))?;
        let rows = differences(base.tree, theirs.tree).filter_map(|difference| {
            let own = ours.tree.get(difference.path);
            if same(own, difference.right) {
                return None;
            }
            let mut row = DiffRow::of(&difference);
            if !same(own, difference.left) {
                row.kind = "conflict";
            }
            Some((difference.path, row))
        });
        Ok(request.cut(rows))
    }
}
