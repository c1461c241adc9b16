use super::*;
use std::time::Duration;

use crate::path::Prefix;
use crate::stamp::{Basis, Epoch, Stamp, Work};

fn basis(input: &str) -> Basis {
    Basis { input_hash: Some(input.to_owned()), code_hash: Some("code".to_owned()) }
}

fn stamp(retry_count: u64, input: &str) -> Stamp {
    Stamp {
        work: Work {
            conductor: "http://conductor/api".to_owned(),
            workflow_instance_id: "w".to_owned(),
            reference_task_name: "mix".to_owned(),
            iteration: 0,
        },
        epoch: Epoch { retry_count, poll_count: 1 },
        task_id: format!("t{retry_count}"),
        task_name: "audio.mix".to_owned(),
        seq: 1,
        execution: "0".repeat(32),
        worker_id: "me".to_owned(),
        input_ref: "input".to_owned(),
        link: "l".to_owned(),
        basis: basis(input),
    }
}

fn commit(id: &str, parents: &[&str], stamp: Option<&Stamp>) -> Commit {
    let text = stamp.map(|stamp| stamp.text_with_result("publish", Some("42")));
    Commit {
        id: id.to_owned(),
        parents: parents.iter().map(|id| (*id).to_owned()).collect(),
        committer: "admin".to_owned(),
        message: "m".to_owned(),
        created_at: 0,
        metadata: text.map(|text| text.metadata).unwrap_or_default(),
    }
}

/// What a history, newest first, says to retry 2 of `mix`; `published` and `staged` are what it has kept.
fn found(commits: Vec<Commit>, published: Option<&str>, staged: Option<&str>) -> Option<Adopted> {
    let (own, prefix) = (stamp(2, "same"), Prefix::new("/").unwrap());
    let predecessors = ["t1".to_owned(), "t0".to_owned()];
    let request = AdoptRequest {
        target: Target {
            branch: "main",
            prefix: &prefix,
            stamp: &own,
            on_moved_head: OnMovedHead::Fail,
            merge_limit: Duration::from_secs(1),
            result: None,
        },
        predecessors: &predecessors,
        published,
        staged,
    };
    let head = commits.first().map_or("input", |commit| &commit.id).to_owned();
    let history = History { head, commits, reaches_input: true, input: "input".to_owned() };
    standing(&history, &request)
}

fn commit_and_result(found: Option<Adopted>) -> Option<(String, Option<String>)> {
    found.map(|adopted| (adopted.report.commit, adopted.result))
}

#[test]
fn a_publication_of_a_predecessor_is_found_below_what_others_did() {
    let ours = commit("ours", &["input", "s"], Some(&stamp(1, "same")));
    let theirs = commit("theirs", &["ours"], None);
    let wanted = Some(("ours".to_owned(), Some("42".to_owned())));
    assert_eq!(commit_and_result(found(vec![theirs, ours], None, None)), wanted);
}

#[test]
fn what_was_made_of_another_input_by_other_code_or_for_another_run_is_not_ours() {
    let publication = |stamp: &Stamp| vec![commit("ours", &["input", "s"], Some(stamp))];
    assert_eq!(found(publication(&stamp(1, "other")), None, None), None);
    let mut other = stamp(1, "same");
    other.basis.code_hash = Some("other".to_owned());
    assert_eq!(found(publication(&other), None, None), None);
    other.basis.code_hash = None;
    assert_eq!(found(publication(&other), None, None), None);
    let mut restarted = stamp(1, "same");
    restarted.task_id = "of a run before the restart".to_owned();
    assert_eq!(found(publication(&restarted), None, None), None);
    assert_eq!(found(publication(&stamp(3, "same")), None, None), None, "of a newer attempt");
}

#[test]
fn only_the_newest_publication_counts_and_none_that_was_undone() {
    let old = commit("old", &["input", "s0"], Some(&stamp(0, "same")));
    let newer = commit("newer", &["old", "s1"], Some(&stamp(1, "other")));
    assert_eq!(found(vec![newer, old.clone()], None, None), None);
    let undone = commit("undone", &["old"], Some(&stamp(0, "same")));
    assert_eq!(found(vec![undone.clone(), old.clone()], None, None), None);
    assert_eq!(found(vec![undone, old], Some("old"), None), None);
}

#[test]
fn a_publication_over_what_others_had_put_there_is_not_taken_for_done() {
    let theirs = commit("theirs", &["input"], None);
    let ours = commit("ours", &["theirs", "s"], Some(&stamp(1, "same")));
    let commits = vec![ours, theirs];
    assert_eq!(found(commits.clone(), None, None), None);
    assert_eq!(found(commits.clone(), None, Some("s")), None);
    // Its outcome was known, so it had been judged.
    assert!(found(commits, Some("ours"), None).is_some());
}

#[test]
fn a_kept_result_needs_its_commit_alone() {
    let mut silent = stamp(1, "same");
    silent.basis = Basis::default();
    let ours = vec![commit("ours", &["input", "s"], Some(&silent))];
    assert_eq!(found(ours.clone(), None, None), None);
    let wanted = Some(("ours".to_owned(), None));
    assert_eq!(commit_and_result(found(ours.clone(), Some("ours"), None)), wanted);
    assert_eq!(commit_and_result(found(ours, None, Some("s"))), wanted);
    // A body that changed nothing has published the input, or what others had put there.
    assert_eq!(commit_and_result(found(vec![], Some("input"), None)), Some(("input".to_owned(), None)));
    let theirs = vec![commit("theirs", &["input"], None)];
    assert_eq!(commit_and_result(found(theirs, Some("theirs"), None)), Some(("theirs".to_owned(), None)));
}
