//! Workspaces: a pinned commit in, one safe commit out, only the difference moved.
//!
//! The engine turns a commit's prefix into a directory ([`materialise`]), checks guardrails ([`check_guardrails`]),
//! finds what a body has changed ([`Manifest::edits_in`]) and publishes it as one commit ([`publish`]). It speaks to a
//! store through [`Repository`] and knows no server, no worker and no authoring language.

mod attempt_directory;
mod backoff;
mod cache;
mod copy;
mod directory;
mod error;
mod garbage;
mod glob;
mod guards;
mod manifest;
mod materialise;
mod path;
mod publish;
mod run_directory;
mod stamp;
mod store;

pub use attempt_directory::{
    AttemptDirectory, AttemptMarker, FoundDirectory, attempt_directories, remove_tree,
};
pub use cache::{Cache, CacheOptions, Content};
pub use directory::{Directory, FileCreator, FileState};
pub use error::WorkspaceError;
pub use garbage::{
    CollectOptions, Collected, Garbage, Judge, Keep, Outcome, Suspect, Verdict, collect_branches,
    collect_directories,
};
pub use glob::{GlobDialect, NamePattern, count_matches};
pub use guards::{GuardPhase, check_guardrails, violation_of};
pub use manifest::{Edits, Manifest, ManifestEntry, ObjectIdentity};
pub use materialise::{MaterialiseRequest, Materialised, Progress, TransferOptions, materialise};
pub use path::{LONGEST_KEY_BYTES, MARKER_FILE, PathError, Prefix, RelativePath};
pub use publish::{
    AdoptRequest, Adopted, AttemptControl, PublishReport, PublishRequest, Target, adopt, publish,
};
pub use run_directory::{RunDirectory, collect_run_directories};
pub use stamp::{Basis, CommitStamp, Epoch, LONGEST_RESULT_IN_COMMIT, StagingName, Stamp, Work};
pub use store::{
    Branch, ByteStream, Commit, CommitId, CommitText, ObjectEntry, Page, ReadAccess, Repository, StoreError,
    StoreErrorKind, UploadSource,
};

/// Runs file work where it cannot delay anything else.
///
/// # Errors
/// What the work says, or that it was interrupted.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let message = format!("file work was interrupted: {error}");
        Err(WorkspaceError::new(perago_contract::FailureCode::Internal, message))
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
