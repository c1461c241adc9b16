//! Addresses given out for direct uploads, their links, and uploads in parts.

use std::sync::Arc;

use super::error::StoreError;
use super::model::{Entry, Metadata, StoredObject};
use super::objects::{check_path, stage};
use super::refs::check_branch_argument;
use super::{Change, Planned, Store, hexadecimal};

/// Least and most parts of an upload that URLs are signed for at once.
const MOST_PARTS: usize = 10_000;

/// What to link to a path.
#[derive(Clone, Debug)]
pub struct Link {
    /// Address with its signature.
    pub address: String,
    /// What the client says that the checksum is.
    pub checksum: String,
    /// What the client says that the size is.
    pub size: u64,
    /// Content type.
    pub content_type: String,
    /// Metadata.
    pub metadata: Metadata,
    /// When it was written, if not now.
    pub mtime: Option<i64>,
    /// Whether an object at the path is a refusal.
    pub only_if_absent: bool,
}

/// A part as the client that completes an upload names it.
#[derive(Clone, Debug)]
pub struct PartReference {
    /// Its number, from 1.
    pub number: u32,
    /// Its tag.
    pub etag: String,
}

impl Store {
    /// A signature of any text, for URLs.
    pub fn sign(&self, text: &str) -> String {
        hexadecimal(blake3::keyed_hash(&self.state.key, text.as_bytes()).as_bytes())
    }

    /// A new address of an object in a repository's namespace. `unique` makes it one.
    pub fn new_address(&self, repository: &str, unique: &str) -> Result<String, StoreError> {
        let found = self.state.repository(repository)?;
        Ok(format!("{}/data/{unique}", found.namespace))
    }

    /// An address with a signature over repository, branch and path.
    pub fn signed_address(
        &self,
        (repository, branch, path): (&str, &str, &str),
        unique: &str,
    ) -> Result<String, StoreError> {
        check_path(path)?;
        let address = self.new_address(repository, unique)?;
        let signature = self.link_signature(repository, branch, path, &address);
        Ok(format!("{address},{signature}"))
    }

    fn link_signature(&self, repository: &str, branch: &str, path: &str, address: &str) -> String {
        let text = serde_json::to_string(&("link", repository, branch, path, address));
        self.sign(&text.unwrap_or_default())
    }

    /// The address of a link, without its signature, which must be right for addresses of the repository.
    fn verified_address<'a>(
        &self,
        (repository, branch, path): (&str, &str, &str),
        address: &'a str,
    ) -> Result<&'a str, StoreError> {
        let found = self.state.repository(repository)?;
        if address.is_empty() || !address.starts_with(&format!("{}/", found.namespace)) {
            return Ok(address);
        }
        let Some((plain, signature)) = address.rsplit_once(',') else {
            return Err(StoreError::invalid("address is not signed: link address invalid"));
        };
        if self.link_signature(repository, branch, path, plain) != signature {
            return Err(StoreError::invalid("invalid address signature: invalid address"));
        }
        Ok(plain)
    }

    /// Links uploaded bytes, or an address of which nothing is known, to a path.
    pub fn link(
        &self,
        repository: &str,
        branch: &str,
        path: &str,
        link: Link,
        now: i64,
    ) -> Planned<Arc<Entry>> {
        check_path(path)?;
        check_branch_argument(branch, "branch")?;
        let checksum = link.checksum.trim_matches('"');
        if checksum.trim().is_empty() {
            return Err(StoreError::invalid("checksum is required"));
        }
        self.verified_address((repository, branch, path), &link.address)?;
        let found = self.state.writable(repository)?;
        let head = found.writable(branch, "branch", StoreError::no_branch)?;
        if link.only_if_absent && head.entry(path).is_some() {
            return Err(StoreError::new(412, "Precondition failed"));
        }
        let entry = Arc::new(Entry {
            address: link.address,
            checksum: checksum.to_owned(),
            size: link.size,
            mtime: link.mtime.unwrap_or(now),
            content_type: link.content_type,
            metadata: link.metadata,
        });
        Ok((Arc::clone(&entry), vec![stage(repository, branch, [(path, Some(entry))])]))
    }

    /// Starts an upload in parts; answers its address with a signature.
    pub fn start_upload(
        &self,
        (repository, branch, path): (&str, &str, &str),
        parts: usize,
        (upload, unique): (&str, &str),
    ) -> Planned<String> {
        if parts > MOST_PARTS {
            return Err(StoreError::invalid(format!("parts can be between 0 and {MOST_PARTS}")));
        }
        let unknown = || StoreError::missing(format!("branch '{branch}' not found"));
        self.state.writable(repository)?.writable(branch, "branch", unknown)?;
        let signed = self.signed_address((repository, branch, path), unique)?;
        let address = bytes_of(&signed).to_owned();
        Ok((signed, vec![Change::UploadStarted { upload: upload.to_owned(), address }]))
    }

    /// Checks that a part URL may be signed; answers the address of the object to be.
    pub fn part_address(
        &self,
        place: (&str, &str, &str),
        address: &str,
        upload: &str,
    ) -> Result<String, StoreError> {
        let address = self.verified_address(place, address)?;
        self.known_upload(upload, address).map(|_| address.to_owned())
    }

    /// Notes an arrived part.
    pub fn store_part(&self, upload: &str, number: u32, part: StoredObject) -> Planned<()> {
        if !self.state.uploads.contains_key(upload) {
            return Err(StoreError::missing("NoSuchUpload"));
        }
        Ok(((), vec![Change::PartStored { upload: upload.to_owned(), number, part }]))
    }

    /// Puts the parts of an upload together and links the object.
    pub fn complete_upload(
        &self,
        (repository, branch, path): (&str, &str, &str),
        upload: &str,
        (parts, digest): (&[PartReference], impl Fn(&[&str]) -> String),
        link: Link,
        now: i64,
    ) -> Planned<Arc<Entry>> {
        let plain = self.verified_address((repository, branch, path), &link.address)?;
        if parts.is_empty() {
            return Err(StoreError::invalid("parts are required"));
        }
        let known = self.known_upload(upload, plain)?;
        let mut blobs = Vec::new();
        let mut tags = Vec::new();
        let mut size = 0;
        for part in parts {
            let found = known.get(&part.number).filter(|found| found.tag == part.etag.trim_matches('"'));
            let found = found.ok_or_else(|| {
                StoreError::new(500, format!("InvalidPart: part {} is not there with this tag", part.number))
            })?;
            blobs.push((found.blob.clone(), found.size));
            tags.push(found.tag.as_str());
            size += found.size;
        }
        let tag = format!("{}-{}", digest(&tags), tags.len());
        let object = StoredObject { blob: String::new(), size, tag: tag.clone(), parts: blobs };
        let plain = plain.to_owned();
        let link = Link { checksum: tag, size, ..link };
        let (entry, mut changes) = self.link(repository, branch, path, link, now)?;
        changes.push(Change::ObjectStored { address: plain, object });
        changes.push(Change::UploadEnded { upload: upload.to_owned() });
        Ok((entry, changes))
    }

    /// Forgets an upload in parts.
    pub fn abort_upload(&self, place: (&str, &str, &str), address: &str, upload: &str) -> Planned<()> {
        let plain = self.verified_address(place, address)?;
        self.known_upload(upload, plain)?;
        Ok(((), vec![Change::UploadEnded { upload: upload.to_owned() }]))
    }

    fn known_upload(
        &self,
        upload: &str,
        address: &str,
    ) -> Result<&std::collections::BTreeMap<u32, StoredObject>, StoreError> {
        let known = self.state.uploads.get(upload).filter(|known| known.address == address);
        known.map(|known| &known.parts).ok_or_else(|| {
            StoreError::new(500, format!("NoSuchUpload: the upload {upload} is unknown, complete or aborted"))
        })
    }
}

/// The address at which the bytes of a linked address lie: what comes before the signature.
pub fn bytes_of(address: &str) -> &str {
    address.rsplit_once(',').map_or(address, |(plain, _)| plain)
}
