//! The workflow: its definition, its runs, and waiting for them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use perago_conductor::{Client, StartWorkflow, WorkflowRun, WorkflowStatus};
use serde_json::{Value, json};

use super::outcome::Song;
use super::prepare::SongFile;
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
    /// Parameters with the expressions that fill them.
    params: &'static [(&'static str, &'static str)],
}

/// The steps in their order.
pub(super) const STEPS: [Step; 3] = [
    Step {
        task_name: "metadata.validate",
        reference: "validate",
        params: &[("song_id", "${workflow.input.song_id}"), ("path", "${workflow.input.path}")],
    },
    Step {
        task_name: "features.build",
        reference: "features",
        params: &[
            ("path", "${workflow.input.path}"),
            ("sample_count", "${validate.output.result.sample_count}"),
        ],
    },
    Step {
        task_name: "audio.transcribe",
        reference: "transcribe",
        params: &[
            ("path", "${workflow.input.path}"),
            ("loudest_level", "${features.output.result.loudest_level}"),
        ],
    },
];

fn workflow_definition() -> Value {
    let tasks = STEPS.map(|step| {
        let params: serde_json::Map<String, Value> =
            step.params.iter().map(|(name, expression)| ((*name).to_owned(), json!(expression))).collect();
        json!({
            "name": step.task_name,
            "taskReferenceName": step.reference,
            "type": "SIMPLE",
            "inputParameters": {"params": params},
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
        "inputParameters": ["song_id", "path"],
        "outputParameters": {"melody": "${transcribe.output.result.melody}"},
        "tasks": tasks,
    })
}

/// Registers tasks and workflow.
pub(super) async fn register(client: &Client, task_defs: &[Value]) -> Result<(), Failure> {
    client.register_task_defs(task_defs).await.map_err(conductor)?;
    client.put_workflows(&[workflow_definition()]).await.map_err(conductor)
}

/// Runs one workflow a song and shows each song when it is done, in order.
///
/// # Errors
/// The first run that fails, a worker that ends, or runs that stand still.
pub(super) async fn run(
    client: &Client,
    songs: &[SongFile],
    workers: &mut Workers,
    set_done: impl Fn(usize),
    show: &mut impl FnMut(&Song),
) -> Result<(), Failure> {
    let mut waiting = songs.iter();
    let mut open: VecDeque<(&SongFile, String)> = VecDeque::new();
    let mut tasks_shown = 0;
    let mut last_seen = 0;
    let mut moved = Instant::now();
    loop {
        while open.len() < OPEN_RUNS
            && let Some(song) = waiting.next()
        {
            open.push_back((song, start(client, song).await?));
        }
        let Some((song, workflow_id)) = open.front() else { return Ok(()) };
        let run = read(client, workflow_id).await?;
        let done = run.tasks.iter().filter(|task| task.status.is_terminal()).count();
        set_done(tasks_shown + done);
        if tasks_shown + done != last_seen {
            (last_seen, moved) = (tasks_shown + done, Instant::now());
        }
        match run.status {
            WorkflowStatus::Completed => {
                show(&Song::new(&song.title, &run.tasks)?);
                tasks_shown += done;
                open.pop_front();
                continue;
            }
            status if status.is_terminal() => return Err(failed(&song.title, &run, workers)),
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

async fn start(client: &Client, song: &SongFile) -> Result<String, Failure> {
    let start = StartWorkflow {
        name: WORKFLOW_NAME.to_owned(),
        input: json!({"song_id": song.song_id, "path": song.path}),
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
