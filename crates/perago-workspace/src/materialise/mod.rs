//! A commit's prefix becomes a directory.
//!
//! The listing comes first, so that a prefix which does not fit is refused before its first byte. Contents come from
//! the cache or in parallel from the store, large ones in parallel ranges, and are verified before a body sees them.

mod download;
mod fetch;
mod small;
mod verify;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use perago_contract::FailureCode;
use tokio::sync::Semaphore;

use crate::backoff::repeated;
use crate::blocking;
use crate::cache::{Cache, object_key};
use crate::directory::{Directory, FileCreator, FileState};
use crate::error::WorkspaceError;
use crate::manifest::{CLOCK_SLACK, LONGEST_CLOCK_TICK, Manifest, ManifestEntry, ObjectIdentity};
use crate::path::{Prefix, RelativePath};
use crate::store::{ObjectEntry, Repository};

/// Files up to this size are one read and are held in memory; larger ones are read in ranges.
const SMALL_FILE_BYTES: u64 = 1024 * 1024;
/// One unit of the memory bound.
const PERMIT_BYTES: u64 = 16 * 1024;
/// Files that one piece of blocking work takes from the cache.
const CACHED_AT_ONCE: usize = 64;

/// More bytes than this, written so late that they would have to be hashed after the body, are waited for.
const MOST_FRESH_BYTES: u64 = 32 * 1024 * 1024;

/// How transfers are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferOptions {
    /// Most transfers at once.
    pub transfers: usize,
    /// Most bytes of content held in memory, whatever the sizes of files.
    pub memory_bytes: u64,
    /// A read that brings nothing for this long is given up and resumed.
    pub stall_timeout: Duration,
}

impl Default for TransferOptions {
    fn default() -> Self {
        Self { transfers: 128, memory_bytes: 32 * 1024 * 1024, stall_timeout: Duration::from_secs(30) }
    }
}

/// How far a transfer is; read by whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files in all.
    pub files: AtomicU64,
    /// Bytes in all.
    pub bytes: AtomicU64,
    /// Files that are complete.
    pub done_files: AtomicU64,
    /// Bytes that have arrived.
    pub done_bytes: AtomicU64,
}

/// What to materialise, and where.
#[derive(Debug, Clone)]
pub struct MaterialiseRequest<'a> {
    /// The pinned commit.
    pub reference: &'a str,
    /// The part of the repository.
    pub prefix: &'a Prefix,
    /// An empty directory.
    pub directory: &'a Arc<Directory>,
    /// Contents of earlier downloads.
    pub cache: Option<&'a Arc<Cache>>,
    /// How transfers are done.
    pub options: TransferOptions,
    /// Where progress is counted.
    pub progress: &'a Arc<Progress>,
}

/// What was materialised.
#[derive(Debug, Default)]
pub struct Materialised {
    /// All files.
    pub manifest: Manifest,
    /// Files that came from the store.
    pub downloaded_files: u64,
    /// Their length together, in bytes.
    pub downloaded_bytes: u64,
    /// Files that came from the cache.
    pub cached_files: u64,
    /// Their length together, in bytes.
    pub cached_bytes: u64,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// One object on its way to a file.
#[derive(Debug, Clone)]
struct Job {
    path: RelativePath,
    object: ObjectEntry,
}

/// What a prefix holds.
struct Listing {
    jobs: Vec<Job>,
    // Those that an object without content stands for. The objects themselves are never written or deleted.
    directories: Vec<RelativePath>,
}

/// A file that is complete and verified.
struct Finished {
    path: RelativePath,
    entry: ManifestEntry,
    warning: Option<String>,
}

/// What all transfers of one checkout share.
struct Transfers<R> {
    repository: Arc<R>,
    reference: String,
    directory: Arc<Directory>,
    cache: Option<Arc<Cache>>,
    options: TransferOptions,
    progress: Arc<Progress>,
    memory: Arc<Semaphore>,
    // Space that files still to come will need.
    outstanding: Arc<AtomicU64>,
    keep: verify::Keep,
}

/// Fills a directory with the files of a commit's prefix.
///
/// # Errors
/// A key that names no file, a prefix that does not fit, a content that is not what the listing says, or a store that
/// does not answer. The directory may hold some files then.
pub async fn materialise<R: Repository>(
    repository: &Arc<R>,
    request: &MaterialiseRequest<'_>,
) -> Result<Materialised, WorkspaceError> {
    let Listing { jobs, directories } = list(repository, request).await?;
    let bytes = jobs.iter().map(|job| job.object.size).fold(0, u64::saturating_add);
    request.progress.files.store(jobs.len() as u64, Ordering::Relaxed);
    request.progress.bytes.store(bytes, Ordering::Relaxed);
    let needed = make_room(request, &jobs).await?;
    make_directories(request, directories).await?;

    let outstanding = Arc::new(AtomicU64::new(needed));
    let transfers = Transfers {
        repository: Arc::clone(repository),
        reference: request.reference.to_owned(),
        directory: Arc::clone(request.directory),
        cache: request.cache.cloned(),
        options: request.options,
        progress: Arc::clone(request.progress),
        memory: Arc::new(Semaphore::new(permits(request.options.memory_bytes))),
        keep: verify::Keep {
            cache: request.cache.cloned(),
            repository: repository.identity().into(),
            outstanding: Arc::clone(&outstanding),
        },
        outstanding,
    };
    let filled = transfers.fill(jobs).await;
    if let Some(cache) = request.cache.cloned() {
        // Also after a failure: the next attempt need not read again what has arrived.
        blocking(move || {
            cache.flush();
            Ok(())
        })
        .await?;
    }
    let mut result = filled?;
    result.manifest.taken_at = time_of(request.directory).await?;
    if result.manifest.fresh_bytes() > MOST_FRESH_BYTES {
        // Shorter than to hash them all after the body, when their times would prove nothing.
        tokio::time::sleep(CLOCK_SLACK + LONGEST_CLOCK_TICK).await;
        result.manifest.taken_at = time_of(request.directory).await?;
    }
    Ok(result)
}

async fn time_of(directory: &Arc<Directory>) -> Result<i128, WorkspaceError> {
    let directory = Arc::clone(directory);
    blocking(move || {
        directory.now().map_err(|error| WorkspaceError::local("write to", directory.path().display(), error))
    })
    .await
}

async fn list<R: Repository>(
    repository: &Arc<R>,
    request: &MaterialiseRequest<'_>,
) -> Result<Listing, WorkspaceError> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut directories: Vec<RelativePath> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = repeated!(
            repository,
            repository.objects(request.reference, request.prefix.listing(), after.as_deref())
        )
        .map_err(|error| {
            WorkspaceError::store(
                &format!("list {:?} of {}", request.prefix.listing(), request.reference),
                error,
            )
        })?;
        for object in page.items {
            if object.size == 0 && object.key.ends_with('/') {
                directories.extend(request.prefix.directory_of(&object.key)?);
            } else if let Some(path) = request.prefix.path_of(&object.key)? {
                jobs.push(Job { path, object });
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let files: HashSet<&str> = jobs.iter().map(|job| job.path.as_str()).collect();
    refuse_file_above_file(&jobs, &files, request.prefix)?;
    // A file of that name is more than the mark of a directory.
    directories.retain(|path| !files.contains(path.as_str()) && file_above(path, &files).is_none());
    Ok(Listing { jobs, directories })
}

// A store can hold `a` and `a/b`; a directory cannot.
fn refuse_file_above_file(
    jobs: &[Job],
    files: &HashSet<&str>,
    prefix: &Prefix,
) -> Result<(), WorkspaceError> {
    for job in jobs {
        if let Some(above) = file_above(&job.path, files) {
            let (above, below) = (format!("{}{above}", prefix.listing()), &job.object.key);
            let message = format!(
                "the object {above:?} would be a file and the directory of the object {below:?} at once"
            );
            return Err(WorkspaceError::new(FailureCode::WorkspacePath, message)
                .with_hint("no directory can hold both: rename one of the objects, or narrow the prefix"));
        }
    }
    Ok(())
}

fn file_above<'a>(path: &'a RelativePath, files: &HashSet<&str>) -> Option<&'a str> {
    path.ancestors().find(|above| files.contains(above))
}

async fn make_directories(
    request: &MaterialiseRequest<'_>,
    directories: Vec<RelativePath>,
) -> Result<(), WorkspaceError> {
    if directories.is_empty() {
        return Ok(());
    }
    let directory = Arc::clone(request.directory);
    blocking(move || {
        let made = |path| directory.create_directory(path).map_err(|error| (path, error));
        directories
            .iter()
            .try_for_each(made)
            .map_err(|(path, error)| WorkspaceError::local("make", path, error))
    })
    .await
}

async fn make_room(request: &MaterialiseRequest<'_>, jobs: &[Job]) -> Result<u64, WorkspaceError> {
    let sizes: Vec<u64> = jobs.iter().map(|job| job.object.size).collect();
    let (directory, cache) = (Arc::clone(request.directory), request.cache.cloned());
    blocking(move || {
        let failed = |error| WorkspaceError::local("examine the disk of", directory.path().display(), error);
        let (mut free, block) = directory.free_bytes().map_err(failed)?;
        let on_disk = |size: &u64| size.div_ceil(block).saturating_mul(block);
        let needed = sizes.iter().map(on_disk).fold(0, u64::saturating_add);
        // Nothing is given up for what does not fit anyway.
        let can_help = |cache: &Arc<Cache>| {
            free < needed && free.saturating_add(cache.bytes()) >= needed && cache.is_on_disk_of(&*directory)
        };
        if let Some(cache) = cache.filter(can_help) {
            cache.give_way(needed - free);
            free = directory.free_bytes().map_err(failed)?.0;
        }
        if free < needed {
            let message = format!(
                "the files need {needed} bytes on the disk of {}, which has {free} bytes free",
                directory.path().display()
            );
            return Err(WorkspaceError::new(FailureCode::WorkspaceNoSpace, message));
        }
        Ok(needed)
    })
    .await
}

impl<R: Repository> Transfers<R> {
    async fn fill(&self, jobs: Vec<Job>) -> Result<Materialised, WorkspaceError> {
        let (mut finished, missing) = self.take_from_cache(jobs).await?;
        let mut result = Materialised {
            cached_files: finished.len() as u64,
            cached_bytes: finished.iter().map(|file| file.entry.state.size).sum(),
            downloaded_files: missing.len() as u64,
            downloaded_bytes: missing.iter().map(|job| job.object.size).sum(),
            ..Materialised::default()
        };
        let (small, large): (Vec<Job>, Vec<Job>) =
            missing.into_iter().partition(|job| job.object.size <= SMALL_FILE_BYTES);
        let large = stream::iter(large)
            .map(|job| self.download_large(job))
            .buffer_unordered(self.options.transfers.max(1))
            .try_collect::<Vec<Finished>>();
        let (small, large) = tokio::try_join!(self.download_small(small), large)?;
        finished.extend(small.into_iter().chain(large));
        for file in finished {
            result.warnings.extend(file.warning);
            result.manifest.files.insert(file.path, file.entry);
        }
        Ok(result)
    }

    async fn take_from_cache(&self, jobs: Vec<Job>) -> Result<(Vec<Finished>, Vec<Job>), WorkspaceError> {
        let Some(cache) = &self.cache else { return Ok((Vec::new(), jobs)) };
        let repository = Arc::clone(&self.keep.repository);
        cache.refresh();
        let (held, missing): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| cache.holds(&object_key(&repository, &job.object)));
        let lost = Arc::new(Mutex::new(Vec::new()));
        let groups: Vec<Vec<Job>> = held.chunks(CACHED_AT_ONCE).map(<[Job]>::to_vec).collect();
        let copied: Vec<Vec<Finished>> = stream::iter(groups)
            .map(|group| {
                let (cache, directory) = (Arc::clone(cache), Arc::clone(&self.directory));
                let (repository, lost) = (Arc::clone(&repository), Arc::clone(&lost));
                let (progress, outstanding) = (Arc::clone(&self.progress), Arc::clone(&self.outstanding));
                blocking(move || {
                    let mut creator = FileCreator::new(&directory);
                    let mut finished = Vec::new();
                    for job in group {
                        match copy_from_cache(&cache, &directory, &mut creator, &repository, &job)? {
                            Some(file) => {
                                progress.done_bytes.fetch_add(job.object.size, Ordering::Relaxed);
                                count_file(&progress, &outstanding, job.object.size);
                                finished.push(file);
                            }
                            None => lost.lock().unwrap_or_else(PoisonError::into_inner).push(job),
                        }
                    }
                    Ok(finished)
                })
            })
            .buffer_unordered(4)
            .try_collect()
            .await?;
        let mut lost = std::mem::take(&mut *lost.lock().unwrap_or_else(PoisonError::into_inner));
        lost.extend(missing);
        Ok((copied.into_iter().flatten().collect(), lost))
    }
}

fn copy_from_cache(
    cache: &Cache,
    directory: &Directory,
    creator: &mut FileCreator<'_>,
    repository: &str,
    job: &Job,
) -> Result<Option<Finished>, WorkspaceError> {
    let failed = |error| WorkspaceError::local("write", &job.path, error);
    let mut gave_way = false;
    loop {
        let file = creator.create(&job.path).map_err(failed)?;
        match cache.fetch(&object_key(repository, &job.object), &file) {
            Ok(Some(hash)) => {
                let state = FileState::of(&file).map_err(failed)?;
                return Ok(Some(finished(job, state, hash, None)));
            }
            Ok(None) => {
                directory.remove_file(&job.path).map_err(failed)?;
                return Ok(None);
            }
            Err(error) => {
                directory.remove_file(&job.path).map_err(failed)?;
                if gave_way || error.kind() != std::io::ErrorKind::StorageFull {
                    return Err(failed(error));
                }
                gave_way = true;
                cache.give_way(job.object.size);
            }
        }
    }
}

fn finished(job: &Job, state: FileState, hash: blake3::Hash, warning: Option<String>) -> Finished {
    let object = ObjectIdentity { size: job.object.size, checksum: job.object.checksum.clone() };
    Finished { path: job.path.clone(), entry: ManifestEntry { state, hash, object }, warning }
}

/// Counts a file that is complete; its bytes were counted as they came.
fn count_file(progress: &Progress, outstanding: &AtomicU64, size: u64) {
    progress.done_files.fetch_add(1, Ordering::Relaxed);
    subtract(outstanding, size);
}

fn subtract(outstanding: &AtomicU64, size: u64) {
    let _ = outstanding
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(size)));
}

fn permits(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(1).clamp(1, Semaphore::MAX_PERMITS)
}
