//! Executors that live as tasks: they speak the frames of real ones, and their bodies take simulated time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use super::plan::{Fate, TASK, World, count};
use crate::executor::frame;
use crate::executor::host::{Connected, ExecutorHost, HostFuture};
use crate::executor::launch::{LAUNCH_VARIABLE, LaunchOptions};
use crate::executor::message::{Assignment, Ended, Failure, FromExecutor, Outcome, ToExecutor};
use crate::executor::result_file::{AttemptId, ResultFile};
use crate::guardian::{ExitStatus, GuardianError, GuardianEvent, SpawnRequest};

const CHANNEL_BYTES: usize = 64 * 1024;
const SOONEST_READY: Duration = Duration::from_millis(50);
const LATEST_READY: Duration = Duration::from_secs(3);
const LONGEST_REACTION: Duration = Duration::from_secs(5);
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// The host of simulated executors.
#[derive(Debug, Clone)]
pub(super) struct Executors(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    world: Rc<World>,
    processes: RefCell<BTreeMap<u64, AbortHandle>>,
    tell: mpsc::UnboundedSender<GuardianEvent>,
    events: RefCell<mpsc::UnboundedReceiver<GuardianEvent>>,
}

impl Executors {
    /// A host without executors.
    pub fn new(world: &Rc<World>) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let events = RefCell::new(events);
        Self(Rc::new(Inner { world: Rc::clone(world), processes: RefCell::default(), tell, events }))
    }

    /// Kills one executor behind the supervisor's back.
    pub fn kill_one(&self) {
        let tokens: Vec<u64> = self.0.processes.borrow().keys().copied().collect();
        if !tokens.is_empty() {
            let token = tokens[self.0.world.below(tokens.len())];
            self.0.ended(token, ExitStatus::Signal(libc::SIGKILL));
        }
    }
}

impl Inner {
    fn ended(&self, token: u64, status: ExitStatus) {
        let Some(task) = self.processes.borrow_mut().remove(&token) else { return };
        task.abort();
        if status != ExitStatus::Code(0) {
            count(&self.world.facts.executor_deaths);
        }
        let _ = self.tell.send(GuardianEvent::Exited { token, status });
    }
}

impl ExecutorHost for Executors {
    fn spawn(&self, request: SpawnRequest) -> HostFuture<'_, io::Result<Connected>> {
        Box::pin(async move {
            let launch = request.environment.iter().find(|(name, _)| name == LAUNCH_VARIABLE);
            let launch: LaunchOptions = serde_json::from_str(launch.map_or("", |(_, value)| value))?;
            let (ours, theirs) = tokio::io::duplex(CHANNEL_BYTES);
            let (inner, token) = (Rc::clone(&self.0), request.token);
            let process = Executor { world: Rc::clone(&inner.world), results: launch.results, body: None };
            let task = spawn_local(async move {
                let status = process.live(theirs).await;
                inner.ended(token, status);
            });
            self.0.processes.borrow_mut().insert(token, task.abort_handle());
            let _ = self.0.tell.send(GuardianEvent::Spawned { token, pid: token as i32 });
            let (reader, writer) = tokio::io::split(ours);
            Ok(Connected { reader: Box::new(reader), writer: Box::new(writer), output: None })
        })
    }

    fn kill(&self, token: u64, signal: Signal) -> HostFuture<'_, ()> {
        // Libraries catch the signal that asks; nobody catches the other one.
        if signal == Signal::SIGKILL || !self.0.world.once_in(3) {
            self.0.ended(token, ExitStatus::Signal(signal as i32));
        }
        Box::pin(std::future::ready(()))
    }

    fn interrupt(&self, _token: u64) -> HostFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn look(&self, token: u64) -> HostFuture<'_, ()> {
        if self.0.processes.borrow().contains_key(&token) {
            let has_started = self.0.world.once_in(10);
            let _ = self.0.tell.send(GuardianEvent::Looked { token, has_started });
        }
        Box::pin(std::future::ready(()))
    }

    fn event(&self) -> HostFuture<'_, Result<GuardianEvent, GuardianError>> {
        Box::pin(async {
            let event = poll_fn(|context| self.0.events.borrow_mut().poll_recv(context)).await;
            event.ok_or(GuardianError::Gone)
        })
    }

    fn ancestor(&self) -> Option<i32> {
        None
    }

    fn close(&self) {
        let tokens: Vec<u64> = self.0.processes.borrow().keys().copied().collect();
        for token in tokens {
            self.0.ended(token, ExitStatus::Code(0));
        }
    }
}

/// The parameters of a run.
#[derive(Debug, Deserialize)]
struct Params {
    number: u64,
}

struct Executor {
    world: Rc<World>,
    results: Option<PathBuf>,
    body: Option<Body>,
}

struct Body {
    assignment: Box<Assignment>,
    number: u64,
    fate: Fate,
    due: Instant,
}

impl Executor {
    async fn live(mut self, stream: DuplexStream) -> ExitStatus {
        sleep(self.world.between(SOONEST_READY, LATEST_READY)).await;
        if self.world.once_in(50) {
            return ExitStatus::Code(1);
        }
        let (mut reader, mut writer) = tokio::io::split(stream);
        if frame::write_async(&mut writer, &FromExecutor::Ready(description())).await.is_err() {
            return ExitStatus::Code(0);
        }
        let (sender, mut messages) = mpsc::unbounded_channel();
        let reading = async {
            while let Ok(Some(message)) = frame::read_async::<ToExecutor>(&mut reader).await {
                let _ = sender.send(message);
            }
        };
        tokio::pin!(reading);
        let mut stops = false;
        while !stops || self.body.is_some() {
            let due = self.body.as_ref().map(|body| body.due);
            let said = tokio::select! {
                biased;
                () = &mut reading => return ExitStatus::Code(0),
                Some(message) = messages.recv() => match message {
                    ToExecutor::Assign(assignment) => Some(self.begin(assignment)),
                    ToExecutor::Stop => { stops = true; None }
                    ToExecutor::Cancel(attempt) => { self.cancel(attempt); None }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => match self.end() {
                    Ok(ended) => ended,
                    Err(status) => return status,
                },
            };
            if let Some(said) = said
                && frame::write_async(&mut writer, &said).await.is_err()
            {
                return ExitStatus::Code(0);
            }
        }
        ExitStatus::Code(0)
    }

    fn begin(&mut self, assignment: Box<Assignment>) -> FromExecutor {
        count(&self.world.facts.bodies);
        let Params { number } = serde_json::from_str(assignment.params.get()).expect("our own parameters");
        let plan = &self.world.plan;
        let fate = plan.fate_of(number, assignment.retry_count, assignment.poll_count);
        let whole = plan.body_of(number);
        let lasts = match fate {
            Fate::Completes | Fate::Fails | Fate::Refuses => whole,
            Fate::Exits | Fate::Crashes => self.world.between(Duration::ZERO, whole),
            Fate::Hangs => FOR_EVER,
        };
        let attempt = assignment.attempt;
        self.body = Some(Body { assignment, number, fate, due: Instant::now() + lasts });
        FromExecutor::Started(attempt)
    }

    /// One in ten does not hear; the others end when they do, which may be too late.
    fn cancel(&mut self, attempt: u64) {
        count(&self.world.facts.cancelled);
        let is_deaf = self.world.once_in(10);
        let reaction = self.world.between(Duration::ZERO, LONGEST_REACTION);
        if let Some(body) = self.body.as_mut().filter(|body| body.assignment.attempt == attempt && !is_deaf) {
            body.fate = Fate::Fails;
            body.due = Instant::now() + reaction;
        }
    }

    fn end(&mut self) -> Result<Option<FromExecutor>, ExitStatus> {
        let Some(body) = self.body.take() else { return Ok(None) };
        let failure = || Failure { code: "SIMULATED".to_owned(), reason: "as planned".to_owned() };
        let outcome = match body.fate {
            Fate::Exits => return Err(ExitStatus::Code(3)),
            Fate::Crashes => return Err(ExitStatus::Signal(libc::SIGSEGV)),
            Fate::Fails | Fate::Hangs => Outcome::Failed(failure()),
            Fate::Refuses => Outcome::FailedWithTerminalError(failure()),
            Fate::Completes => {
                *self.world.facts.completed_bodies.borrow_mut().entry(body.number).or_default() += 1;
                Outcome::Completed(to_raw_value(&json!({"number": body.number})).expect("plain JSON"))
            }
        };
        let attempt = body.assignment.attempt;
        let ended = Ended { attempt, outcome, body_seconds: 0.0, exception: None };
        if let Some(results) = &self.results {
            let file = ResultFile::open(results, body.assignment.slot).expect("a file of the simulation");
            file.write(&AttemptId::of(&body.assignment), &ended).expect("a file of the simulation");
        }
        Ok(Some(FromExecutor::Ended(Box::new(ended))))
    }
}

fn description() -> Box<RawValue> {
    let task = json!({
        "name": TASK,
        "owner_email": "simulation@example.com",
        "params_schema": {"type": "object", "properties": {"number": {"type": "integer"}}},
        "result_schema": {"type": "object", "properties": {"number": {"type": "integer"}}},
    });
    to_raw_value(&json!({"task": task, "findings": []})).expect("plain JSON")
}
