//! Settings of a worker, from the process environment and the `.env` file of the current directory.
//!
//! Owns which variables exist, what they mean and how they are refused. The table in [`table`] is the source of help
//! and documentation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use perago_contract::Finding;

pub mod conductor;
pub mod dotenv;
mod environment;
mod error;
pub mod identity;
pub mod lakefs;
mod limits;
pub mod metrics;
mod modes;
mod overrides;
pub mod quantities;
pub mod roots;
pub mod table;
mod workspace_cache;

#[cfg(test)]
mod tests;

pub use conductor::ConductorSettings;
pub use environment::{Environment, process_environment};
pub use error::SettingsError;
pub use lakefs::LakeFsSettings;
pub use limits::{AttemptLimits, DEFAULT_CONTAINER_MEMORY_THRESHOLD};
pub use metrics::{Compression, DEFAULT_METRIC_LABEL_SETS, HistogramAggregation, MetricsSettings};
pub use modes::{ExecutionMode, LeasePolicy, LogTarget, parse_execution_mode};
pub use overrides::{WorkerOverride, WorkerOverrides};
pub use workspace_cache::{DEFAULT_WORKSPACE_CACHE_MAX_SIZE, WorkspaceCacheSettings};

use crate::kill_point::KillAt;
use error::Errors;

/// Default of `PERAGO_LOG_FILE_MAX_SIZE` in bytes.
pub const DEFAULT_LOG_FILE_MAX_SIZE: u64 = 100 << 20;
/// Default of `PERAGO_LOG_RETENTION`.
pub const DEFAULT_LOG_RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// Default of `PERAGO_OUTBOX_RETENTION`.
pub const DEFAULT_OUTBOX_RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// Default of `PERAGO_WORKSPACE_GC_TTL`.
pub const DEFAULT_WORKSPACE_GC_TTL: Duration = Duration::from_secs(86_400);
/// Default of `PERAGO_WORKSPACE_GC_INTERVAL`.
pub const DEFAULT_WORKSPACE_GC_INTERVAL: Duration = Duration::from_secs(3_600);
/// Default of `PERAGO_FAILURE_REASON_MAX_LENGTH` in characters.
pub const DEFAULT_FAILURE_REASON_MAX_LENGTH: u64 = 500;
/// Default of `PERAGO_POLL_TIMEOUT`.
pub const DEFAULT_POLL_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest poll that the server accepts.
pub const MAXIMUM_POLL_TIMEOUT: Duration = Duration::from_secs(5);
/// Default of `PERAGO_EXECUTOR_READY_TIMEOUT`: heavy libraries take minutes to import from cold network disks.
pub const DEFAULT_EXECUTOR_READY_TIMEOUT: Duration = Duration::from_secs(300);

/// Default of `PERAGO_CANCEL_GRACE`: with what a kill takes, a lost body is gone within five seconds.
pub const DEFAULT_CANCEL_GRACE: Duration = Duration::from_secs(3);
/// Default of `PERAGO_RESTART_MAX_DELAY`.
pub const DEFAULT_RESTART_MAX_DELAY: Duration = Duration::from_secs(30);

/// All settings of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Directory for the files of attempts, as written.
    pub workspace_root: PathBuf,
    /// Directory for log files, as written.
    pub log_root: PathBuf,
    /// Directory for durable state.
    pub state_dir: PathBuf,
    /// Where workers write their log.
    pub log_target: LogTarget,
    /// Size in bytes at which a log file is rotated.
    pub log_file_max_size: u64,
    /// Age at which log files are deleted.
    pub log_retention: Duration,
    /// Start of every worker id.
    pub worker_id_prefix: String,
    /// Name of this host.
    pub host_id: String,
    /// `PERAGO_INSTANCE_ID` if it is a usable name, whether or not metrics are on.
    pub instance_id: Option<String>,
    /// How bodies run.
    pub execution_mode: ExecutionMode,
    /// How long the server holds an idle worker's poll.
    pub poll_timeout: Duration,
    /// What happens to a body whose lease passed without contact.
    pub lease_policy: LeasePolicy,
    /// Limit for an executor to import the module.
    pub executor_ready_timeout: Duration,
    /// How long a body that is told to stop has before it is killed.
    pub cancel_grace: Duration,
    /// What one attempt may take.
    pub attempt_limits: AttemptLimits,
    /// Tasks after which an executor is replaced.
    pub max_tasks_per_executor: Option<u64>,
    /// Longest wait before a dead executor is replaced.
    pub restart_max_delay: Duration,
    /// Whether each step of an attempt is on the disk before the next one.
    pub journal_is_synced: bool,
    /// Age at which outcomes are forgotten that can never be delivered.
    pub outbox_retention: Duration,
    /// The cache of workspace contents; `None` when it is off.
    pub workspace_cache: Option<WorkspaceCacheSettings>,
    /// Age at which abandoned workspaces are removed.
    pub workspace_gc_ttl: Duration,
    /// Time between two searches for abandoned workspaces.
    pub workspace_gc_interval: Duration,
    /// Deadline for running bodies at shutdown; `None` waits for them.
    pub shutdown_force_kill_after: Option<Duration>,
    /// Where the worker answers probes of its health; `None` when nowhere.
    pub health_listen: Option<SocketAddr>,
    /// Longest failure reason in characters.
    pub failure_reason_max_length: u64,
    /// The Conductor server.
    pub conductor: Option<ConductorSettings>,
    /// The lakeFS server.
    pub lakefs: Option<LakeFsSettings>,
    /// The metrics export.
    pub metrics: Option<MetricsSettings>,
    /// Whether metrics of the worker itself are exported too.
    pub worker_metrics: bool,
    /// Where the worker or its executors kill themselves, in a test.
    pub kill_at: Option<KillAt>,
    /// Per-task variables of the Conductor SDK.
    pub overrides: WorkerOverrides,
    /// What is odd but no error.
    pub warnings: Vec<Finding>,
}

impl Settings {
    /// Loads the settings for a module from `process_env` over the `.env` file of `cwd`.
    ///
    /// `probe_roots` makes the workspace and log roots and proves that they can be written.
    ///
    /// # Errors
    /// The first variable, file or directory that cannot be used.
    pub fn load(
        module_target: &str,
        cwd: &Path,
        process_env: &BTreeMap<String, String>,
        probe_roots: bool,
    ) -> Result<Self, SettingsError> {
        Self::load_collecting(module_target, cwd, process_env, probe_roots)
            .map_err(|mut errors| errors.swap_remove(0))
    }

    /// As [`Settings::load`], but finds everything that is wrong.
    ///
    /// # Errors
    /// All that cannot be used, at least one.
    pub fn load_collecting(
        module_target: &str,
        cwd: &Path,
        process_env: &BTreeMap<String, String>,
        probe_roots: bool,
    ) -> Result<Self, Vec<SettingsError>> {
        let environment = Environment::read(cwd, process_env).map_err(|error| vec![error])?;
        Self::from_environment(module_target, cwd, &environment, probe_roots)
    }

    pub(crate) fn from_environment(
        module_target: &str,
        cwd: &Path,
        environment: &Environment,
        probe_roots: bool,
    ) -> Result<Self, Vec<SettingsError>> {
        let reader = Reader { environment, cwd };
        let mut errors = Errors::default();
        let workspace_root = errors.keep(
            reader.root("PERAGO_WORKSPACE_ROOT", roots::default_workspace_root, probe_roots),
            PathBuf::new(),
        );
        let log_target = errors.keep(modes::log_target(environment), LogTarget::File);
        let settings = Self {
            log_root: errors.keep(
                // A worker that logs to its standard output needs no log directory.
                reader.root(
                    "PERAGO_LOG_ROOT",
                    roots::default_log_root,
                    probe_roots && log_target == LogTarget::File,
                ),
                PathBuf::new(),
            ),
            state_dir: errors.keep(roots::state_dir(environment, cwd, &workspace_root), PathBuf::new()),
            log_target,
            log_file_max_size: reader.log_file_max_size(&mut errors),
            log_retention: reader.days("PERAGO_LOG_RETENTION", DEFAULT_LOG_RETENTION, &mut errors),
            worker_id_prefix: errors
                .keep(identity::worker_id_prefix(module_target, environment), String::new()),
            host_id: errors.keep(identity::host_id(environment), String::new()),
            instance_id: identity::name("PERAGO_INSTANCE_ID", environment).unwrap_or_default(),
            execution_mode: errors.keep(modes::execution_mode(environment), ExecutionMode::Process),
            poll_timeout: reader.poll_timeout(&mut errors),
            lease_policy: errors.keep(modes::lease_policy(environment), LeasePolicy::Lapse),
            executor_ready_timeout: reader.duration(
                "PERAGO_EXECUTOR_READY_TIMEOUT",
                DEFAULT_EXECUTOR_READY_TIMEOUT,
                &mut errors,
            ),
            cancel_grace: reader.short_duration("PERAGO_CANCEL_GRACE", DEFAULT_CANCEL_GRACE, &mut errors),
            attempt_limits: errors.keep(limits::parse(environment), AttemptLimits::default()),
            max_tasks_per_executor: reader.optional_integer("PERAGO_MAX_TASKS_PER_EXECUTOR", &mut errors),
            restart_max_delay: reader.short_duration(
                "PERAGO_RESTART_MAX_DELAY",
                DEFAULT_RESTART_MAX_DELAY,
                &mut errors,
            ),
            journal_is_synced: errors.keep(modes::journal_is_synced(environment), false),
            outbox_retention: reader.days("PERAGO_OUTBOX_RETENTION", DEFAULT_OUTBOX_RETENTION, &mut errors),
            workspace_cache: errors.keep(workspace_cache::parse(environment, &workspace_root), None),
            workspace_gc_ttl: reader.duration(
                "PERAGO_WORKSPACE_GC_TTL",
                DEFAULT_WORKSPACE_GC_TTL,
                &mut errors,
            ),
            workspace_gc_interval: reader.duration(
                "PERAGO_WORKSPACE_GC_INTERVAL",
                DEFAULT_WORKSPACE_GC_INTERVAL,
                &mut errors,
            ),
            shutdown_force_kill_after: reader
                .optional_duration("PERAGO_SHUTDOWN_FORCE_KILL_AFTER", &mut errors),
            health_listen: reader.health_listen(&mut errors),
            failure_reason_max_length: reader.failure_reason_max_length(&mut errors),
            conductor: errors.keep(conductor::parse(environment), None),
            lakefs: errors.keep(lakefs::parse(environment), None),
            metrics: errors.keep(metrics::parse(environment), None),
            worker_metrics: errors.keep(metrics::worker_metrics(environment), false),
            kill_at: errors.keep(modes::kill_at(environment), None),
            overrides: WorkerOverrides::new(environment),
            warnings: warnings(environment),
            workspace_root,
        };
        errors.into_result(settings.with_address_warning())
    }

    /// The warnings about the environment alone, for when there are no settings to hold them.
    pub fn environment_warnings(cwd: &Path, process_env: &BTreeMap<String, String>) -> Vec<Finding> {
        Environment::read(cwd, process_env).map(|environment| warnings(&environment)).unwrap_or_default()
    }

    /// The lines of `perago check`: name and value, never a secret.
    pub fn summary(&self) -> Vec<(&'static str, String)> {
        let configured = |is_set: bool| if is_set { "configured" } else { "not configured" }.to_owned();
        vec![
            ("workspace_root", self.workspace_root.display().to_string()),
            ("log_root", self.log_root.display().to_string()),
            ("worker_id_prefix", self.worker_id_prefix.clone()),
            ("conductor", configured(self.conductor.is_some())),
            ("lakefs", configured(self.lakefs.is_some())),
            ("metrics", configured(self.metrics.is_some())),
        ]
    }

    /// A server URL that no client can use is an error for `start` alone; elsewhere it is worth a warning.
    fn with_address_warning(mut self) -> Self {
        if let Some(Err(error)) = self.conductor.as_ref().map(ConductorSettings::client_options) {
            let warning = Finding::warning("PERAGO-CONFIG-VALUE", error.to_string());
            self.warnings.push(match error.hint() {
                Some(hint) => warning.with_hint(hint),
                None => warning,
            });
        }
        self
    }
}

fn warnings(environment: &Environment) -> Vec<Finding> {
    table::unknown(environment).into_iter().chain(metrics::warnings(environment)).collect()
}

/// Reads variables that share a form.
struct Reader<'a> {
    environment: &'a Environment,
    cwd: &'a Path,
}

impl Reader<'_> {
    fn root(&self, name: &str, default: fn() -> PathBuf, probe: bool) -> Result<PathBuf, SettingsError> {
        let root = roots::root(name, self.environment, default)?;
        if probe {
            roots::check_writable(&self.cwd.join(&root))
                .map_err(|error| error.with_hint(format!("set {name} to a directory that can be written")))?;
        }
        Ok(root)
    }

    fn duration(&self, name: &str, default: Duration, errors: &mut Errors) -> Duration {
        let read = self.environment.get(name).map_or(Ok(default), |text| quantities::duration(name, text));
        errors.keep(read, default)
    }

    fn optional_duration(&self, name: &str, errors: &mut Errors) -> Option<Duration> {
        let read = self.environment.filled(name).map(|text| quantities::duration(name, text)).transpose();
        errors.keep(read, None)
    }

    fn health_listen(&self, errors: &mut Errors) -> Option<SocketAddr> {
        const NAME: &str = "PERAGO_HEALTH_LISTEN";
        let refused = |_| {
            SettingsError::value(NAME, "must be an address and a port such as 0.0.0.0:9464 or [::1]:9464")
        };
        let read = self.environment.filled(NAME).map(|text| text.parse().map_err(refused)).transpose();
        errors.keep(read, None)
    }

    fn poll_timeout(&self, errors: &mut Errors) -> Duration {
        const NAME: &str = "PERAGO_POLL_TIMEOUT";
        let Some(text) = self.environment.get(NAME) else {
            return DEFAULT_POLL_TIMEOUT;
        };
        let read = quantities::short_duration(NAME, text).and_then(|timeout| {
            if timeout <= MAXIMUM_POLL_TIMEOUT {
                return Ok(timeout);
            }
            Err(SettingsError::value(NAME, "must not be longer than 5s, the limit of the Conductor server"))
        });
        errors.keep(read, DEFAULT_POLL_TIMEOUT)
    }

    fn short_duration(&self, name: &str, default: Duration, errors: &mut Errors) -> Duration {
        let read = self.environment.get(name).map(|text| quantities::short_duration(name, text));
        errors.keep(read.unwrap_or(Ok(default)), default)
    }

    fn optional_integer(&self, name: &str, errors: &mut Errors) -> Option<u64> {
        let read = self.environment.get(name).map(|text| quantities::positive_integer(name, text));
        errors.keep(read.transpose(), None)
    }

    fn log_file_max_size(&self, errors: &mut Errors) -> u64 {
        const NAME: &str = "PERAGO_LOG_FILE_MAX_SIZE";
        let read = self.environment.get(NAME).map(|text| quantities::size(NAME, text));
        errors.keep(read.unwrap_or(Ok(DEFAULT_LOG_FILE_MAX_SIZE)), DEFAULT_LOG_FILE_MAX_SIZE)
    }

    fn days(&self, name: &str, default: Duration, errors: &mut Errors) -> Duration {
        let read = self.environment.get(name).map(|text| quantities::days(name, text));
        errors.keep(read.unwrap_or(Ok(default)), default)
    }

    fn failure_reason_max_length(&self, errors: &mut Errors) -> u64 {
        const NAME: &str = "PERAGO_FAILURE_REASON_MAX_LENGTH";
        let read = self.environment.get(NAME).map(|text| quantities::positive_integer(NAME, text));
        errors.keep(read.unwrap_or(Ok(DEFAULT_FAILURE_REASON_MAX_LENGTH)), DEFAULT_FAILURE_REASON_MAX_LENGTH)
    }
}
