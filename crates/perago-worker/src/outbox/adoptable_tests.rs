use perago_conductor::TaskResult;

use super::super::entry::{Claim, Kept, OwedOutcome, Returned, Staged};
use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn task(retry_count: i64, poll_count: i64, input: &str) -> Task {
    Task {
        workflow_instance_id: "w".to_owned(),
        reference_task_name: "mix".to_owned(),
        task_id: format!("t{retry_count}"),
        retry_count,
        poll_count,
        input_data: raw(input),
        ..Task::default()
    }
}

const INPUT: &str = r#"{"params":{"x":1}}"#;

fn key(task: &Task) -> Key {
    Key::of(task, Some("code".to_owned()))
}

fn claimed(task: &Task) -> Entry {
    Entry {
        claimed_at: 1,
        claim: Claim::of(task),
        key: Some(key(task)),
        returned: None,
        staged: None,
        outcome: None,
        kept: None,
        is_shelved: false,
    }
}

fn finished(task: &Task, status: ResultStatus, output: &str) -> Entry {
    let mut result = TaskResult::new(task, "me", status);
    result.output_data = Some(raw(output));
    Entry { outcome: Some(OwedOutcome { at: 2, result, failure_code: None }), ..claimed(task) }
}

fn kept(is_doubtful: bool) -> Kept {
    Kept { at: 3, reason: "gone".to_owned(), is_doubtful }
}

/// What retry 2 finds in an outbox with these entries: number and result.
fn found(entries: Vec<Entry>) -> Option<(u64, String)> {
    let own = task(2, 1, r#"{ "params": {"x": 1} }"#);
    let entries = (1..).zip(entries).collect();
    newest(&entries, &own, &key(&own), |_| None).map(|kept| (kept.number, kept.result.get().to_owned()))
}

fn first() -> Entry {
    finished(&task(0, 1, INPUT), ResultStatus::Completed, r#"{"result":1.10}"#)
}

#[test]
fn the_newest_completed_result_of_the_same_work_is_found_kept_or_not() {
    let second = finished(&task(1, 3, INPUT), ResultStatus::Completed, r#"{"result":2}"#);
    assert_eq!(found(vec![first()]), Some((1, "1.10".to_owned())));
    assert_eq!(found(vec![Entry { kept: Some(kept(false)), ..first() }]), Some((1, "1.10".to_owned())));
    assert_eq!(found(vec![second, first()]), Some((1, "2".to_owned())));
}

#[test]
fn nothing_else_is_found() {
    let of = |task: Task| finished(&task, ResultStatus::Completed, r#"{"result":1}"#);
    let earlier = || task(0, 1, INPUT);
    for (what, entry) in [
        ("another input", of(task(0, 1, r#"{"params":{"x":2}}"#))),
        ("a newer attempt", of(task(3, 1, INPUT))),
        ("our own claim", of(task(2, 1, INPUT))),
        ("another run", of(Task { workflow_instance_id: "other".to_owned(), ..earlier() })),
        ("another step", of(Task { reference_task_name: "other".to_owned(), ..earlier() })),
        ("another round", of(Task { iteration: 1, ..earlier() })),
        ("other code", Entry { key: Some(Key::of(&earlier(), Some("other".to_owned()))), ..first() }),
        ("unknown code", Entry { key: Some(Key::of(&earlier(), None)), ..first() }),
        ("an older version's claim", Entry { key: None, ..first() }),
        ("a failure", finished(&earlier(), ResultStatus::Failed, "{}")),
        ("what ended after it was told to stop", Entry { kept: Some(kept(true)), ..first() }),
        ("no outcome", claimed(&earlier())),
        ("an output that is none", finished(&earlier(), ResultStatus::Completed, "{}")),
    ] {
        assert_eq!(found(vec![entry]), None, "{what}");
    }
    let moved_away = Task { external_input_payload_storage_path: Some("p".to_owned()), ..earlier() };
    let entries = [(1, of(moved_away.clone()))].into();
    assert!(
        newest(&entries, &Task { poll_count: 2, ..moved_away.clone() }, &key(&moved_away), |_| None)
            .is_none()
    );
}

#[test]
fn a_workspace_result_comes_with_its_commit_or_with_what_was_staged() {
    let own = task(2, 1, INPUT);
    let of = |entry: Entry| newest(&[(1, entry)].into(), &own, &key(&own), |_| None);
    let staged = Staged { branch: "b".to_owned(), commit: "s".to_owned() };
    let returned = Returned { at: 2, result: raw("7") };
    let output =
        r#"{"workspace":{"repository":"r","branch":"main","refType":"commit","ref":"c"},"result":7}"#;
    let published = Entry {
        staged: Some(staged.clone()),
        returned: Some(returned.clone()),
        ..finished(&task(0, 1, INPUT), ResultStatus::Completed, output)
    };
    let kept = of(published).unwrap();
    assert_eq!((kept.published.as_deref(), kept.staged.as_deref()), (Some("c"), Some("s")));
    let half = Entry { returned: Some(returned), ..claimed(&task(0, 1, INPUT)) };
    assert!(of(half.clone()).is_none(), "its workspace is gone");
    let kept = of(Entry { staged: Some(staged), ..half }).unwrap();
    assert_eq!((kept.published, kept.staged.as_deref(), kept.result.get()), (None, Some("s"), "7"));
}
