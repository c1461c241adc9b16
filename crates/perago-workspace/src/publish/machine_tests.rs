//! Tables of single decisions; whole publications are played in `tests/publishing.rs`.

use super::history::History;
use super::machine::{Effect, Event, Outcome, OwnCommit, Publication, PublishFailure, Terms};
use crate::stamp::{Basis, Epoch, Stamp, Work};
use crate::store::{Commit, StoreError, StoreErrorKind};
use perago_contract::OnMovedHead;

fn work() -> Work {
    Work {
        conductor: "c".to_owned(),
        workflow_instance_id: "wf".to_owned(),
        reference_task_name: "mix".to_owned(),
        iteration: 0,
    }
}

fn own(id: &str, parents: &[&str], retry_count: u64) -> Commit {
    let stamp = Stamp {
        work: work(),
        epoch: Epoch { retry_count, poll_count: 1 },
        task_id: "t".to_owned(),
        task_name: "mix".to_owned(),
        seq: 1,
        execution: "e".to_owned(),
        worker_id: "w".to_owned(),
        input_ref: "R".to_owned(),
        link: "l".to_owned(),
        basis: Basis::default(),
    };
    Commit { metadata: stamp.metadata(), ..foreign(id, parents) }
}

fn foreign(id: &str, parents: &[&str]) -> Commit {
    Commit {
        id: id.to_owned(),
        parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
        committer: "somebody".to_owned(),
        message: "theirs".to_owned(),
        created_at: 0,
        metadata: [].into(),
    }
}

fn history(commits: &[Commit]) -> Event {
    Event::History(Ok(History {
        head: commits.first().map_or("R", |commit| &commit.id).to_owned(),
        commits: commits.to_vec(),
        reaches_input: true,
        input: "R".to_owned(),
    }))
}

fn start(on_moved_head: OnMovedHead, has_edits: bool) -> Publication {
    let epoch = Epoch { retry_count: 1, poll_count: 1 };
    let terms = Terms { work: work(), epoch, input: "R".to_owned(), on_moved_head, has_edits, tries: 3 };
    let (mut publication, first) = Publication::new(terms);
    assert_eq!(first, Effect::Fence);
    assert_eq!(publication.next(Event::FenceHeld), Effect::DeleteOlder);
    assert_eq!(publication.next(Event::OlderDeleted(Ok(()))), Effect::ReadHistory);
    publication
}

/// Up to the first merge, over an unmoved head.
fn merging(on_moved_head: OnMovedHead) -> Publication {
    let mut publication = start(on_moved_head, true);
    assert_eq!(publication.next(history(&[])), Effect::Stage { base: "R".to_owned() });
    assert_eq!(publication.next(Event::Staged(Ok(Some("S".to_owned())))), Effect::Fence);
    assert_eq!(publication.next(Event::FenceHeld), Effect::Merge { again: 0 });
    publication
}

fn error(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "answer")
}

fn published(commit: &str) -> Effect {
    Effect::Finish(Outcome::Published(commit.to_owned()))
}

fn unchanged(commit: &str) -> Effect {
    Effect::Finish(Outcome::Unchanged(commit.to_owned()))
}

fn failed(failure: PublishFailure) -> Effect {
    Effect::Finish(Outcome::Failed(failure))
}

fn moved(foreign: Commit, ours: OwnCommit) -> Effect {
    failed(PublishFailure::MovedHead { foreign: Box::new(foreign), count: 1, ours })
}

#[test]
fn a_body_without_changes_publishes_nothing() {
    for policy in [OnMovedHead::Fail, OnMovedHead::Merge] {
        assert_eq!(start(policy, false).next(history(&[])), unchanged("R"));
    }
    let theirs = foreign("F", &["R"]);
    assert_eq!(
        start(OnMovedHead::Fail, false).next(history(std::slice::from_ref(&theirs))),
        moved(theirs.clone(), OwnCommit::None)
    );
    assert_eq!(start(OnMovedHead::Merge, false).next(history(&[theirs])), unchanged("F"));
}

#[test]
fn a_merge_over_the_judged_head_is_done() {
    let mut publication = merging(OnMovedHead::Fail);
    assert_eq!(publication.next(Event::Merged(Ok("C".to_owned()))), Effect::ReadMerge("C".to_owned()));
    assert_eq!(publication.next(Event::MergeRead(Ok(own("C", &["R", "S"], 1)))), published("C"));
}

#[test]
fn an_own_older_commit_is_superseded_from_the_head() {
    let older = own("C0", &["R", "S0"], 0);
    let mut publication = start(OnMovedHead::Fail, true);
    assert_eq!(
        publication.next(history(std::slice::from_ref(&older))),
        Effect::Stage { base: "C0".to_owned() }
    );
    assert_eq!(publication.next(Event::Staged(Ok(None))), unchanged("C0"));
    let mut undoing = start(OnMovedHead::Fail, false);
    assert_eq!(undoing.next(history(&[older])), Effect::Stage { base: "C0".to_owned() });
}

#[test]
fn over_a_foreign_head_the_base_is_what_is_ours() {
    let theirs = foreign("F", &["R"]);
    let mut publication = start(OnMovedHead::Merge, true);
    assert_eq!(publication.next(history(&[theirs])), Effect::Stage { base: "R".to_owned() });

    let (newer, older) = (foreign("F", &["C0"]), own("C0", &["R", "S0"], 0));
    let mut publication = start(OnMovedHead::Merge, true);
    assert_eq!(publication.next(history(&[newer, older.clone()])), Effect::Stage { base: "S0".to_owned() });
    assert_eq!(publication.next(Event::Staged(Ok(None))), unchanged("C0"));

    // What we have undone ourselves is no base.
    let undone = [foreign("F", &["V"]), own("V", &["C0"], 0), older];
    let mut publication = start(OnMovedHead::Merge, true);
    assert_eq!(publication.next(history(&undone)), Effect::Stage { base: "R".to_owned() });
}

#[test]
fn a_newer_attempt_wins() {
    let newer = own("C2", &["R", "S2"], 2);
    let superseded = |ours| failed(PublishFailure::Superseded { ours });
    assert_eq!(
        start(OnMovedHead::Merge, true).next(history(std::slice::from_ref(&newer))),
        superseded(OwnCommit::None)
    );

    // A newer attempt deleted our branch: while we wrote to it, and before the merge.
    let mut publication = start(OnMovedHead::Fail, true);
    publication.next(history(&[]));
    let gone = error(StoreErrorKind::NotFound);
    assert_eq!(publication.next(Event::Staged(Err(gone.clone()))), superseded(OwnCommit::None));
    let mut publication = merging(OnMovedHead::Fail);
    assert_eq!(publication.next(Event::Merged(Err(gone))), Effect::ReadHistory);
    assert_eq!(publication.next(history(std::slice::from_ref(&newer))), superseded(OwnCommit::None));

    // Our merge came through above a newer attempt's commit: it is undone.
    let mut publication = merging(OnMovedHead::Fail);
    publication.next(Event::Merged(Ok("C".to_owned())));
    let late = own("C", &["C2", "S"], 1);
    assert_eq!(publication.next(Event::MergeRead(Ok(late.clone()))), Effect::ReadHistory);
    let revert = Effect::Revert { commit: "C".to_owned(), again: 0 };
    assert_eq!(publication.next(history(&[late, newer])), revert);
    assert_eq!(publication.next(Event::Reverted(Ok(()))), superseded(OwnCommit::Reverted("C".to_owned())));
}

#[test]
fn a_foreign_commit_that_slipped_in_is_kept_and_ours_undone() {
    let theirs = foreign("F", &["R"]);
    let ours = own("C", &["F", "S"], 1);
    for (answer, left) in [
        (Ok(()), OwnCommit::Reverted("C".to_owned())),
        (Err(error(StoreErrorKind::NoChanges)), OwnCommit::Reverted("C".to_owned())),
        (Err(error(StoreErrorKind::Conflict)), OwnCommit::Left("C".to_owned(), "answer".to_owned())),
    ] {
        let mut publication = merging(OnMovedHead::Fail);
        publication.next(Event::Merged(Ok("C".to_owned())));
        publication.next(Event::MergeRead(Ok(ours.clone())));
        let revert = Effect::Revert { commit: "C".to_owned(), again: 0 };
        assert_eq!(publication.next(history(&[ours.clone(), theirs.clone()])), revert);
        assert_eq!(publication.next(Event::Reverted(answer)), moved(theirs.clone(), left));
    }
    let mut publication = merging(OnMovedHead::Merge);
    publication.next(Event::Merged(Ok("C".to_owned())));
    publication.next(Event::MergeRead(Ok(ours.clone())));
    assert_eq!(publication.next(history(&[ours, theirs])), published("C"));
}

#[test]
fn an_older_attempt_that_slipped_in_is_superseded() {
    let late = own("C0", &["R", "S0"], 0);
    let ours = own("C", &["C0", "S"], 1);
    let mut publication = merging(OnMovedHead::Fail);
    publication.next(Event::Merged(Ok("C".to_owned())));
    publication.next(Event::MergeRead(Ok(ours.clone())));
    assert_eq!(publication.next(history(&[ours, late.clone()])), Effect::Stage { base: "C".to_owned() });
    assert_eq!(publication.next(Event::Staged(Ok(None))), unchanged("C"));

    let mut publication = merging(OnMovedHead::Fail);
    let conflict = Event::Merged(Err(error(StoreErrorKind::Conflict)));
    assert_eq!(publication.next(conflict), Effect::ReadHistory);
    assert_eq!(publication.next(history(&[late])), Effect::Stage { base: "C0".to_owned() });
}

#[test]
fn a_lost_reply_is_merged_again_behind_a_fence() {
    let mut publication = merging(OnMovedHead::Fail);
    assert_eq!(publication.next(Event::Merged(Err(error(StoreErrorKind::Lost)))), Effect::Fence);
    assert_eq!(publication.next(Event::FenceHeld), Effect::Merge { again: 1 });
    assert_eq!(publication.next(Event::Merged(Err(error(StoreErrorKind::NoChanges)))), Effect::ReadHistory);
    assert_eq!(publication.next(history(&[own("C", &["R", "S"], 1)])), published("C"));

    let mut publication = merging(OnMovedHead::Fail);
    publication.next(Event::Merged(Err(error(StoreErrorKind::Lost))));
    assert_eq!(
        publication.next(Event::FenceLost("taken".to_owned())),
        failed(PublishFailure::LeaseLost("taken".to_owned()))
    );
}

#[test]
fn a_store_that_stays_away_leaves_no_merge_that_could_start_later() {
    let give_up = || {
        let mut publication = merging(OnMovedHead::Fail);
        let mut effect = publication.next(Event::Merged(Err(error(StoreErrorKind::Lost))));
        while effect == Effect::Fence {
            publication.next(Event::FenceHeld);
            effect = publication.next(Event::Merged(Err(error(StoreErrorKind::Lost))));
        }
        assert_eq!(effect, Effect::DropStaging);
        assert_eq!(publication.next(Event::StagingDropped(Ok(()))), Effect::ReadHistory);
        publication
    };
    assert_eq!(give_up().next(history(&[own("C", &["R", "S"], 1)])), published("C"));
    let lost = || failed(PublishFailure::Store(error(StoreErrorKind::Lost)));
    assert_eq!(give_up().next(history(&[])), lost());
    assert_eq!(give_up().next(Event::History(Err(error(StoreErrorKind::Unreachable)))), lost());
}

#[test]
fn a_refused_merge_is_tried_as_often_as_the_terms_say() {
    for kind in [StoreErrorKind::Busy, StoreErrorKind::Unreachable] {
        let mut publication = merging(OnMovedHead::Fail);
        for again in 1..3 {
            assert_eq!(publication.next(Event::Merged(Err(error(kind)))), Effect::Fence);
            assert_eq!(publication.next(Event::FenceHeld), Effect::Merge { again });
        }
        assert_eq!(publication.next(Event::Merged(Err(error(kind)))), Effect::DropStaging);
    }
}

#[test]
fn answers_about_the_branch_end_it() {
    for (kind, wanted) in [
        (StoreErrorKind::Dirty, PublishFailure::Dirty("answer".to_owned())),
        (StoreErrorKind::Forbidden, PublishFailure::Forbidden("answer".to_owned())),
        (StoreErrorKind::Other, PublishFailure::Store(error(StoreErrorKind::Other))),
    ] {
        assert_eq!(merging(OnMovedHead::Fail).next(Event::Merged(Err(error(kind)))), failed(wanted));
    }
    let missing = Event::History(Err(error(StoreErrorKind::NotFound)));
    assert_eq!(
        start(OnMovedHead::Fail, true).next(missing),
        failed(PublishFailure::BranchMissing("answer".to_owned()))
    );
}

#[test]
fn a_commit_that_is_not_on_the_branch_is_no_input() {
    let reset = || {
        Event::History(Ok(History {
            head: "Q".to_owned(),
            commits: vec![foreign("Q", &["P"]), foreign("P", &[])],
            reaches_input: false,
            input: "R".to_owned(),
        }))
    };
    let wanted = failed(PublishFailure::InputNotInHistory { head: "Q".to_owned(), ours: OwnCommit::None });
    assert_eq!(start(OnMovedHead::Fail, true).next(reset()), wanted);
    assert_eq!(start(OnMovedHead::Merge, true).next(reset()), Effect::Stage { base: "R".to_owned() });
}

#[test]
fn a_merge_into_a_branch_that_was_reset_meanwhile_is_undone() {
    // The head that was judged is gone; the branch was put back to an older commit.
    let ours = own("C", &["Q", "S"], 1);
    let reset = || {
        Event::History(Ok(History {
            head: "C".to_owned(),
            commits: vec![own("C", &["Q", "S"], 1), foreign("Q", &[])],
            reaches_input: false,
            input: "R".to_owned(),
        }))
    };
    let merged = |policy| {
        let mut publication = merging(policy);
        publication.next(Event::Merged(Ok("C".to_owned())));
        assert_eq!(publication.next(Event::MergeRead(Ok(ours.clone()))), Effect::ReadHistory);
        publication
    };
    let mut publication = merged(OnMovedHead::Fail);
    let revert = Effect::Revert { commit: "C".to_owned(), again: 0 };
    assert_eq!(publication.next(reset()), revert);
    let undone = OwnCommit::Reverted("C".to_owned());
    let wanted = failed(PublishFailure::InputNotInHistory { head: "C".to_owned(), ours: undone });
    assert_eq!(publication.next(Event::Reverted(Ok(()))), wanted);
    assert_eq!(merged(OnMovedHead::Merge).next(reset()), published("C"));
}

#[test]
fn a_conflict_names_its_keys_where_merging_is_allowed() {
    let theirs = foreign("F", &["R"]);
    let conflict = || Event::Merged(Err(error(StoreErrorKind::Conflict)));
    let mut publication = merging(OnMovedHead::Merge);
    publication.next(conflict());
    assert_eq!(publication.next(history(std::slice::from_ref(&theirs))), Effect::ListConflicts);
    let keys = vec!["a".to_owned()];
    assert_eq!(publication.next(Event::Conflicts(Ok(keys.clone()))), failed(PublishFailure::Conflict(keys)));
    let mut publication = merging(OnMovedHead::Fail);
    publication.next(conflict());
    assert_eq!(publication.next(history(std::slice::from_ref(&theirs))), moved(theirs, OwnCommit::None));
}
