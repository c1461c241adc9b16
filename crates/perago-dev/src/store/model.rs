//! What the store holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::tree::Tree;

/// Metadata of commits and objects.
pub type Metadata = BTreeMap<String, String>;

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where its bytes are; a key of the blobs.
    pub address: String,
    /// Hexadecimal MD5, or what the linking client said.
    pub checksum: String,
    /// Bytes, or what the linking client said.
    pub size: u64,
    /// When it was written, in epoch seconds.
    pub mtime: i64,
    /// Content type.
    pub content_type: String,
    /// Metadata of its writer.
    pub metadata: Metadata,
}

impl Entry {
    /// Whether two versions count as equal in diffs, commits and merges: place and time do not matter.
    pub fn same_content(&self, other: &Self) -> bool {
        self.size == other.size
            && self.checksum == other.checksum
            && self.content_type == other.content_type
            && self.metadata == other.metadata
    }
}

/// A commit without its tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Id.
    pub id: String,
    /// Ids of its parents.
    pub parents: Vec<String>,
    /// Who made it.
    pub committer: String,
    /// Message.
    pub message: String,
    /// When it was made, in epoch seconds.
    pub creation_date: i64,
    /// Id of its tree.
    pub meta_range_id: String,
    /// Metadata.
    pub metadata: Metadata,
    /// Distance from the first commit, which has 1.
    pub generation: i64,
    /// Version of the form.
    pub version: i64,
}

/// What is staged for a path: a new version, or its removal.
pub type Staged = Option<Arc<Entry>>;

/// A branch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branch {
    pub(crate) head: String,
    pub(crate) hidden: bool,
    pub(crate) staged: BTreeMap<Arc<str>, Staged>,
}

/// A repository.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) namespace: String,
    pub(crate) default_branch: String,
    pub(crate) creation_date: i64,
    pub(crate) read_only: bool,
    pub(crate) branches: BTreeMap<String, Branch>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) commits: BTreeMap<String, (Arc<Commit>, Tree)>,
    /// Patterns of branches that take no direct writes.
    pub(crate) protected: Vec<String>,
}

/// Bytes of which the store knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Name of the blob.
    pub blob: String,
    /// Bytes.
    pub size: u64,
    /// Tag: hexadecimal MD5, with the number of parts behind a dash where it was written in parts.
    pub tag: String,
    /// Blobs of the parts in order, where it was written in parts.
    #[serde(default)]
    pub parts: Vec<(String, u64)>,
}

/// An upload in parts that has neither been completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MultipartUpload {
    pub(crate) address: String,
    pub(crate) parts: BTreeMap<u32, StoredObject>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) repositories: BTreeMap<String, Repository>,
    /// Every namespace that was ever used, also by repositories that are gone.
    pub(crate) namespaces: std::collections::BTreeSet<String>,
    pub(crate) objects: HashMap<String, StoredObject>,
    pub(crate) uploads: HashMap<String, MultipartUpload>,
    /// Key of the signatures.
    pub(crate) key: [u8; 32],
}
