//! Objects: lists, looks, writes, deletions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::branches::protected;
use super::error::{RefError, StoreError};
use super::listing::{PageOf, PageRequest, Row};
use super::model::{Entry, Metadata, Repository, Staged, StoredObject};
use super::refs::{Resolved, check_branch_argument};
use super::tree::Tree;
use super::{Change, Planned, Store};

/// Longest path in bytes.
pub(super) const LONGEST_PATH: usize = 1024;
/// Most paths of one deletion.
const MOST_DELETIONS: usize = 1000;

/// A write of one object, its bytes being stored already.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Where the bytes will be found.
    pub address: String,
    /// What they are.
    pub object: StoredObject,
    /// Content type.
    pub content_type: String,
    /// Metadata.
    pub metadata: Metadata,
    /// Whether an object at the path is a refusal.
    pub only_if_absent: bool,
}

/// One path that was not deleted.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DeletionFailure {
    message: String,
    path: String,
    status_code: u16,
}

/// A row of a list: a path with its version, or what several paths share.
pub type ObjectRow = Row<(String, Arc<Entry>)>;

impl Resolved<'_> {
    /// The version that a path shows, what is staged first.
    pub(super) fn entry(&self, path: &str) -> Option<&Arc<Entry>> {
        match self.branch.and_then(|branch| branch.staged.get(path)) {
            Some(staged) => staged.as_ref(),
            None => self.tree.get(path),
        }
    }
}

impl Repository {
    pub(super) fn objects_at(&self, reference: &str) -> Result<Resolved<'_>, StoreError> {
        self.resolve(reference).map_err(|error| match error {
            RefError::Invalid(message) => StoreError::new(500, message),
            _ => StoreError::missing("not found"),
        })
    }

    /// A branch that takes direct writes; `missing` is what lakeFS says where there is none.
    pub(super) fn writable(
        &self,
        name: &str,
        argument: &str,
        missing: impl FnOnce() -> StoreError,
    ) -> Result<Resolved<'_>, StoreError> {
        check_branch_argument(name, argument)?;
        let branch = self.branches.get(name).ok_or_else(missing)?;
        if self.is_protected(name) {
            return Err(protected());
        }
        let head = self.at(&branch.head).map_err(|error| error.within("branch", name))?;
        Ok(Resolved { branch: Some(branch), ..head })
    }
}

impl Store {
    /// Lists the objects of a ref; a bare branch name shows what is staged as well.
    pub fn list(
        &self,
        repository: &str,
        reference: &str,
        request: &PageRequest,
    ) -> Result<PageOf<ObjectRow>, StoreError> {
        let found = self.state.repository(repository)?.objects_at(reference)?;
        let none = BTreeMap::new();
        let staged = found.branch.map_or(&none, |branch| &branch.staged);
        let start = request.start();
        Ok(request.cut(
            overlay(found.tree, staged, start)
                .map(|(path, entry)| (path, (path.to_string(), Arc::clone(entry)))),
        ))
    }

    /// Looks at an object.
    pub fn entry(&self, repository: &str, reference: &str, path: &str) -> Result<Arc<Entry>, StoreError> {
        let found = self.state.repository(repository)?.objects_at(reference)?;
        found.entry(path).cloned().ok_or_else(|| StoreError::missing("not found"))
    }

    /// What is known about the bytes at an address.
    pub fn object(&self, address: &str) -> Option<&StoredObject> {
        self.state.objects.get(address)
    }

    /// Checks that an upload to a path of a branch can begin.
    pub fn check_upload(&self, repository: &str, branch: &str, path: &str) -> Result<(), StoreError> {
        check_path(path)?;
        let unknown = || StoreError::missing(format!("branch '{branch}' not found"));
        self.state.writable(repository)?.writable(branch, "name", unknown).map(drop)
    }

    /// Stages a written object on a branch.
    pub fn upload(
        &self,
        repository: &str,
        branch: &str,
        path: &str,
        upload: Upload,
        now: i64,
    ) -> Planned<Arc<Entry>> {
        self.check_upload(repository, branch, path)?;
        let found = self.state.writable(repository)?;
        let head = found.writable(branch, "name", StoreError::no_branch)?;
        if upload.only_if_absent && head.entry(path).is_some() {
            return Err(StoreError::new(412, "path already exists"));
        }
        let entry = Arc::new(Entry {
            address: upload.address.clone(),
            checksum: upload.object.tag.clone(),
            size: upload.object.size,
            mtime: now,
            content_type: upload.content_type,
            metadata: upload.metadata,
        });
        let changes = vec![
            Change::ObjectStored { address: upload.address, object: upload.object },
            stage(repository, branch, [(path, Some(Arc::clone(&entry)))]),
        ];
        Ok((entry, changes))
    }

    /// Stages a copy of an object, whose bytes are shared under a new address.
    pub fn copy(
        &self,
        repository: &str,
        branch: &str,
        destination: &str,
        (source_reference, source_path): (&str, &str),
        (address, now): (&str, i64),
    ) -> Planned<Arc<Entry>> {
        self.check_upload(repository, branch, destination)?;
        let source = self.entry(repository, source_reference, source_path)?;
        let object = self.state.objects.get(&source.address);
        let object = object.ok_or_else(|| StoreError::new(410, "No data"))?.clone();
        let entry = Arc::new(Entry { address: address.to_owned(), mtime: now, ..Entry::clone(&source) });
        let changes = vec![
            Change::ObjectStored { address: address.to_owned(), object },
            stage(repository, branch, [(destination, Some(Arc::clone(&entry)))]),
        ];
        Ok((entry, changes))
    }

    /// Replaces the metadata of an object.
    pub fn set_metadata(
        &self,
        repository: &str,
        branch: &str,
        path: &str,
        metadata: Metadata,
    ) -> Planned<()> {
        let found = self.state.writable(repository)?;
        let head = found.writable(branch, "branch", StoreError::no_branch)?;
        let old = head.entry(path).ok_or_else(|| StoreError::missing("not found"))?;
        let entry = Arc::new(Entry { metadata, ..Entry::clone(old) });
        Ok(((), vec![stage(repository, branch, [(path, Some(entry))])]))
    }

    /// Stages the removal of an object; an absent one is no refusal.
    pub fn delete_object(&self, repository: &str, branch: &str, path: &str) -> Planned<()> {
        let found = self.state.writable(repository)?;
        let head = found.writable(branch, "branch", StoreError::no_branch)?;
        Ok(((), removal(repository, branch, &head, [path])))
    }

    /// Stages the removal of many objects; what goes wrong with one path is said for it alone.
    pub fn delete_objects(
        &self,
        repository: &str,
        branch: &str,
        paths: &[String],
    ) -> Planned<Vec<DeletionFailure>> {
        if paths.len() > MOST_DELETIONS {
            let message = format!("request size exceeded, max paths is set to {MOST_DELETIONS}");
            return Err(StoreError::invalid(message));
        }
        let found = self.state.writable(repository)?;
        match found.writable(branch, "branch", StoreError::no_branch) {
            Ok(head) => {
                let paths = paths.iter().map(String::as_str);
                Ok((Vec::new(), removal(repository, branch, &head, paths)))
            }
            // The paths of a branch that is not there are absent paths.
            Err(error) if error.status == 404 => Ok((Vec::new(), Vec::new())),
            Err(error) if error.status == 403 => {
                let failures = paths.iter().map(|path| DeletionFailure {
                    message: error.message.clone().unwrap_or_default(),
                    path: path.clone(),
                    status_code: error.status,
                });
                Ok((failures.collect(), Vec::new()))
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn check_path(path: &str) -> Result<(), StoreError> {
    if path.len() > LONGEST_PATH {
        return Err(StoreError::invalid(format!(
            "argument path: invalid value: validation error: {} is above maximum length ({LONGEST_PATH})",
            path.len()
        )));
    }
    Ok(())
}

pub(super) fn stage<'a>(
    repository: &str,
    branch: &str,
    entries: impl IntoIterator<Item = (&'a str, Staged)>,
) -> Change {
    Change::Staged {
        repository: repository.to_owned(),
        branch: branch.to_owned(),
        entries: entries.into_iter().map(|(path, staged)| (Arc::from(path), staged)).collect(),
    }
}

/// Removals are staged for committed paths; what is only staged is forgotten.
fn removal<'a>(
    repository: &str,
    branch: &str,
    head: &Resolved<'_>,
    paths: impl IntoIterator<Item = &'a str>,
) -> Vec<Change> {
    let (committed, others): (Vec<_>, Vec<_>) =
        paths.into_iter().partition(|path| head.tree.get(path).is_some());
    let staged = head.branch.map(|branch| &branch.staged);
    let forgotten: Vec<Arc<str>> = others
        .into_iter()
        .filter_map(|path| staged?.get_key_value(path).map(|(path, _)| Arc::clone(path)))
        .collect();
    let mut changes = Vec::new();
    if !committed.is_empty() {
        changes.push(stage(repository, branch, committed.into_iter().map(|path| (path, None))));
    }
    if !forgotten.is_empty() {
        let (repository, branch) = (repository.to_owned(), branch.to_owned());
        changes.push(Change::Unstaged { repository, branch, paths: Some(forgotten) });
    }
    changes
}

/// A tree under what is staged on it, from a path on.
fn overlay<'a>(
    tree: &'a Tree,
    staged: &'a BTreeMap<Arc<str>, Staged>,
    start: &'a str,
) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)> {
    let mut committed = tree.range_from(Bound::Included(start)).peekable();
    let mut changed = staged.range::<str, _>((Bound::Included(start), Bound::Unbounded)).peekable();
    std::iter::from_fn(move || {
        loop {
            let order = match (committed.peek(), changed.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((left, _)), Some((right, _))) => left.cmp(right),
            };
            let old = if order.is_le() { committed.next() } else { None };
            let new = if order.is_ge() { changed.next() } else { None };
            match new {
                None => return old,
                Some((path, Some(entry))) => return Some((path, entry)),
                Some((_, None)) => {}
            }
        }
    })
}
