//! The store with what it needs outside of itself: a lock, a journal, and the bytes of the objects.

mod blobs;
mod journal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use blobs::{BlobWriter, Blobs, ReadBlob};
use journal::Journal;

use crate::shared::now;
use crate::store::{Planned, Store, StoreError, StoredObject};

/// What kind of object store the embedded store plays below itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectStore {
    /// One that signs URLs, like S3: objects may be moved directly, whole or in parts.
    #[default]
    S3,
    /// A local folder: all objects move through the server.
    Local,
}

impl ObjectStore {
    /// How addresses in it start.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3://",
            Self::Local => "local://",
        }
    }

    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Local => "local",
        }
    }

    /// Whether it signs URLs.
    pub(crate) fn signs(self) -> bool {
        self == Self::S3
    }
}

/// Why the store's data cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {folder}: {reason}", folder = .folder.display())]
pub struct StorageError {
    folder: PathBuf,
    reason: String,
}

/// The store behind a lock that is never held over an await.
pub(crate) struct Storage {
    guarded: Mutex<Guarded>,
    blobs: Blobs,
    kind: ObjectStore,
}

struct Guarded {
    store: Store,
    journal: Option<Journal>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Storage").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Storage {
    /// A store in memory.
    pub(crate) fn in_memory(kind: ObjectStore) -> Self {
        let guarded = Guarded { store: Store::new(new_key()), journal: None };
        Self { guarded: Mutex::new(guarded), blobs: Blobs::in_memory(), kind }
    }

    /// A store below `folder`, as it was left there. What was acknowledged survives the death of the process.
    pub(crate) fn open(folder: &Path, kind: ObjectStore) -> Result<Self, StorageError> {
        let refused = |reason: &dyn fmt::Display| StorageError {
            folder: folder.to_owned(),
            reason: reason.to_string(),
        };
        let blobs = Blobs::open(&folder.join("blobs")).map_err(|error| refused(&error))?;
        let journal = Journal::open(&folder.join("store.sqlite"), new_key());
        let (journal, store) = journal.map_err(|error| refused(&error))?;
        blobs.keep_only(&store.blobs()).map_err(|error| refused(&error))?;
        Ok(Self { guarded: Mutex::new(Guarded { store, journal: Some(journal) }), blobs, kind })
    }

    pub(crate) fn kind(&self) -> ObjectStore {
        self.kind
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Reads the store.
    pub(crate) fn read<T>(&self, reader: impl FnOnce(&Store) -> T) -> T {
        reader(&self.guarded().store)
    }

    /// Plans a request at a time in epoch seconds, writes its changes down, then makes them.
    pub(crate) fn change<T>(&self, plan: impl FnOnce(&Store, i64) -> Planned<T>) -> Result<T, StoreError> {
        self.guarded().change(plan)
    }

    /// The same for a request that brings bytes: they are put in their place first.
    pub(crate) fn receive<T>(
        &self,
        arrived: BlobWriter,
        plan: impl FnOnce(&Store, StoredObject, i64) -> Planned<T>,
    ) -> Result<T, StoreError> {
        // Under the lock: bytes in which no object consists yet must not meet a sweep.
        let mut guarded = self.guarded();
        let object = self.blobs.finish(arrived).map_err(|error| StoreError::disk(&error))?;
        guarded.change(|store, now| plan(store, object, now))
    }

    /// Deletes a repository, and the bytes that only its objects consisted of.
    pub(crate) fn delete_repository(&self, name: &str, by_force: bool) -> Result<(), StoreError> {
        let mut guarded = self.guarded();
        guarded.change(|store, _| store.delete_repository(name, by_force))?;
        self.blobs.keep_only(&guarded.store.blobs()).map_err(|error| StoreError::disk(&error))
    }

    fn guarded(&self) -> MutexGuard<'_, Guarded> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guarded {
    /// Changes are made after everything that can fail, so a poisoned lock guards a whole state.
    fn change<T>(&mut self, plan: impl FnOnce(&Store, i64) -> Planned<T>) -> Result<T, StoreError> {
        let (answer, changes) = plan(&self.store, now() / 1000)?;
        if let Some(journal) = &mut self.journal {
            let written = journal.append(&changes);
            written.map_err(|error| StoreError::new(500, format!("cannot write the journal: {error}")))?;
        }
        self.store.apply(changes);
        Ok(answer)
    }
}

/// A key that nobody can guess: 244 random bits of the operating system.
fn new_key() -> [u8; 32] {
    let (first, second) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let mut key = [0; 32];
    key[..16].copy_from_slice(first.as_bytes());
    key[16..].copy_from_slice(second.as_bytes());
    key
}
