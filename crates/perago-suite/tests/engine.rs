//! Binaries of tasks in Rust, run as processes against the embedded engine.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::future::Future;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use perago_conductor::{Address, Client, ClientOptions, StartWorkflow, Task, TaskStatus};
use perago_dev::{DevHandle, DevOptions, DevServer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

const SHAPES: &str = env!("CARGO_BIN_EXE_shapes");
/// Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine with one task and the worker that runs it.
struct Scene {
    server: DevHandle,
    client: Client,
    task: &'static str,
    folder: tempfile::TempDir,
    worker: Option<Child>,
}

impl Scene {
    /// Registers a task with the TaskDef that its binary extracts.
    async fn new(task: &'static str) -> Self {
        let server = DevServer::start(DevOptions::default()).await.unwrap();
        let address = Address::parse(&server.conductor_url()).unwrap();
        let client = Client::new(&ClientOptions::new(address)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let extracted = run(folder.path(), &["extract", task, "-o", "task.json"]);
        assert!(extracted.status.success(), "{extracted:?}");
        let text = std::fs::read_to_string(folder.path().join("task.json")).unwrap();
        let mut task_def: Value = serde_json::from_str(&text).unwrap();
        task_def["retryCount"] = 0.into();
        // What belongs to somebody else is noticed within a third of it.
        task_def["responseTimeoutSeconds"] = 3.into();
        client.register_task_defs(&[task_def]).await.unwrap();
        let step = json!({
            "name": task, "taskReferenceName": "body", "type": "SIMPLE",
            "inputParameters": {"params": "${workflow.input.params}"},
        });
        let workflow = json!({
            "name": task, "version": 1, "schemaVersion": 2, "tasks": [step], "ownerEmail": "tests@example.com",
        });
        client.put_workflows(&[workflow]).await.unwrap();
        Self { server, client, task, folder, worker: None }
    }

    /// Starts a worker and waits until it polls.
    async fn start(&mut self, arguments: &[&str]) {
        let mut command = command(self.folder.path());
        command
            .args(["start", self.task])
            .args(arguments)
            .env("CONDUCTOR_SERVER_URL", self.server.conductor_url())
            .env("PERAGO_CANCEL_GRACE", "30s")
            .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", self.server.otlp_url())
            .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
            .env("PERAGO_INSTANCE_ID", "suite")
            .stderr(Stdio::piped());
        let mut worker = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(worker.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let polls = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.starts_with("polling: ") {
                    return true;
                }
                said.push(line);
            }
            false
        };
        assert!(timeout(PATIENCE, polls).await.unwrap(), "{said:?}");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.worker = Some(worker);
    }

    async fn begin(&self, params: Value) -> String {
        let input = json!({"params": params});
        let start = StartWorkflow { name: self.task.to_owned(), input, ..StartWorkflow::default() };
        self.client.start_workflow(&start).await.unwrap()
    }

    /// Runs the task once; the attempt as the engine shows it.
    async fn run(&self, params: Value) -> Task {
        let run = self.begin(params).await;
        until(async || {
            let workflow = self.client.get_workflow(&run).await.unwrap().unwrap();
            if workflow.status.is_terminal() { workflow.tasks.into_iter().next_back() } else { None }
        })
        .await
    }

    /// Tells the worker to stop, and waits for its end.
    async fn stop(mut self) {
        let mut worker = self.worker.take().unwrap();
        let pid = i32::try_from(worker.id().unwrap()).unwrap();
        // SAFETY: a plain system call on a child that is not reaped yet.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let status = timeout(PATIENCE, worker.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(SHAPES);
    command.current_dir(folder).env_clear();
    for name in ["HOME", "XDG_STATE_HOME", "PERAGO_WORKSPACE_ROOT", "PERAGO_LOG_ROOT"] {
        command.env(name, folder.join(name));
    }
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder).args(arguments).output().unwrap()
}

/// Asks until there is an answer.
async fn until<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asked).await.expect("what the test waits for")
}

fn result(task: &Task) -> Value {
    assert_eq!(task.status, TaskStatus::Completed, "{:?}", task.reason_for_incompletion);
    serde_json::to_value(&task.output_data).unwrap()["result"].clone()
}

#[tokio::test]
async fn a_state_is_built_once_and_its_samples_arrive() {
    let mut scene = Scene::new("suite.counting").await;
    scene.start(&[]).await;
    let (first, second) = (result(&scene.run(json!({})).await), result(&scene.run(json!({})).await));
    assert_eq!((&first["bodies"], &second["bodies"]), (&json!(1), &json!(2)));
    assert_eq!(first["process"], second["process"]);
    until(async || {
        let series = scene.server.metric_series();
        let name = |labels: &std::collections::BTreeMap<String, String>| labels["__name__"].clone();
        series.iter().any(|series| name(&series.labels).starts_with("app.bodies")).then_some(())
    })
    .await;
    scene.stop().await;
}

#[tokio::test]
async fn threads_share_a_process_and_its_state() {
    let mut scene = Scene::new("suite.counting").await;
    scene.start(&["--jobs", "3", "--execution-mode", "thread"]).await;
    let run = || scene.run(json!({}));
    let (one, two, three, four) = tokio::join!(run(), run(), run(), run());
    let results = [one, two, three, four].map(|task| result(&task));
    let mut bodies: Vec<u64> = results.iter().filter_map(|result| result["bodies"].as_u64()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, [1, 2, 3, 4]);
    assert!(results.iter().all(|result| result["process"] == results[0]["process"]));
    scene.stop().await;
}

#[tokio::test]
async fn an_awaited_body_is_dropped_when_its_task_is_cancelled() {
    is_dropped(&[]).await;
}

#[tokio::test]
async fn one_of_several_bodies_in_a_process_is_told_too() {
    is_dropped(&["--jobs", "2", "--execution-mode", "thread"]).await;
}

async fn is_dropped(arguments: &[&str]) {
    let mut scene = Scene::new("suite.waiting").await;
    scene.start(arguments).await;
    let meeting = scene.folder.path().join("meeting");
    std::fs::create_dir(&meeting).unwrap();
    let run = scene.begin(json!({"folder": meeting})).await;
    until(async || meeting.join("started").exists().then_some(())).await;
    scene.client.terminate_workflow(&run, None).await.unwrap();
    // Long before the grace: it was not killed.
    until(async || meeting.join("dropped").exists().then_some(())).await;
    scene.stop().await;
}

#[test]
fn a_state_that_cannot_be_built_keeps_the_worker_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let mut refused = command(folder.path());
    refused.env("SUITE_REFUSES", "no model file").env("CONDUCTOR_SERVER_URL", "http://127.0.0.1:9/api");
    let refused = refused.args(["start", "suite.counting"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the task cannot be set up: no model file"), "{said}");
    assert!(said.contains("shapes.rs:"), "{said}");
}

#[test]
fn an_attempt_on_the_spot_keeps_the_guardrails() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path().join("notes");
    std::fs::create_dir(&workspace).unwrap();
    for how in [&[][..], &["--in-process"]] {
        let attempt = |params: &str| {
            let arguments = ["run", "suite.writing", "--json", "--workspace", "notes", "--params", params];
            let ran = run(folder.path(), &[&arguments, how].concat());
            serde_json::from_slice::<Value>(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
        };
        let _ = std::fs::remove_file(workspace.join("seed.txt"));
        assert_eq!(attempt(r#"{"text": "C"}"#)["failure"]["code"], "pre_guardrail");
        std::fs::write(workspace.join("seed.txt"), "").unwrap();
        assert_eq!(attempt(r#"{"text": "C E G"}"#)["result"], json!({"bytes": 5}));
        assert_eq!(std::fs::read_to_string(workspace.join("note.txt")).unwrap(), "C E G");
        let extra = attempt(r#"{"text": "C", "more": 1}"#);
        let reason = "params.more: Extra inputs are not permitted [extra_forbidden]";
        assert_eq!(extra["failure"]["reason"], reason);
        assert_eq!(attempt(r#"{"text": ""}"#)["failure"]["code"], "post_guardrail");
        std::fs::remove_file(workspace.join("left.tmp")).unwrap();
    }
}

#[test]
fn a_binary_with_several_tasks_wants_to_know_which() {
    let folder = tempfile::tempdir().unwrap();
    let unnamed = run(folder.path(), &["check"]);
    assert_eq!(unnamed.status.code(), Some(2));
    let unknown = run(folder.path(), &["check", "suite.nothing"]);
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains("suite.counting, suite.waiting, suite.writing"), "{said}");
    let known = run(folder.path(), &["check", "suite.waiting"]);
    assert!(String::from_utf8(known.stdout).unwrap().starts_with("ok: suite.waiting\n"));
}
