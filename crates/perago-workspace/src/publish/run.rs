//! Carries out what the machine decides about one publication.

use std::sync::Arc;
use std::time::Instant;

use super::history::History;
use super::machine::{Effect, Event, Outcome, Publication, Terms};
use super::{AttemptControl, PublishReport, PublishRequest, Target, report, stage};
use crate::backoff::{pause, repeated};
use crate::error::WorkspaceError;
use crate::stamp::{StagingName, Stamp};
use crate::store::{Branch, Commit, CommitId, Repository, StoreError, StoreErrorKind};

/// Commits that a history is followed for; a branch that moved further has not merely moved.
const LONGEST_HISTORY: usize = 10_000;

/// Where the wanted tree comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// A directory that a body has changed.
    Directory(&'a PublishRequest<'a>),
    /// What an earlier attempt has staged.
    Kept(&'a Commit),
}

/// One publication under way.
pub(super) struct Run<'a, R, C> {
    repository: &'a Arc<R>,
    control: &'a C,
    target: Target<'a>,
    source: Source<'a>,
    staging: String,
    is_staged: bool,
    is_unusable: bool,
    report: PublishReport,
}

impl<'a, R: Repository, C: AttemptControl> Run<'a, R, C> {
    pub(super) fn new(
        repository: &'a Arc<R>,
        control: &'a C,
        target: Target<'a>,
        source: Source<'a>,
    ) -> Self {
        Self {
            repository,
            control,
            target,
            source,
            staging: target.stamp.staging_branch(),
            is_staged: false,
            is_unusable: false,
            report: PublishReport::default(),
        }
    }

    /// Publishes to the end.
    pub(super) async fn finish(self) -> Result<PublishReport, WorkspaceError> {
        self.finish_if_usable().await.map(Option::unwrap_or_default)
    }

    /// Publishes to the end; `None` when what was kept does not stand on what the branch holds.
    pub(super) async fn finish_if_usable(mut self) -> Result<Option<PublishReport>, WorkspaceError> {
        let outcome = self.drive().await;
        self.clean_up().await;
        let mut report = self.report;
        match outcome? {
            _ if self.is_unusable => Ok(None),
            Outcome::Published(commit) => {
                (report.commit, report.is_new) = (commit, true);
                Ok(Some(report))
            }
            Outcome::Unchanged(commit) => {
                report.commit = commit;
                Ok(Some(report))
            }
            Outcome::Failed(failure) => Err(report::explain(self.target.branch, &failure)),
        }
    }

    async fn drive(&mut self) -> Result<Outcome, WorkspaceError> {
        let target = self.target;
        let (mut publication, mut effect) = Publication::new(Terms {
            work: target.stamp.work.clone(),
            epoch: target.stamp.epoch,
            input: target.stamp.input_ref.clone(),
            on_moved_head: target.on_moved_head,
            has_edits: match self.source {
                Source::Directory(request) => !request.edits.is_empty(),
                Source::Kept(_) => true,
            },
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
        let (target, repository) = (self.target, self.repository);
        Ok(match effect {
            Effect::Fence => match self.control.fence(target.merge_limit).await {
                Ok(()) => Event::FenceHeld,
                Err(reason) => Event::FenceLost(reason),
            },
            Effect::ReadHistory => Event::History(self.history().await),
            Effect::Stage { base } => Event::Staged(self.stage(&base).await?),
            Effect::DeleteOlder => Event::OlderDeleted(delete_older(repository, target.stamp).await),
            Effect::Merge { again } => {
                self.wait_before(again).await;
                let text = target.stamp.text_with_result("publish", target.result);
                let merge = repository.merge(&self.staging, target.branch, &text, target.merge_limit).await;
                Event::Merged(merge)
            }
            Effect::ReadMerge(commit) => {
                Event::MergeRead(repeated!(repository, repository.commit_of(&commit)))
            }
            Effect::DropStaging => {
                Event::StagingDropped(repeated!(repository, repository.delete_branch(&self.staging)))
            }
            Effect::ListConflicts => {
                let prefix = target.prefix.listing();
                Event::Conflicts(repeated!(
                    repository,
                    repository.conflicts(target.branch, &self.staging, prefix)
                ))
            }
            Effect::Revert { commit, again } => {
                self.wait_before(again).await;
                let text = target.stamp.text("undo");
                Event::Reverted(repository.revert_merge(target.branch, &commit, &text).await)
            }
            Effect::Finish(_) => unreachable!("the end is no effect to carry out"),
        })
    }

    async fn wait_before(&self, again: u32) {
        if again > 0 {
            tokio::time::sleep(pause(again)).await;
        }
    }

    /// Fills the staging branch and records that it is about to be merged.
    async fn stage(&mut self, base: &str) -> Result<Result<Option<CommitId>, StoreError>, WorkspaceError> {
        let staged = match self.source {
            Source::Directory(request) => self.stage_directory(request, base).await?,
            Source::Kept(commit) => self.stage_kept(commit, base).await,
        };
        if let Ok(Some(commit)) = &staged {
            self.control.staged(&self.staging, commit).await;
        }
        Ok(staged)
    }

    async fn stage_directory(
        &mut self,
        request: &PublishRequest<'_>,
        base: &str,
    ) -> Result<Result<Option<CommitId>, StoreError>, WorkspaceError> {
        self.is_staged = true;
        let (begun, before) = (Instant::now(), self.report.uploaded_bytes);
        let staged = stage::stage(self.repository, request, &self.staging, base, &mut self.report).await;
        let sent = staged.is_ok().then(|| self.report.uploaded_bytes - before);
        if !matches!(staged, Ok(None)) {
            self.control.uploaded(begun.elapsed(), sent);
        }
        match staged {
            Ok(staged) => Ok(Ok(staged)),
            Err(stage::StageError::Store(error)) => Ok(Err(error)),
            Err(stage::StageError::Workspace(error)) => Err(error),
        }
    }

    /// What was staged before holds the wanted tree only over the commit that it was staged on.
    async fn stage_kept(&mut self, commit: &Commit, base: &str) -> Result<Option<CommitId>, StoreError> {
        if commit.parents.first().map(String::as_str) != Some(base) {
            self.is_unusable = true;
            return Ok(None);
        }
        self.is_staged = true;
        stage::fresh_branch(self.repository, &self.staging, &commit.id).await?;
        Ok(Some(commit.id.clone()))
    }

    async fn history(&self) -> Result<History, StoreError> {
        read_history(self.repository, self.target.branch, &self.target.stamp.input_ref).await
    }

    async fn clean_up(&mut self) {
        if self.is_staged {
            let deleted = repeated!(self.repository, self.repository.delete_branch(&self.staging));
            self.report.left_staging = absent_is_fine(deleted).err().map(|error| error.to_string());
        }
    }
}

/// The first-parent history of a branch down to the input commit.
pub(super) async fn read_history<R: Repository>(
    repository: &Arc<R>,
    branch: &str,
    input: &str,
) -> Result<History, StoreError> {
    repeated!(repository, history_once(repository, branch, input))
}

async fn history_once<R: Repository>(
    repository: &Arc<R>,
    branch: &str,
    input: &str,
) -> Result<History, StoreError> {
    let mut commits: Vec<Commit> = Vec::new();
    let mut after: Option<String> = None;
    let reaches_input = loop {
        // From the second page on the start is fixed, so that a moving head cannot tear the history.
        let start = commits.first().map_or(branch, |head| head.id.as_str()).to_owned();
        let page = repository.history(&start, after.as_deref()).await?;
        let end = page.items.iter().position(|commit| commit.id == input);
        commits.extend(page.items.into_iter().take(end.unwrap_or(usize::MAX)));
        match page.next {
            _ if end.is_some() => break true,
            Some(next) if commits.len() < LONGEST_HISTORY => after = Some(next),
            _ => break false,
        }
    };
    let head = commits.first().map_or_else(|| input.to_owned(), |commit| commit.id.clone());
    Ok(History { head, commits, reaches_input, input: input.to_owned() })
}

/// The staging branches of other attempts at the same work that are not newer.
pub(super) async fn older_branches<R: Repository>(
    repository: &Arc<R>,
    stamp: &Stamp,
) -> Result<Vec<Branch>, StoreError> {
    let prefix = stamp.staging_prefix();
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = repeated!(repository, repository.branches(&prefix, after.as_deref()))?;
        found.extend(page.items.into_iter().filter(|branch| {
            StagingName::parse(&branch.name).is_some_and(|name| {
                name.is_of_work(&stamp.work) && name.epoch <= stamp.epoch && name.execution != stamp.execution
            })
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// Deletes those branches: a merge of one that has not started cannot start any more.
pub(super) async fn delete_older<R: Repository>(
    repository: &Arc<R>,
    stamp: &Stamp,
) -> Result<(), StoreError> {
    for branch in older_branches(repository, stamp).await? {
        absent_is_fine(repeated!(repository, repository.delete_branch(&branch.name)))?;
    }
    Ok(())
}

pub(super) fn absent_is_fine(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(()),
        result => result,
    }
}
