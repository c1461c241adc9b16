//! Publication: the edits of a directory become one commit on a branch, once, or a clear failure.
//!
//! `machine` decides, this module carries out; `stage` fills the staging branch, `history` reads what the branch says,
//! `report` puts failures into words.

mod difference;
mod history;
mod machine;
mod report;
mod stage;

#[cfg(test)]
mod machine_tests;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perago_contract::OnMovedHead;

use crate::backoff::{pause, repeated};
use crate::directory::Directory;
use crate::error::WorkspaceError;
use crate::manifest::{Edits, Manifest};
use crate::path::Prefix;
use crate::stamp::{StagingName, Stamp};
use crate::store::{Commit, Repository, StoreError, StoreErrorKind};

use history::History;
use machine::{Effect, Event, Outcome, Publication, Terms};

/// Commits that a history is followed for; a branch that moved further has not merely moved.
const LONGEST_HISTORY: usize = 10_000;

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

/// What to publish, and as whom.
#[derive(Debug, Clone)]
pub struct PublishRequest<'a> {
    /// The target branch.
    pub branch: &'a str,
    /// The part of the repository that the directory is.
    pub prefix: &'a Prefix,
    /// Who publishes.
    pub stamp: &'a Stamp,
    /// What a moved head means.
    pub on_moved_head: OnMovedHead,
    /// The directory.
    pub directory: &'a Arc<Directory>,
    /// What was checked out into it.
    pub manifest: &'a Manifest,
    /// What has changed there since.
    pub edits: &'a Edits,
    /// Time limit of one merge.
    pub merge_limit: Duration,
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
    let mut run = Run {
        repository,
        control,
        request,
        staging: request.stamp.staging_branch(),
        is_staged: false,
        report: PublishReport::default(),
    };
    let outcome = run.drive().await;
    run.clean_up().await;
    let mut report = run.report;
    match outcome? {
        Outcome::Published(commit) => {
            (report.commit, report.is_new) = (commit, true);
            Ok(report)
        }
        Outcome::Unchanged(commit) => {
            report.commit = commit;
            Ok(report)
        }
        Outcome::Failed(failure) => Err(report::explain(request.branch, &failure)),
    }
}

struct Run<'a, R, C> {
    repository: &'a Arc<R>,
    control: &'a C,
    request: &'a PublishRequest<'a>,
    staging: String,
    is_staged: bool,
    report: PublishReport,
}

impl<R: Repository, C: AttemptControl> Run<'_, R, C> {
    async fn drive(&mut self) -> Result<Outcome, WorkspaceError> {
        let request = self.request;
        let (mut publication, mut effect) = Publication::new(Terms {
            work: request.stamp.work.clone(),
            epoch: request.stamp.epoch,
            input: request.stamp.input_ref.clone(),
            on_moved_head: request.on_moved_head,
            has_edits: !request.edits.is_empty(),
            tries: self.repository.tries(),
        });
        loop {
            effect = match effect {
                Effect::Finish(outcome) => return Ok(outcome),
                effect => publication.next(self.carry_out(effect).await?),
            };
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<Event, WorkspaceError> {
        let (request, repository) = (self.request, self.repository);
        Ok(match effect {
            Effect::Fence => match self.control.fence(request.merge_limit).await {
                Ok(()) => Event::FenceHeld,
                Err(reason) => Event::FenceLost(reason),
            },
            Effect::ReadHistory => Event::History(repeated!(repository, self.history())),
            Effect::Stage { base } => {
                self.is_staged = true;
                let (begun, before) = (Instant::now(), self.report.uploaded_bytes);
                let staged = stage::stage(repository, request, &self.staging, &base, &mut self.report).await;
                let sent = staged.is_ok().then(|| self.report.uploaded_bytes - before);
                if !matches!(staged, Ok(None)) {
                    self.control.uploaded(begun.elapsed(), sent);
                }
                match staged {
                    Ok(staged) => {
                        if let Some(commit) = &staged {
                            self.control.staged(&self.staging, commit).await;
                        }
                        Event::Staged(Ok(staged))
                    }
                    Err(stage::StageError::Store(error)) => Event::Staged(Err(error)),
                    Err(stage::StageError::Workspace(error)) => return Err(error),
                }
            }
            Effect::DeleteOlder => Event::OlderDeleted(repeated!(repository, self.delete_older())),
            Effect::Merge { again } => {
                self.wait_before(again).await;
                let text = request.stamp.text("publish");
                let merge = repository.merge(&self.staging, request.branch, &text, request.merge_limit).await;
                Event::Merged(merge)
            }
            Effect::ReadMerge(commit) => {
                Event::MergeRead(repeated!(repository, repository.commit_of(&commit)))
            }
            Effect::DropStaging => {
                Event::StagingDropped(repeated!(repository, repository.delete_branch(&self.staging)))
            }
            Effect::ListConflicts => {
                let prefix = request.prefix.listing();
                Event::Conflicts(repeated!(
                    repository,
                    repository.conflicts(request.branch, &self.staging, prefix)
                ))
            }
            Effect::Revert { commit, again } => {
                self.wait_before(again).await;
                let text = request.stamp.text("undo");
                Event::Reverted(repository.revert_merge(request.branch, &commit, &text).await)
            }
            Effect::Finish(_) => unreachable!("the end is no effect to carry out"),
        })
    }

    async fn wait_before(&self, again: u32) {
        if again > 0 {
            tokio::time::sleep(pause(again)).await;
        }
    }

    async fn history(&self) -> Result<History, StoreError> {
        let input = &self.request.stamp.input_ref;
        let mut commits: Vec<Commit> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            // From the second page on the start is fixed, so that a moving head cannot tear the history.
            let start = commits.first().map_or(self.request.branch, |head| head.id.as_str()).to_owned();
            let page = self.repository.history(&start, after.as_deref()).await?;
            for commit in page.items {
                if commit.id == *input {
                    return Ok(self.history_of(commits, true));
                }
                commits.push(commit);
            }
            match page.next {
                Some(next) if commits.len() < LONGEST_HISTORY => after = Some(next),
                _ => return Ok(self.history_of(commits, false)),
            }
        }
    }

    fn history_of(&self, commits: Vec<Commit>, reaches_input: bool) -> History {
        let input = self.request.stamp.input_ref.clone();
        let head = commits.first().map_or_else(|| input.clone(), |commit| commit.id.clone());
        History { head, commits, reaches_input, input }
    }

    async fn delete_older(&self) -> Result<(), StoreError> {
        let stamp = self.request.stamp;
        let mut after: Option<String> = None;
        loop {
            let page = self.repository.branches(&stamp.staging_prefix(), after.as_deref()).await?;
            for branch in page.items {
                let is_older = StagingName::parse(&branch.name).is_some_and(|name| {
                    name.is_of_work(&stamp.work)
                        && name.epoch <= stamp.epoch
                        && name.execution != stamp.execution
                });
                if is_older {
                    absent_is_fine(self.repository.delete_branch(&branch.name).await)?;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn clean_up(&mut self) {
        if self.is_staged {
            let deleted = repeated!(self.repository, self.repository.delete_branch(&self.staging));
            self.report.left_staging = absent_is_fine(deleted).err().map(|error| error.to_string());
        }
    }
}

fn absent_is_fine(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(()),
        result => result,
    }
}
