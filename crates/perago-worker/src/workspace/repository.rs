//! One lakeFS repository, as the workspace engine asks for it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use perago_lakefs::{
    Client, CommitOutcome, CommitRequest, CreatedBranch, DiffForm, DiffKind, DiffQuery, Error, ErrorKind,
    ListQuery, LogQuery, MergeOutcome, MergeRequest, ObjectAt, ObjectReader, ObjectStats, PathType,
    RevertOutcome, RevertRequest, SignedUrl, Upload,
};
use perago_workspace::{
    Branch, ByteStream, Commit, CommitText, ObjectEntry, Page, ReadAccess, Repository, StoreError,
    StoreErrorKind, UploadSource,
};

use crate::kill_point::{Step, around};

/// Commits of the first page of a history: most publications need the head alone.
const FIRST_COMMITS: u32 = 16;
/// Commits of every later page.
const MORE_COMMITS: u32 = 1000;
/// Part of what lakeFS compares when it asks whether an object has changed, so it never varies.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A repository of a lakeFS server.
#[derive(Debug, Clone)]
pub struct LakeFsRepository {
    client: Client,
    name: String,
}

impl LakeFsRepository {
    /// The repository `name` of the client's server.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }
}

/// The bytes of an object as the server or its store sends them.
#[derive(Debug)]
pub struct LakeFsStream(ObjectReader);

impl ByteStream for LakeFsStream {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        self.0.chunk().await.map_err(|error| store_error(&error))
    }
}

impl Repository for LakeFsRepository {
    type Stream = LakeFsStream;

    fn identity(&self) -> String {
        format!("{} {}", self.client.server(), self.name)
    }

    fn tries(&self) -> u32 {
        // The client repeats calls; once more is for what it cannot repeat, such as the end of an upload in parts.
        2
    }

    async fn objects(
        &self,
        reference: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page<ObjectEntry>, StoreError> {
        let query = ListQuery { prefix, after, with_downloads: true };
        let page = self
            .client
            .list_objects(&self.name, reference, &query)
            .await
            .map_err(|error| store_error(&error))?;
        let next = page.next().map(str::to_owned);
        let objects = page.results.into_iter().filter(|stats| stats.path_type == PathType::Object);
        Ok(Page { items: objects.map(object_entry).collect(), next })
    }

    async fn read(
        &self,
        reference: &str,
        object: &ObjectEntry,
        range: Option<Range<u64>>,
    ) -> Result<LakeFsStream, StoreError> {
        let at = ObjectAt {
            repository: &self.name,
            reference,
            path: &object.key,
            download: object.access.as_ref().and_then(ReadAccess::get::<SignedUrl>),
        };
        self.client.read_object(&at, range).await.map(LakeFsStream).map_err(|error| store_error(&error))
    }

    async fn upload(
        &self,
        branch: &str,
        key: &str,
        source: &UploadSource,
    ) -> Result<ObjectEntry, StoreError> {
        let upload = Upload {
            repository: &self.name,
            branch,
            path: key,
            content_type: CONTENT_TYPE,
            metadata: BTreeMap::new(),
            source: perago_lakefs::UploadSource::File(Arc::clone(&source.file), source.size),
        };
        let uploaded =
            around(Step::Upload, self.client.upload(&upload)).await.map_err(|error| store_error(&error))?;
        Ok(object_entry(uploaded.stats))
    }

    async fn delete(&self, branch: &str, keys: &[String]) -> Result<(), StoreError> {
        self.client.delete_objects(&self.name, branch, keys).await.map_err(|error| store_error(&error))
    }

    async fn head(&self, branch: &str) -> Result<String, StoreError> {
        let found = self.client.get_branch(&self.name, branch).await.map_err(|error| store_error(&error))?;
        found.map(|branch| branch.commit_id).ok_or_else(|| missing("branch", branch))
    }

    async fn branches(&self, prefix: &str, after: Option<&str>) -> Result<Page<Branch>, StoreError> {
        let page = self
            .client
            .list_branches(&self.name, prefix, after)
            .await
            .map_err(|error| store_error(&error))?;
        let next = page.next().map(str::to_owned);
        let branches =
            page.results.into_iter().map(|branch| Branch { name: branch.id, head: branch.commit_id });
        Ok(Page { items: branches.collect(), next })
    }

    async fn create_branch(&self, name: &str, source: &str) -> Result<(), StoreError> {
        let created = around(Step::Staging, self.client.create_branch(&self.name, name, source)).await;
        match created.map_err(|error| store_error(&error))? {
            CreatedBranch::Created(_) => Ok(()),
            CreatedBranch::Exists => {
                Err(StoreError::new(StoreErrorKind::AlreadyExists, format!("branch {name} exists already")))
            }
        }
    }

    async fn delete_branch(&self, name: &str) -> Result<(), StoreError> {
        let was_there = around(Step::Cleanup, self.client.delete_branch(&self.name, name)).await;
        if was_there.map_err(|error| store_error(&error))? { Ok(()) } else { Err(missing("branch", name)) }
    }

    async fn commit_of(&self, reference: &str) -> Result<Commit, StoreError> {
        let found =
            self.client.get_commit(&self.name, reference).await.map_err(|error| store_error(&error))?;
        found.map(commit).ok_or_else(|| missing("commit", reference))
    }

    async fn history(&self, reference: &str, after: Option<&str>) -> Result<Page<Commit>, StoreError> {
        let amount = if after.is_none() { FIRST_COMMITS } else { MORE_COMMITS };
        let query = LogQuery { first_parent: true, amount: Some(amount), after, stop_at: None };
        let page =
            self.client.log(&self.name, reference, &query).await.map_err(|error| store_error(&error))?;
        let next = page.next().map(str::to_owned);
        Ok(Page { items: page.results.into_iter().map(commit).collect(), next })
    }

    async fn commit(&self, branch: &str, text: &CommitText) -> Result<String, StoreError> {
        let request = CommitRequest { message: text.message.clone(), metadata: text.metadata.clone() };
        let committed = around(Step::Commit, self.client.commit(&self.name, branch, &request)).await;
        match committed.map_err(|error| store_error(&error))? {
            CommitOutcome::Committed(commit) => Ok(commit.id),
            CommitOutcome::NoChanges => Err(no_changes(branch)),
        }
    }

    async fn merge(
        &self,
        source: &str,
        destination: &str,
        text: &CommitText,
        limit: Duration,
    ) -> Result<String, StoreError> {
        let request = MergeRequest { message: text.message.clone(), metadata: text.metadata.clone() };
        let merging = self.client.merge(&self.name, source, destination, &request, limit);
        let merged = around(Step::Merge, merging).await;
        match merged.map_err(|error| store_error(&error))? {
            MergeOutcome::Merged(commit) => Ok(commit),
            MergeOutcome::NoChanges => Err(no_changes(destination)),
            MergeOutcome::Conflict => Err(conflict(destination)),
            MergeOutcome::DirtyDestination => Err(dirty(destination)),
        }
    }

    async fn revert_merge(&self, branch: &str, commit: &str, text: &CommitText) -> Result<(), StoreError> {
        let request = RevertRequest {
            commit,
            // Back to the first parent: what the branch was before our merge.
            parent_number: 1,
            message: &text.message,
            metadata: text.metadata.clone(),
        };
        match self.client.revert(&self.name, branch, &request).await.map_err(|error| store_error(&error))? {
            RevertOutcome::Reverted => Ok(()),
            RevertOutcome::NoChanges => Err(no_changes(branch)),
            RevertOutcome::Conflict => Err(conflict(branch)),
            RevertOutcome::DirtyBranch => Err(dirty(branch)),
        }
    }

    async fn conflicts(
        &self,
        destination: &str,
        source: &str,
        prefix: &str,
    ) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let query = DiffQuery { prefix, after: after.as_deref() };
            let refs = (destination, source);
            let page = self.client.diff_refs(&self.name, refs, DiffForm::ThreeDot, &query).await;
            let page = page.map_err(|error| store_error(&error))?;
            after = page.next().map(str::to_owned);
            let conflicts = page.results.into_iter().filter(|entry| entry.kind == DiffKind::Conflict);
            keys.extend(conflicts.map(|entry| entry.path));
            if after.is_none() {
                return Ok(keys);
            }
        }
    }
}

fn object_entry(stats: ObjectStats) -> ObjectEntry {
    ObjectEntry {
        key: stats.path,
        size: stats.size_bytes,
        checksum: stats.checksum,
        physical_address: stats.physical_address,
        access: stats.download.map(ReadAccess::new),
    }
}

fn commit(commit: perago_lakefs::Commit) -> Commit {
    Commit {
        id: commit.id,
        parents: commit.parents,
        committer: commit.committer,
        message: commit.message,
        created_at: commit.creation_date,
        metadata: commit.metadata,
    }
}

fn missing(what: &str, name: &str) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("{what} {name} not found"))
}

fn no_changes(branch: &str) -> StoreError {
    StoreError::new(StoreErrorKind::NoChanges, format!("no changes for {branch}"))
}

fn conflict(branch: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Conflict, format!("others have changed the same objects of {branch}"))
}

fn dirty(branch: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Dirty, format!("{branch} has uncommitted changes"))
}

fn store_error(error: &Error) -> StoreError {
    StoreError::new(kind_of(error), error.to_string())
}

fn kind_of(error: &Error) -> StoreErrorKind {
    match error.kind() {
        ErrorKind::Connect(_) => StoreErrorKind::Unreachable,
        ErrorKind::Authentication { .. } => StoreErrorKind::Forbidden,
        ErrorKind::Status { status: 410, .. } => StoreErrorKind::Damaged,
        _ if error.is_missing() => StoreErrorKind::NotFound,
        _ if error.is_forbidden() => StoreErrorKind::Forbidden,
        _ if error.is_dirty_branch() => StoreErrorKind::Dirty,
        _ if error.is_retryable() && error.may_have_been_received() => StoreErrorKind::Lost,
        _ if error.is_retryable() => StoreErrorKind::Busy,
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit_with(parents: &[&str]) -> perago_lakefs::Commit {
        let document = serde_json::json!({
            "id": "c", "parents": parents, "committer": "admin", "message": "m", "creation_date": 7,
            "meta_range_id": "r", "metadata": {"k": "v"}, "generation": 2, "version": 1,
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn commits_keep_the_order_of_their_parents() {
        let commit = commit(commit_with(&["head", "source"]));
        assert_eq!(commit.parents, ["head", "source"]);
        assert_eq!((commit.created_at, commit.metadata["k"].as_str()), (7, "v"));
    }

    #[test]
    fn signed_addresses_stay_inside() {
        let document = serde_json::json!({
            "path": "a/b", "path_type": "object", "checksum": "x", "size_bytes": 3, "mtime": 0,
            "physical_address": "https://store/key?signature=hunter2", "physical_address_expiry": 9,
        });
        let entry = object_entry(serde_json::from_value(document).unwrap());
        assert_eq!((entry.key.as_str(), entry.size), ("a/b", 3));
        assert_eq!(entry.physical_address, "https://store/key");
        assert!(entry.access.as_ref().and_then(ReadAccess::get::<SignedUrl>).is_some());
        assert!(!format!("{entry:?}").contains("hunter2"));
    }
}
