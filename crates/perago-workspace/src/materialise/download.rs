//! Large files: read in parallel ranges that are hashed in order behind them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::watch;

use super::fetch::Sink;
use super::verify::{Copying, Hashes, differ, equal_twice};
use super::{Finished, Job, Transfers, count_file, finished, permits};
use crate::blocking;
use crate::cache::Content;
use crate::directory::{FileCreator, FileState};
use crate::error::WorkspaceError;
use crate::store::Repository;

/// One range of a large file.
const PART_BYTES: u64 = 4 * 1024 * 1024;
/// Ranges of one file that are read at once.
const PARTS_AT_ONCE: usize = 8;
/// Bytes of a range that are gathered before they are written.
const WRITE_BYTES: usize = 256 * 1024;
/// Memory of one range: what is gathered, what is being written, what the connection holds.
const PART_MEMORY_BYTES: u64 = 1024 * 1024;

impl<R: Repository> Transfers<R> {
    /// Downloads a file in ranges.
    pub(super) async fn download_large(&self, job: Job) -> Result<Finished, WorkspaceError> {
        let mut large = self.read_large(&job).await?;
        let mut warning = None;
        if !large.agrees {
            let first = large.hash;
            self.remove(&job).await?;
            large = self.read_large(&job).await?;
            if !large.agrees && first != large.hash {
                return Err(differ(&job.object));
            }
            warning = (!large.agrees).then(|| equal_twice(&job.object));
        }
        let Large { file, hash, copying, .. } = large;
        let keep = self.keep.clone();
        let (progress, outstanding) = (Arc::clone(&self.progress), Arc::clone(&self.outstanding));
        blocking(move || {
            let failed = |error| WorkspaceError::local("write", &job.path, error);
            let state = FileState::of(&*file).map_err(failed)?;
            match copying {
                Some(copying) => keep.adopt(&job.object, hash, copying),
                None => keep.keep(&job.object, hash, Content::File(&file)),
            }
            count_file(&progress, &outstanding, job.object.size);
            Ok(finished(&job, state, hash, warning))
        })
        .await
    }

    async fn remove(&self, job: &Job) -> Result<(), WorkspaceError> {
        let (directory, path) = (Arc::clone(&self.directory), job.path.clone());
        blocking(move || {
            directory.remove_file(&path).map_err(|error| WorkspaceError::local("remove", &path, error))
        })
        .await
    }

    async fn read_large(&self, job: &Job) -> Result<Large, WorkspaceError> {
        let size = job.object.size;
        let (directory, keep, wanted) = (Arc::clone(&self.directory), self.keep.clone(), job.clone());
        let (file, copying) = blocking(move || {
            let failed = |error| WorkspaceError::local("write", &wanted.path, error);
            let file = FileCreator::new(&directory).create(&wanted.path).map_err(failed)?;
            file.set_len(size).map_err(failed)?;
            Ok((Arc::new(file), keep.copying(&wanted.object)))
        })
        .await?;
        let parts: Vec<Range<u64>> =
            (0..size).step_by(PART_BYTES as usize).map(|start| start..size.min(start + PART_BYTES)).collect();
        let (done, waiting) = watch::channel(vec![false; parts.len()]);
        let reading = stream::iter(parts.clone().into_iter().enumerate())
            .map(|(index, part)| self.read_part(job, &file, index, part, &done))
            .buffer_unordered(PARTS_AT_ONCE)
            .try_for_each(|()| async { Ok(()) });
        let hashing = hash_behind(job, &file, &parts, waiting.clone());
        let copying = copy_behind(copying, &file, &parts, waiting);
        let ((), (hash, agrees), copying) = tokio::try_join!(reading, hashing, copying)?;
        Ok(Large { file, hash, agrees, copying })
    }

    async fn read_part(
        &self,
        job: &Job,
        file: &Arc<File>,
        index: usize,
        part: Range<u64>,
        done: &watch::Sender<Vec<bool>>,
    ) -> Result<(), WorkspaceError> {
        let memory = permits(PART_MEMORY_BYTES).min(permits(self.options.memory_bytes));
        let _permit = self.memory.acquire_many(memory as u32).await.expect("the semaphore is never closed");
        let mut sink = Written { job, file, start: part.start, gathered: Vec::new(), length: 0 };
        self.read_range(&job.object, part, &mut sink).await?;
        sink.flush().await?;
        done.send_modify(|parts| parts[index] = true);
        Ok(())
    }
}

// Reads the ranges back as they are complete, in order; they come from memory, since they were just written.
async fn hash_behind(
    job: &Job,
    file: &Arc<File>,
    parts: &[Range<u64>],
    mut waiting: watch::Receiver<Vec<bool>>,
) -> Result<(blake3::Hash, bool), WorkspaceError> {
    let mut hashes = Hashes::of(&job.object);
    for (index, part) in parts.iter().enumerate() {
        waiting.wait_for(|done| done[index]).await.expect("the sender lives as long as the reads");
        let (file, path, part) = (Arc::clone(file), job.path.clone(), part.clone());
        hashes = blocking(move || {
            let mut buffer = vec![0; WRITE_BYTES];
            let mut position = part.start;
            while position < part.end {
                let length = WRITE_BYTES.min((part.end - position) as usize);
                file.read_exact_at(&mut buffer[..length], position)
                    .map_err(|error| WorkspaceError::local("read", &path, error))?;
                hashes.update(&buffer[..length]);
                position += length as u64;
            }
            Ok(hashes)
        })
        .await?;
    }
    Ok(hashes.finish(&job.object))
}

// The same for the cache: a copy at the end would make the body wait for it.
async fn copy_behind(
    mut copying: Option<Copying>,
    file: &Arc<File>,
    parts: &[Range<u64>],
    mut waiting: watch::Receiver<Vec<bool>>,
) -> Result<Option<Copying>, WorkspaceError> {
    for (index, part) in parts.iter().enumerate() {
        let Some(copy) = copying.take() else { break };
        waiting.wait_for(|done| done[index]).await.expect("the sender lives as long as the reads");
        let (file, part) = (Arc::clone(file), part.clone());
        copying = blocking(move || Ok(copy.copy_part(&file, part).then_some(copy))).await?;
    }
    Ok(copying)
}

/// A large file that has arrived.
struct Large {
    file: Arc<File>,
    hash: blake3::Hash,
    agrees: bool,
    copying: Option<Copying>,
}

struct Written<'a> {
    job: &'a Job,
    file: &'a Arc<File>,
    start: u64,
    gathered: Vec<Bytes>,
    length: usize,
}

impl Sink for Written<'_> {
    async fn take(&mut self, position: u64, bytes: Bytes) -> Result<(), WorkspaceError> {
        if self.gathered.is_empty() {
            self.start = position;
        }
        self.length += bytes.len();
        self.gathered.push(bytes);
        if self.length >= WRITE_BYTES {
            self.flush().await?;
        }
        Ok(())
    }
}

impl Written<'_> {
    async fn flush(&mut self) -> Result<(), WorkspaceError> {
        let (gathered, start) = (std::mem::take(&mut self.gathered), self.start);
        self.length = 0;
        if gathered.is_empty() {
            return Ok(());
        }
        let (file, path) = (Arc::clone(self.file), self.job.path.clone());
        blocking(move || {
            let mut position = start;
            for bytes in gathered {
                file.write_all_at(&bytes, position)
                    .map_err(|error| WorkspaceError::local("write", &path, error))?;
                position += bytes.len() as u64;
            }
            Ok(())
        })
        .await
    }
}
