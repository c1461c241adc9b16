//! Whether a content is what the listing promised, and a copy of it for the cache.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use md5::{Digest, Md5};
use perago_contract::FailureCode;

use super::subtract;
use crate::cache::{Cache, Content, Draft, object_key};
use crate::error::WorkspaceError;
use crate::hexadecimal;
use crate::store::ObjectEntry;

/// Both hashes of a content that arrives in order.
#[derive(Default)]
pub(super) struct Hashes {
    own: blake3::Hasher,
    store: Option<Md5>,
}

impl Hashes {
    /// Hashes for the content of an object; the store's only where its checksum is one.
    pub(super) fn of(object: &ObjectEntry) -> Self {
        Self { own: blake3::Hasher::new(), store: object.md5().map(|_| Md5::new()) }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.own.update(bytes);
        if let Some(store) = &mut self.store {
            store.update(bytes);
        }
    }

    /// Our own hash, and whether the store's checksum agrees.
    pub(super) fn finish(self, object: &ObjectEntry) -> (blake3::Hash, bool) {
        let agrees = match (self.store, object.md5()) {
            (Some(store), Some(wanted)) => hexadecimal(&store.finalize()).eq_ignore_ascii_case(wanted),
            _ => true,
        };
        (self.own.finalize(), agrees)
    }
}

/// The warning about an object of which two downloads were equal and neither matched its checksum.
///
/// The checksum may be whatever a linking client wrote, so two equal downloads outweigh it.
pub(super) fn equal_twice(object: &ObjectEntry) -> String {
    format!(
        "{} does not have its listed checksum {}, but two downloads were equal: it was accepted",
        object.key, object.checksum
    )
}

/// The failure of an object of which two downloads match neither its checksum nor each other.
pub(super) fn differ(object: &ObjectEntry) -> WorkspaceError {
    let message = format!(
        "two downloads of {} differ from each other and from its checksum {}",
        object.key, object.checksum
    );
    WorkspaceError::new(FailureCode::WorkspaceCorrupt, message)
}

/// Where verified contents are kept.
#[derive(Clone)]
pub(super) struct Keep {
    pub(super) cache: Option<Arc<Cache>>,
    pub(super) repository: Arc<str>,
    pub(super) outstanding: Arc<AtomicU64>,
}

impl Keep {
    /// Begins a copy of a content that is still arriving. Blocks on file input and output.
    pub(super) fn copying(&self, object: &ObjectEntry) -> Option<Copying> {
        let cache = self.cache.as_ref()?;
        let draft = cache.draft(object.size, self.outstanding.load(Ordering::Relaxed))?;
        // Until it is written, others must leave its space alone too.
        self.outstanding.fetch_add(object.size, Ordering::Relaxed);
        let outstanding = Arc::clone(&self.outstanding);
        Some(Copying { draft: Some(draft), size: object.size, outstanding })
    }

    /// Keeps a copy whose content was verified. Blocks on file input and output.
    pub(super) fn adopt(&self, object: &ObjectEntry, hash: blake3::Hash, mut copying: Copying) {
        if let (Some(cache), Some(draft)) = (&self.cache, copying.draft.take()) {
            cache.adopt(object_key(&self.repository, object), hash, draft);
        }
    }

    /// Keeps a verified content for later attempts. Blocks on file input and output.
    pub(super) fn keep(&self, object: &ObjectEntry, hash: blake3::Hash, content: Content<'_>) {
        if let Some(cache) = &self.cache {
            let reserved = self.outstanding.load(Ordering::Relaxed);
            cache.keep(object_key(&self.repository, object), hash, content, reserved);
        }
    }
}

/// A copy for the cache while its content arrives, with the space that is set aside for it.
pub(super) struct Copying {
    draft: Option<Draft>,
    size: u64,
    outstanding: Arc<AtomicU64>,
}

impl Copying {
    /// Copies a part that has arrived; false when that failed and the copy is of no use.
    pub(super) fn copy_part(&self, source: &File, part: Range<u64>) -> bool {
        self.draft.as_ref().is_some_and(|draft| draft.copy_part(source, part).is_ok())
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        subtract(&self.outstanding, self.size);
    }
}
