//! Random orders of events against the engine: what must hold after each of them, and at the end.
#![expect(clippy::unwrap_used, reason = "a failure is what the test is to show")]

use std::collections::HashMap;

use perago_dev::engine::{
    Engine, Retention, StartRequest, TaskDefinition, TaskUpdate, UpdateStatus, WorkflowStatus,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const RETRIES: i64 = 2;
const RESPONSE_TIMEOUT: i64 = 5;

#[derive(Clone, Debug)]
enum Event {
    Start,
    Poll,
    Update(u8, UpdateStatus),
    Beat(u8),
    Wait(i64),
    Pause(u8),
    Resume(u8),
    Terminate(u8),
    Retry(u8),
    Decide(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let status = prop_oneof![
        4 => Just(UpdateStatus::Completed),
        3 => Just(UpdateStatus::Failed),
        2 => Just(UpdateStatus::InProgress),
        1 => Just(UpdateStatus::FailedWithTerminalError),
        1 => Just(UpdateStatus::Canceled),
    ];
    prop_oneof![
        3 => Just(Event::Start),
        6 => Just(Event::Poll),
        6 => (any::<u8>(), status).prop_map(|(which, status)| Event::Update(which, status)),
        2 => any::<u8>().prop_map(Event::Beat),
        4 => (0_i64..8_000).prop_map(Event::Wait),
        1 => any::<u8>().prop_map(Event::Pause),
        1 => any::<u8>().prop_map(Event::Resume),
        1 => any::<u8>().prop_map(Event::Terminate),
        1 => any::<u8>().prop_map(Event::Retry),
        1 => any::<u8>().prop_map(Event::Decide),
    ]
}

struct World {
    engine: Engine,
    now: i64,
    runs: Vec<String>,
    /// Tasks that were ever handed out, as (run, task).
    claims: Vec<(String, String)>,
    /// How often a run was retried from outside, which adds one attempt each.
    retried: HashMap<String, i64>,
}

impl World {
    fn new() -> Self {
        let mut engine = Engine::new(Retention::default(), 7);
        let definition = json!({
            "name": "t", "retryCount": RETRIES, "retryDelaySeconds": 1, "retryLogic": "EXPONENTIAL_BACKOFF",
            "maxRetryDelaySeconds": 3, "backoffJitterMs": 500, "responseTimeoutSeconds": RESPONSE_TIMEOUT,
            "concurrentExecLimit": 3,
        });
        let definition: TaskDefinition = serde_json::from_value(definition).unwrap();
        engine.register_task_definitions(vec![definition], 1).unwrap();
        let step = |reference: &str| json!({"name": "t", "taskReferenceName": reference, "type": "SIMPLE"});
        let workflow = json!({"name": "w", "version": 1, "tasks": [step("a"), step("b")]});
        engine.register_workflow(serde_json::from_value(workflow).unwrap(), 1).unwrap();
        Self { engine, now: 1_000, runs: Vec::new(), claims: Vec::new(), retried: HashMap::new() }
    }

    fn pick(&self, which: u8) -> Option<String> {
        (!self.runs.is_empty()).then(|| self.runs[usize::from(which) % self.runs.len()].clone())
    }

    fn claim(&self, which: u8) -> Option<TaskUpdate> {
        let (run, task) = self.claims.get(usize::from(which) % self.claims.len().max(1))?;
        Some(TaskUpdate {
            workflow_instance_id: Some(run.clone()),
            task_id: Some(task.clone()),
            ..TaskUpdate::default()
        })
    }

    fn poll(&mut self) {
        let claimed = self.engine.poll("t", None, Some("w"), 2, self.now);
        let shown = serde_json::to_value(self.engine.claimed(&claimed)).unwrap();
        for task in shown.as_array().unwrap() {
            let text = |key: &str| task[key].as_str().unwrap().to_owned();
            assert_eq!(task["status"], "IN_PROGRESS");
            self.claims.push((text("workflowInstanceId"), text("taskId")));
        }
    }

    fn apply(&mut self, event: &Event) {
        let now = self.now;
        match *event {
            Event::Start => {
                let request = StartRequest { name: Some("w".to_owned()), ..StartRequest::default() };
                self.runs.push(self.engine.start(request, now).unwrap().to_string());
            }
            Event::Poll => self.poll(),
            Event::Update(which, status) => {
                if let Some(update) = self.claim(which) {
                    self.engine.update(TaskUpdate { status: Some(status), ..update }, now).unwrap();
                }
            }
            Event::Beat(which) => {
                if let Some(update) = self.claim(which) {
                    self.engine.update(TaskUpdate { extend_lease: true, ..update }, now).unwrap();
                }
            }
            Event::Wait(milliseconds) => {
                self.now += milliseconds;
                self.engine.advance(self.now);
            }
            Event::Pause(which) => drop(self.pick(which).map(|run| self.engine.pause(&run, now))),
            Event::Resume(which) => drop(self.pick(which).map(|run| self.engine.resume(&run, now))),
            Event::Terminate(which) => {
                drop(self.pick(which).map(|run| self.engine.terminate(&run, None, now)));
            }
            Event::Retry(which) => {
                if let Some(run) = self.pick(which)
                    && self.engine.retry_workflow(&run, now).is_ok()
                {
                    *self.retried.entry(run).or_default() += 1;
                }
            }
            Event::Decide(which) => drop(self.pick(which).map(|run| self.engine.decide(&run, now))),
        }
    }

    fn shown(&self, run: &str) -> Value {
        serde_json::to_value(self.engine.workflow(run, true).unwrap()).unwrap()
    }

    fn check(&self) {
        let mut in_progress = 0;
        for run in &self.runs {
            let shown = self.shown(run);
            let tasks = shown["tasks"].as_array().unwrap();
            let is_live =
                |task: &&Value| matches!(task["status"].as_str(), Some("SCHEDULED" | "IN_PROGRESS"));
            let live = tasks.iter().filter(is_live).count();
            assert!(live <= 1, "two live attempts: {shown:#}");
            in_progress += tasks.iter().filter(|task| task["status"] == "IN_PROGRESS").count();
            let status = shown["status"].as_str().unwrap();
            match status {
                "RUNNING" => assert_eq!(live, 1, "nothing would ever move it: {shown:#}"),
                "PAUSED" => {}
                _ => assert_eq!(live, 0, "a run that is over has live attempts: {shown:#}"),
            }
            let bound = RETRIES + self.retried.get(run).copied().unwrap_or(0);
            for (position, task) in tasks.iter().enumerate() {
                assert_eq!(task["seq"], position as i64 + 1);
                let retry = task["retryCount"].as_i64().unwrap();
                assert!(retry <= bound, "too many retries: {shown:#}");
                let delay = task["startDelayInSeconds"].as_i64().unwrap();
                assert!((0..=3).contains(&delay), "backoff out of bounds: {task:#}");
                if retry > 0 {
                    let earlier = task["retriedTaskId"].as_str().unwrap();
                    assert!(
                        tasks[..position]
                            .iter()
                            .any(|task| task["taskId"] == earlier && task["retried"] == true)
                    );
                }
                if task["startTime"].as_i64().unwrap() > 0 {
                    let waited =
                        task["startTime"].as_i64().unwrap() - task["scheduledTime"].as_i64().unwrap();
                    assert!(waited >= delay * 1000, "handed out early: {task:#}");
                }
            }
        }
        assert!(in_progress <= 3, "more attempts in progress than the limit");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_keeps_the_rules_and_every_run_ends(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        for event in events {
            world.apply(&event);
            world.check();
        }
        for run in world.runs.clone() {
            if world.engine.workflow_status(&run).unwrap() == WorkflowStatus::Paused {
                world.engine.resume(&run, world.now).unwrap();
            }
        }
        // Nobody works any more: polls alone, whose leases run out, must bring every run to its end.
        for _ in 0..4_000 {
            if world.engine.running("w", None).is_empty() {
                break;
            }
            world.poll();
            world.now = world.engine.next_deadline().unwrap_or(world.now + 1).max(world.now + 1);
            world.engine.advance(world.now);
        }
        world.check();
        prop_assert!(world.engine.running("w", None).is_empty());
        prop_assert!(world.engine.queue_size("t", None) == 0);
    }

    #[test]
    fn finished_runs_are_bounded(runs in 1_usize..60, kept in 0_usize..20) {
        let mut world = World::new();
        world.engine = Engine::new(Retention { workflows: kept, bytes: 1 << 20 }, 3);
        let workflow = json!({"name": "w", "version": 1, "tasks": [{"name": "t", "taskReferenceName": "a"}]});
        world.engine.register_workflow(serde_json::from_value(workflow).unwrap(), 1).unwrap();
        for _ in 0..runs {
            world.apply(&Event::Start);
            world.poll();
            let last = world.claims.len() - 1;
            let (run, task) = world.claims[last].clone();
            let update = TaskUpdate {
                workflow_instance_id: Some(run),
                task_id: Some(task),
                status: Some(UpdateStatus::Completed),
                ..TaskUpdate::default()
            };
            world.engine.update(update, world.now).unwrap();
        }
        prop_assert_eq!(world.engine.held(), (runs.min(kept), runs.min(kept)));
        prop_assert_eq!(world.engine.next_deadline(), None);
    }
}
