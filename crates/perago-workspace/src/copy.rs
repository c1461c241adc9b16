//! Copies of files that share their blocks where the file system can do that.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU8, Ordering};

const UNKNOWN: u8 = 0;
const SHARES: u8 = 1;
const COPIES: u8 = 2;
/// Up to this length, reading and writing is less work for the system than copying inside it.
const SMALL_BYTES: u64 = 64 * 1024;

/// Copies between files of one pair of file systems, and remembers whether they can share blocks.
#[derive(Debug)]
pub struct Copier {
    ability: AtomicU8,
}

impl Copier {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self { ability: AtomicU8::new(UNKNOWN) }
    }

    /// Copies all of `source`, which has `length` bytes, into the empty file `destination`. Both keep their own content
    /// from then on.
    ///
    /// # Errors
    /// What the system says.
    pub fn copy(&self, source: &File, length: u64, destination: &File) -> io::Result<()> {
        if self.ability.load(Ordering::Relaxed) != COPIES {
            let shared = share_blocks(source, destination);
            self.ability.store(if shared { SHARES } else { COPIES }, Ordering::Relaxed);
            if shared {
                return Ok(());
            }
        }
        let (mut source, mut destination) = (source, destination);
        if length <= SMALL_BYTES {
            let mut content = vec![0; length as usize];
            source.read_exact_at(&mut content, 0)?;
            return destination.write_all(&content);
        }
        source.rewind()?;
        // On Linux this is copy_file_range, so the bytes never come to user space.
        io::copy(&mut source, &mut destination)?;
        Ok(())
    }

    /// Whether a copy is known to take no space of its own.
    pub fn shares_blocks(&self) -> bool {
        self.ability.load(Ordering::Relaxed) == SHARES
    }
}

#[cfg(target_os = "linux")]
fn share_blocks(source: &File, destination: &File) -> bool {
    rustix::fs::ioctl_ficlone(destination, source).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn share_blocks(_source: &File, _destination: &File) -> bool {
    false
}
