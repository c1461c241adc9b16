//! What has to be written and deleted so that one tree becomes another. Pure.

use std::collections::BTreeMap;

use crate::manifest::{Edits, Manifest, ObjectIdentity};
use crate::path::RelativePath;

/// What to do to a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Files to upload from the directory.
    pub uploads: Vec<RelativePath>,
    /// Files to delete.
    pub deletes: Vec<RelativePath>,
}

impl Difference {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.uploads.is_empty() && self.deletes.is_empty()
    }

    /// From the tree of the input commit: the edits as they are.
    pub fn from_input(edits: &Edits) -> Self {
        Self { uploads: edits.written.keys().cloned().collect(), deletes: edits.removed.clone() }
    }

    /// From any other tree of the repository to the input's tree with the edits.
    ///
    /// `written` has the content of the edited files, as the store would name it.
    pub fn from_tree(
        tree: &BTreeMap<RelativePath, ObjectIdentity>,
        manifest: &Manifest,
        edits: &Edits,
        written: &BTreeMap<RelativePath, ObjectIdentity>,
    ) -> Self {
        let kept = manifest
            .files
            .iter()
            .filter(|(path, _)| {
                !edits.written.contains_key(*path) && edits.removed.binary_search(path).is_err()
            })
            .map(|(path, entry)| (path, &entry.object));
        let wanted: BTreeMap<&RelativePath, &ObjectIdentity> = kept.chain(written).collect();
        Self {
            uploads: wanted
                .iter()
                .filter(|(path, identity)| tree.get(**path) != Some(**identity))
                .map(|(path, _)| (*path).clone())
                .collect(),
            deletes: tree.keys().filter(|path| !wanted.contains_key(path)).cloned().collect(),
        }
    }
}
