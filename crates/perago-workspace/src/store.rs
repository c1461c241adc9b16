//! What the engine needs of a store: one repository with branches, commits and objects.
//!
//! Named for what materialising and publishing need, not for any server. The engine repeats transient failures unless an
//! implementation does ([`Repository::tries`]); [`StoreErrorKind::Lost`] says that a call may have had its effect all the
//! same.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backoff::MOST_TRIES;

/// Id of a commit.
pub type CommitId = String;

/// Why a call of the store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// Repository, branch, commit or object is not there.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// A commit, merge or revert would change nothing.
    NoChanges,
    /// A merge or revert meets other changes of the same objects.
    Conflict,
    /// The branch holds uncommitted changes.
    Dirty,
    /// The branch, or everything, refuses this user's writes.
    Forbidden,
    /// The server is there and asks to try again later.
    Busy,
    /// No connection was made, so the call had no effect.
    Unreachable,
    /// The reply was lost; the call may have had its effect.
    Lost,
    /// The bytes of an object are gone or differ from its entry.
    Damaged,
    /// Anything else.
    Other,
}

/// A call of the store that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

impl StoreError {
    /// A failed call; the message says which and what the store answered, and never holds a credential.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Busy | StoreErrorKind::Unreachable | StoreErrorKind::Lost)
    }
}

/// An object as a listing shows it.
#[derive(Debug, Clone)]
pub struct ObjectEntry {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// What the store keeps as its checksum: the MD5 in hex, or whatever a linking client wrote.
    pub checksum: String,
    /// Where its bytes are, without any signature: equal addresses hold equal bytes.
    pub physical_address: String,
    /// How to read it without asking again, where the store offers that.
    pub access: Option<ReadAccess>,
}

impl ObjectEntry {
    /// The checksum, if it is the MD5 of the content: 32 hexadecimal digits.
    pub fn md5(&self) -> Option<&str> {
        let checksum = self.checksum.as_str();
        (checksum.len() == 32 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(checksum)
    }
}

/// How an implementation reads an object without asking again, such as a signed address. Only the implementation that
/// made it can look inside, and it is never shown, because it may grant access to whoever holds it.
#[derive(Clone)]
pub struct ReadAccess(Arc<dyn Any + Send + Sync>);

impl ReadAccess {
    /// Wraps what the implementation needs.
    pub fn new(access: impl Any + Send + Sync) -> Self {
        Self(Arc::new(access))
    }

    /// What was wrapped, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl std::fmt::Debug for ReadAccess {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ReadAccess(…)")
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in byte order of their names.
    pub items: Vec<T>,
    /// What to ask for next; `None` at the end.
    pub next: Option<String>,
}

/// A branch and the commit it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// Its head.
    pub head: CommitId,
}

/// A commit as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// Its parents: of a merge first the former head, then the source.
    pub parents: Vec<CommitId>,
    /// Who made it.
    pub committer: String,
    /// Its message.
    pub message: String,
    /// When it was made, in seconds since the epoch.
    pub created_at: i64,
    /// What its maker attached.
    pub metadata: BTreeMap<String, String>,
}

/// Message and metadata of a new commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitText {
    /// The message.
    pub message: String,
    /// What to attach.
    pub metadata: BTreeMap<String, String>,
}

/// A file to be uploaded, open and checked; it can be read at any position by many at once.
#[derive(Debug, Clone)]
pub struct UploadSource {
    /// The open file.
    pub file: Arc<File>,
    /// Its length in bytes.
    pub size: u64,
}

/// The bytes of one read, as they arrive.
pub trait ByteStream: Send {
    /// The next bytes; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;
}

/// One repository of a store.
pub trait Repository: Send + Sync + 'static {
    /// What a read gives.
    type Stream: ByteStream;

    /// A name for store and repository that is the same for every process on this host.
    fn identity(&self) -> String;

    /// How often the engine tries a call whose failure can pass; 1 where the implementation repeats such calls itself,
    /// so that the patience of both does not multiply.
    fn tries(&self) -> u32 {
        MOST_TRIES
    }

    /// Lists objects of a commit or branch, committed state only, in byte order.
    fn objects(
        &self,
        reference: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Future<Output = Result<Page<ObjectEntry>, StoreError>> + Send;

    /// Reads an object, or a range of it that is not empty.
    fn read(
        &self,
        reference: &str,
        object: &ObjectEntry,
        range: Option<Range<u64>>,
    ) -> impl Future<Output = Result<Self::Stream, StoreError>> + Send;

    /// Writes a file to a branch, uncommitted. Bytes that arrive otherwise than they were sent are a failure.
    fn upload(
        &self,
        branch: &str,
        key: &str,
        source: &UploadSource,
    ) -> impl Future<Output = Result<ObjectEntry, StoreError>> + Send;

    /// Deletes objects from a branch, uncommitted; at most 1,000 keys, absent ones are no failure.
    fn delete(&self, branch: &str, keys: &[String]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The head of a branch.
    fn head(&self, branch: &str) -> impl Future<Output = Result<CommitId, StoreError>> + Send;

    /// Lists branches whose name starts with `prefix`.
    fn branches(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Future<Output = Result<Page<Branch>, StoreError>> + Send;

    /// Makes a branch at a commit.
    fn create_branch(&self, name: &str, source: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes a branch with whatever it holds.
    fn delete_branch(&self, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One commit.
    fn commit_of(&self, reference: &str) -> impl Future<Output = Result<Commit, StoreError>> + Send;

    /// Follows first parents from a commit or branch, newest first, `after` exclusive.
    fn history(
        &self,
        reference: &str,
        after: Option<&str>,
    ) -> impl Future<Output = Result<Page<Commit>, StoreError>> + Send;

    /// Commits what is uncommitted on a branch.
    fn commit(
        &self,
        branch: &str,
        text: &CommitText,
    ) -> impl Future<Output = Result<CommitId, StoreError>> + Send;

    /// Merges a branch into another by name, keeping both histories; the new commit's parents are the former head and
    /// the source. The time limit is that of the whole call.
    fn merge(
        &self,
        source: &str,
        destination: &str,
        text: &CommitText,
        limit: Duration,
    ) -> impl Future<Output = Result<CommitId, StoreError>> + Send;

    /// Adds a commit to a branch that undoes a merge commit's change against its first parent.
    fn revert_merge(
        &self,
        branch: &str,
        commit: &str,
        text: &CommitText,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keys that a merge of `source` into `destination` would find changed on both sides.
    fn conflicts(
        &self,
        destination: &str,
        source: &str,
        prefix: &str,
    ) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
}
