//! The wire form of every call.

use crate::support::{FakeServer, Step};
use perago_conductor::{ResultStatus, StartWorkflow, Task, TaskLog, TaskResult, TaskStatus, WorkflowStatus};
use serde_json::json;
use serde_json::value::RawValue;

fn missing(message: &str) -> Step {
    let body = json!({"status": 404, "message": message, "instance": "vm", "retryable": false});
    Step::Answer(404, body.to_string())
}

#[tokio::test]
async fn polls_ask_as_the_protocol_says() {
    let server = FakeServer::start([
        Step::ok(r#"[{"taskId":"t1","status":"IN_PROGRESS","inputData":{"x":2},"pollCount":1}]"#),
        Step::ok("[]"),
        Step::Answer(204, String::new()),
        Step::ok(r#"{"taskId":"t2","status":"IN_PROGRESS"}"#),
    ])
    .await;
    let client = server.client();
    let tasks = client.poll_batch("demo.mix", "w 1", Some("d&1"), 3, 0).await.unwrap();
    assert_eq!((tasks.len(), tasks[0].input_data.get()), (1, r#"{"x":2}"#));
    assert!(client.poll_batch("demo.mix", "w", None, 1, 1_000).await.unwrap().is_empty());
    assert!(client.poll_one("a/b", "w", None).await.unwrap().is_none());
    assert_eq!(client.poll_one("a/b", "w", None).await.unwrap().unwrap().task_id, "t2");
    assert_eq!(
        server.targets(),
        [
            "GET /api/tasks/poll/batch/demo.mix?count=3&timeout=0&workerid=w+1&domain=d%261",
            "GET /api/tasks/poll/batch/demo.mix?count=1&timeout=1000&workerid=w",
            "GET /api/tasks/poll/a%2Fb?workerid=w",
            "GET /api/tasks/poll/a%2Fb?workerid=w",
        ]
    );
    let connections: Vec<_> = server.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 1, 1, 1], "one kept connection serves all");
}

#[tokio::test]
async fn updates_and_beats_go_to_tasks() {
    let server = FakeServer::start([Step::ok("t1"), Step::ok("t1"), Step::ok("")]).await;
    let client = server.client();
    let task = Task { task_id: "t1".into(), workflow_instance_id: "w1".into(), ..Task::default() };
    let result = TaskResult {
        output_data: Some(RawValue::from_string(r#"{"result":1.0}"#.to_owned()).unwrap()),
        logs: vec![TaskLog { log: "hello".into(), created_time: 7 }],
        ..TaskResult::new(&task, "me", ResultStatus::Completed)
    };
    client.update_task(&result).await.unwrap();
    client.extend_lease("w1", "t1").await.unwrap();
    client.append_task_log("t1", r#"say "hi""#).await.unwrap();
    let received = server.received();
    assert_eq!(server.targets(), ["POST /api/tasks", "POST /api/tasks", "POST /api/tasks/t1/log"]);
    assert_eq!(
        received[0].body,
        r#"{"workflowInstanceId":"w1","taskId":"t1","workerId":"me","status":"COMPLETED","outputData":{"result":1.0},"callbackAfterSeconds":0,"logs":[{"log":"hello","createdTime":7}]}"#
    );
    assert_eq!(received[0].header("content-type"), Some("application/json"));
    let beat: serde_json::Value = serde_json::from_str(&received[1].body).unwrap();
    assert_eq!(
        beat,
        json!({"workflowInstanceId": "w1", "taskId": "t1", "status": "IN_PROGRESS", "extendLease": true})
    );
    assert_eq!(
        (received[2].body.as_str(), received[2].header("content-type")),
        (r#"say "hi""#, Some("text/plain"))
    );
}

#[tokio::test]
async fn what_does_not_exist_is_none() {
    let server = FakeServer::start([
        missing("Task not found for taskId: nope"),
        missing("No such taskType found by name: nope"),
        missing("No such workflow found by id: nope"),
        Step::Answer(404, "<html>nginx</html>".to_owned()),
    ])
    .await;
    let client = server.client();
    assert!(client.get_task("nope").await.unwrap().is_none());
    assert!(client.get_task_def("nope").await.unwrap().is_none());
    assert!(client.get_workflow("nope").await.unwrap().is_none());
    let error = client.get_task("t1").await.unwrap_err();
    assert!(error.hint().unwrap().contains("/api"), "a proxy's 404 does not say that the task is gone");
}

#[tokio::test]
async fn definitions_and_runs() {
    let server = FakeServer::start([
        Step::ok(r#"{"name":"a"}"#),
        Step::ok(""),
        Step::ok(""),
        Step::ok(r#"{"bulkErrorResults":{}}"#),
        Step::ok("wf-1"),
        Step::ok(r#"{"workflowId":"wf-1","status":"COMPLETED","output":{"r":5},"tasks":[{"taskId":"t","status":"TIMED_OUT"}]}"#),
        Step::ok(""),
        Step::ok("2"),
        Step::ok(r#"{"healthResults":[],"healthy":true}"#),
    ])
    .await;
    let client = server.client();
    assert_eq!(client.get_task_def("a").await.unwrap().unwrap()["name"], "a");
    client.register_task_defs(&[json!({"name": "a"})]).await.unwrap();
    client.register_workflow(&json!({"name": "w"})).await.unwrap();
    client.put_workflows(&[json!({"name": "w"})]).await.unwrap();
    let start = StartWorkflow { name: "w".into(), input: json!({"x": 1}), ..StartWorkflow::default() };
    assert_eq!(client.start_workflow(&start).await.unwrap(), "wf-1");
    let run = client.get_workflow("wf-1").await.unwrap().unwrap();
    assert_eq!((run.status, run.tasks[0].status), (WorkflowStatus::Completed, TaskStatus::TimedOut));
    client.terminate_workflow("wf-1", Some("done with it")).await.unwrap();
    assert_eq!(client.queue_size("a", Some("d")).await.unwrap(), 2);
    assert!(client.health().await.unwrap());
    assert_eq!(
        server.targets(),
        [
            "GET /api/metadata/taskdefs/a",
            "POST /api/metadata/taskdefs",
            "POST /api/metadata/workflow",
            "PUT /api/metadata/workflow",
            "POST /api/workflow",
            "GET /api/workflow/wf-1?includeTasks=true",
            "DELETE /api/workflow/wf-1?reason=done+with+it",
            "GET /api/tasks/queue/size?taskType=a&domain=d",
            "GET /api/health",
        ]
    );
    let bodies: Vec<_> = server.received().iter().map(|request| request.body.clone()).collect();
    assert_eq!(
        bodies[1..5],
        [r#"[{"name":"a"}]"#, r#"{"name":"w"}"#, r#"[{"name":"w"}]"#, r#"{"name":"w","input":{"x":1}}"#]
    );
}
