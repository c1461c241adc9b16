//! The worker as a service: start everything, poll, drain, stop.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use perago_conductor::Client;
use perago_contract::{Finding, TaskDescription};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use crate::attempt::drive::Context;
use crate::clock::Clock;
use crate::executor::launch::LaunchOptions;
use crate::executor::pool::{Death, Pool, PoolOptions, Readiness};
use crate::executor::result_file;
use crate::export::{self, Export};
use crate::exported::ExportedSeries;
use crate::guardian::Forked;
use crate::instruments::Instruments;
use crate::logs::{Level, Logger, Record};
use crate::memory::evidence::Evidence;
use crate::metrics::Arenas;
use crate::module_description::ModuleDescription;
use crate::open_attempts::OpenAttempts;
use crate::operator::{Condition, Operator, Pause};
use crate::outbox::{self, Outbox, OutboxOptions};
use crate::poller::{self, PollOptions, Stops};
use crate::requirements;
use crate::settings::{ExecutionMode, LeasePolicy, Settings, WorkerOverride};
use crate::signals::Signals;
use crate::state_disk::{self, StateDisk};
use crate::state_volume;
use crate::surroundings::{Connect, Surroundings};
use crate::worker_error::WorkerError;
pub use crate::worker_options::{Ready, Stopped, WorkerOptions};
use crate::workspace::{self, Housekeeping, Workspaces};

mod drain;

use drain::Stopping;

/// The server answers a long poll at most this much later than it was asked to.
const POLL_ENDS_WITHIN: Duration = Duration::from_millis(300);

/// Folder of the state directory with the last outcome of each slot.
const RESULTS: &str = "results";

const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(600);

/// Runs a worker on the calling thread until it is told to stop.
///
/// # Errors
/// Why it could not start or go on.
pub fn run(options: WorkerOptions, forked: Forked) -> Result<Stopped, WorkerError> {
    crate::allocator::share_arenas();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let outcome = local.block_on(&runtime, async { serve(options, Surroundings::real(forked)?).await });
    // What is still in flight after a forced stop must not hold the process.
    runtime.shutdown_background();
    outcome
}

/// Runs a worker in its surroundings until it is told to stop. Needs a `LocalSet`.
///
/// # Errors
/// Why it could not start or go on.
pub(crate) async fn serve(
    options: WorkerOptions,
    surroundings: Surroundings,
) -> Result<Stopped, WorkerError> {
    let began = Instant::now();
    let Surroundings { signals, host, connect } = surroundings;
    let conductor_worker_id = requirements::conductor_worker_id(&options.settings);
    let logger = Logger::open(
        &requirements::log_destination(&options.settings),
        &options.module_target,
        &conductor_worker_id,
    )
    .map_err(WorkerError::Log)?;
    arm_kill_point(&options.settings, &logger);
    let instruments = Instruments::default();
    let pause = Pause::new(&options.state_directory, &logger);
    let condition = Condition::new(options.slots, instruments.clone(), pause);
    let operator = Operator::attend(&options.settings, condition, &logger).await?;
    std::fs::create_dir_all(options.state_directory.join(RESULTS))?;
    let arenas = Arenas::open(&options.settings, &options.state_directory, process_count(&options))?;
    let open = OpenAttempts::default();
    let for_lines = (open.clone(), logger.clone());
    let pool =
        Pool::start(pool_options(&options, &arenas, &instruments), host, logger.clone(), move |line| {
            for_lines.0.on_line(&for_lines.1, line);
        });
    let worker = Worker {
        options,
        conductor_worker_id,
        logger,
        arenas,
        open,
        instruments,
        pool,
        signals,
        connect,
        operator,
        began,
    };
    let outcome = worker.run().await;
    worker.pool.close();
    outcome
}

fn arm_kill_point(settings: &Settings, logger: &Logger) {
    let Some(at) = settings.kill_at else { return };
    let message = "PERAGO_FAULT_KILL_AT is set: this worker or one of its executors will kill itself";
    logger.write(Record::new(Level::Warning, "kill_point_armed", message).with("point", at.point()));
    at.arm();
}

fn process_count(options: &WorkerOptions) -> u32 {
    match options.execution_mode {
        ExecutionMode::Process => options.slots,
        ExecutionMode::Thread => 1,
    }
}

fn pool_options(options: &WorkerOptions, arenas: &Arenas, instruments: &Instruments) -> PoolOptions {
    let processes = process_count(options);
    PoolOptions {
        program: options.program.clone(),
        launch: LaunchOptions {
            module_target: options.module_target.clone(),
            describe_only: false,
            threads: 1,
            arena: None,
            resource_attribute_keys: resource_attribute_keys(options),
            failure_reason_max_length: options.settings.failure_reason_max_length,
            results: Some(options.state_directory.join(RESULTS)),
            kill_at: options.settings.kill_at,
        },
        processes,
        slots_per_process: options.slots / processes,
        worker_id_prefix: options.settings.worker_id_prefix.clone(),
        arenas: arenas.clone(),
        instruments: instruments.clone(),
        longest_restart_delay: options.settings.restart_max_delay,
        limits: options.settings.attempt_limits,
        most_tasks: options.settings.max_tasks_per_executor,
    }
}

struct Worker {
    options: WorkerOptions,
    conductor_worker_id: String,
    logger: Logger,
    arenas: Arenas,
    open: OpenAttempts,
    instruments: Instruments,
    pool: Pool,
    signals: Signals,
    connect: Connect,
    operator: Operator,
    began: Instant,
}

impl Worker {
    async fn run(&self) -> Result<Stopped, WorkerError> {
        let started = tokio::select! {
            started = self.start() => started?,
            error = self.pool.watch_guardian() => return Err(error.into()),
            () = self.signals.stop_requested() => {
                self.operator.ends();
                return Ok(Stopped::Drained);
            }
        };
        let evidence = Rc::clone(&started.evidence);
        let outcome = tokio::select! {
            stopped = self.work(started) => Ok(stopped),
            error = self.pool.watch_guardian() => Err(error.into()),
            () = self.signals.stop_now_requested() => {
                self.logger.event(Level::Warning, "worker_stopped", "told twice to stop; giving up what runs");
                Ok(Stopped::Forced)
            }
        };
        if outcome.is_ok() {
            evidence.end();
        }
        outcome
    }

    /// Everything before the first poll: the module, its requirements, the server.
    async fn start(&self) -> Result<Started, WorkerError> {
        let (task, warnings) = self.describe().await?;
        let settings = &self.options.settings;
        requirements::check(settings, &task)?;
        let client = self.client()?;
        match client.get_task_def(&task.name).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(WorkerError::NotRegistered(task.name)),
            Err(error) => return Err(WorkerError::TaskDef(error)),
        }
        let outbox = self.outbox(&task)?;
        let workspaces = workspace::open(settings, &task, self.options.glob_dialect, &self.logger).await?;
        let housekeeping = workspace::housekeeping(settings, workspaces.as_ref(), &client, &self.logger)?;
        let state_directory = &self.options.state_directory;
        let (disk, disk_watcher) = StateDisk::watch(state_directory, &self.logger).await;
        let export = self.start_export(&task, &disk)?;
        let evidence = self.evidence(&outbox);
        Ok(Started {
            task,
            warnings,
            client,
            disk,
            _disk_watcher: disk_watcher,
            export,
            outbox,
            evidence,
            workspaces,
            housekeeping,
        })
    }

    fn start_export(&self, task: &TaskDescription, disk: &StateDisk) -> Result<Option<Export>, WorkerError> {
        let settings = &self.options.settings;
        let keys = resource_attribute_keys(&self.options);
        let recording = self.arenas.recording(settings, task, self.options.slots, keys, &self.logger)?;
        self.instruments.begin(recording);
        let series = self.arenas.shared_store().map(|store| {
            let (instruments, disk) = (self.instruments.clone(), disk.clone());
            ExportedSeries::new(store, task, settings.worker_metrics, instruments, disk)
        });
        let directory = &self.options.state_directory;
        Ok(Export::start(settings, directory, series, &self.arenas, &self.instruments, &self.logger)?)
    }

    /// Says how the earlier supervisor died, if it was killed, and begins to note how this one may.
    fn evidence(&self, outbox: &Outbox) -> Rc<Evidence> {
        let (evidence, killed) = Evidence::begin(&self.options.state_directory);
        if let Some(killed) = killed {
            let limit = self.options.settings.failure_reason_max_length as usize;
            outbox.take_killed(&killed, &self.conductor_worker_id, limit, &self.logger);
        }
        Rc::new(evidence)
    }

    /// Opens the outbox, with the outcomes of bodies that ended after the earlier supervisor.
    fn outbox(&self, task: &TaskDescription) -> Result<Outbox, WorkerError> {
        let settings = &self.options.settings;
        let options =
            OutboxOptions { is_synced: settings.journal_is_synced, retention: settings.outbox_retention };
        let directory = &self.options.state_directory;
        let outbox = Outbox::open(directory, options, &self.logger)?;
        let ended = result_file::read_all(&directory.join(RESULTS));
        let limit = settings.failure_reason_max_length as usize;
        outbox.take_ended(ended, task.has_workspace(), &self.conductor_worker_id, limit);
        Ok(outbox)
    }

    fn client(&self) -> Result<Client, WorkerError> {
        let Some(conductor) = &self.options.settings.conductor else {
            return Err(WorkerError::Missing("CONDUCTOR_SERVER_URL is required for perago start".into()));
        };
        let mut options = conductor.client_options()?;
        let logger = self.logger.clone();
        options.on_warning = Arc::new(move |warning| {
            logger.event(Level::Warning, "conductor_warning", warning);
        });
        (self.connect)(&options).map_err(WorkerError::Client)
    }

    async fn describe(&self) -> Result<(TaskDescription, Vec<Finding>), WorkerError> {
        let limit = self.options.settings.executor_ready_timeout;
        let Ok(readiness) = tokio::time::timeout(limit, self.pool.first_readiness()).await else {
            return Err(WorkerError::ImportTooSlow {
                module_target: self.options.module_target.clone(),
                limit,
            });
        };
        let raw = match readiness {
            Readiness::Ready(raw) | Readiness::Unready(raw) => raw,
            Readiness::Refused(reason) => return Err(WorkerError::ExecutorRefused(reason)),
            Readiness::Died(death) => return Err(died(&death)),
            Readiness::Pending => return Err(WorkerError::ExecutorRefused("it never spoke".into())),
        };
        let description = ModuleDescription::parse(&raw).map_err(WorkerError::Description)?;
        description.usable_task().map_err(WorkerError::Module)
    }

    /// Polls until told to stop, then drains.
    async fn work(&self, started: Started) -> Stopped {
        let settings = &self.options.settings;
        let polling = settings.overrides.for_task(&started.task.name);
        let task_name = &started.task.name;
        self.operator.condition.started(task_name, polling.is_paused, &self.pool, &started.disk);
        self.announce(&started, &polling);
        self.operator.begins();
        self.pool.watch_memory(started.evidence);
        let (drain, drain_seen) = watch::channel(false);
        let (abandon, abandon_seen) = watch::channel(false);
        let context = Rc::new(Context {
            client: started.client,
            logger: self.logger.clone(),
            worker_id: self.conductor_worker_id.clone(),
            reason_limit: settings.failure_reason_max_length as usize,
            cancel_grace: settings.cancel_grace,
            stop_grace: self.stop_grace(),
            strict_lease: settings.lease_policy == LeasePolicy::Strict,
            clock: Clock::start(),
            open: self.open.clone(),
            instruments: self.instruments.clone(),
            disk: started.disk,
            outbox: started.outbox,
            workspaces: started.workspaces,
        });
        // The lock was free when this worker began, so the polls of the earlier one are at least as old.
        let polls_ended = self.began + settings.poll_timeout + POLL_ENDS_WITHIN;
        for left in context.outbox.left_open() {
            spawn_local(outbox::resolve(Rc::clone(&context), left, polls_ended, drain_seen.clone()));
        }
        let house_keeping = spawn_local(keep_house(self.logger.clone(), context.outbox.clone()));
        let _housekeeper = started.housekeeping.map(Housekeeping::start);
        let poller = (!polling.is_paused).then(|| {
            let options = PollOptions {
                task_type: started.task.name.clone(),
                domain: polling.domain.clone(),
                long_poll_milliseconds: settings.poll_timeout.as_millis() as u32,
                slots: self.options.slots,
            };
            let pause = self.operator.condition.pause().clone();
            let stops = Stops { drain: drain_seen, abandon: abandon_seen, pause };
            spawn_local(poller::run(context, self.pool.clone(), options, stops))
        });
        self.signals.stop_requested().await;
        let stopped = self.stop(Stopping { poller, drain, abandon, export: started.export }).await;
        house_keeping.abort();
        stopped
    }

    fn announce(&self, started: &Started, polling: &WorkerOverride) {
        let settings = &self.options.settings;
        let mut warnings = started.warnings.clone();
        warnings.extend(settings.warnings.iter().cloned());
        warnings.extend(polling.warnings.iter().cloned());
        warnings.extend(state_volume::warning(&self.options.state_directory));
        if self.options.slots > process_count(&self.options) {
            warnings.extend(settings.attempt_limits.without_effect());
        }
        for warning in &warnings {
            self.logger.write(
                Record::new(Level::Warning, "declaration_warning", warning.message.clone())
                    .with("finding", warning.code.as_ref()),
            );
        }
        let ready = Ready {
            task_name: started.task.name.clone(),
            server: started.client.server(),
            worker_id: self.conductor_worker_id.clone(),
            slots: self.options.slots,
            domain: polling.domain.clone(),
            log_file: self.logger.file(),
            warnings,
            paused: polling.is_paused || self.operator.condition.pause().look(),
        };
        self.logger.write(
            Record::new(Level::Info, "worker_started", "worker started")
                .with("task_name", ready.task_name.as_str())
                .with("module_target", self.options.module_target.as_str())
                .with("server", ready.server.as_str())
                .with("slots", ready.slots)
                .with_some("domain", ready.domain.as_deref())
                .with("paused", ready.paused),
        );
        (self.options.on_ready)(&ready);
    }
}

struct Started {
    task: TaskDescription,
    warnings: Vec<Finding>,
    client: Client,
    disk: StateDisk,
    _disk_watcher: state_disk::Watcher,
    export: Option<Export>,
    outbox: Outbox,
    evidence: Rc<Evidence>,
    workspaces: Option<Workspaces>,
    housekeeping: Option<Housekeeping>,
}

/// Labels with these keys would collide with what the store adds to every series.
fn resource_attribute_keys(options: &WorkerOptions) -> Vec<String> {
    let metrics = options.settings.metrics.as_ref();
    let resource =
        metrics.map(|metrics| export::resource(&options.settings, metrics, &options.state_directory));
    resource.map(|resource| resource.keys().collect()).unwrap_or_default()
}

fn died(death: &Death) -> WorkerError {
    let how = death.how();
    let last_lines =
        if death.last_lines.is_empty() { String::new() } else { format!(":\n{}", death.last_lines) };
    WorkerError::ExecutorDied { how, last_lines }
}

async fn keep_house(logger: Logger, outbox: Outbox) {
    loop {
        tokio::time::sleep(HOUSEKEEPING_EVERY).await;
        logger.delete_expired();
        outbox.drop_expired();
    }
}
