//! The files of the cache: how they are made, copied into, used and hashed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::index::BlobName;

/// Uses of one content within this time count as one.
const USE_RESOLUTION: Duration = Duration::from_secs(60);
const BUFFER_BYTES: usize = 256 * 1024;

/// Where a content is that is to be kept.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// All of a file.
    File(&'a File),
    /// In memory.
    Bytes(&'a [u8]),
}

impl Content<'_> {
    pub(super) fn length(self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }
}

/// A copy of a content that is still arriving; dropped, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    file: File,
    place: PathBuf,
    size: u64,
}

impl Draft {
    /// A draft of a content of `size` bytes at a place of its own.
    pub(super) fn begin(place: PathBuf, size: u64) -> io::Result<Self> {
        Ok(Self { file: create_blob(&place)?, place, size })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Makes it a blob.
    pub(super) fn put(self, path: &Path) -> io::Result<()> {
        if self.file.metadata()?.len() != self.size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the copy is not complete"));
        }
        place_blob(&self.place, path)
    }

    /// Copies a part of `source` to the same place. Blocks on file input and output.
    ///
    /// # Errors
    /// What the system says.
    pub fn copy_part(&self, source: &File, part: Range<u64>) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES.min((part.end - part.start) as usize)];
        let mut position = part.start;
        while position < part.end {
            let length = buffer.len().min((part.end - position) as usize);
            source.read_exact_at(&mut buffer[..length], position)?;
            self.file.write_all_at(&buffer[..length], position)?;
            position += length as u64;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more when it was adopted.
        let _ = std::fs::remove_file(&self.place);
    }
}

/// Makes the file of a blob that is still to be written.
pub(super) fn create_blob(place: &Path) -> io::Result<File> {
    // Read-only for whoever opens it next.
    OpenOptions::new().write(true).create_new(true).mode(0o400).open(place)
}

/// Gives a blob that is complete its name.
pub(super) fn place_blob(temporary: &Path, path: &Path) -> io::Result<()> {
    match std::fs::rename(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            std::fs::rename(temporary, path)
        }
        renamed => renamed,
    }
}

/// The time of the last use orders evictions; that of the last change proves the content.
pub(super) fn note_use(blob: &File) {
    let is_recent = |used: SystemTime| used.elapsed().is_ok_and(|since| since < USE_RESOLUTION);
    if blob.metadata().and_then(|found| found.accessed()).is_ok_and(is_recent) {
        return;
    }
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let same = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let _ = rustix::fs::futimens(blob, &Timestamps { last_access: now, last_modification: same });
}

/// The name that a content has to have.
pub(super) fn hash_of(mut file: &File) -> io::Result<BlobName> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            length => hasher.update(&buffer[..length]),
        };
    }
}
