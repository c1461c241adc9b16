//! The decisions of a publication: answers of the store in, the next call out. Pure.
//!
//! lakeFS has no compare-and-swap on a branch. What takes its place: the head's history is judged before the merge, the
//! merge names its source by branch so that deleting the branch fences a late one, and the parent of the merge commit
//! shows afterwards what came between. A branch that is not ours is moved by merge and revert only.

use perago_contract::OnMovedHead;

use crate::publish::history::{History, Walk};
use crate::stamp::{Epoch, Work};
use crate::store::{Commit, CommitId, StoreError, StoreErrorKind};

/// How often the head may move under us by our own older attempts before the publication gives up.
const MOST_ROUNDS: u32 = 8;
/// How often one merge or revert is sent again.
const MOST_TRIES: u32 = 5;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask whether the attempt is still ours.
    Fence,
    /// Read the first-parent history of the target branch down to the input commit.
    ReadHistory,
    /// Put the wanted tree on a fresh staging branch that starts at `base`.
    Stage {
        /// Where the staging branch starts.
        base: CommitId,
    },
    /// Delete the staging branches of older attempts at the same work.
    DeleteOlder,
    /// Merge the staging branch into the target by name; `again` counts earlier tries.
    Merge {
        /// How often it was tried before.
        again: u32,
    },
    /// Read the parents of our merge commit.
    ReadMerge(CommitId),
    /// Delete our staging branch, so that no merge of it can start any more.
    DropStaging,
    /// List what both sides changed.
    ListConflicts,
    /// Undo our merge commit; `again` counts earlier tries.
    Revert {
        /// The merge commit.
        commit: CommitId,
        /// How often it was tried before.
        again: u32,
    },
    /// The end.
    Finish(Outcome),
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The attempt is still ours.
    FenceHeld,
    /// It is not; why.
    FenceLost(String),
    /// The history, or why it cannot be read.
    History(Result<History, StoreError>),
    /// The staged commit; `None` when the wanted tree is there already.
    Staged(Result<Option<CommitId>, StoreError>),
    /// Older staging branches are gone.
    OlderDeleted(Result<(), StoreError>),
    /// The merge commit.
    Merged(Result<CommitId, StoreError>),
    /// Our merge commit with its parents.
    MergeRead(Result<Commit, StoreError>),
    /// Our staging branch is gone.
    StagingDropped(Result<(), StoreError>),
    /// The keys that both sides changed.
    Conflicts(Result<Vec<String>, StoreError>),
    /// Our merge commit is undone.
    Reverted(Result<(), StoreError>),
}

/// How a publication ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The branch holds the wanted tree since this commit of ours.
    Published(CommitId),
    /// The branch held the wanted tree already, at this commit; nothing was added.
    Unchanged(CommitId),
    /// Nothing of this attempt stays on the branch, unless the failure says so.
    Failed(PublishFailure),
}

/// Why nothing was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishFailure {
    /// The attempt is no longer ours.
    LeaseLost(String),
    /// A newer attempt at the same work has taken over.
    Superseded {
        /// What became of our own commit, if it had been merged.
        ours: OwnCommit,
    },
    /// Somebody else committed to the branch.
    MovedHead {
        /// The newest of their commits.
        foreign: Box<Commit>,
        /// How many there are.
        count: usize,
        /// What became of our own commit, if it had been merged.
        ours: OwnCommit,
    },
    /// The input commit is not in the branch's history.
    InputNotInHistory {
        /// The head.
        head: CommitId,
        /// What became of our own commit, if it had been merged.
        ours: OwnCommit,
    },
    /// Both sides changed the same objects.
    Conflict(Vec<String>),
    /// The branch holds uncommitted changes.
    Dirty(String),
    /// The branch refuses the merge.
    Forbidden(String),
    /// The branch does not exist.
    BranchMissing(String),
    /// Own older attempts kept getting between.
    TooManyRounds,
    /// A call failed for good.
    Store(StoreError),
}

/// What became of our own merge commit when the publication failed after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnCommit {
    /// There was none.
    None,
    /// It was reverted.
    Reverted(CommitId),
    /// It could not be reverted and is still on the branch; why.
    Left(CommitId, String),
}

/// What a publication is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The work that is published.
    pub work: Work,
    /// Which attempt at it this is.
    pub epoch: Epoch,
    /// The pinned commit.
    pub input: CommitId,
    /// What a moved head means.
    pub on_moved_head: OnMovedHead,
    /// Whether the body changed anything.
    pub has_edits: bool,
    /// How often a merge is tried that the store refuses for now or cannot be reached for.
    pub tries: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    FirstFence,
    DeletingOlder,
    Assessing,
    Staging,
    MergeFence { again: u32 },
    Merging { again: u32 },
    CheckingParent,
    // The history is read again: which question it answers.
    LookingForMerge { last: Option<StoreError> },
    Judging { ours: CommitId },
    AfterConflict,
    Dropping { error: StoreError },
    ListingConflicts,
    Reverting { failure: Reverting, commit: CommitId, again: u32 },
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reverting {
    Moved { foreign: Box<Commit>, count: usize },
    Superseded,
    NotInHistory { head: CommitId },
}

/// One publication.
#[derive(Debug)]
pub struct Publication {
    terms: Terms,
    state: State,
    rounds: u32,
    // What the branch pointed to when the wanted tree was staged.
    head: CommitId,
    // What is the answer when there is nothing to stage.
    adopted: CommitId,
    staged: Option<CommitId>,
}

impl Publication {
    /// Starts a publication; the first effect is a fence.
    pub fn new(terms: Terms) -> (Self, Effect) {
        let head = terms.input.clone();
        let publication =
            Self { terms, state: State::FirstFence, rounds: 0, adopted: head.clone(), head, staged: None };
        (publication, Effect::Fence)
    }

    /// Takes what came of the last effect and says what to do next.
    pub fn next(&mut self, event: Event) -> Effect {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, event) {
            (_, Event::FenceLost(reason)) => self.fail(PublishFailure::LeaseLost(reason)),
            // At once, and not only before a merge: a body without changes must fence older attempts too. An older
            // attempt that may still merge asked the server before the task was handed to us, so its branch is there.
            (State::FirstFence, Event::FenceHeld) => self.go(State::DeletingOlder, Effect::DeleteOlder),
            (State::DeletingOlder, Event::OlderDeleted(result)) => match result {
                Ok(()) => self.go(State::Assessing, Effect::ReadHistory),
                Err(error) => self.fail(PublishFailure::Store(error)),
            },
            (State::MergeFence { again }, Event::FenceHeld) => {
                self.go(State::Merging { again }, Effect::Merge { again })
            }
            (State::Staging, Event::Staged(result)) => self.staged(result),
            (State::Merging { again }, Event::Merged(result)) => self.merged(result, again),
            (State::CheckingParent, Event::MergeRead(result)) => match result {
                Ok(commit) if commit.parents.first() == Some(&self.head) => {
                    self.finish(Outcome::Published(commit.id))
                }
                Ok(commit) => self.go(State::Judging { ours: commit.id }, Effect::ReadHistory),
                Err(error) => self.fail(PublishFailure::Store(error)),
            },
            (State::Dropping { error }, Event::StagingDropped(_)) => {
                self.go(State::LookingForMerge { last: Some(error) }, Effect::ReadHistory)
            }
            (State::ListingConflicts, Event::Conflicts(result)) => match result {
                Ok(keys) => self.fail(PublishFailure::Conflict(keys)),
                Err(error) => self.fail(PublishFailure::Store(error)),
            },
            (State::Reverting { failure, commit, again }, Event::Reverted(result)) => {
                self.reverted(failure, commit, again, result)
            }
            (state, Event::History(Ok(history))) => self.read(&state, &history),
            (State::LookingForMerge { last: Some(error) }, Event::History(Err(_))) => {
                self.fail(PublishFailure::Store(error))
            }
            (_, Event::History(Err(error))) if error.kind() == StoreErrorKind::NotFound => {
                self.fail(PublishFailure::BranchMissing(error.to_string()))
            }
            (_, Event::History(Err(error))) => self.fail(PublishFailure::Store(error)),
            (state, event) => unreachable!("{event:?} is no answer in {state:?}"),
        }
    }

    fn read(&mut self, state: &State, history: &History) -> Effect {
        match state {
            State::Assessing => self.assess(history),
            State::LookingForMerge { last } => self.look_for_merge(history, last.clone()),
            State::Judging { ours } => self.judge(history, ours),
            State::AfterConflict => self.after_conflict(history),
            other => unreachable!("a history is no answer in {other:?}"),
        }
    }

    fn assess(&mut self, history: &History) -> Effect {
        let walk = Walk::of(history, &self.terms.work);
        if walk.has_newer_than(self.terms.epoch) {
            return self.superseded();
        }
        let merges_over = match (&walk.newest_foreign, history.reaches_input) {
            (None, true) => false,
            _ if self.terms.on_moved_head == OnMovedHead::Merge => true,
            // What a history holds that never leads to the input has not come after it.
            (_, false) => {
                let head = history.head.clone();
                return self.fail(PublishFailure::InputNotInHistory { head, ours: OwnCommit::None });
            }
            (Some(foreign), true) => {
                let failure = PublishFailure::MovedHead {
                    foreign: Box::new(foreign.clone()),
                    count: walk.foreign_count,
                    ours: OwnCommit::None,
                };
                return self.fail(failure);
            }
        };
        self.head.clone_from(&history.head);
        self.adopted.clone_from(&history.head);
        let untouched = walk.newest_own_merge.is_none() && (merges_over || self.head == self.terms.input);
        if untouched && !self.terms.has_edits {
            return self.finish(Outcome::Unchanged(history.head.clone()));
        }
        let base = match (merges_over, &walk.newest_own_merge) {
            (false, _) => self.head.clone(),
            (true, None) => self.terms.input.clone(),
            // From our own last staged commit, so that the merge replaces our earlier edits instead of meeting them.
            (true, Some(own)) => {
                self.adopted.clone_from(&own.commit);
                own.staged.clone()
            }
        };
        self.go(State::Staging, Effect::Stage { base })
    }

    fn staged(&mut self, result: Result<Option<CommitId>, StoreError>) -> Effect {
        match result {
            Ok(Some(commit)) => {
                self.staged = Some(commit);
                self.go(State::MergeFence { again: 0 }, Effect::Fence)
            }
            Ok(None) => self.finish(Outcome::Unchanged(self.adopted.clone())),
            // Only a newer attempt deletes our branch while we write to it.
            Err(error) if error.kind() == StoreErrorKind::NotFound => self.superseded(),
            Err(error) => self.fail(PublishFailure::Store(error)),
        }
    }

    fn merged(&mut self, result: Result<CommitId, StoreError>, again: u32) -> Effect {
        let error = match result {
            Ok(commit) => return self.go(State::CheckingParent, Effect::ReadMerge(commit)),
            Err(error) => error,
        };
        match error.kind() {
            kind @ (StoreErrorKind::Lost | StoreErrorKind::Busy | StoreErrorKind::Unreachable) => {
                let most = if kind == StoreErrorKind::Lost { MOST_TRIES } else { self.terms.tries };
                if again + 1 < most {
                    return self.go(State::MergeFence { again: again + 1 }, Effect::Fence);
                }
                self.go(State::Dropping { error }, Effect::DropStaging)
            }
            StoreErrorKind::NoChanges => self.go(State::LookingForMerge { last: None }, Effect::ReadHistory),
            // Our branch is gone, or the target: the history tells which, and whether an earlier try had its effect.
            StoreErrorKind::NotFound => {
                self.go(State::LookingForMerge { last: Some(error) }, Effect::ReadHistory)
            }
            StoreErrorKind::Conflict => self.go(State::AfterConflict, Effect::ReadHistory),
            StoreErrorKind::Dirty => self.fail(PublishFailure::Dirty(error.to_string())),
            StoreErrorKind::Forbidden => self.fail(PublishFailure::Forbidden(error.to_string())),
            _ => self.fail(PublishFailure::Store(error)),
        }
    }

    fn look_for_merge(&mut self, history: &History, last: Option<StoreError>) -> Effect {
        let ours = self.staged.as_ref().and_then(|staged| history.merge_of(staged));
        if let Some(commit) = ours {
            if commit.parents.first() == Some(&self.head) {
                return self.finish(Outcome::Published(commit.id.clone()));
            }
            let ours = commit.id.clone();
            return self.judge(history, &ours);
        }
        match last {
            Some(error) if error.kind() == StoreErrorKind::NotFound => self.superseded(),
            Some(error) => self.fail(PublishFailure::Store(error)),
            // Nothing to merge and not our merge: somebody else has made the same changes.
            None if self.terms.on_moved_head == OnMovedHead::Merge => {
                self.finish(Outcome::Unchanged(history.head.clone()))
            }
            None => self.again(history),
        }
    }

    // Our merge is on the branch, and its parent is not what we had judged: what came between?
    fn judge(&mut self, history: &History, ours: &CommitId) -> Effect {
        let revert = |failure| {
            let state = State::Reverting { failure, commit: ours.clone(), again: 0 };
            (state, Effect::Revert { commit: ours.clone(), again: 0 })
        };
        let Some(slipped) = history.between(ours, &self.head) else {
            // Somebody has reset the branch below what was judged, and our merge came through after that.
            if self.terms.on_moved_head == OnMovedHead::Merge {
                return self.finish(Outcome::Published(ours.clone()));
            }
            let (state, effect) = revert(Reverting::NotInHistory { head: history.head.clone() });
            return self.go(state, effect);
        };
        let walk = Walk::of(&slipped, &self.terms.work);
        if walk.has_newer_than(self.terms.epoch) {
            let (state, effect) = revert(Reverting::Superseded);
            return self.go(state, effect);
        }
        match walk.newest_foreign {
            Some(foreign) if self.terms.on_moved_head == OnMovedHead::Fail => {
                let (state, effect) =
                    revert(Reverting::Moved { foreign: Box::new(foreign), count: walk.foreign_count });
                self.go(state, effect)
            }
            // An older attempt of ours got between: the tree may hold its edits too.
            None | Some(_) if walk.has_own => self.again(history),
            _ => self.finish(Outcome::Published(ours.clone())),
        }
    }

    fn after_conflict(&mut self, history: &History) -> Effect {
        let walk = Walk::of(history, &self.terms.work);
        if walk.has_newer_than(self.terms.epoch) {
            return self.superseded();
        }
        let slipped = history.since(&self.head);
        if slipped.is_some_and(|slipped| Walk::of(&slipped, &self.terms.work).has_own) {
            return self.again(history);
        }
        match walk.newest_foreign {
            Some(foreign) if self.terms.on_moved_head == OnMovedHead::Fail => {
                let foreign = Box::new(foreign);
                let count = walk.foreign_count;
                self.fail(PublishFailure::MovedHead { foreign, count, ours: OwnCommit::None })
            }
            _ => self.go(State::ListingConflicts, Effect::ListConflicts),
        }
    }

    fn reverted(
        &mut self,
        failure: Reverting,
        commit: CommitId,
        again: u32,
        result: Result<(), StoreError>,
    ) -> Effect {
        let ours = match result {
            Ok(()) => OwnCommit::Reverted(commit),
            // Reverted before: an earlier try whose reply was lost, or somebody else.
            Err(error) if error.kind() == StoreErrorKind::NoChanges => OwnCommit::Reverted(commit),
            Err(error) if error.is_transient() && again + 1 < self.terms.tries => {
                let again = again + 1;
                let state = State::Reverting { failure, commit: commit.clone(), again };
                return self.go(state, Effect::Revert { commit, again });
            }
            Err(error) => OwnCommit::Left(commit, error.to_string()),
        };
        match failure {
            Reverting::Moved { foreign, count } => {
                self.fail(PublishFailure::MovedHead { foreign, count, ours })
            }
            Reverting::Superseded => self.fail(PublishFailure::Superseded { ours }),
            Reverting::NotInHistory { head } => self.fail(PublishFailure::InputNotInHistory { head, ours }),
        }
    }

    fn again(&mut self, history: &History) -> Effect {
        self.rounds += 1;
        self.staged = None;
        if self.rounds >= MOST_ROUNDS {
            return self.fail(PublishFailure::TooManyRounds);
        }
        self.assess(history)
    }

    fn go(&mut self, state: State, effect: Effect) -> Effect {
        self.state = state;
        effect
    }

    fn finish(&mut self, outcome: Outcome) -> Effect {
        self.go(State::Over, Effect::Finish(outcome))
    }

    fn superseded(&mut self) -> Effect {
        self.fail(PublishFailure::Superseded { ours: OwnCommit::None })
    }

    fn fail(&mut self, failure: PublishFailure) -> Effect {
        self.finish(Outcome::Failed(failure))
    }
}
