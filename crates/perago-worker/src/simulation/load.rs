//! The runs of a simulation: started, awaited, judged.

use std::collections::BTreeMap;
use std::rc::Rc;

use perago_dev::InProcess;
use serde_json::{Value, json};

use super::plan::{Plan, RESPONSE_TIMEOUT_SECONDS, TASK, World};

/// Runs of one engine. It is asked directly: the faults are the worker's, not ours.
pub(super) struct Load {
    world: Rc<World>,
    engine: InProcess,
    /// Runs so far.
    pub started: u64,
    /// Runs that ended as they must.
    pub settled: u64,
    /// Of these, runs that had to fail.
    pub refused: u64,
    /// Attempts of settled runs beyond the first.
    pub repeated: u64,
    /// Results of bodies of settled runs that were not used, as another attempt's was.
    pub unused_results: u64,
    /// What is wrong.
    pub problems: Vec<String>,
    pending: BTreeMap<u64, String>,
}

impl Load {
    /// Registers the task and its workflow.
    pub async fn new(world: &Rc<World>, engine: &InProcess) -> Self {
        let this = Self {
            world: Rc::clone(world),
            engine: engine.clone(),
            started: 0,
            settled: 0,
            refused: 0,
            repeated: 0,
            unused_results: 0,
            problems: Vec::new(),
            pending: BTreeMap::new(),
        };
        let task = json!([{
            "name": TASK,
            "retryCount": 100,
            "retryLogic": "FIXED",
            "retryDelaySeconds": 1,
            "responseTimeoutSeconds": RESPONSE_TIMEOUT_SECONDS,
            "timeoutSeconds": world.plan.timeout_seconds(),
            "timeoutPolicy": "RETRY",
        }]);
        this.ask("POST", "/api/metadata/taskdefs", &task).await;
        let step = json!({
            "name": TASK,
            "taskReferenceName": "body",
            "type": "SIMPLE",
            "inputParameters": {"params": "${workflow.input.params}"},
        });
        let workflow = json!([{
            "name": TASK,
            "version": 1,
            "schemaVersion": 2,
            "tasks": [step],
            "timeoutPolicy": "ALERT_ONLY",
            "timeoutSeconds": 0,
            "ownerEmail": "simulation@example.com",
        }]);
        this.ask("PUT", "/api/metadata/workflow", &workflow).await;
        this
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> String {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (status, answer) = self.engine.answer(method, path, body).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Starts the next run.
    pub async fn start(&mut self) {
        self.started += 1;
        let input = json!({"params": {"number": self.started}});
        let request = json!({"name": TASK, "version": 1, "input": input});
        let id = self.ask("POST", "/api/workflow", &request).await;
        self.pending.insert(self.started, id);
    }

    /// How many runs have not ended.
    pub fn open(&self) -> usize {
        self.pending.len()
    }

    /// Judges the runs that have ended.
    pub async fn settle(&mut self) {
        for (number, id) in self.pending.clone() {
            let short = self.ask("GET", &format!("/api/workflow/{id}/status"), &Value::Null).await;
            let short: Value = serde_json::from_str(&short).unwrap_or_default();
            if short["status"] == "RUNNING" {
                continue;
            }
            let path = format!("/api/workflow/{id}?includeTasks=true");
            let run: Value =
                serde_json::from_str(&self.ask("GET", &path, &Value::Null).await).unwrap_or_default();
            self.pending.remove(&number);
            self.judge(number, &run);
        }
    }

    fn judge(&mut self, number: u64, run: &Value) {
        let tasks = run["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let completed: Vec<&Value> = tasks.iter().filter(|task| task["status"] == "COMPLETED").collect();
        let bodies = self.world.facts.completed_bodies.borrow_mut().remove(&number).unwrap_or(0);
        let is_right = if Plan::is_refused(number) {
            self.refused += 1;
            run["status"] == "FAILED" && completed.is_empty() && bodies == 0
        } else {
            let result = json!({"number": number});
            run["status"] == "COMPLETED"
                && bodies > 0
                && completed.len() == 1
                && completed.iter().all(|task| task["outputData"]["result"] == result)
        };
        if is_right {
            self.settled += 1;
            self.repeated += tasks.len() as u64 - 1;
            self.unused_results += bodies.saturating_sub(1);
        } else {
            let problem = format!("run {number} with {bodies} completed bodies ended as {run}");
            self.problems.push(problem.chars().take(1000).collect());
        }
    }
}
