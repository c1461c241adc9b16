//! Fills a staging branch with what differs, and commits it.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};
use perago_contract::FailureCode;

use super::difference::Difference;
use super::run::absent_is_fine;
use super::{PublishReport, PublishRequest};
use crate::backoff::repeated;
use crate::blocking;
use crate::directory::{Directory, FileState};
use crate::error::WorkspaceError;
use crate::manifest::{Edits, ObjectIdentity};
use crate::path::{Prefix, RelativePath};
use crate::store::{CommitId, Repository, StoreError, StoreErrorKind, UploadSource};

/// Most keys that a store takes in one deletion.
const DELETE_AT_ONCE: usize = 1000;
const HASH_BUFFER_BYTES: usize = 256 * 1024;

/// Why staging failed: the store's answer is for the protocol to judge, everything else ends the attempt.
#[derive(Debug)]
pub(super) enum StageError {
    /// A call of the store failed.
    Store(StoreError),
    /// A local file, or a path.
    Workspace(WorkspaceError),
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WorkspaceError> for StageError {
    fn from(error: WorkspaceError) -> Self {
        Self::Workspace(error)
    }
}

/// Makes the branch `staging` at `base`, writes what differs from the wanted tree and commits it.
///
/// Returns `None` when nothing differs.
pub(super) async fn stage<R: Repository>(
    repository: &Arc<R>,
    request: &PublishRequest<'_>,
    staging: &str,
    base: &str,
    report: &mut PublishReport,
) -> Result<Option<CommitId>, StageError> {
    let difference = difference(repository, request, base).await?;
    if difference.is_empty() {
        return Ok(None);
    }
    let key = |path: &RelativePath| request.target.prefix.key_of(path).map_err(WorkspaceError::from);
    let uploads: Vec<(RelativePath, String)> = difference
        .uploads
        .into_iter()
        .map(|path| key(&path).map(|key| (path, key)))
        .collect::<Result<_, _>>()?;
    let deletes: Vec<String> = difference.deletes.iter().map(key).collect::<Result<_, _>>()?;

    fresh_branch(repository, staging, base).await?;
    let bytes: Vec<u64> = stream::iter(uploads)
        .map(|(path, key)| upload(repository, request, staging, path, key))
        .buffer_unordered(request.transfers.max(1))
        .try_collect()
        .await?;
    for keys in deletes.chunks(DELETE_AT_ONCE) {
        repeated!(repository, repository.delete(staging, keys))?;
    }
    report.uploaded_files += bytes.len() as u64;
    report.uploaded_bytes += bytes.iter().sum::<u64>();
    report.deleted_files += deletes.len() as u64;
    commit(repository, request, staging, base).await
}

async fn difference<R: Repository>(
    repository: &Arc<R>,
    request: &PublishRequest<'_>,
    base: &str,
) -> Result<Difference, StageError> {
    if base == request.target.stamp.input_ref {
        return Ok(Difference::from_input(request.edits));
    }
    let tree = tree_of(repository, base, request.target.prefix).await?;
    let (directory, edits) = (Arc::clone(request.directory), request.edits.clone());
    let written = blocking(move || identities(&directory, &edits)).await?;
    Ok(Difference::from_tree(&tree, request.manifest, request.edits, &written))
}

async fn tree_of<R: Repository>(
    repository: &Arc<R>,
    reference: &str,
    prefix: &Prefix,
) -> Result<BTreeMap<RelativePath, ObjectIdentity>, StageError> {
    let mut tree = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = repeated!(repository, repository.objects(reference, prefix.listing(), after.as_deref()))?;
        for object in page.items {
            // What is no file of a directory was put there by somebody else and is left alone.
            if let Ok(Some(path)) = prefix.path_of(&object.key) {
                tree.insert(path, ObjectIdentity { size: object.size, checksum: object.checksum });
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(tree),
        }
    }
}

pub(super) async fn fresh_branch<R: Repository>(
    repository: &Arc<R>,
    staging: &str,
    base: &str,
) -> Result<(), StoreError> {
    match repeated!(repository, repository.create_branch(staging, base)) {
        // Its name holds the id of this run, so it is ours: an earlier round's, or one whose reply was lost.
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
            absent_is_fine(repeated!(repository, repository.delete_branch(staging)))?;
            match repeated!(repository, repository.create_branch(staging, base)) {
                Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Ok(()),
                result => result,
            }
        }
        result => result,
    }
}

async fn upload<R: Repository>(
    repository: &Arc<R>,
    request: &PublishRequest<'_>,
    staging: &str,
    path: RelativePath,
    key: String,
) -> Result<u64, StageError> {
    let directory = Arc::clone(request.directory);
    let opened = {
        let path = path.clone();
        blocking(move || {
            let failed = |error| WorkspaceError::local("read", &path, error);
            let file = directory.open_file(&path).map_err(failed)?;
            let state = FileState::of(&file).map_err(failed)?;
            Ok((Arc::new(file), state))
        })
    };
    let (file, state) = opened.await?;
    let source = UploadSource { file: Arc::clone(&file), size: state.size };
    let sent = repeated!(repository, repository.upload(staging, &key, &source));
    // Whether the body, or what it left behind, has written meanwhile decides how a failure is to be read.
    if FileState::of(&*file).ok() != Some(state) {
        let message = format!("{path} was changed while it was uploaded");
        return Err(WorkspaceError::new(FailureCode::Workspace, message)
            .with_hint("the body must end everything it started before it returns")
            .into());
    }
    sent?;
    Ok(state.size)
}

async fn commit<R: Repository>(
    repository: &Arc<R>,
    request: &PublishRequest<'_>,
    staging: &str,
    base: &str,
) -> Result<Option<CommitId>, StageError> {
    let text = request.target.stamp.text_with_result("stage", request.target.result);
    match repeated!(repository, repository.commit(staging, &text)) {
        // Nobody else writes to this branch: an earlier try whose reply was lost has committed, or nothing differed.
        Err(error) if error.kind() == StoreErrorKind::NoChanges => {
            let head = repeated!(repository, repository.head(staging))?;
            Ok((head != base).then_some(head))
        }
        result => Ok(Some(result?)),
    }
}

fn identities(
    directory: &Directory,
    edits: &Edits,
) -> Result<BTreeMap<RelativePath, ObjectIdentity>, WorkspaceError> {
    edits.written.iter().map(|(path, state)| Ok((path.clone(), identity(directory, path, state)?))).collect()
}

fn identity(
    directory: &Directory,
    path: &RelativePath,
    state: &FileState,
) -> Result<ObjectIdentity, WorkspaceError> {
    let failed = |error| WorkspaceError::local("read", path, error);
    let mut file = directory.open_file(path).map_err(failed)?;
    let mut hasher = Md5::new();
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    let digest = hasher.finalize();
    Ok(ObjectIdentity { size: state.size, checksum: crate::hexadecimal(&digest) })
}
