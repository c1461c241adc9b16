//! Carries out what the state machine decides for one attempt.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use perago_conductor::{Client, Error, Task, TaskResult, TaskStatus};
use perago_contract::failure::FailureCode;
use tokio::sync::{mpsc, oneshot, watch};

use super::body::{Body, BodyRun};
use super::busy_slot::BusySlot;
use super::lease::{Lease, Moment};
use super::machine::{BeatAnswer, Effect, Event, LostReason, Machine};
use super::outcome::Finished;
use super::ownership::{ownership, read_back, status_of};
use super::report::report;
use crate::clock::Clock;
use crate::executor::message::Failure;
use crate::executor::pool::{BodyEnd, SlotLease};
use crate::instruments::Instruments;
use crate::logs::{Level, Logger, Record};
use crate::open_attempts::{OpenAttempts, Stage};
use crate::outbox::{Claim, Key, Outbox};
use crate::state_disk::StateDisk;
use crate::workspace::{Transfer, WorkspaceMail, Workspaces};

#[path = "closing.rs"]
pub(super) mod closing;

use closing::Worth;

/// A release at shutdown is tried once, for at most this long.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// A body that is killed is gone after this.
const KILLED_WITHIN: Duration = Duration::from_millis(500);

/// What every attempt of a worker shares.
#[derive(Debug)]
pub struct Context {
    /// The server.
    pub client: Client,
    /// The worker's log.
    pub logger: Logger,
    /// The id that Conductor shows.
    pub worker_id: String,
    /// Failure reasons are cut to this many characters.
    pub reason_limit: usize,
    /// How long a body that is told to stop has before it is killed.
    pub cancel_grace: Duration,
    /// The same for bodies that still run when the worker must end.
    pub stop_grace: Duration,
    /// Whether a body is stopped when its lease runs out without contact.
    pub strict_lease: bool,
    /// The clock of leases.
    pub clock: Clock,
    /// The attempts that run, for log lines.
    pub open: OpenAttempts,
    /// What the supervisor measures.
    pub instruments: Instruments,
    /// Whether there is room for what an attempt may leave.
    pub disk: StateDisk,
    /// What is owed to the server.
    pub outbox: Outbox,
    /// The workspaces of a workspace task.
    pub workspaces: Option<Workspaces>,
}

/// Runs one polled task to its end. `abandon` turns true when the worker must stop now.
///
/// It is open from this call on, not only once it is awaited: no drain passes it over.
pub fn run(
    context: Rc<Context>,
    task: Task,
    poll_sent_at: Moment,
    slot: SlotLease,
    abandon: watch::Receiver<bool>,
) -> impl Future<Output = ()> {
    let number = context.open.begin(&task, slot.slot());
    let slot = BusySlot::take(slot, &context.instruments);
    let mut attempt = Attempt::new(context, Rc::new(task), number, slot, poll_sent_at);
    attempt.log(Level::Info, "task_received", "task received", |record| record);
    async move {
        attempt.drive(abandon).await;
        let (context, number) = (attempt.context, attempt.number);
        context.open.end(number);
    }
}

/// Why a body was told to stop before the worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoppedFor {
    /// The lease has passed without contact.
    Lapse,
    /// The task is not ours any more: nothing that the body does counts.
    Loss,
}

struct Attempt {
    context: Rc<Context>,
    task: Rc<Task>,
    number: u64,
    entry: u64,
    key: Key,
    slot: Option<Rc<BusySlot>>,
    machine: Machine,
    finished: Option<Rc<Finished>>,
    answers: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    started_at: Moment,
    is_measured: bool,
    abandoned: bool,
    /// The server has taken the task back.
    is_given_back: bool,
    stopped_for: Option<StoppedFor>,
    worth: Worth,
    /// The body was told to stop: it must not begin again on another executor, and transfers end.
    stop: watch::Sender<bool>,
    mail_sender: mpsc::UnboundedSender<WorkspaceMail>,
    mail: mpsc::UnboundedReceiver<WorkspaceMail>,
    /// How the server has shown the task last.
    shown: Rc<Cell<Option<TaskStatus>>>,
    /// Sent when the task is known to be ours; dropped when it is not.
    fence: Option<oneshot::Sender<()>>,
}

impl Attempt {
    fn new(context: Rc<Context>, task: Rc<Task>, number: u64, slot: BusySlot, poll_sent_at: Moment) -> Self {
        let timeout = Duration::from_secs(u64::try_from(task.response_timeout_seconds).unwrap_or(0));
        let now = context.clock.now();
        let machine = Machine::new(Lease::new(poll_sent_at, timeout), now, fastrand::f64());
        let (answers, events) = mpsc::unbounded_channel();
        let (mail_sender, mail) = mpsc::unbounded_channel();
        let key = Key::of(&task, slot.lease().code_hash());
        Self {
            entry: context.outbox.claimed(&task, key.clone()),
            key,
            context,
            task,
            number,
            slot: Some(Rc::new(slot)),
            machine,
            finished: None,
            answers,
            events,
            started_at: now,
            is_measured: false,
            abandoned: false,
            is_given_back: false,
            stopped_for: None,
            worth: Worth::Whole,
            stop: watch::Sender::new(false),
            mail_sender,
            mail,
            shown: Rc::default(),
            fence: None,
        }
    }

    async fn drive(&mut self, mut abandon: watch::Receiver<bool>) {
        // Everything that a keeper still does holds a sender.
        let (alive, mut removed) = mpsc::channel(1);
        let mut body = Box::pin(self.body(alive));
        let mut body_ended = false;
        while !self.machine.is_closed() {
            let due = self.machine.deadline();
            let clock = self.context.clock;
            let event = tokio::select! {
                ended = &mut body, if !body_ended => {
                    body_ended = true;
                    self.on_body(ended)
                }
                Some(event) = self.events.recv() => event,
                Some(mail) = self.mail.recv() => self.on_mail(mail),
                _ = abandon.wait_for(|now| *now), if !self.abandoned => {
                    self.abandoned = true;
                    Event::Abandon
                }
                () = clock.sleep_until(due) => Event::Tick,
            };
            let now = clock.now();
            for effect in self.machine.handle(event, now) {
                self.carry_out(effect).await;
            }
            self.enforce_strict_lease(now);
        }
        self.fence = None;
        drop(body);
        // A publication of an attempt that was given up must not go on; any other has ended.
        self.stop.send_replace(true);
        self.context.open.reached(self.number, Stage::CleanUp);
        let _ = removed.recv().await;
        while let Ok(mail) = self.mail.try_recv() {
            self.on_mail(mail);
        }
    }

    fn on_mail(&mut self, mail: WorkspaceMail) -> Event {
        match mail {
            WorkspaceMail::Fence(effect, lift) => {
                self.fence = Some(lift);
                return Event::FenceAsked(effect);
            }
            WorkspaceMail::Moved(transfer) => self.on_transfer(transfer),
            WorkspaceMail::Staged(branch, commit) => {
                self.context.outbox.staged(self.entry, &branch, &commit);
                self.log(Level::Info, "workspace_staged", "changes staged", |record| {
                    record.with("staging_branch", branch).with("commit", commit)
                });
            }
        }
        Event::Tick
    }

    fn on_transfer(&self, transfer: Transfer) {
        self.context.instruments.workspace_moved(&transfer);
        let seconds = transfer.duration.as_secs_f64();
        self.log(Level::Info, "workspace_moved", "workspace transfer", |record| {
            let record =
                record.with("operation", transfer.operation.label()).with("duration_seconds", seconds);
            match transfer.bytes {
                None => record,
                Some(bytes) => record
                    .with("bytes", bytes)
                    .with("bytes_per_second", (bytes as f64 / seconds.max(1e-6)).round()),
            }
        });
    }

    /// The body's future owns what it needs, so that the machine can be driven beside it.
    fn body(&self, alive: mpsc::Sender<()>) -> impl Future<Output = Body> + use<> {
        let run = self.slot.clone().map(|slot| BodyRun {
            context: Rc::clone(&self.context),
            task: Rc::clone(&self.task),
            number: self.number,
            entry: self.entry,
            key: self.key.clone(),
            slot,
            stop: self.stop.clone(),
            mail: self.mail_sender.clone(),
            alive,
        });
        async move {
            match run {
                Some(run) => run.run().await,
                None => Body::NotStarted,
            }
        }
    }

    fn on_body(&mut self, body: Body) -> Event {
        let Body::Ended { end, workspace, adopted } = body else { return Event::Abandon };
        let seconds = self.measure();
        let context = &self.context;
        if self.stopped_for == Some(StoppedFor::Loss) {
            context.open.reached(self.number, Stage::Report);
            let is_killed = !matches!(end, BodyEnd::Ended(_));
            self.keep_result(end);
            self.log(Level::Info, "body_stopped", "the body has ended; nothing is reported", |record| {
                record.with("duration_seconds", seconds).with("killed", is_killed)
            });
            return Event::BodyEnded;
        }
        let end = if self.stopped_for.is_some() { lapsed_end() } else { end };
        context.instruments.result_waits(self.number);
        context.open.reached(self.number, Stage::Report);
        let mut finished =
            Finished::of_body(&self.task, &context.worker_id, end, workspace.as_ref(), context.reason_limit);
        finished.set_logs(context.open.take_task_log(self.number));
        context.outbox.finished(self.entry, &finished.result, finished.failure_code.as_deref());
        // From here on this entry answers for the result.
        if let Some(earlier) = adopted {
            context.outbox.closed(earlier);
        }
        self.log_finished(&finished, seconds);
        self.finished = Some(Rc::new(finished));
        Event::BodyEnded
    }

    /// Records how long the attempt took until now.
    fn measure(&mut self) -> f64 {
        self.is_measured = true;
        let seconds = self.context.clock.now().saturating_sub(self.started_at).as_secs_f64();
        self.context.instruments.attempt_ended(seconds);
        seconds
    }

    fn log_finished(&self, finished: &Finished, seconds: f64) {
        if let (Some(length), Some(reason)) =
            (finished.reason_cut_from, &finished.result.reason_for_incompletion)
        {
            self.log(Level::Warning, "reason_cut", "truncated task failure reason", |record| {
                record
                    .with("original_length", length as u64)
                    .with("max_length", reason.chars().count() as u64)
            });
        }
        match &finished.failure_code {
            None => self.log(Level::Info, "task_finished", "task finished", |record| {
                record.with("duration_seconds", seconds)
            }),
            Some(code) => self.log(Level::Error, "task_failed", "task failed", |record| {
                record
                    .with("duration_seconds", seconds)
                    .with("failure_code", code.as_str())
                    .with(
                        "terminal",
                        finished.result.status == perago_conductor::ResultStatus::FailedWithTerminalError,
                    )
                    .with_some("reason", finished.result.reason_for_incompletion.as_deref())
                    .with_some("exception", finished.exception.as_deref())
            }),
        }
    }

    async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::SendBeat => self.answer_later(|context, task| async move {
                let beat = context.client.extend_lease(&task.workflow_instance_id, &task.task_id).await;
                Event::BeatAnswered(beat_answer(&beat))
            }),
            Effect::ReadStatus => {
                let shown = Rc::clone(&self.shown);
                self.answer_later(|context, task| async move {
                    let read = context.client.get_task(&task.task_id).await;
                    shown.set(status_of(&read));
                    Event::StatusAnswered(ownership(&Claim::of(&task), &read))
                });
            }
            Effect::ReadBack => {
                let (shown, finished) = (Rc::clone(&self.shown), self.finished.clone());
                self.answer_later(|context, task| async move {
                    let read = context.client.get_task(&task.task_id).await;
                    shown.set(status_of(&read));
                    let result = finished.as_ref().map(|finished| &finished.result);
                    Event::ReadBackAnswered(read_back(&Claim::of(&task), &read, result))
                });
            }
            Effect::SendUpdate => self.send_update(),
            Effect::LiftFence => {
                if let Some(lift) = self.fence.take() {
                    let _ = lift.send(());
                }
            }
            Effect::StopBody(reason) => {
                self.fence = None;
                self.stopped_for = Some(StoppedFor::Loss);
                self.log(Level::Warning, "task_lost", lost_text(reason), |record| record);
                self.stop_body(self.context.cancel_grace);
            }
            Effect::FreeSlot => {
                self.slot = None;
                self.context.instruments.result_settled(self.number);
            }
            Effect::Release => self.is_given_back = self.release().await,
            Effect::Close(closing) => {
                // An attempt that was given up has no end of a body.
                if !self.is_measured {
                    self.measure();
                }
                self.close(closing);
            }
        }
    }

    fn answer_later<F, A>(&self, ask: F)
    where
        F: FnOnce(Rc<Context>, Rc<Task>) -> A,
        A: Future<Output = Event> + 'static,
    {
        let question = ask(Rc::clone(&self.context), Rc::clone(&self.task));
        let answers = self.answers.clone();
        tokio::task::spawn_local(async move {
            let _ = answers.send(question.await);
        });
    }

    fn send_update(&self) {
        let Some(finished) = self.finished.clone() else { return };
        let number = self.number;
        self.answer_later(move |context, task| async move {
            Event::UpdateAnswered(report(&context, number, &task, &finished).await)
        });
    }

    /// Tells the body to stop; its end is an event like any other.
    fn stop_body(&self, grace: Duration) {
        self.stop.send_replace(true);
        if let Some(slot) = &self.slot {
            slot.lease().stop_body(self.number, grace);
        }
    }

    fn enforce_strict_lease(&mut self, now: Moment) {
        let is_body_wanted = self.finished.is_none() && self.stopped_for.is_none();
        let can_stop = self.slot.as_ref().is_some_and(|slot| slot.lease().can_stop_body());
        if self.context.strict_lease && can_stop && is_body_wanted && self.machine.is_lapsed(now) {
            self.stopped_for = Some(StoppedFor::Lapse);
            self.log(
                Level::Warning,
                "lease_lapsed",
                "the lease ran out without contact; stopping the body",
                |r| r,
            );
            self.stop_body(self.context.cancel_grace);
        }
    }

    /// Gives the task back; whether the server has taken it.
    async fn release(&self) -> bool {
        // Whoever gets the task next must not meet a body that still runs.
        let grace = self.context.stop_grace;
        self.stop_body(grace);
        if let Some(slot) = self.slot.as_ref().map(|slot| slot.lease())
            && !slot.body_ends_within(self.number, grace).await
        {
            slot.kill_body(self.number).await;
            slot.body_ends_within(self.number, KILLED_WITHIN).await;
        }
        let result = TaskResult::release(&self.task, &self.context.worker_id);
        let sent = tokio::time::timeout(RELEASE_WITHIN, self.context.client.update_task(&result)).await;
        let released = matches!(sent, Ok(Ok(())));
        self.log(Level::Info, "task_released", "task given back to the queue", |record| {
            record.with("released", released)
        });
        released
    }

    fn log(&self, level: Level, event: &'static str, message: &str, more: impl FnOnce(Record) -> Record) {
        let record = self.context.open.label(self.number, Record::new(level, event, message));
        self.context.logger.write(more(record));
    }
}

/// The end of a body that was stopped because its lease ran out.
fn lapsed_end() -> BodyEnd {
    BodyEnd::Refused(Failure {
        code: FailureCode::LeaseLost.code().to_owned(),
        reason: "the lease ran out without contact with the server, so the body was stopped".to_owned(),
    })
}

fn beat_answer(beat: &Result<(), Error>) -> BeatAnswer {
    match beat {
        Ok(()) => BeatAnswer::Accepted,
        // An answer, even a refusal, says that the server is done with the beat.
        Err(error) if error.status().is_some() || !error.may_have_been_received() => BeatAnswer::Refused,
        Err(_) => BeatAnswer::Unknown,
    }
}

fn lost_text(reason: LostReason) -> &'static str {
    match reason {
        LostReason::Unknown => "the server no longer knows the task; stopping the body",
        LostReason::Terminal => "the task has ended on the server; stopping the body",
        LostReason::ClaimedAgain => "the task has been given to another worker; stopping the body",
    }
}
