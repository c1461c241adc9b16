//! Tags.

use serde::Serialize;

use super::error::{RefError, StoreError};
use super::listing::{PageOf, PageRequest};
use super::repositories::items;
use super::{Change, Planned, Store};

/// A tag as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TagView {
    id: String,
    commit_id: String,
}

impl Store {
    /// Creates a tag.
    pub fn create_tag(&self, repository: &str, id: &str, reference: &str) -> Planned<TagView> {
        let found = self.state.writable(repository)?;
        if id.is_empty() || id.contains(['/', ' ', '~', '^', '@', '$', ':']) {
            return Err(StoreError::invalid("argument tagID: tag id: invalid value: validation error"));
        }
        if found.branches.contains_key(id) {
            return Err(StoreError::new(409, format!("branch name {id}: conflict found")));
        }
        if found.tags.contains_key(id) {
            return Err(StoreError::new(409, "tag already exists: not unique"));
        }
        let resolved = found.resolve_commit(reference).map_err(|error| match error {
            RefError::Missing => StoreError::missing("not found"),
            RefError::Staging => {
                StoreError::invalid("ref: invalid value: validation error: should point to a commit")
            }
            RefError::Invalid(message) => StoreError::invalid(message),
        })?;
        let commit = resolved.commit.id.clone();
        let view = TagView { id: id.to_owned(), commit_id: commit.clone() };
        let (repository, tag) = (repository.to_owned(), id.to_owned());
        Ok((view, vec![Change::TagSet { repository, tag, commit }]))
    }

    /// Shows a tag.
    pub fn tag(&self, repository: &str, id: &str) -> Result<TagView, StoreError> {
        let commit = self.state.repository(repository)?.tags.get(id);
        let commit_id = commit.ok_or_else(|| StoreError::missing("tag not found"))?.clone();
        Ok(TagView { id: id.to_owned(), commit_id })
    }

    /// Lists tags.
    pub fn tags(&self, repository: &str, request: &PageRequest) -> Result<PageOf<TagView>, StoreError> {
        let tags = self.state.repository(repository)?.tags.iter();
        let views = tags.map(|(id, commit)| (id, TagView { id: id.clone(), commit_id: commit.clone() }));
        Ok(items(request.cut(views)))
    }

    /// Deletes a tag.
    pub fn delete_tag(&self, repository: &str, id: &str) -> Planned<()> {
        self.tag(repository, id)?;
        Ok(((), vec![Change::TagDeleted { repository: repository.to_owned(), tag: id.to_owned() }]))
    }
}
