//! The attempt machine, the real journal, recovery and adoption against a server and a branch in memory: any order of
//! events, any reply lost, and a crash of the supervisor before any effect.

use std::collections::BTreeSet;
use std::time::Duration;

use perago_conductor::{ResultStatus, Task, TaskResult, TaskStatus};
use perago_contract::envelope::{RefType, TaskOutput, WorkspaceRef};
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::drive::closing::{Worth, kept_reason, settle_entry};
use super::lease::Lease;
use super::machine::{BeatAnswer, Closing, Effect, Event, Machine, Ownership, ReadBack, UpdateAnswer};
use super::ownership::{ownership, read_back};
use crate::executor::message::{Ended, Outcome};
use crate::executor::result_file::AttemptId;
use crate::logs::Logger;
use crate::outbox::{Claim, Key, Outbox, OutboxOptions, Settled, Step, step, write_down};

const ME: &str = "me";
const SLOTS: usize = 2;
const LEASE: Duration = Duration::from_secs(10);

/// The supervisor is killed before the next effect.
struct Crash;

type Alive<T> = Result<T, Crash>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The body runs, or has been told to stop.
    Body,
    /// Its workspace is staged, and the fence is asked for.
    Fenced,
    /// The outcome is known, or none will be.
    Over,
}

struct Live {
    task: Task,
    entry: u64,
    machine: Machine,
    stage: Stage,
    is_stopped: bool,
    worth: Worth,
    result: Option<String>,
    staged: Option<String>,
    adopted: Option<u64>,
    report: Option<TaskResult>,
    shown: Option<TaskStatus>,
    in_flight: Vec<Effect>,
}

struct World {
    folder: tempfile::TempDir,
    outbox: Outbox,
    has_workspace: bool,
    tasks: Vec<Task>,
    /// What was merged: staged commit and result.
    merged: Vec<(String, String)>,
    /// Staging branches: whose, with its commit and result.
    staging: Vec<(u64, String, String)>,
    lives: Vec<Live>,
    recovering: BTreeSet<u64>,
    bodies: usize,
    /// Results of bodies, each with its task.
    finished: BTreeSet<(String, String)>,
    files: Vec<(AttemptId, String)>,
    given_back: BTreeSet<String>,
    now: Duration,
    leased_until: Duration,
    steps: usize,
    crashes: BTreeSet<usize>,
}

fn open(folder: &tempfile::TempDir) -> Outbox {
    let options = OutboxOptions { is_synced: false, retention: Duration::from_secs(1 << 30) };
    Outbox::open(folder.path(), options, &Logger::memory()).unwrap()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn queued(retry_count: i64) -> Task {
    let id = |retry: i64| format!("t{retry}");
    Task {
        task_id: id(retry_count),
        workflow_instance_id: "w".to_owned(),
        reference_task_name: "mix".to_owned(),
        status: TaskStatus::Scheduled,
        retry_count,
        retried_task_id: (retry_count > 0).then(|| id(retry_count - 1)),
        input_data: raw(r#"{"params":{}}"#),
        ..Task::default()
    }
}

fn key(task: &Task) -> Key {
    Key::of(task, Some("code".to_owned()))
}

impl World {
    fn new(has_workspace: bool, crashes: BTreeSet<usize>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            outbox: open(&folder),
            folder,
            has_workspace,
            tasks: vec![queued(0)],
            merged: Vec::new(),
            staging: Vec::new(),
            lives: Vec::new(),
            recovering: BTreeSet::new(),
            bodies: 0,
            finished: BTreeSet::new(),
            files: Vec::new(),
            given_back: BTreeSet::new(),
            now: Duration::ZERO,
            leased_until: Duration::ZERO,
            steps: 0,
            crashes,
        }
    }

    /// Stands before everything that outlives the supervisor.
    fn effect(&mut self) -> Alive<()> {
        self.steps += 1;
        if self.crashes.remove(&self.steps) { Err(Crash) } else { Ok(()) }
    }

    fn last(&mut self) -> &mut Task {
        self.tasks.last_mut().unwrap()
    }

    fn shown(&self, id: &str) -> Option<Task> {
        self.tasks.iter().find(|task| task.task_id == id).cloned()
    }

    /// The server takes an update as the real one does: for any claim, and silently not at all.
    fn take_update(&mut self, result: &TaskResult) {
        let Some(task) = self.tasks.iter_mut().find(|task| task.task_id == result.task_id) else { return };
        if task.status.is_terminal() {
            return;
        }
        task.worker_id = Some(result.worker_id.clone());
        match result.status {
            ResultStatus::InProgress => task.status = TaskStatus::Scheduled,
            ResultStatus::Failed => {
                (task.status, task.retried) = (TaskStatus::Failed, true);
                let next = queued(task.retry_count + 1);
                self.tasks.push(next);
            }
            _ => {
                task.status = TaskStatus::Completed;
                task.output_data = result.output_data.clone().unwrap_or_else(|| raw("{}"));
            }
        }
    }

    /// No server does this before the lease is over.
    fn time_out(&mut self) {
        let until = self.leased_until;
        let task = self.last();
        if task.status == TaskStatus::InProgress {
            (task.status, task.retried) = (TaskStatus::TimedOut, true);
            let next = queued(task.retry_count + 1);
            self.tasks.push(next);
            self.now = self.now.max(until);
        }
    }

    fn poll(&mut self) -> Alive<()> {
        if self.lives.len() == SLOTS || self.last().status != TaskStatus::Scheduled {
            return Ok(());
        }
        let task = self.last();
        (task.status, task.worker_id) = (TaskStatus::InProgress, Some(ME.to_owned()));
        task.poll_count += 1;
        let task = task.clone();
        self.leased_until = self.now + LEASE;
        self.effect()?;
        let entry = self.outbox.claimed(&task, key(&task));
        let mut live = Live {
            machine: Machine::new(Lease::new(self.now, LEASE), self.now, 0.5),
            task,
            entry,
            stage: Stage::Body,
            is_stopped: false,
            worth: Worth::Whole,
            result: None,
            staged: None,
            adopted: None,
            report: None,
            shown: None,
            in_flight: Vec::new(),
        };
        self.adopt(&mut live)?;
        if live.stage == Stage::Body {
            self.bodies += 1;
        }
        self.lives.push(live);
        let index = self.lives.len() - 1;
        match self.lives[index].stage {
            Stage::Over => self.handle(index, Event::BodyEnded),
            Stage::Fenced => self.handle(index, Event::FenceAsked(Duration::from_secs(1))),
            Stage::Body => Ok(()),
        }
    }

    /// What an attempt does before its body, when another one was there before it.
    fn adopt(&mut self, live: &mut Live) -> Alive<()> {
        if live.task.retry_count == 0 && live.task.poll_count == 1 {
            return Ok(());
        }
        let kept = self.outbox.adoptable(&live.task, &key(&live.task));
        live.adopted = kept.as_ref().map(|kept| kept.number);
        if !self.has_workspace {
            if let Some(kept) = kept {
                live.result = Some(kept.result.get().to_owned());
                return self.finish(live);
            }
            return Ok(());
        }
        let left = std::mem::take(&mut self.staging);
        if let Some((staged, result)) = self.merged.last().cloned() {
            (live.staged, live.result) = (Some(staged), Some(result));
            return self.finish(live);
        }
        let kept = kept.and_then(|kept| Some((kept.staged?, kept.result.get().to_owned())));
        if let Some((staged, result)) =
            kept.or_else(|| left.last().map(|(_, staged, result)| (staged.clone(), result.clone())))
        {
            self.effect()?;
            self.staging.push((live.entry, staged.clone(), result.clone()));
            self.effect()?;
            self.outbox.staged(live.entry, "branch", &staged);
            (live.staged, live.result, live.stage) = (Some(staged), Some(result), Stage::Fenced);
        }
        Ok(())
    }

    /// The body returns; of a workspace task, its changes are staged.
    fn end_body(&mut self, index: usize) -> Alive<()> {
        if self.lives[index].stage != Stage::Body {
            return Ok(());
        }
        let result = format!("{}", 1000 + self.bodies * 10 + index);
        self.effect()?;
        let mut live = self.lives.remove(index);
        self.write_result_file(&live, &result);
        self.finished.insert((result.clone(), live.task.task_id.clone()));
        live.result = Some(result.clone());
        let outcome = self.after_body(&mut live, &result);
        let event = match live.stage {
            Stage::Fenced => Event::FenceAsked(Duration::from_secs(1)),
            _ => Event::BodyEnded,
        };
        self.lives.insert(index, live);
        outcome?;
        self.handle(index, event)
    }

    fn after_body(&mut self, live: &mut Live, result: &str) -> Alive<()> {
        self.effect()?;
        if live.is_stopped {
            live.worth = Worth::Doubtful;
            live.stage = Stage::Over;
            if self.has_workspace {
                self.outbox.returned(live.entry, &raw(result));
            } else {
                self.outbox.finished(live.entry, &self.report_of(live), None);
            }
            return Ok(());
        }
        if !self.has_workspace {
            return self.finish(live);
        }
        self.outbox.returned(live.entry, &raw(result));
        self.effect()?;
        let staged = format!("s{result}");
        self.staging.push((live.entry, staged.clone(), result.to_owned()));
        self.effect()?;
        self.outbox.staged(live.entry, "branch", &staged);
        (live.staged, live.stage) = (Some(staged), Stage::Fenced);
        Ok(())
    }

    /// What the executor writes before it answers.
    fn write_result_file(&mut self, live: &Live, result: &str) {
        let id = AttemptId {
            workflow_id: live.task.workflow_instance_id.clone(),
            task_id: live.task.task_id.clone(),
            retry_count: live.task.retry_count,
            poll_count: live.task.poll_count,
        };
        self.files.push((id, result.to_owned()));
    }

    fn report_of(&self, live: &Live) -> TaskResult {
        let mut report = TaskResult::new(&live.task, ME, ResultStatus::Completed);
        let result = raw(live.result.as_deref().unwrap());
        let workspace = WorkspaceRef {
            repository: "r".to_owned(),
            branch: "main".to_owned(),
            ref_type: RefType::Commit,
            reference: "input".to_owned(),
        };
        let output = match &live.staged {
            Some(staged) if self.has_workspace => {
                TaskOutput::with_workspace(&workspace, staged.clone(), &result)
            }
            _ => TaskOutput::new(&result),
        };
        report.output_data = RawValue::from_string(output.to_json()).ok();
        report
    }

    fn finish(&mut self, live: &mut Live) -> Alive<()> {
        let report = self.report_of(live);
        self.effect()?;
        self.outbox.finished(live.entry, &report, None);
        self.effect()?;
        if let Some(earlier) = live.adopted {
            self.outbox.closed(earlier);
        }
        (live.report, live.stage) = (Some(report), Stage::Over);
        Ok(())
    }

    /// What the fence was asked for: the merge, if the staging branch is still there.
    fn merge(&mut self, index: usize) -> Alive<()> {
        assert!(!self.lives[index].is_stopped, "a publication after the lease was lost");
        let mut live = self.lives.remove(index);
        let place = self.staging.iter().position(|(owner, ..)| *owner == live.entry);
        let outcome = (|| {
            self.effect()?;
            let Some(place) = place else {
                // A newer attempt has taken the branch away: a failure, which nobody will take either.
                live.stage = Stage::Over;
                live.report = Some(TaskResult::new(&live.task, ME, ResultStatus::Failed));
                return Ok(());
            };
            let (_, staged, result) = self.staging.remove(place);
            let work = (staged, result);
            if !self.merged.contains(&work) {
                self.merged.push(work);
            }
            self.finish(&mut live)
        })();
        self.lives.insert(index, live);
        outcome?;
        self.handle(index, Event::BodyEnded)
    }

    fn handle(&mut self, index: usize, event: Event) -> Alive<()> {
        let effects = self.lives[index].machine.handle(event, self.now);
        // What goes on by itself comes after the requests of the same answer.
        let (mut is_lifted, mut is_withdrawn) = (false, false);
        for effect in effects {
            match effect {
                Effect::LiftFence => is_lifted = true,
                Effect::StopBody(_) => {
                    let live = &mut self.lives[index];
                    live.is_stopped = true;
                    if live.stage == Stage::Fenced {
                        // The publication is stopped, its staging branch withdrawn.
                        let own = live.entry;
                        live.stage = Stage::Over;
                        self.staging.retain(|(owner, ..)| *owner != own);
                        is_withdrawn = true;
                    }
                }
                Effect::Release => {
                    let release = TaskResult::release(&self.lives[index].task, ME);
                    self.effect()?;
                    self.take_update(&release);
                }
                Effect::Close(closing) => self.close(index, closing)?,
                Effect::FreeSlot => {}
                request => self.lives[index].in_flight.push(request),
            }
        }
        match (is_withdrawn, is_lifted) {
            (true, _) => self.handle(index, Event::BodyEnded),
            (_, true) => self.merge(index),
            _ => Ok(()),
        }
    }

    fn close(&mut self, index: usize, closing: Closing) -> Alive<()> {
        self.effect()?;
        let live = &self.lives[index];
        let kept = self.outbox.entry(live.entry).and_then(|entry| kept_reason(closing, &entry, live.shown));
        if closing != Closing::Waiting {
            settle_entry(&self.outbox, live.entry, kept.as_deref(), live.worth);
        }
        Ok(())
    }

    /// The server gets the oldest request of an attempt, or does not, and answers, or does not.
    fn answer(&mut self, index: usize, arrives: bool, is_answered: bool) -> Alive<()> {
        if self.lives[index].in_flight.is_empty() {
            return Ok(());
        }
        let request = self.lives[index].in_flight.remove(0);
        let task = self.lives[index].task.clone();
        let read = Ok(self.shown(&task.task_id));
        let event = match request {
            Effect::SendBeat => {
                if arrives {
                    self.leased_until = self.now + LEASE;
                }
                Event::BeatAnswered(match (arrives, is_answered) {
                    (true, true) => BeatAnswer::Accepted,
                    (false, true) => BeatAnswer::Refused,
                    _ => BeatAnswer::Unknown,
                })
            }
            Effect::ReadStatus => Event::StatusAnswered(if arrives && is_answered {
                self.lives[index].shown = self.shown(&task.task_id).map(|task| task.status);
                ownership(&Claim::of(&task), &read)
            } else {
                Ownership::Unreachable
            }),
            Effect::ReadBack => Event::ReadBackAnswered(if arrives && is_answered {
                self.lives[index].shown = self.shown(&task.task_id).map(|task| task.status);
                read_back(&Claim::of(&task), &read, self.lives[index].report.as_ref())
            } else {
                ReadBack::Unreachable
            }),
            Effect::SendUpdate => {
                let report = self.lives[index].report.clone().unwrap();
                self.effect()?;
                if arrives {
                    self.take_update(&report);
                }
                let is_accepted = arrives && is_answered;
                Event::UpdateAnswered(if is_accepted {
                    UpdateAnswer::Accepted
                } else {
                    UpdateAnswer::Retryable
                })
            }
            other => unreachable!("{other:?} is no request"),
        };
        self.handle(index, event)
    }

    /// Settles one entry of the dead supervisor, as far as one answer of the server goes.
    fn recover(&mut self) -> Alive<()> {
        let Some(number) = self.recovering.first().copied() else { return Ok(()) };
        let Some(entry) = self.outbox.entry(number).filter(|entry| entry.kept.is_none()) else {
            self.recovering.remove(&number);
            return Ok(());
        };
        let shown = Ok(self.shown(&entry.claim.task_id));
        let settled = match step(&entry, &shown) {
            Step::AskAgain => return Ok(()),
            Step::Deliver(outcome) => {
                self.effect()?;
                self.take_update(&outcome.result.clone());
                // Watched: settled when it is seen.
                return Ok(());
            }
            Step::Release(task) => {
                let release = TaskResult::release(task, ME);
                self.effect()?;
                self.take_update(&release);
                Settled::Released
            }
            Step::Settle(settled) => settled,
        };
        self.effect()?;
        write_down(&self.outbox, (number, &entry), &settled);
        self.recovering.remove(&number);
        Ok(())
    }

    fn act(&mut self, choice: u8, index: usize) -> Alive<()> {
        let live = (!self.lives.is_empty()).then(|| index % self.lives.len());
        match (choice % 16, live) {
            (0..=2, _) => self.poll(),
            (3 | 4, Some(index)) => self.end_body(index),
            (5..=8, Some(index)) => self.answer(index, true, true),
            (9, Some(index)) => self.answer(index, true, false),
            (10, Some(index)) => self.answer(index, false, index.is_multiple_of(2)),
            (11, Some(index)) => {
                self.now += Duration::from_millis(1700);
                self.handle(index, Event::Tick)
            }
            (12, _) => {
                self.time_out();
                Ok(())
            }
            (13, _) => {
                // Somebody gives the claim back.
                let task = self.last();
                if task.status == TaskStatus::InProgress {
                    task.status = TaskStatus::Scheduled;
                    let task_id = task.task_id.clone();
                    self.given_back.insert(task_id);
                }
                Ok(())
            }
            (14, Some(index)) if choice > 128 => self.handle(index, Event::Abandon),
            _ => self.recover(),
        }
    }

    fn after(&mut self, outcome: &Alive<()>) {
        if outcome.is_err() {
            self.lives.clear();
            self.outbox = open(&self.folder);
            let ended = |result: &str| Ended {
                attempt: 1,
                outcome: Outcome::Completed(raw(result)),
                body_seconds: 0.0,
                exception: None,
            };
            let files = self.files.iter().map(|(id, result)| (id.clone(), ended(result))).collect();
            self.outbox.take_ended(files, self.has_workspace, ME, 500);
            self.recovering = self.outbox.left_open().into_iter().map(|(number, _)| number).collect();
        }
        self.lives.retain(|live| !live.machine.is_closed());
    }

    /// From here on everybody answers and nobody is killed. Returns whether everything came to its end.
    fn calm_down(&mut self) -> bool {
        self.crashes.clear();
        for round in 0..400 {
            let is_over = self.lives.is_empty() && self.recovering.is_empty();
            if is_over && self.last().status.is_terminal() {
                return true;
            }
            for choice in [15, 0, 3, 5, 5, 5, 5, 11] {
                let outcome = self.act(choice, round);
                self.after(&outcome);
            }
            let is_orphaned = is_over && self.last().status == TaskStatus::InProgress;
            if is_orphaned && self.lives.is_empty() {
                self.time_out();
            }
            // What an attempt left to the next start comes with it.
            if self.lives.is_empty() && self.recovering.is_empty() {
                self.after(&Err(Crash));
            }
        }
        false
    }

    /// Whether the server or the outbox has a result. Of two live claims of one task, which only somebody else can bring
    /// about, the second result is ignored without a word.
    fn is_known(&self, result: &str, task_id: &str) -> bool {
        if self.given_back.contains(task_id) {
            return true;
        }
        let is_reported = self.tasks.iter().any(|task| task.output_data.get().contains(result));
        let kept = |number: u64| format!("{:?}", self.outbox.entry(number)).contains(result);
        is_reported || (0..1000).any(kept)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Never two publications, never one after the lease was lost, no result that nobody knows of, and always an end.
    #[test]
    fn no_order_of_events_and_crashes_loses_or_doubles_a_result(
        has_workspace in any::<bool>(),
        choices in proptest::collection::vec((any::<u8>(), 0_usize..4), 0..120),
        crashes in proptest::collection::btree_set(1_usize..60, 0..5),
    ) {
        let mut world = World::new(has_workspace, crashes);
        for (choice, index) in choices {
            let outcome = world.act(choice, index);
            world.after(&outcome);
            prop_assert!(world.merged.len() <= 1, "two publications: {:?}", world.merged);
        }
        prop_assert!(world.calm_down(), "it does not end: {:?} {:?}", world.tasks, world.recovering);
        prop_assert!(world.merged.len() <= 1, "two publications: {:?}", world.merged);
        let last = world.tasks.last().unwrap();
        prop_assert_eq!(last.status, TaskStatus::Completed);
        if has_workspace {
            let (staged, result) = &world.merged[0];
            let output = last.output_data.get();
            prop_assert!(output.contains(staged) && output.contains(result), "{} {}", output, staged);
        }
        for (result, task_id) in &world.finished {
            prop_assert!(world.is_known(result, task_id), "nobody knows of {}", result);
        }
    }
}
