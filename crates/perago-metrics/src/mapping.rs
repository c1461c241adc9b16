//! The arena file mapped into memory, as words that several processes write.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};

use crate::Error;
use crate::layout::{Header, PAGE};

/// A mapped arena. All access is through atomics, because other processes share the words.
#[derive(Debug)]
pub(crate) struct Mapping {
    memory: MmapRaw,
    header: Header,
    /// Holds a shared lock as long as this process or a forked child of it may write.
    _file: File,
}

impl Mapping {
    /// Maps the file, whose header must be whole and whose blocks must be there.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::options().read(true).write(true).open(path).map_err(Error::io("open", path))?;
        // SAFETY: a plain call on an open descriptor. It fails only while the supervisor folds the arena, or on a file
        // system without locks, where the owners of the shards tell who writes.
        let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) };
        let error = io::Error::last_os_error();
        if locked != 0 && error.kind() == io::ErrorKind::WouldBlock {
            return Err(Error::io("lock", path)(error));
        }
        let header = crate::file::read_header(&file, path)?;
        let memory = MmapOptions::new()
            .len(header.file_length() as usize)
            .map_raw(&file)
            .map_err(Error::io("map", path))?;
        Ok(Self { memory, header, _file: file })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.memory.len() as u64, "arena offset {offset}");
        // SAFETY: in bounds and aligned by the assertion; the mapping lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().add(offset as usize).cast()) }
    }

    pub(crate) fn half_word(&self, offset: u64) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.memory.len() as u64, "arena offset {offset}");
        // SAFETY: as in `word`.
        unsafe { AtomicU32::from_ptr(self.memory.as_mut_ptr().add(offset as usize).cast()) }
    }

    /// A pointer to a shard's words.
    pub(crate) fn shard(&self, index: u32) -> *mut u64 {
        let offset = self.header.shard(index);
        assert!(offset.is_multiple_of(PAGE) && offset < self.memory.len() as u64, "arena shard {index}");
        // SAFETY: in bounds by the assertion.
        unsafe { self.memory.as_mut_ptr().add(offset as usize).cast() }
    }

    /// Copies `bytes` into the blob at `offset`. The range must be reserved by the caller.
    pub(crate) fn write_blob(&self, offset: u32, bytes: &[u8]) {
        let end = u64::from(offset) + bytes.len() as u64;
        assert!(end <= u64::from(self.header.options.blob_bytes), "arena blob end {end}");
        // SAFETY: in bounds by the assertion; nobody else writes a reserved range or reads it before the commit.
        unsafe {
            let target = self.memory.as_mut_ptr().add((self.header.blob() + u64::from(offset)) as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
    }

    /// A copy of the index and the blob, for reading the directory.
    pub(crate) fn directory(&self) -> (Vec<u8>, Vec<u8>) {
        let copy = |offset: u64, length: u64| {
            let mut bytes = vec![0; length as usize];
            // SAFETY: both ranges are inside the mapping. Entries that are being written have not been committed.
            unsafe {
                let source = self.memory.as_ptr().add(offset as usize);
                std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len());
            }
            bytes
        };
        let index = copy(Header::entry(0), self.header.blob() - Header::entry(0));
        (index, copy(self.header.blob(), u64::from(self.header.options.blob_bytes)))
    }
}
