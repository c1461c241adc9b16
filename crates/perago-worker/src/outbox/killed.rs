//! What becomes of the attempts of a supervisor that was killed because memory ran out.
//!
//! Given back, a task that takes too much memory would kill one worker after the other without using up a retry. The
//! attempt that is known, or most likely, to have taken the memory has failed instead.

use perago_conductor::Task;
use perago_contract::failure::FailureCode;

use super::{Entry, Outbox};
use crate::attempt::outcome::Finished;
use crate::executor::message::Failure;
use crate::logs::{Level, Logger, Record};
use crate::memory::evidence::{Killed, SlotUse, Verdict};
use crate::memory::text;

impl Outbox {
    /// Reports the death of the earlier supervisor, and notes the failure of the attempts that it is put down to.
    pub(crate) fn take_killed(&self, killed: &Killed, worker_id: &str, reason_limit: usize, logger: &Logger) {
        let most = killed.look.as_ref().and_then(|look| look.slots.iter().max_by_key(|slot| slot.bytes));
        let mut failed = Vec::new();
        if matches!(killed.verdict, Verdict::Yes(_) | Verdict::Probably) {
            let reason = reason(killed, most);
            for (number, entry) in self.left_open() {
                if is_put_down_to(&entry, killed.verdict, most) {
                    failed.push(entry.claim.task_id.clone());
                    self.fail(number, &entry, &reason, worker_id, reason_limit);
                }
            }
        }
        let fill = killed.look.as_ref().map(|look| look.fill);
        logger.write(
            Record::new(Level::Warning, "predecessor_killed", summary(killed.verdict))
                .with("out_of_memory", killed.verdict.word())
                .with("failed_task_ids", failed)
                .with_some("used_bytes", fill.map(|fill| fill.used))
                .with_some("limit_bytes", fill.map(|fill| fill.limit))
                .with_some("slot", most.map(|slot| slot.slot))
                .with_some("slot_bytes", most.map(|slot| slot.bytes)),
        );
    }

    fn fail(&self, number: u64, entry: &Entry, reason: &str, worker_id: &str, reason_limit: usize) {
        let task = Task {
            task_id: entry.claim.task_id.clone(),
            workflow_instance_id: entry.claim.workflow_instance_id.clone(),
            ..Task::default()
        };
        let code = FailureCode::ExecutorOutOfMemory.code().to_owned();
        let failure = Failure { code, reason: reason.to_owned() };
        let finished = Finished::failed(&task, worker_id, failure, reason_limit);
        self.finished(number, &finished.result, finished.failure_code.as_deref());
    }
}

/// A body that had ended took no more memory.
fn is_put_down_to(entry: &Entry, verdict: Verdict, most: Option<&SlotUse>) -> bool {
    entry.outcome.is_none()
        && entry.staged.is_none()
        && match (most, verdict) {
            (Some(slot), _) => entry.claim.is_of(&slot.attempt),
            (None, Verdict::Yes(_)) => true,
            (None, _) => false,
        }
}

fn summary(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Yes(_) => "the earlier worker was killed by the kernel because memory ran out",
        Verdict::Probably => {
            "the earlier worker was killed when its container was nearly full, probably because memory ran out"
        }
        Verdict::No => "the earlier worker was killed, but not because memory ran out",
        Verdict::Unknown => {
            "the earlier worker was killed; whether memory ran out cannot be known from this cgroup"
        }
    }
}

fn reason(killed: &Killed, most: Option<&SlotUse>) -> String {
    let what = match killed.verdict {
        Verdict::Yes(kills) => format!(
            "the worker was killed by the kernel because memory ran out (processes killed in its cgroup: {kills})"
        ),
        _ => "the worker was killed, probably because memory ran out".to_owned(),
    };
    let (Some(look), Some(slot)) = (&killed.look, most) else { return what };
    format!(
        "{what}; when it last looked, its container used {} of {}, and of the slots number {} used most, {}",
        text(look.fill.used),
        text(look.fill.limit),
        slot.slot,
        text(slot.bytes)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::executor::result_file::AttemptId;
    use crate::memory::cgroup::Fill;
    use crate::memory::evidence::Look;
    use crate::outbox::{Claim, Key, OutboxOptions};

    fn task(id: &str) -> Task {
        Task { task_id: id.into(), workflow_instance_id: "w".into(), poll_count: 1, ..Task::default() }
    }

    fn slot(id: &str, slot: u32, bytes: u64) -> SlotUse {
        let attempt =
            AttemptId { workflow_id: "w".into(), task_id: id.into(), retry_count: 0, poll_count: 1 };
        SlotUse { slot, bytes, attempt }
    }

    /// The failed tasks and their reasons, and the record of the log.
    fn taken(killed: &Killed) -> (Vec<(String, String)>, serde_json::Value) {
        let folder = tempfile::tempdir().unwrap();
        let logger = Logger::memory();
        let options = OutboxOptions { is_synced: false, retention: Duration::from_secs(60) };
        let outbox = Outbox::open(folder.path(), options, &logger).unwrap();
        for id in ["a", "b", "staged"] {
            let number = outbox.claimed(&task(id), Key::of(&task(id), None));
            assert_eq!(Claim::of(&task(id)).task_id, id);
            if id == "staged" {
                outbox.staged(number, "branch", "commit");
            }
        }
        outbox.take_killed(killed, "me", 500, &logger);
        let failed = outbox.left_open().into_iter().filter_map(|(_, entry)| {
            let outcome = entry.outcome?;
            assert_eq!(outcome.failure_code.as_deref(), Some("executor_out_of_memory"));
            Some((entry.claim.task_id, outcome.result.reason_for_incompletion?))
        });
        (failed.collect(), logger.records().pop().unwrap())
    }

    #[test]
    fn the_largest_attempt_has_failed() {
        let fill = Fill { used: 95 << 20, limit: 100 << 20 };
        let look = Some(Look { fill, slots: vec![slot("a", 1, 10 << 20), slot("b", 2, 80 << 20)] });
        for verdict in [Verdict::Yes(2), Verdict::Probably] {
            let (failed, record) = taken(&Killed { verdict, look: look.clone() });
            assert_eq!(failed.len(), 1, "{failed:?}");
            assert_eq!(failed[0].0, "b");
            assert!(failed[0].1.ends_with("95.0MB of 100.0MB, and of the slots number 2 used most, 80.0MB"));
            assert_eq!((&record["slot"], &record["failed_task_ids"]), (&2.into(), &vec!["b"].into()));
        }
    }

    #[test]
    fn without_a_look_every_body_that_ran_has_failed_if_the_kernel_counted() {
        let (failed, record) = taken(&Killed { verdict: Verdict::Yes(1), look: None });
        assert_eq!(failed.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (&record["event"], &record["out_of_memory"]),
            (&"predecessor_killed".into(), &"yes".into())
        );
    }

    #[test]
    fn nothing_is_put_down_to_memory_without_evidence() {
        for verdict in [Verdict::No, Verdict::Unknown] {
            let (failed, record) = taken(&Killed { verdict, look: None });
            assert!(failed.is_empty());
            assert_eq!(record["out_of_memory"], verdict.word());
        }
    }
}
