//! Small files: read whole, many at once, and written many by one thread, because for them the handing over of work
//! costs more than the work.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;

use super::fetch::Sink;
use super::verify::{Hashes, Keep, differ, equal_twice};
use super::{Finished, Job, PERMIT_BYTES, Transfers, count_file, finished, permits};
use crate::blocking;
use crate::cache::Content;
use crate::directory::{FileCreator, FileState};
use crate::error::WorkspaceError;
use crate::store::Repository;

/// Most files that one piece of blocking work writes.
const WRITTEN_AT_ONCE: usize = 64;
/// Pieces of blocking work at once; while all are busy, files gather for the next one.
const WRITERS: usize = 4;

/// A file to read, and the hash of an earlier download that did not match its checksum.
type Wanted = (Job, Option<blake3::Hash>);

/// A file in memory, with its share of the memory bound.
struct Arrived {
    wanted: Wanted,
    content: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

enum Written {
    Done(Finished),
    // It does not match its checksum.
    Differs(Job, blake3::Hash),
}

impl<R: Repository> Transfers<R> {
    /// Downloads files that fit into memory.
    pub(super) async fn download_small(&self, jobs: Vec<Job>) -> Result<Vec<Finished>, WorkspaceError> {
        let mut wanted: Vec<Wanted> = jobs.into_iter().map(|job| (job, None)).collect();
        let mut done = Vec::with_capacity(wanted.len());
        while !wanted.is_empty() {
            let written: Vec<Vec<Written>> = stream::iter(wanted)
                .map(|wanted| self.read_small(wanted))
                .buffer_unordered(self.options.transfers.max(1))
                .ready_chunks(WRITTEN_AT_ONCE)
                .map(|arrived| self.write_small(arrived))
                .buffer_unordered(WRITERS)
                .try_collect()
                .await?;
            wanted = Vec::new();
            for file in written.into_iter().flatten() {
                match file {
                    Written::Done(file) => done.push(file),
                    Written::Differs(job, hash) => wanted.push((job, Some(hash))),
                }
            }
        }
        Ok(done)
    }

    async fn read_small(&self, wanted: Wanted) -> Result<Arrived, WorkspaceError> {
        let size = wanted.0.object.size;
        let memory = permits(size.max(PERMIT_BYTES)).min(permits(self.options.memory_bytes));
        let permit = Arc::clone(&self.memory).acquire_many_owned(memory as u32).await;
        let permit = permit.expect("the semaphore is never closed");
        let mut sink = Gathered(Vec::with_capacity(size as usize));
        if size > 0 {
            self.read_range(&wanted.0.object, 0..size, &mut sink).await?;
        }
        Ok(Arrived { wanted, content: sink.0, _permit: permit })
    }

    async fn write_small(
        &self,
        arrived: Vec<Result<Arrived, WorkspaceError>>,
    ) -> Result<Vec<Written>, WorkspaceError> {
        let mut arrived = arrived.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (directory, keep) = (Arc::clone(&self.directory), self.keep.clone());
        let (progress, outstanding) = (Arc::clone(&self.progress), Arc::clone(&self.outstanding));
        blocking(move || {
            // Neighbours share their directory.
            arrived.sort_unstable_by(|left, right| left.wanted.0.path.cmp(&right.wanted.0.path));
            let mut creator = FileCreator::new(&directory);
            let write = |file| {
                let written = write_one(&mut creator, &keep, file)?;
                if let Written::Done(file) = &written {
                    count_file(&progress, &outstanding, file.entry.object.size);
                }
                Ok(written)
            };
            arrived.into_iter().map(write).collect()
        })
        .await
    }
}

fn write_one(creator: &mut FileCreator<'_>, keep: &Keep, file: Arrived) -> Result<Written, WorkspaceError> {
    let ((job, earlier), content) = (file.wanted, file.content);
    let mut hashes = Hashes::of(&job.object);
    hashes.update(&content);
    let (hash, agrees) = hashes.finish(&job.object);
    let warning = match earlier {
        _ if agrees => None,
        Some(earlier) if earlier == hash => Some(equal_twice(&job.object)),
        Some(_) => return Err(differ(&job.object)),
        None => return Ok(Written::Differs(job, hash)),
    };
    let failed = |error| WorkspaceError::local("write", &job.path, error);
    let mut file = creator.create(&job.path).map_err(failed)?;
    file.write_all(&content).map_err(failed)?;
    let state = FileState::of(&file).map_err(failed)?;
    keep.keep(&job.object, hash, Content::Bytes(&content));
    Ok(Written::Done(finished(&job, state, hash, warning)))
}

struct Gathered(Vec<u8>);

impl Sink for Gathered {
    async fn take(&mut self, _position: u64, bytes: Bytes) -> Result<(), WorkspaceError> {
        self.0.extend_from_slice(&bytes);
        Ok(())
    }
}
