//! The workflow: its definition, its runs, and waiting for them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use perago_conductor::{Client, StartWorkflow, TaskStatus, WorkflowRun, WorkflowStatus};
use serde_json::{Value, json};

use super::outcome::Song;
use super::prepare::SongFile;
use super::store::Store;
use super::worker::Workers;
use super::{conductor, internal};
use crate::failure::Failure;

/// Name of the workflow.
const WORKFLOW_NAME: &str = "perago.demo";
/// Time between two looks at the runs.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the runs may stand still.
const STANDSTILL_LIMIT: Duration = Duration::from_secs(60);
/// Runs that are open at once: enough to keep every worker busy.
const OPEN_RUNS: usize = 4;

/// One step of the workflow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Name of the task.
    pub task_name: &'static str,
    reference: &'static str,
    /// The expression that fills its workspace.
    workspace: &'static str,
}

/// The steps in their order.
pub(super) const STEPS: [Step; 3] = [
    Step { task_name: "metadata.validate", reference: "validate", workspace: "${workflow.input.workspace}" },
    Step { task_name: "features.build", reference: "features", workspace: "${validate.output.workspace}" },
    Step {
        task_name: "audio.transcribe",
        reference: "transcribe",
        workspace: "${features.output.workspace}",
    },
];

fn workflow_definition() -> Value {
    let tasks = STEPS.map(|step| {
        json!({
            "name": step.task_name,
            "taskReferenceName": step.reference,
            "type": "SIMPLE",
            "inputParameters": {"workspace": step.workspace, "params": {}},
        })
    });
    json!({
        "name": WORKFLOW_NAME,
        "description": "Validates, measures and transcribes a recording.",
        "version": 1,
        "schemaVersion": 2,
        "ownerEmail": "data@example.com",
        "timeoutPolicy": "TIME_OUT_WF",
        "timeoutSeconds": 600,
        "inputParameters": ["workspace"],
        "outputParameters": {
            "workspace": "${features.output.workspace}",
            "melody": "${transcribe.output.result.melody}",
        },
        "tasks": tasks,
    })
}

/// Registers tasks and workflow.
pub(super) async fn register(client: &Client, task_defs: &[Value]) -> Result<(), Failure> {
    client.register_task_defs(task_defs).await.map_err(conductor)?;
    client.put_workflows(&[workflow_definition()]).await.map_err(conductor)
}

/// Commits each song to the store, runs a workflow for it, and shows it when it is done, in order.
///
/// Returns the number of commits that tasks and we have made.
///
/// # Errors
/// The first run that fails, a worker that ends, or runs that stand still.
pub(super) async fn run(
    (client, store): (&Client, &Store),
    songs: &[SongFile],
    workers: &mut Workers,
    set_done: impl Fn(usize),
    show: &mut impl FnMut(&Song),
) -> Result<usize, Failure> {
    let mut waiting = songs.iter();
    let mut open: VecDeque<(&SongFile, String)> = VecDeque::new();
    let mut tasks_shown = 0;
    let mut commits = 0;
    let mut last_seen = 0;
    let mut moved = Instant::now();
    loop {
        while open.len() < OPEN_RUNS
            && let Some(song) = waiting.next()
        {
            open.push_back((song, start(client, store, song).await?));
        }
        let Some((song, workflow_id)) = open.front() else { return Ok(commits) };
        let run = read(client, workflow_id).await?;
        let done = run.tasks.iter().filter(|task| task.status.is_terminal()).count();
        set_done(tasks_shown + done);
        if tasks_shown + done != last_seen {
            (last_seen, moved) = (tasks_shown + done, Instant::now());
        }
        match run.status {
            WorkflowStatus::Completed => {
                let history = store.history(&song.song_id).await?;
                commits += history.len();
                show(&Song::new(song, &run.tasks, history)?);
                tasks_shown += done;
                open.pop_front();
                continue;
            }
            // A retry would come after a minute; nobody waits for that in a demo.
            status
                if status.is_terminal() || run.tasks.iter().any(|task| task.status == TaskStatus::Failed) =>
            {
                return Err(failed(&song.title, &run, workers));
            }
            _ => {}
        }
        workers.all_alive()?;
        if moved.elapsed() > STANDSTILL_LIMIT {
            return Err(internal(format!(
                "{}: nothing has happened for {} s",
                song.title,
                STANDSTILL_LIMIT.as_secs()
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn start(client: &Client, store: &Store, song: &SongFile) -> Result<String, Failure> {
    let workspace = store.add(song).await?;
    let start = StartWorkflow {
        name: WORKFLOW_NAME.to_owned(),
        input: json!({"workspace": workspace}),
        correlation_id: Some(song.song_id.clone()),
        ..StartWorkflow::default()
    };
    client.start_workflow(&start).await.map_err(conductor)
}

async fn read(client: &Client, workflow_id: &str) -> Result<WorkflowRun, Failure> {
    let run = client.get_workflow(workflow_id).await.map_err(conductor)?;
    run.ok_or_else(|| internal(format!("the embedded engine has lost the workflow {workflow_id}")))
}

/// Names the task that failed, its reason, and the log that knows more.
fn failed(title: &str, run: &WorkflowRun, workers: &Workers) -> Failure {
    let culprit = run.tasks.iter().rev().find(|task| task.reason_for_incompletion.is_some());
    let Some(task) = culprit else {
        let reason = run.reason_for_incompletion.as_deref().unwrap_or("no reason was given");
        return Failure::new(format!("{title}: the workflow failed: {reason}"));
    };
    let reason = task.reason_for_incompletion.as_deref().unwrap_or_default();
    Failure::with_hint(
        format!("{title}: {} failed: {reason}", task.task_type),
        workers.log_hint(&task.task_type),
    )
}
