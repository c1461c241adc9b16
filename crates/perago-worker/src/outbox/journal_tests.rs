use proptest::prelude::*;

use perago_conductor::{ResultStatus, Task, TaskResult};

use super::super::entry::{Claim, Kept, OwedOutcome, Returned, Staged};
use super::super::key::Key;
use super::super::{Outbox, OutboxOptions, now};
use super::*;
use crate::logs::Logger;

fn record(kind: u8, number: u64) -> JournalRecord {
    let task = Task { task_id: format!("task-{number}"), poll_count: 1, ..Task::default() };
    let raw = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
    match kind % 6 {
        0 => {
            let key = number.is_multiple_of(2).then(|| Key::of(&task, None));
            JournalRecord::Claimed { at: 1, claim: Box::new(Claim::of(&task)), key }
        }
        1 => JournalRecord::Staged(Staged { branch: "b".into(), commit: "c".into() }),
        2 => {
            let mut result = TaskResult::new(&task, "me", ResultStatus::Completed);
            result.output_data = Some(raw(r#"{"result":{"x":1.10}}"#));
            JournalRecord::Finished(Box::new(OwedOutcome { at: 2, result, failure_code: None }))
        }
        3 => JournalRecord::Kept(Kept { at: 3, reason: "gone".into(), is_doubtful: number > 3 }),
        4 => JournalRecord::Returned(Returned { at: 2, result: raw("1.10") }),
        _ => JournalRecord::Closed,
    }
}

fn text(entries: &BTreeMap<u64, Entry>) -> String {
    format!("{entries:?}")
}

/// The entries with their results, which the journal has alone of those that are kept.
fn loaded(journal: &Journal, entries: &BTreeMap<u64, Entry>) -> BTreeMap<u64, Entry> {
    for entry in entries.values() {
        assert_eq!(entry.is_shelved, entry.kept.is_some());
        assert!(!entry.is_shelved || (entry.outcome.is_none() && entry.returned.is_none()));
    }
    entries.keys().map(|number| (*number, journal.load(*number).unwrap().unwrap())).collect()
}

fn written(records: &[(u8, u64)]) -> (tempfile::TempDir, BTreeMap<u64, Entry>) {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, entries, damaged) = Journal::open(folder.path(), false).unwrap();
    assert!(entries.is_empty() && damaged == 0);
    let mut wanted = BTreeMap::new();
    for (kind, number) in records {
        let record = record(*kind, *number);
        journal.append(*number, &record).unwrap();
        apply(&mut wanted, *number, record);
    }
    (folder, wanted)
}

fn any_records() -> impl Strategy<Value = Vec<(u8, u64)>> {
    proptest::collection::vec((0_u8..6, 0_u64..6), 0..40)
}

proptest! {
    /// What was written is read, by whoever looks and by the next one who opens it, who keeps only what is open.
    #[test]
    fn what_was_written_is_read(records in any_records()) {
        let (folder, wanted) = written(&records);
        let (seen, damaged) = Journal::read(folder.path()).unwrap();
        prop_assert_eq!((text(&seen), damaged), (text(&wanted), 0));
        let (journal, again, _) = Journal::open(folder.path(), true).unwrap();
        prop_assert_eq!(text(&loaded(&journal, &again)), text(&wanted));
        let (rewritten, damaged) = Journal::read(folder.path()).unwrap();
        prop_assert_eq!((text(&rewritten), damaged), (text(&wanted), 0));
    }

    /// A file that was cut anywhere holds what was written whole before the cut.
    #[test]
    fn a_cut_file_holds_its_beginning(records in any_records(), cut in 0.0_f64..1.0) {
        let (folder, _) = written(&records);
        let path = folder.path().join(FILE_NAME);
        let content = std::fs::read(&path).unwrap();
        let header = content.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let kept = header + ((content.len() - header) as f64 * cut) as usize;
        std::fs::write(&path, &content[..kept]).unwrap();
        let (seen, damaged) = Journal::read(folder.path()).unwrap();
        prop_assert!(damaged <= 1);
        let whole = (0..=records.len()).any(|count| {
            let mut wanted = BTreeMap::new();
            for (kind, number) in &records[..count] {
                apply(&mut wanted, *number, record(*kind, *number));
            }
            text(&wanted) == text(&seen)
        });
        prop_assert!(whole);
    }

    /// A changed byte behind the header is never taken for content.
    #[test]
    fn a_changed_byte_is_noticed(records in proptest::collection::vec((0_u8..5, 0_u64..6), 1..20), place in 0.0_f64..1.0, bit in 0_u8..8) {
        let (folder, wanted) = written(&records);
        let path = folder.path().join(FILE_NAME);
        let mut content = std::fs::read(&path).unwrap();
        let header = content.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let place = header + ((content.len() - header - 1) as f64 * place) as usize;
        content[place] ^= 1 << bit;
        std::fs::write(&path, content).unwrap();
        let (seen, damaged) = Journal::read(folder.path()).unwrap();
        prop_assert!(damaged > 0);
        prop_assert!(seen.len() <= wanted.len());
    }
}

#[test]
fn a_newer_journal_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    std::fs::write(&path, "perago-journal 2\nwhat it may be").unwrap();
    let error = Journal::open(folder.path(), false).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 2, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "perago-journal 2\nwhat it may be");
    std::fs::write(&path, "something else\n").unwrap();
    assert!(matches!(Journal::open(folder.path(), false), Err(JournalError::Foreign(_))));
}

#[test]
fn a_claim_without_a_key_is_read() {
    let folder = tempfile::tempdir().unwrap();
    drop(Journal::open(folder.path(), false).unwrap());
    let content = br#"[7,{"claimed":{"at":1,"claim":{"task_name":"n","workflow_instance_id":"w","reference_task_name":"r","task_id":"t","retry_count":0,"poll_count":1}}}]"#;
    let path = folder.path().join(FILE_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    bytes.extend(crc32fast::hash(content).to_le_bytes());
    bytes.extend(content);
    std::fs::write(&path, bytes).unwrap();
    let (entries, damaged) = Journal::read(folder.path()).unwrap();
    assert_eq!((damaged, &entries[&7].key), (0, &None));
}

#[test]
fn a_long_file_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, mut entries, _) = Journal::open(folder.path(), false).unwrap();
    let mut number = 0;
    while !journal.is_long() {
        number += 1;
        for kind in [0, 2, 5] {
            let record = record(kind, number);
            journal.append(number, &record).unwrap();
            apply(&mut entries, number, record);
        }
    }
    journal.rewrite(&mut entries).unwrap();
    assert!(!journal.is_long());
    assert!(std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().len() < 100);
    journal.append(1, &record(0, 1)).unwrap();
    assert_eq!(Journal::read(folder.path()).unwrap().0.len(), 1);
}

/// Every write to the journal fails, as on a full disk, until the file that is returned is put back.
fn fail(journal: &mut Journal) -> File {
    let full = File::options().write(true).open("/dev/full").unwrap();
    std::mem::replace(&mut journal.file, full)
}

#[test]
fn a_step_that_was_cut_short_hides_none_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _, _) = Journal::open(folder.path(), true).unwrap();
    journal.append(1, &record(0, 1)).unwrap();
    let mut file = fail(&mut journal);
    assert!(journal.append(2, &record(0, 2)).is_err());
    file.write_all(b"as much of it as found room").unwrap();
    journal.file = file;
    journal.append(3, &record(0, 3)).unwrap();
    let (entries, damaged) = Journal::read(folder.path()).unwrap();
    assert_eq!((entries.into_keys().collect(), damaged), (vec![1, 3], 0));
}

fn outbox(folder: &Path, retention: std::time::Duration) -> Outbox {
    let options = OutboxOptions { is_synced: false, retention };
    Outbox::open(folder, options, &Logger::memory()).unwrap()
}

#[test]
fn a_journal_that_can_be_written_again_lacks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox(folder.path(), std::time::Duration::MAX);
    let task = Task { task_id: "t".into(), ..Task::default() };
    let file = fail(&mut outbox.0.journal.borrow_mut());
    let number = outbox.claimed(&task, Key::of(&task, None));
    let done = outbox.claimed(&task, Key::of(&task, None));
    outbox.0.journal.borrow_mut().file = file;
    outbox.closed(done);
    outbox.finished(number, &TaskResult::new(&task, "me", ResultStatus::Completed), None);
    let (entries, damaged) = Journal::read(folder.path()).unwrap();
    assert_eq!((entries.len(), damaged), (1, 0));
    assert!(entries[&number].outcome.is_some());
}

#[test]
fn what_can_never_be_delivered_is_forgotten_by_a_worker_that_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let hour = 3_600_000;
    let outbox = outbox(folder.path(), std::time::Duration::from_millis(hour));
    for (number, at) in [(1, now() - 2 * hour.cast_signed()), (2, now())] {
        outbox.0.note(number, record(0, number));
        outbox.0.note(number, JournalRecord::Kept(Kept { at, reason: "gone".into(), is_doubtful: false }));
    }
    outbox.0.note(3, record(0, 3));
    outbox.drop_expired();
    assert_eq!(Journal::read(folder.path()).unwrap().0.into_keys().collect::<Vec<_>>(), [2, 3]);
}

/// Keeps the result of an attempt at a step of its own, and returns the entry's number.
fn keep(outbox: &Outbox, task: &Task, text: &str) -> u64 {
    let number = outbox.claimed(task, Key::of(task, Some("code".to_owned())));
    let mut result = TaskResult::new(task, "me", ResultStatus::Completed);
    let output = serde_json::json!({ "result": text }).to_string();
    result.output_data = Some(serde_json::value::RawValue::from_string(output).unwrap());
    outbox.finished(number, &result, None);
    outbox.kept(number, "gone");
    number
}

#[test]
fn what_is_kept_takes_no_memory_and_can_be_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let step = |count: usize| Task {
        task_id: format!("t{count}"),
        reference_task_name: format!("step {count}"),
        poll_count: 1,
        ..Task::default()
    };
    let long = "x".repeat(100_000);
    let holds_results = |outbox: &Outbox| {
        let entries = outbox.0.entries.borrow();
        entries.values().filter(|entry| entry.outcome.is_some()).count()
    };
    let adopted = |outbox: &Outbox, count: usize| {
        let retry = Task { retry_count: 1, ..step(count) };
        let found = outbox.adoptable(&retry, &Key::of(&retry, Some("code".to_owned()))).unwrap();
        (found.task_id, found.result.get().to_owned())
    };
    let wanted = |count: usize| (format!("t{count}"), format!("\"{count}{long}\""));
    let first = outbox(folder.path(), std::time::Duration::MAX);
    // More than a file of which nothing is open may hold: it is written anew in between.
    for count in 0..60 {
        keep(&first, &step(count), &format!("{count}{long}"));
        assert_eq!(holds_results(&first), 0);
    }
    assert_eq!(adopted(&first, 3), wanted(3));
    // What a full disk has not taken stays in memory until it is written.
    let file = fail(&mut first.0.journal.borrow_mut());
    keep(&first, &step(60), &format!("60{long}"));
    assert_eq!(holds_results(&first), 1);
    assert_eq!(adopted(&first, 60), wanted(60));
    first.0.journal.borrow_mut().file = file;
    keep(&first, &step(61), &format!("61{long}"));
    assert_eq!(holds_results(&first), 0);
    assert_eq!(adopted(&first, 59), wanted(59));
    drop(first);
    let second = outbox(folder.path(), std::time::Duration::MAX);
    assert_eq!((holds_results(&second), second.0.entries.borrow().len()), (0, 62));
    for count in [0, 3, 59, 60, 61] {
        assert_eq!(adopted(&second, count), wanted(count));
    }
    assert!(second.left_open().is_empty());
    let (shown, damaged) = Journal::read(folder.path()).unwrap();
    assert!(damaged == 0 && shown.values().all(|entry| entry.outcome.is_some()));
}

#[test]
fn a_kept_result_that_the_disk_has_damaged_is_not_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let task = Task { task_id: "t".into(), poll_count: 1, ..Task::default() };
    let outbox = outbox(folder.path(), std::time::Duration::MAX);
    let number = keep(&outbox, &task, "needle");
    let path = folder.path().join(FILE_NAME);
    let content = std::fs::read(&path).unwrap();
    let place = content.windows(6).position(|seen| seen == b"needle").unwrap();
    File::options().write(true).open(&path).unwrap().write_at(b"N", place as u64).unwrap();
    let retry = Task { retry_count: 1, ..task };
    assert!(outbox.adoptable(&retry, &Key::of(&retry, Some("code".to_owned()))).is_none());
    assert!(outbox.entry(number).is_none());
}
