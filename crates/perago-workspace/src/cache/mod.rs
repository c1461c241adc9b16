//! Contents that were downloaded before, shared by all slots, attempts and workers of one user on one host.
//!
//! A blob is named by the BLAKE3 of its content and is never handed out itself: an attempt gets a copy, so a body that
//! writes in place changes nothing here. Blobs are not synced to disk one by one; instead, one that was written in an
//! earlier boot of the machine is hashed again before it is trusted. What cannot be kept or read is simply not cached.

mod blob;
mod index;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use perago_contract::FailureCode;
use rustix::fs::FlockOperation;

use crate::copy::Copier;
use crate::error::WorkspaceError;
use crate::store::ObjectEntry;

pub use blob::{Content, Draft};
use blob::{create_blob, hash_of, note_use, place_blob};
pub use index::ObjectKey;
use index::{BlobName, BlobState, Index, Record};

/// After an eviction this share of the limit is in use, so that not every new blob evicts.
const KEPT_PERCENT: u64 = 90;
/// Space that is left free beside what attempts need.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;
/// The index is written when so many contents, or so many bytes, are new: what a crash forgets is bounded.
const UNWRITTEN_RECORDS: usize = 512;
const UNWRITTEN_BYTES: u64 = 16 * 1024 * 1024;

/// Where the cache is and how much it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Its directory; made if it is not there.
    pub place: PathBuf,
    /// Most bytes of content.
    pub most_bytes: u64,
}

/// An open cache.
#[derive(Debug)]
pub struct Cache {
    options: CacheOptions,
    directory: File,
    boot: u64,
    copier: Copier,
    index: Mutex<Index>,
}

/// What names an object's bytes: equal keys are equal contents.
pub fn object_key(repository: &str, object: &ObjectEntry) -> ObjectKey {
    let mut hasher = blake3::Hasher::new();
    for part in [repository, &object.physical_address, &object.checksum] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&object.size.to_le_bytes());
    *hasher.finalize().as_bytes()
}

impl Cache {
    /// Opens a cache, or makes one.
    ///
    /// # Errors
    /// A directory of another user or one that others may write to, or what the system says.
    pub fn open(options: CacheOptions) -> Result<Self, WorkspaceError> {
        let failed = |error| WorkspaceError::local("use the cache", options.place.display(), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.place).map_err(failed)?;
        let directory = File::open(&options.place).map_err(failed)?;
        let found = directory.metadata().map_err(failed)?;
        if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            let message = format!("the cache {} is open to other users", options.place.display());
            return Err(WorkspaceError::new(FailureCode::Workspace, message)
                .with_hint("name a directory that only this user can write to, or turn the cache off"));
        }
        directory.set_permissions(Permissions::from_mode(0o700)).map_err(failed)?;
        for part in ["blobs", "new"] {
            std::fs::create_dir_all(options.place.join(part)).map_err(failed)?;
        }
        let index = Index::open(&options.place.join("index")).map_err(failed)?;
        Ok(Self { options, directory, boot: boot(), copier: Copier::new(), index: Mutex::new(index) })
    }

    /// Copies the content of an object into an empty file. Blocks on file input and output.
    ///
    /// Returns the content's hash; `None` when it is not here.
    ///
    /// # Errors
    /// The copy failed, for example because the disk is full; `destination` may hold a part.
    pub fn fetch(&self, object: &ObjectKey, destination: &File) -> io::Result<Option<blake3::Hash>> {
        let Some((blob, state)) = self.known(object) else { return Ok(None) };
        let Some(source) = self.trusted(object, &blob, state) else { return Ok(None) };
        self.copier.copy(&source, state.size, destination)?;
        if destination.metadata()?.len() != state.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a cached file changed while it was copied",
            ));
        }
        note_use(&source);
        Ok(Some(blake3::Hash::from_bytes(blob)))
    }

    /// Whether the content of an object is probably here.
    pub fn holds(&self, object: &ObjectKey) -> bool {
        self.known(object).is_some()
    }

    /// Reads what other processes have added.
    pub fn refresh(&self) {
        // A cache that cannot be read holds nothing.
        let _ = self.index().refresh();
    }

    /// Keeps a copy of a content, unless it would take space of which `reserved` bytes are needed elsewhere. Blocks on
    /// file input and output. Returns whether it is here now; other processes learn it with [`Self::flush`].
    pub fn keep(&self, object: ObjectKey, hash: blake3::Hash, source: Content<'_>, reserved: u64) -> bool {
        let kept = self.try_keep(object, *hash.as_bytes(), source, reserved).unwrap_or(false);
        self.stay_bounded();
        kept
    }

    fn stay_bounded(&self) {
        if self.index().bytes() > self.options.most_bytes {
            let _ = self.shrink_to(self.options.most_bytes / 100 * KEPT_PERCENT);
        }
    }

    /// Begins a copy of a content that is still arriving, unless it would take space of which `reserved` bytes are
    /// needed elsewhere. `None` as well where a whole file is copied without work.
    pub fn draft(&self, size: u64, reserved: u64) -> Option<Draft> {
        let has_room =
            || self.free_bytes().is_ok_and(|free| free >= reserved.saturating_add(size + SPARE_BYTES));
        if size > self.options.most_bytes || self.copier.shares_blocks() || !has_room() {
            return None;
        }
        Draft::begin(self.temporary(), size).ok()
    }

    /// Keeps a draft whose content is complete and has this hash. Blocks on file input and output. Returns whether it is
    /// here now.
    pub fn adopt(&self, object: ObjectKey, hash: blake3::Hash, draft: Draft) -> bool {
        let blob = *hash.as_bytes();
        let adopted = self.state_of(draft.file()).and_then(|state| {
            draft.put(&self.path_of(&blob))?;
            self.record(Record { object, blob, state })
        });
        self.stay_bounded();
        adopted.is_ok()
    }

    /// Lets other processes know what was kept, also after this one's death. Blocks on file input and output.
    pub fn flush(&self) {
        // What cannot be written is downloaded again.
        let _ = self.write_index();
    }

    /// Gives up at least `wanted` bytes, least recently used contents first, if it holds them.
    pub fn give_way(&self, wanted: u64) {
        let held = self.index().bytes();
        let _ = self.shrink_to(held.saturating_sub(wanted));
    }

    /// Whether it takes its space from the same file system as `other`.
    pub fn is_on_disk_of(&self, other: impl AsFd) -> bool {
        let own = rustix::fs::fstat(&self.directory).map(|stat| stat.st_dev);
        own.is_ok() && own == rustix::fs::fstat(other).map(|stat| stat.st_dev)
    }

    /// Length of all contents together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.index().bytes()
    }

    fn known(&self, object: &ObjectKey) -> Option<(BlobName, BlobState)> {
        self.index().blob_of(object)
    }

    fn trusted(&self, object: &ObjectKey, blob: &BlobName, state: BlobState) -> Option<File> {
        let path = self.path_of(blob);
        let file = File::open(&path).ok()?;
        let found = self.state_of(&file).ok()?;
        if found == state {
            return Some(file);
        }
        // Another boot or another time: the content itself has to tell.
        if hash_of(&file).ok()? != *blob {
            let _ = std::fs::remove_file(&path);
            return None;
        }
        let _ = self.record(Record { object: *object, blob: *blob, state: found });
        Some(file)
    }

    fn try_keep(
        &self,
        object: ObjectKey,
        blob: BlobName,
        source: Content<'_>,
        reserved: u64,
    ) -> io::Result<bool> {
        let size = source.length()?;
        if size > self.options.most_bytes {
            return Ok(false);
        }
        let known = self.index().state_of(&blob);
        let path = self.path_of(&blob);
        if let (Some(state), Ok(file)) = (known, File::open(&path))
            && self.state_of(&file)? == state
        {
            self.record(Record { object, blob, state })?;
            return Ok(true);
        }
        if !self.copier.shares_blocks() && self.free_bytes()? < reserved.saturating_add(size + SPARE_BYTES) {
            return Ok(false);
        }
        let state = self.store(&path, source)?;
        self.record(Record { object, blob, state })?;
        Ok(true)
    }

    fn store(&self, path: &Path, source: Content<'_>) -> io::Result<BlobState> {
        let temporary = self.temporary();
        let written = (|| {
            let mut file = create_blob(&temporary)?;
            match source {
                Content::File(source) => self.copier.copy(source, source.metadata()?.len(), &file)?,
                Content::Bytes(bytes) => file.write_all(bytes)?,
            }
            let state = self.state_of(&file)?;
            if state.size != source.length()? {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the file changed while it was copied",
                ));
            }
            place_blob(&temporary, path)?;
            Ok(state)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    // No secret: what is there already is never written to.
    fn temporary(&self) -> PathBuf {
        self.options.place.join("new").join(format!("{:032x}", fastrand::u128(..)))
    }

    fn shrink_to(&self, most_bytes: u64) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut blobs = self.blobs_by_use()?;
        let mut held: u64 = blobs.iter().map(|blob| blob.size).sum();
        blobs.reverse();
        while held > most_bytes {
            let Some(oldest) = blobs.pop() else { break };
            std::fs::remove_file(&oldest.path)?;
            held -= oldest.size;
        }
        self.forget_unfinished();
        let left: std::collections::HashSet<PathBuf> = blobs.into_iter().map(|blob| blob.path).collect();
        self.index().rewrite(|blob| left.contains(&self.path_of(blob)))
    }

    // Oldest use first.
    fn blobs_by_use(&self) -> io::Result<Vec<Blob>> {
        let mut blobs = Vec::new();
        for folder in std::fs::read_dir(self.options.place.join("blobs"))? {
            for entry in std::fs::read_dir(folder?.path())? {
                let entry = entry?;
                let Ok(found) = entry.metadata() else { continue };
                let used = (found.atime(), found.atime_nsec());
                blobs.push(Blob { path: entry.path(), size: found.len(), used });
            }
        }
        blobs.sort_by_key(|blob| blob.used);
        Ok(blobs)
    }

    // What a killed process has left half copied; an hour is longer than any copy.
    fn forget_unfinished(&self) {
        let Ok(entries) = std::fs::read_dir(self.options.place.join("new")) else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed());
            if matches!(age, Ok(Ok(age)) if age.as_secs() > 3600) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn record(&self, record: Record) -> io::Result<()> {
        let mut index = self.index();
        index.note(record);
        let unwritten = index.unwritten();
        let is_much = unwritten.len() >= UNWRITTEN_RECORDS
            || unwritten.iter().map(|record| record.state.size).sum::<u64>() >= UNWRITTEN_BYTES;
        drop(index);
        if is_much { self.write_index() } else { Ok(()) }
    }

    fn write_index(&self) -> io::Result<()> {
        if self.index().unwritten().is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.index().append()
    }

    // Held until the file is closed, also by a process that dies.
    fn lock(&self) -> io::Result<File> {
        let path = self.options.place.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&self.directory)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn path_of(&self, blob: &BlobName) -> PathBuf {
        let name = blake3::Hash::from_bytes(*blob).to_hex();
        self.options.place.join("blobs").join(&name[..2]).join(name.as_str())
    }

    fn state_of(&self, file: &File) -> io::Result<BlobState> {
        let found = file.metadata()?;
        let modified = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
        Ok(BlobState { size: found.len(), modified, boot: self.boot })
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.flush();
    }
}

struct Blob {
    path: PathBuf,
    size: u64,
    used: (i64, i64),
}

// Where the system does not say which boot this is, every process is one of its own: blobs are always hashed.
fn boot() -> u64 {
    match std::fs::read("/proc/sys/kernel/random/boot_id") {
        Ok(id) => {
            let hash = blake3::hash(&id);
            u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has more than 8 bytes"))
        }
        Err(_) => fastrand::u64(..),
    }
}
