//! Which kept result can stand for another attempt at the same work. Pure.

use std::collections::BTreeMap;

use perago_conductor::{ResultStatus, Task};
use perago_contract::envelope::WorkspaceRef;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::entry::Entry;
use super::key::Key;

/// A kept result of an earlier attempt.
#[derive(Debug, Clone)]
pub struct Adoptable {
    /// The number of its entry.
    pub number: u64,
    /// The task of that attempt.
    pub task_id: String,
    /// The body's result, as JSON.
    pub result: Box<RawValue>,
    /// The commit that it names, of a workspace task whose outcome was known.
    pub published: Option<String>,
    /// What was staged for it and may not be merged.
    pub staged: Option<String>,
}

#[derive(Deserialize)]
struct Output {
    workspace: Option<WorkspaceRef>,
    result: Box<RawValue>,
}

/// The newest kept result of an attempt at the work of `task` before this one, on the same basis.
///
/// A failure is none: a retry is what a failure asks for. `load` gives an entry whose results are in the journal alone.
pub(super) fn newest(
    entries: &BTreeMap<u64, Entry>,
    task: &Task,
    key: &Key,
    load: impl Fn(u64) -> Option<Entry>,
) -> Option<Adoptable> {
    let fitting = entries.iter().filter(|(_, entry)| is_of_work(entry, task, key));
    let earlier = fitting.filter(|(_, entry)| epoch(entry) < (task.retry_count, task.poll_count));
    let mut newest_first: Vec<(&u64, &Entry)> = earlier.collect();
    newest_first.sort_by_key(|(_, entry)| std::cmp::Reverse(epoch(entry)));
    newest_first.into_iter().find_map(|(number, entry)| {
        if entry.is_shelved { of_entry(*number, &load(*number)?) } else { of_entry(*number, entry) }
    })
}

/// The commit that a known outcome names, of a workspace task.
pub(super) fn published(entry: &Entry) -> Option<String> {
    let output = entry.outcome.as_ref()?.result.output_data.as_ref()?;
    let output: Output = serde_json::from_str(output.get()).ok()?;
    output.workspace.map(|workspace| workspace.reference)
}

fn epoch(entry: &Entry) -> (i64, i64) {
    (entry.claim.retry_count, entry.claim.poll_count)
}

fn is_of_work(entry: &Entry, task: &Task, key: &Key) -> bool {
    let is_same_task = entry.claim.workflow_instance_id == task.workflow_instance_id
        && entry.claim.reference_task_name == task.reference_task_name;
    is_same_task
        && entry
            .key
            .as_ref()
            .is_some_and(|kept| kept.iteration == key.iteration && kept.basis.is_same(&key.basis))
}

fn of_entry(number: u64, entry: &Entry) -> Option<Adoptable> {
    if entry.kept.as_ref().is_some_and(|kept| kept.is_doubtful) {
        return None;
    }
    let task_id = entry.claim.task_id.clone();
    let staged = entry.staged.as_ref().map(|staged| staged.commit.clone());
    let Some(outcome) = &entry.outcome else {
        // Without what was staged for it, the result of a workspace task is half of one.
        let result = entry.returned.as_ref()?.result.clone();
        return staged.map(|commit| Adoptable {
            number,
            task_id,
            result,
            published: None,
            staged: Some(commit),
        });
    };
    if outcome.result.status != ResultStatus::Completed {
        return None;
    }
    let output: Output = serde_json::from_str(outcome.result.output_data.as_ref()?.get()).ok()?;
    let published = output.workspace.map(|workspace| workspace.reference);
    Some(Adoptable { number, task_id, result: output.result, published, staged })
}

#[cfg(test)]
#[path = "adoptable_tests.rs"]
mod tests;
