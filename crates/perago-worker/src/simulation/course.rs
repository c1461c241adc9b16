//! The course of a simulation: load, faults and looks while supervisors come and go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use perago_conductor::Client;
use perago_dev::{InProcess, Retention};
use perago_workspace::GlobDialect;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::LONGEST_JOURNAL_KIBIBYTES;
use super::executors::Executors;
use super::load::Load;
use super::network::{Network, Trouble};
use super::plan::{Plan, World, count};
use super::usage::Usage;
use crate::executor::launch::ExecutorProgram;
use crate::outbox::Journal;
use crate::settings::{ExecutionMode, Settings};
use crate::signals::Signals;
use crate::surroundings::Surroundings;
use crate::worker::{WorkerOptions, serve};

/// When the engine's clock begins, in epoch milliseconds; its value means nothing.
const EPOCH: i64 = 1_800_000_000_000;

/// Finished runs that the engine keeps: fewer than end within an hour, so that its memory is full by then.
const KEPT_RUNS: usize = 300;

/// How much of the slots' time bodies take.
const UTILISATION: f64 = 0.6;

const JUDGE_EVERY: Duration = Duration::from_secs(60);
const SHORTEST_OUTAGE: Duration = Duration::from_secs(1);
const NEXT_START_WITHIN: Duration = Duration::from_secs(20);

/// What a worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Stop as a service manager asks for it; another one starts after it.
    Drain,
    /// Die.
    Die,
    /// Stop for good.
    End,
}

/// How a simulation went.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What is wrong.
    pub problems: Vec<String>,
    /// Looks at what is used.
    pub looks: Vec<Usage>,
    /// What is used when every run has ended.
    pub at_rest: Usage,
    /// How much has happened.
    pub counts: Counts,
    /// Everything that was counted, to be read.
    pub text: String,
}

/// How much has happened.
#[derive(Debug)]
pub(super) struct Counts {
    /// Runs that ended as they must.
    pub settled: u64,
    /// Supervisors killed.
    pub kills: u64,
    /// Supervisors that drained.
    pub drains: u64,
    /// Outages.
    pub outages: u64,
}

/// Simulates; files are made below `folder`.
pub(super) async fn run(plan: &Plan, folder: &Path) -> Outcome {
    let began = Instant::now();
    let clock = move || EPOCH + began.elapsed().as_millis() as i64;
    let retention = Retention { workflows: KEPT_RUNS, ..Retention::default() };
    let engine = InProcess::start(retention, plan.seed, clock);
    let world = Rc::new(World::new(plan.clone()));
    let network = Arc::new(Network::new(engine.clone(), plan.seed));
    let (orders, received) = mpsc::unbounded_channel();
    let current = Rc::new(RefCell::new(Executors::new(&world)));
    let supervised =
        supervise(Rc::clone(&world), Arc::clone(&network), folder, received, Rc::clone(&current));
    let state = folder.join("state");
    let course = async {
        let load = Load::new(&world, &engine).await;
        let mut course =
            Course { world: &world, network: &network, orders, current, engine, load, looks: Vec::new() };
        course.under_load(began, &state).await;
        course.until_settled().await;
        let at_rest = course.look(began, &state);
        let _ = course.orders.send(Order::End);
        (course, at_rest)
    };
    let ((mut course, at_rest), ()) = tokio::join!(course, supervised);
    course.finish(&state, at_rest)
}

struct Course<'a> {
    world: &'a Rc<World>,
    network: &'a Network,
    orders: mpsc::UnboundedSender<Order>,
    current: Rc<RefCell<Executors>>,
    engine: InProcess,
    load: Load,
    looks: Vec<Usage>,
}

impl Course<'_> {
    async fn under_load(&mut self, began: Instant, state: &Path) {
        let plan = &self.world.plan;
        let every = plan.mean_body().div_f64(f64::from(plan.slots) * UTILISATION);
        let never = began + plan.lasts * 2;
        let next = |mean: Duration| Instant::now() + self.world.until_next(mean);
        let (mut start, mut outage, mut kill) = (began, next(plan.outage_every), next(plan.kill_every));
        let mut restart = plan.restart_every.map_or(never, next);
        let (mut judge, mut look, mut outage_ends) = (began + JUDGE_EVERY, began + plan.look_every, never);
        let end = began + plan.lasts;
        loop {
            let dues = [start, outage, outage_ends, kill, restart, judge, look];
            let due = dues.into_iter().min().unwrap_or(end);
            sleep_until(due.min(end)).await;
            if due > end {
                break;
            }
            if due == start {
                self.load.start().await;
                start += self.world.until_next(every);
            } else if due == outage {
                count(&self.world.facts.outages);
                self.network.set_trouble(Some(Trouble::ALL[self.world.below(Trouble::ALL.len())]));
                outage_ends = due + self.world.between(SHORTEST_OUTAGE, plan.longest_outage);
                outage = outage_ends + self.world.until_next(plan.outage_every);
            } else if due == outage_ends {
                self.network.set_trouble(None);
                outage_ends = never;
            } else if due == kill {
                self.current.borrow().kill_one();
                kill += self.world.until_next(plan.kill_every);
            } else if due == restart {
                let _ = self.orders.send(if self.world.once_in(2) { Order::Die } else { Order::Drain });
                restart += self.world.until_next(plan.restart_every.unwrap_or(plan.lasts));
            } else if due == judge {
                self.load.settle().await;
                judge += JUDGE_EVERY;
            } else {
                self.looks.push(self.look(began, state));
                look += plan.look_every;
            }
        }
        self.network.set_trouble(None);
    }

    fn look(&self, began: Instant, state: &Path) -> Usage {
        let hours = began.elapsed().as_secs_f64() / 3600.0;
        Usage::look(hours, state, self.engine.held().0, self.load.open())
    }

    /// Waits for the runs that are still open, without further faults.
    async fn until_settled(&mut self) {
        let patience = Duration::from_secs(self.world.plan.timeout_seconds()) * 3;
        let deadline = Instant::now() + patience;
        while self.load.open() > 0 {
            if Instant::now() > deadline {
                let open = self.load.open();
                self.load.problems.push(format!("{open} runs have not ended after {patience:?} more"));
                return;
            }
            sleep(JUDGE_EVERY).await;
            self.load.settle().await;
        }
    }

    fn finish(&mut self, state: &Path, at_rest: Usage) -> Outcome {
        let mut problems = std::mem::take(&mut self.load.problems);
        let (entries, damaged) = Journal::read(state).unwrap_or_default();
        let owed = entries.values().filter(|entry| entry.kept.is_none()).count();
        let kept = entries.len() - owed;
        if owed > 0 || damaged > 0 {
            problems.push(format!("the journal owes {owed} outcomes and has {damaged} damaged records"));
        }
        for look in &self.looks {
            if look.journal as f64 / 1024.0 > LONGEST_JOURNAL_KIBIBYTES {
                problems.push(format!("the journal has {} bytes after {:.1} h", look.journal, look.hours));
            }
        }
        let (facts, load, traffic) = (&self.world.facts, &self.load, self.network.traffic());
        let text = format!(
            "{} runs started, {} ended as they must, of these {} in the failure that they had to; \
             {} attempts repeated, {} results of bodies not used\n\
             {} bodies begun, {} told to stop, {} executors died\n\
             {} supervisors killed, {} drained, {} could not start\n\
             {} outages; {} requests, {} in outages, {} lost or late otherwise\n\
             journal: {owed} outcomes owed, {kept} kept that can never be delivered",
            load.started,
            load.settled,
            load.refused,
            load.repeated,
            load.unused_results,
            facts.bodies.get(),
            facts.cancelled.get(),
            facts.executor_deaths.get(),
            facts.kills.get(),
            facts.drains.get(),
            facts.failed_starts.get(),
            facts.outages.get(),
            traffic.requests,
            traffic.troubled,
            traffic.disturbed,
        );
        let counts = Counts {
            settled: load.settled,
            kills: facts.kills.get(),
            drains: facts.drains.get(),
            outages: facts.outages.get(),
        };
        Outcome { problems, looks: std::mem::take(&mut self.looks), at_rest, counts, text }
    }
}

/// Keeps a worker running as a service manager would, until it is ended for good.
async fn supervise(
    world: Rc<World>,
    network: Arc<Network>,
    folder: &Path,
    mut orders: mpsc::UnboundedReceiver<Order>,
    current: Rc<RefCell<Executors>>,
) {
    loop {
        let executors = Executors::new(&world);
        current.replace(executors.clone());
        let (signals, seen) = watch::channel(0_u32);
        let server = Arc::clone(&network);
        let surroundings = Surroundings {
            signals: Signals::counted(seen),
            host: Rc::new(executors),
            connect: Box::new(move |options| Ok(Client::in_process(options, Arc::clone(&server) as _))),
        };
        let local = LocalSet::new();
        let mut is_last = false;
        {
            let serving = local.run_until(serve(options(&world.plan, folder), surroundings));
            tokio::pin!(serving);
            loop {
                tokio::select! {
                    ended = &mut serving => {
                        count(if ended.is_ok() { &world.facts.drains } else { &world.facts.failed_starts });
                        break;
                    }
                    Some(order) = orders.recv() => match order {
                        Order::Die => {
                            count(&world.facts.kills);
                            break;
                        }
                        Order::Drain | Order::End => {
                            is_last |= order == Order::End;
                            signals.send_modify(|seen| *seen += 1);
                        }
                    },
                }
            }
        }
        // Whatever the supervisor had under way dies with it, its executors too.
        drop(local);
        if is_last {
            return;
        }
        sleep(world.between(Duration::ZERO, NEXT_START_WITHIN)).await;
    }
}

fn options(plan: &Plan, folder: &Path) -> WorkerOptions {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let environment: BTreeMap<String, String> = [
        ("CONDUCTOR_SERVER_URL", "http://conductor.example/api".to_owned()),
        ("PERAGO_WORKSPACE_ROOT", path("workspaces")),
        ("PERAGO_LOG_ROOT", path("logs")),
        ("PERAGO_STATE_DIR", path("state")),
        ("PERAGO_HOST_ID", "simulated".to_owned()),
        ("PERAGO_SHUTDOWN_FORCE_KILL_AFTER", "1m".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let settings = Settings::load("simulated", folder, &environment, true).expect("settings of our own");
    let state_directory: PathBuf = settings.state_dir.clone();
    std::fs::create_dir_all(&state_directory).expect("a folder of our own");
    WorkerOptions {
        module_target: "simulated".to_owned(),
        slots: plan.slots,
        execution_mode: ExecutionMode::Process,
        program: ExecutorProgram { program: "none".to_owned(), arguments: Vec::new(), code: None },
        task_name: None,
        settings,
        state_directory,
        glob_dialect: GlobDialect::default(),
        on_ready: |_| {},
    }
}
