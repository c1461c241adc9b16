//! What goes over the wire. Unknown fields are ignored, absent and null ones take defaults, times are epoch seconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::signed_url::SignedUrl;

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Repository {
    /// Name.
    pub id: String,
    /// Where its objects lie.
    #[serde(default, deserialize_with = "or_default")]
    pub storage_namespace: String,
    /// Branch that cannot be deleted.
    #[serde(default, deserialize_with = "or_default")]
    pub default_branch: String,
    /// Whether it refuses writes.
    #[serde(default, deserialize_with = "or_default")]
    pub read_only: bool,
    /// When it was made.
    #[serde(default, deserialize_with = "or_default")]
    pub creation_date: i64,
}

/// A branch and its head.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Branch {
    /// Name.
    pub id: String,
    /// Head.
    pub commit_id: String,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Commit {
    /// Id, 64 hexadecimal digits.
    pub id: String,
    /// Ids of its parents; the first is what the branch pointed at before.
    #[serde(default, deserialize_with = "or_default")]
    pub parents: Vec<String>,
    /// Who made it; empty for a repository's first.
    #[serde(default, deserialize_with = "or_default")]
    pub committer: String,
    /// Message.
    #[serde(default, deserialize_with = "or_default")]
    pub message: String,
    /// When it was made, or the date that its maker gave.
    #[serde(default, deserialize_with = "or_default")]
    pub creation_date: i64,
    /// Id of its tree. Equal ids mean equal trees; different ids may as well.
    #[serde(default, deserialize_with = "or_default")]
    pub meta_range_id: String,
    /// Metadata of its maker.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
    /// Distance from the first commit.
    #[serde(default, deserialize_with = "or_default")]
    pub generation: i64,
}

/// What a row of a listing is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PathType {
    /// An object.
    #[default]
    Object,
    /// All objects below a path, where a delimiter was given.
    CommonPrefix,
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What the server knows about an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireObjectStats")]
pub struct ObjectStats {
    /// Path in the repository.
    pub path: String,
    /// What the row is.
    pub path_type: PathType,
    /// Hexadecimal MD5, the store's own tag, or whatever the client that linked the object claimed.
    pub checksum: String,
    /// Bytes.
    pub size_bytes: u64,
    /// When it was written.
    pub mtime: i64,
    /// Content type.
    pub content_type: String,
    /// Metadata of its writer.
    pub metadata: BTreeMap<String, String>,
    /// Where the store keeps it, without any signature: the same text for the same stored bytes.
    pub physical_address: String,
    /// Where to read it directly, if the server was asked for that.
    pub download: Option<SignedUrl>,
    /// When [`ObjectStats::download`] ends to work.
    pub download_expiry: Option<i64>,
}

#[derive(Deserialize)]
struct WireObjectStats {
    #[serde(default, deserialize_with = "or_default")]
    path: String,
    #[serde(default, deserialize_with = "or_default")]
    path_type: PathType,
    #[serde(default, deserialize_with = "or_default")]
    checksum: String,
    #[serde(default, deserialize_with = "or_default")]
    size_bytes: u64,
    #[serde(default, deserialize_with = "or_default")]
    mtime: i64,
    #[serde(default, deserialize_with = "or_default")]
    content_type: String,
    #[serde(default, deserialize_with = "or_default")]
    metadata: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    physical_address: String,
    physical_address_expiry: Option<i64>,
}

impl From<WireObjectStats> for ObjectStats {
    fn from(wire: WireObjectStats) -> Self {
        // The server puts the signed URL in the place of the address.
        let download = wire.physical_address_expiry.and_then(|_| SignedUrl::parse(&wire.physical_address));
        let physical_address = match &download {
            Some(url) => url.without_signature(),
            None => without_link_signature(&wire.physical_address).to_owned(),
        };
        Self {
            path: wire.path,
            path_type: wire.path_type,
            checksum: wire.checksum,
            size_bytes: wire.size_bytes,
            mtime: wire.mtime,
            content_type: wire.content_type,
            metadata: wire.metadata,
            physical_address,
            download_expiry: wire.physical_address_expiry.filter(|_| download.is_some()),
            download,
        }
    }
}

/// What was linked keeps the signature of its link, in base64 and behind a comma.
fn without_link_signature(address: &str) -> &str {
    match address.rsplit_once(',') {
        Some((address, signature)) if signature.len() >= 20 && !signature.contains(['/', '.']) => address,
        _ => address,
    }
}

impl ObjectStats {
    /// The checksum, where it has the form of an MD5.
    ///
    /// Nothing proves that it is one: the client that linked the object may have written it.
    pub fn md5(&self) -> Option<&str> {
        let is_md5 = self.checksum.len() == 32 && self.checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_md5.then_some(self.checksum.as_str())
    }
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiffKind {
    /// Only on the right.
    Added,
    /// Only on the left.
    Removed,
    /// On both, with different content, content type or metadata.
    Changed,
    /// Changed on both sides since their common ancestor.
    Conflict,
    /// Some path below it differs, where a delimiter was given.
    PrefixChanged,
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// One path of a diff.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DiffEntry {
    /// Path in the repository.
    pub path: String,
    /// How it differs.
    #[serde(rename = "type")]
    pub kind: DiffKind,
    /// Bytes; of the old object or 0 for what was removed.
    #[serde(default, deserialize_with = "or_default")]
    pub size_bytes: u64,
}

/// Where a page stands in its listing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Pagination {
    /// Whether another page follows.
    #[serde(default)]
    pub has_more: bool,
    /// What to pass as `after` for it.
    #[serde(default, deserialize_with = "or_default")]
    pub next_offset: String,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page<T> {
    /// Where the page stands.
    pub pagination: Pagination,
    /// Its rows.
    pub results: Vec<T>,
}

impl<T> Page<T> {
    /// What to pass as `after` for the next page, if there is one.
    pub fn next(&self) -> Option<&str> {
        self.pagination.has_more.then_some(self.pagination.next_offset.as_str())
    }
}

/// What the server's object store can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StorageConfig {
    /// Kind, such as `s3` or `local`.
    #[serde(default, deserialize_with = "or_default")]
    pub blockstore_type: String,
    /// Whether objects can be read and written by signed URLs.
    #[serde(default, deserialize_with = "or_default")]
    pub pre_sign_support: bool,
    /// Whether objects can be written in parts by signed URLs.
    #[serde(default, deserialize_with = "or_default")]
    pub pre_sign_multipart_upload: bool,
    /// Start of the storage namespaces that the server takes.
    #[serde(default, deserialize_with = "or_default")]
    pub default_namespace_prefix: String,
}

/// An address to upload to: the answer of `GET …/staging/backing`.
#[derive(Debug, Deserialize)]
pub(crate) struct StagingLocation {
    pub(crate) physical_address: String,
    pub(crate) presigned_url: Option<String>,
}

/// A started upload in parts: the answer of `POST …/staging/pmpu`.
#[derive(Debug, Deserialize)]
pub(crate) struct MultipartStart {
    pub(crate) upload_id: String,
    pub(crate) physical_address: String,
    #[serde(default)]
    pub(crate) presigned_urls: Vec<String>,
}

/// One path that a bulk deletion could not delete.
#[derive(Debug, Deserialize)]
pub(crate) struct PathFailure {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) status_code: u16,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) message: String,
}

/// The answer of a bulk deletion.
#[derive(Debug, Deserialize)]
pub(crate) struct DeletionReport {
    #[serde(default)]
    pub(crate) errors: Vec<PathFailure>,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{DiffEntry, DiffKind, ObjectStats, Page, PathType};

    #[test]
    fn a_signed_address_becomes_a_download() {
        let stats: ObjectStats = serde_json::from_str(
            r#"{"path":"a","path_type":"object","checksum":"781e5e245d69b566979b86e28d23f2c7","size_bytes":10,
                "physical_address":"https://store/bucket/data/x?X-Amz-Signature=s","physical_address_expiry":9}"#,
        )
        .unwrap();
        assert_eq!(stats.physical_address, "https://store/bucket/data/x");
        assert!(stats.download.is_some() && stats.download_expiry == Some(9));
        assert!(stats.md5().is_some());
    }

    #[test]
    fn a_linked_address_loses_the_signature_of_its_link() {
        let stats: ObjectStats = serde_json::from_str(
            r#"{"path":"a","physical_address":"s3://bucket/data/x,BHwl81Z0cGVyYWdvLXRlc3Q=","checksum":"abc-2","metadata":null}"#,
        )
        .unwrap();
        assert_eq!(stats.physical_address, "s3://bucket/data/x");
        assert_eq!(super::without_link_signature("s3://bucket/a,b/c"), "s3://bucket/a,b/c");
        assert!(stats.download.is_none() && stats.md5().is_none() && stats.metadata.is_empty());
    }

    #[test]
    fn kinds_of_the_future_are_no_error() {
        let page: Page<DiffEntry> = serde_json::from_str(
            r#"{"pagination":{"has_more":true,"next_offset":"b","results":1,"max_per_page":1000},
                "results":[{"path":"a","path_type":"object","type":"renamed"}]}"#,
        )
        .unwrap();
        assert_eq!((page.results[0].kind, page.next()), (DiffKind::Unknown, Some("b")));
        assert_eq!(serde_json::from_str::<PathType>(r#""symlink""#).unwrap(), PathType::Unknown);
    }
}
