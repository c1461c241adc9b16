//! The grammar of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use perago_worker::settings::{SettingsError, quantities};

/// One typed function becomes a production task worker for Conductor.
#[derive(Debug, Parser)]
#[command(name = "perago", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a task module and the configuration, without any server
    Check(CheckOptions),
    /// Write a task's Conductor TaskDef as JSON
    Extract(ExtractOptions),
    /// Run one attempt of a task on the spot, without Conductor; nothing is published
    Run(RunOptions),
    /// Run a worker for a task
    Start(StartOptions),
    /// Let the worker of this environment take no more tasks; what runs goes on
    Pause,
    /// Let the worker of this environment take tasks again
    Resume,
    /// Show which attempts are open, which results are not delivered, and whether the worker is paused
    Status(StatusOptions),
    /// Remove what dead attempts of workspace tasks have left: local directories and staging branches
    Gc(GcOptions),
    /// Run an embedded Conductor-compatible engine and OTLP receiver for development
    Dev(DevOptions),
    /// Run an audio pipeline of three tasks on embedded services and show what came of it
    Demo(DemoOptions),
    /// Print a completion script for a shell
    Completion(CompletionOptions),
}

/// A task module.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Import path of the module that declares the task, for example app.workers.render
    #[arg(value_name = "MODULE")]
    pub module: String,
}

/// `perago check`.
#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    /// The module.
    #[command(flatten)]
    pub target: Target,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How a command prints its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people
    Text,
    /// One JSON object with stable codes, places and the TaskDef
    Json,
}

/// `perago extract`.
#[derive(Debug, Args)]
pub(crate) struct ExtractOptions {
    /// The module.
    #[command(flatten)]
    pub target: Target,
    /// The file to write, for example generated/features.build.json
    #[arg(short, long, value_name = "PATH")]
    pub output: PathBuf,
}

/// `perago run`.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// The module.
    #[command(flatten)]
    pub target: Target,
    /// The parameters, as JSON or as @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    pub params: String,
    /// Directory that a workspace task works on; the body edits it in place
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repository", "reference", "keep"])]
    pub workspace: Option<PathBuf>,
    /// lakeFS repository that a workspace task's directory is made from
    #[arg(long, value_name = "REPOSITORY", requires = "reference")]
    pub repository: Option<String>,
    /// Commit of the repository; a branch or tag stands for the commit that it names now
    #[arg(long = "ref", value_name = "COMMIT", requires = "repository")]
    pub reference: Option<String>,
    /// Keep the directory that was made from the repository
    #[arg(long, requires = "repository")]
    pub keep: bool,
    /// Run the body in this process, where debuggers can stop it
    #[arg(long)]
    pub in_process: bool,
    /// Print one JSON object; what the body prints goes to standard error
    #[arg(long)]
    pub json: bool,
}

const START_EXIT_CODES: &str = "\
Exit codes:
  0  stopped as told, everything done
  1  something given cannot be used: module, settings, server, TaskDef, lock, address
  2  wrong usage of the command line
  3  a fault of Perago or of the system it runs on
  4  stopped before everything was done: a second signal, the deadline, or a waiting result";

/// `perago start`.
#[derive(Debug, Args)]
#[command(after_help = START_EXIT_CODES)]
pub(crate) struct StartOptions {
    /// The module.
    #[command(flatten)]
    pub target: Target,
    /// Tasks that run at once
    #[arg(short = 'j', long = "jobs", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: u32,
    /// One process a slot, or threads in one process [default: `PERAGO_EXECUTION_MODE`, else process]
    #[arg(long, value_enum)]
    pub execution_mode: Option<Mode>,
    /// Answer probes at /livez, /readyz and /healthz of this address [default: `PERAGO_HEALTH_LISTEN`, else none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub health_listen: Option<SocketAddr>,
}

/// Where bodies run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// A process of its own for each slot
    Process,
    /// Threads of one process; a body cannot be stopped
    Thread,
}

/// `perago status`.
#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

/// `perago gc`.
#[derive(Debug, Args)]
pub(crate) struct GcOptions {
    /// Show what would be removed and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave what began later than this long ago, for example 2h [default: `PERAGO_WORKSPACE_GC_TTL`, else 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// A repository whose staging branches to look at; repeatable [default: those that workers of this workspace
    /// root have used]
    #[arg(long = "repository", value_name = "NAME")]
    pub repositories: Vec<String>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

fn duration(text: &str) -> Result<Duration, SettingsError> {
    quantities::duration("it", text)
}

/// `perago dev`.
#[derive(Debug, Args)]
pub(crate) struct DevOptions {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Key that clients must present, SECRET or ID:SECRET; needed for any other than a loopback address
    #[arg(long, value_name = "KEY", env = "PERAGO_DEV_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// How long tokens made from the key live, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600.0)]
    pub token_life: f64,
    /// Folder that keeps repositories, commits and objects; without it they end with the process
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Object store that the embedded lakeFS plays
    #[arg(long, value_enum, default_value_t = ObjectStoreKind::S3)]
    pub object_store: ObjectStoreKind,
    /// Let tests script faults and move the engine's time over HTTP, below /perago
    #[arg(long)]
    pub faults: bool,
}

/// What lies below the embedded lakeFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectStoreKind {
    /// One that signs URLs; namespaces start with s3://
    S3,
    /// A folder of the server; namespaces start with local://
    Local,
}

/// `perago demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Melodies to play, validate, measure and transcribe
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub songs: u32,
}

/// `perago completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionOptions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}
