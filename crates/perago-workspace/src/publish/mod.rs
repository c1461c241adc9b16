//! Publication: the edits of a directory become one commit on a branch, once, or a clear failure.
//!
//! `machine` decides, `run` carries out; `stage` fills the staging branch, `history` reads what the branch says, `adopt`
//! finishes what an earlier attempt has left, `report` puts failures into words.

mod adopt;
mod difference;
mod history;
mod machine;
mod report;
mod run;
mod stage;

#[cfg(test)]
mod machine_tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use perago_contract::OnMovedHead;

use crate::directory::Directory;
use crate::error::WorkspaceError;
use crate::manifest::{Edits, Manifest};
use crate::path::Prefix;
use crate::stamp::Stamp;
use crate::store::Repository;

pub use adopt::{AdoptRequest, Adopted, adopt};
use run::{Run, Source};

/// What the publication asks of the attempt it belongs to.
pub trait AttemptControl: Send + Sync {
    /// Asks the server whether the attempt is still ours, and waits while it cannot be reached; the lease must last
    /// for `effect` afterwards.
    ///
    /// # Errors
    /// Why it is not.
    fn fence(&self, effect: Duration) -> impl Future<Output = Result<(), String>> + Send;

    /// Records durably what is about to be merged.
    fn staged(&self, branch: &str, commit: &str) -> impl Future<Output = ()> + Send;

    /// Takes note of an upload to the staging branch: how long it took, and how many bytes were sent unless it failed.
    fn uploaded(&self, duration: Duration, bytes: Option<u64>);
}

/// Where work is published, and as whose.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The target branch.
    pub branch: &'a str,
    /// The part of the repository that the work is about.
    pub prefix: &'a Prefix,
    /// Who publishes or adopts.
    pub stamp: &'a Stamp,
    /// What a moved head means.
    pub on_moved_head: OnMovedHead,
    /// Time limit of one merge.
    pub merge_limit: Duration,
    /// The body's result as JSON, for the metadata of the commits; of an adoption the one that the caller has kept.
    pub result: Option<&'a str>,
}

/// What to publish.
#[derive(Debug, Clone)]
pub struct PublishRequest<'a> {
    /// Where, and as whose.
    pub target: Target<'a>,
    /// The directory.
    pub directory: &'a Arc<Directory>,
    /// What was checked out into it.
    pub manifest: &'a Manifest,
    /// What has changed there since.
    pub edits: &'a Edits,
    /// How many files are uploaded at once.
    pub transfers: usize,
}

/// What a publication has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishReport {
    /// The commit that holds the published tree.
    pub commit: String,
    /// Whether it is a new commit.
    pub is_new: bool,
    /// Files that were uploaded.
    pub uploaded_files: u64,
    /// Their length together, in bytes.
    pub uploaded_bytes: u64,
    /// Objects that were deleted.
    pub deleted_files: u64,
    /// Why the staging branch could not be removed; it is found later by its name.
    pub left_staging: Option<String>,
}

/// Publishes a directory.
///
/// # Errors
/// A typed failure that says what is on the branch; no staging branch is left unless the store refuses to delete it.
pub async fn publish<R: Repository, C: AttemptControl>(
    repository: &Arc<R>,
    control: &C,
    request: &PublishRequest<'_>,
) -> Result<PublishReport, WorkspaceError> {
    Run::new(repository, control, request.target, Source::Directory(request)).finish().await
}
