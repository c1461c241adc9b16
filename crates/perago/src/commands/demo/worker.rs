//! The demo's workers: `perago start` in processes of their own.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use perago_dev::{DevHandle, StoreKey};
use perago_worker::executor::launch::ExecutorProgram;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::folder::Folder;
use super::internal;
use super::prepare::TaskModule;
use crate::commands::start::LOG_ANNOUNCEMENT;
use crate::failure::Failure;

/// Variables with these prefixes configure workers of the user's own.
const FOREIGN_PREFIXES: [&str; 4] = ["PERAGO_", "CONDUCTOR_", "LAKECTL_", "OTEL_"];
/// How long a worker may take until it polls.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long an idle worker may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long a worker that is told to stop now may take before it is told again, and before it is killed.
const STOP_NOW_LIMITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// Milliseconds between two pushes of metrics.
const EXPORT_INTERVAL: &str = "200";
/// An idle worker's poll; it bounds how long stopping takes.
const POLL_TIMEOUT: &str = "100ms";
/// When the demo is killed its server is gone: no result of a worker that outlives it can arrive.
const DRAIN_DEADLINE: &str = "5s";

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    task_name: &'static str,
    child: Child,
    /// What it says on standard error.
    messages: PathBuf,
    /// Its own log, once it has announced it.
    log: Option<PathBuf>,
}

impl Workers {
    /// Starts one worker a module and waits until all of them poll.
    pub async fn start(
        &mut self,
        program: &ExecutorProgram,
        folder: &Folder,
        modules: &[TaskModule],
        server: &DevHandle,
    ) -> Result<(), Failure> {
        let mut announcements = Vec::new();
        for module in modules {
            let mut child = command(program, folder, module, server).spawn().map_err(|error| {
                internal(format!("the worker of {} cannot be started: {error}", module.task_name))
            })?;
            let messages = folder.logs().join(format!("{}.messages", module.task_name));
            let (announce, announced) = oneshot::channel();
            if let Some(errors) = child.stderr.take() {
                let file = File::create(&messages).map_err(internal)?;
                tokio::spawn(follow(errors, file, announce));
            }
            announcements.push(announced);
            self.0.push(Worker { task_name: module.task_name, child, messages, log: None });
        }
        for (worker, announced) in self.0.iter_mut().zip(announcements) {
            match timeout(READY_LIMIT, announced).await {
                Ok(Ok(log)) => worker.log = Some(log),
                // It has closed its standard error, so it is ending.
                Ok(Err(_)) => {
                    let status = worker.child.wait().await.map_err(internal)?;
                    return Err(worker.ended(status));
                }
                Err(_) => {
                    let seconds = READY_LIMIT.as_secs();
                    let text = format!("the worker of {} was not ready within {seconds} s", worker.task_name);
                    return Err(Failure::with_hint(text, Some(worker.log_hint())));
                }
            }
        }
        Ok(())
    }

    /// Fails if a worker has ended.
    pub fn all_alive(&mut self) -> Result<(), Failure> {
        for worker in &mut self.0 {
            if let Some(status) = worker.child.try_wait().map_err(internal)? {
                return Err(worker.ended(status));
            }
        }
        Ok(())
    }

    /// Lets every worker finish, push its last metrics and leave.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        self.0.iter().for_each(Worker::terminate);
        for worker in &mut self.0 {
            let Ok(status) = timeout(STOP_LIMIT, worker.child.wait()).await else {
                let text = format!("the worker of {} does not stop", worker.task_name);
                return Err(Failure::with_hint(text, Some(worker.log_hint())));
            };
            let status = status.map_err(internal)?;
            if !status.success() {
                return Err(worker.ended(status));
            }
        }
        self.0.clear();
        Ok(())
    }

    /// Ends every worker that is left, whatever it does.
    pub async fn stop_now(&mut self) {
        for limit in STOP_NOW_LIMITS {
            self.0.iter().for_each(Worker::terminate);
            let _ = timeout(limit, self.wait()).await;
        }
        for worker in &mut self.0 {
            let _ = worker.child.start_kill();
        }
        self.wait().await;
    }

    /// Where to read more about a task.
    pub fn log_hint(&self, task_name: &str) -> Option<String> {
        self.0.iter().find(|worker| worker.task_name == task_name).map(Worker::log_hint)
    }

    async fn wait(&mut self) {
        for worker in &mut self.0 {
            let _ = worker.child.wait().await;
        }
    }
}

impl Worker {
    fn terminate(&self) {
        let Some(id) = self.child.id() else { return };
        // SAFETY: the child is not reaped yet, so the id is still its own.
        unsafe {
            libc::kill(id as libc::pid_t, libc::SIGTERM);
        }
    }

    fn ended(&self, status: ExitStatus) -> Failure {
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was ended by signal {signal}"),
            (None, code) => format!("ended with exit code {}", code.unwrap_or_default()),
        };
        let said = std::fs::read_to_string(&self.messages).unwrap_or_default();
        let error = said.lines().rev().find(|line| line.starts_with("error: "));
        let reason =
            error.map(|line| format!(": {}", line.trim_start_matches("error: "))).unwrap_or_default();
        let text = format!("the worker of {} {how}{reason}", self.task_name);
        Failure::with_hint(text, Some(self.log_hint()))
    }

    fn log_hint(&self) -> String {
        format!("read {}", self.log.as_ref().unwrap_or(&self.messages).display())
    }
}

fn command(program: &ExecutorProgram, folder: &Folder, module: &TaskModule, server: &DevHandle) -> Command {
    let mut command = std::process::Command::new(&program.program);
    command.args(&program.arguments).args(["start", &module.module_target]);
    for (name, _) in std::env::vars_os() {
        if FOREIGN_PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let directory = |purpose: &str| folder.of_worker(purpose, module.task_name);
    command
        .env("CONDUCTOR_SERVER_URL", server.conductor_url())
        .env("LAKECTL_SERVER_ENDPOINT_URL", server.lakefs_url())
        .env("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", StoreKey::DEFAULT)
        .env("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", StoreKey::DEFAULT)
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", server.otlp_url())
        .env("OTEL_METRIC_EXPORT_INTERVAL", EXPORT_INTERVAL)
        .env("PERAGO_INSTANCE_ID", "demo")
        .env("PERAGO_POLL_TIMEOUT", POLL_TIMEOUT)
        .env("PERAGO_SHUTDOWN_FORCE_KILL_AFTER", DRAIN_DEADLINE)
        .env("PERAGO_LOG_ROOT", folder.logs())
        .env("PERAGO_WORKSPACE_ROOT", directory("workspaces"))
        .env("PERAGO_WORKSPACE_CACHE_DIR", folder.cache())
        .env("PERAGO_STATE_DIR", directory("state"))
        .current_dir(folder.elsewhere())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is for us alone: a worker would take it, and then ours, as two.
        .process_group(0);
    // SAFETY: only an async-signal-safe call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    Command::from(command)
}

/// Copies what a worker says into a file, and tells when it announces its log, which it does once it polls.
async fn follow(errors: ChildStderr, mut file: File, announce: oneshot::Sender<PathBuf>) {
    let mut announce = Some(announce);
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = writeln!(file, "{line}");
        if let Some(path) = line.strip_prefix(LOG_ANNOUNCEMENT)
            && let Some(announce) = announce.take()
        {
            let _ = announce.send(Path::new(path).to_owned());
        }
    }
}
