//! The attempts that a worker holds: their numbers, their ids for log lines, and what their bodies logged.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use perago_conductor::{Task, TaskLog};
use tokio::sync::Notify;

use crate::attempt::task_log::TaskLogBuffer;
use crate::executor::message::LogLine;
use crate::logs::{Logger, Record};

/// A cheap handle to the open attempts of one worker.
#[derive(Debug, Clone, Default)]
pub struct OpenAttempts(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Open>>,
    changed: Notify,
}

#[derive(Debug)]
struct Open {
    task_name: String,
    workflow_id: String,
    task_id: String,
    retry_count: i64,
    slot: u32,
    log: TaskLogBuffer,
    stage: Stage,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its body is to begin, or runs.
    Body,
    /// Its outcome is to be reported.
    Report,
    /// It is closed; files of its workspace may still be there.
    CleanUp,
}

impl OpenAttempts {
    /// Opens an attempt and returns its number.
    pub fn begin(&self, task: &Task, slot: u32) -> u64 {
        let number = self.0.next.get() + 1;
        self.0.next.set(number);
        let open = Open {
            task_name: task.task_type.clone(),
            workflow_id: task.workflow_instance_id.clone(),
            task_id: task.task_id.clone(),
            retry_count: task.retry_count,
            slot,
            log: TaskLogBuffer::default(),
            stage: Stage::Body,
        };
        self.0.open.borrow_mut().insert(number, open);
        number
    }

    /// Forgets an attempt.
    pub fn end(&self, number: u64) {
        self.0.open.borrow_mut().remove(&number);
        self.0.changed.notify_waiters();
    }

    /// An attempt has come to this stage.
    pub fn reached(&self, number: u64, stage: Stage) {
        if let Some(open) = self.0.open.borrow_mut().get_mut(&number) {
            open.stage = open.stage.max(stage);
        }
        self.0.changed.notify_waiters();
    }

    /// Waits until every attempt is at this stage, or beyond it.
    pub async fn all_reached(&self, stage: Stage) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.open.borrow().values().all(|open| open.stage >= stage) {
                return;
            }
            changed.await;
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.open.borrow().len()
    }

    /// Adds the attempt's ids to a record.
    #[must_use]
    pub fn label(&self, number: u64, record: Record) -> Record {
        match self.0.open.borrow().get(&number) {
            None => record,
            Some(open) => record
                .with("task_name", open.task_name.as_str())
                .with("workflow_instance_id", open.workflow_id.as_str())
                .with("task_id", open.task_id.as_str())
                .with("retry_count", open.retry_count)
                .with("slot", open.slot),
        }
    }

    /// Writes a line of an executor to the worker's log, and keeps it for Conductor's task log if it belongs to
    /// an attempt.
    pub fn on_line(&self, logger: &Logger, line: LogLine) {
        if let Some(number) = line.attempt
            && let Some(open) = self.0.open.borrow_mut().get_mut(&number)
        {
            open.log.push(&line.message, (line.time * 1000.0) as i64);
        }
        let mut record = Record::of_body(line.time, line.level, line.message).with("source", line.source);
        if let Some(number) = line.attempt {
            record = self.label(number, record);
        }
        record = record.with_some("exception", line.exception);
        for (name, value) in line.fields {
            record = record.with(&name, value);
        }
        logger.write(record);
    }

    /// Takes what the attempt's body has logged so far.
    pub fn take_task_log(&self, number: u64) -> Vec<TaskLog> {
        let mut open = self.0.open.borrow_mut();
        open.get_mut(&number).map(|open| std::mem::take(&mut open.log).into_entries()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(attempt: Option<u64>, message: &str) -> LogLine {
        LogLine {
            attempt,
            level: "INFO".into(),
            source: "stdout".into(),
            message: message.into(),
            time: 2.5,
            exception: None,
            fields: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_line_carries_the_ids_of_its_attempt() {
        let logger = Logger::memory();
        let open = OpenAttempts::default();
        let task = Task { task_id: "t1".into(), workflow_instance_id: "w1".into(), ..Task::default() };
        let number = open.begin(&task, 2);
        open.on_line(&logger, line(Some(number), "mine"));
        open.on_line(&logger, line(None, "nobody's"));
        open.on_line(&logger, line(Some(number + 1), "too late"));
        let records = logger.records();
        assert_eq!((&records[0]["task_id"], &records[0]["slot"]), (&"t1".into(), &2.into()));
        assert!(records[1].get("task_id").is_none() && records[2].get("task_id").is_none());
        let kept = open.take_task_log(number);
        assert_eq!((kept.len(), kept[0].log.as_str(), kept[0].created_time), (1, "mine", 2500));
        assert_eq!(open.count(), 1);
        open.end(number);
        assert_eq!(open.count(), 0);
    }

    #[tokio::test]
    async fn a_drain_waits_for_bodies_then_for_reports_and_not_for_files() {
        let open = OpenAttempts::default();
        let number = open.begin(&Task::default(), 1);
        let is_reached = async |stage| {
            tokio::select! {
                biased;
                () = open.all_reached(stage) => true,
                () = std::future::ready(()) => false,
            }
        };
        assert!(!is_reached(Stage::Report).await);
        open.reached(number, Stage::Report);
        assert!(is_reached(Stage::Report).await && !is_reached(Stage::CleanUp).await);
        open.reached(number, Stage::CleanUp);
        open.reached(number, Stage::Report);
        assert!(is_reached(Stage::CleanUp).await);
        assert_eq!(open.count(), 1, "it holds a directory");
    }
}
