//! The client against a real Conductor server, named by `PERAGO_TEST_CONDUCTOR_URL`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::{SystemTime, UNIX_EPOCH};

use perago_conductor::{
    Address, Client, ClientOptions, Credentials, ResultStatus, Secret, StartWorkflow, TaskLog, TaskResult,
    TaskStatus, WorkflowStatus,
};
use serde_json::json;
use serde_json::value::RawValue;

fn client() -> Client {
    let url = std::env::var("PERAGO_TEST_CONDUCTOR_URL").unwrap();
    // Credentials make the client ask for a token, which the open-source server does not have.
    let credentials = Credentials { key: Secret::new("any"), secret: Secret::new("any") };
    let options =
        ClientOptions { credentials: Some(credentials), ..ClientOptions::new(Address::parse(&url).unwrap()) };
    Client::new(&options).unwrap()
}

fn unique(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("perago.client.{name}.{now}")
}

async fn start(client: &Client, task: &str) -> String {
    let definition =
        json!({"name": task, "retryCount": 0, "ownerEmail": "ops@example.com", "responseTimeoutSeconds": 30});
    client.register_task_defs(&[definition]).await.unwrap();
    let workflow = json!({
        "name": task, "version": 1, "schemaVersion": 2, "ownerEmail": "ops@example.com",
        "tasks": [{"name": task, "taskReferenceName": "a", "type": "SIMPLE",
                   "inputParameters": {"x": "${workflow.input.x}"}}],
        "outputParameters": {"r": "${a.output.result}"},
    });
    client.put_workflows(&[workflow]).await.unwrap();
    let start = StartWorkflow { name: task.into(), input: json!({"x": 2.5}), ..StartWorkflow::default() };
    client.start_workflow(&start).await.unwrap()
}

#[tokio::test]
#[ignore = "asks for a real Conductor server: make test-services"]
async fn a_task_is_polled_released_beaten_and_completed() {
    let client = client();
    assert!(client.health().await.unwrap());
    let name = unique("run");
    assert!(client.get_task_def(&name).await.unwrap().is_none());
    let run = start(&client, &name).await;
    assert_eq!(client.get_task_def(&name).await.unwrap().unwrap()["retryCount"], 0);
    assert_eq!(client.queue_size(&name, None).await.unwrap(), 1);

    let polled = client.poll_batch(&name, "w1", None, 1, 5_000).await.unwrap().remove(0);
    assert_eq!((polled.status, polled.poll_count), (TaskStatus::InProgress, 1));
    assert_eq!(
        (polled.workflow_instance_id.as_str(), polled.input_data.get()),
        (run.as_str(), r#"{"x":2.5}"#)
    );
    client.update_task(&TaskResult::release(&polled, "w1")).await.unwrap();

    let again = client.poll_batch(&name, "w2", None, 1, 5_000).await.unwrap().remove(0);
    assert_eq!((again.task_id.as_str(), again.poll_count), (polled.task_id.as_str(), 2));
    client.extend_lease(&run, &again.task_id).await.unwrap();
    let result = TaskResult {
        output_data: Some(RawValue::from_string(r#"{"result":5}"#.to_owned()).unwrap()),
        logs: vec![TaskLog { log: "line".into(), created_time: 1 }],
        ..TaskResult::new(&again, "w2", ResultStatus::Completed)
    };
    client.update_task(&result).await.unwrap();
    client.append_task_log(&again.task_id, "another line").await.unwrap();

    let read = client.get_task(&again.task_id).await.unwrap().unwrap();
    assert_eq!((read.status, read.output_data.get()), (TaskStatus::Completed, r#"{"result":5}"#));
    let ended = client.get_workflow(&run).await.unwrap().unwrap();
    assert_eq!((ended.status, &ended.output["r"]), (WorkflowStatus::Completed, &json!(5)));
    assert!(client.poll_batch(&name, "w1", None, 4, 0).await.unwrap().is_empty());
    assert_eq!(client.terminate_workflow(&run, None).await.unwrap_err().status(), Some(409));
}

#[tokio::test]
#[ignore = "asks for a real Conductor server: make test-services"]
async fn failures_and_unknown_things_are_told_apart() {
    let client = client();
    let name = unique("failures");
    assert!(client.get_task("nope").await.unwrap().is_none());
    assert!(client.get_workflow("nope").await.unwrap().is_none());
    assert!(client.poll_one(&name, "w", None).await.unwrap().is_none());
    let error = client.poll_batch(&name, "w", None, 1, 5_001).await.unwrap_err();
    assert_eq!((error.status(), error.is_retryable()), (Some(400), false));
    let error = client.extend_lease("nope", "nope").await.unwrap_err();
    assert!(error.is_missing(), "{error:?}");

    let run = start(&client, &name).await;
    let polled = client.poll_one(&name, "w", None).await.unwrap().unwrap();
    let result = TaskResult {
        reason_for_incompletion: Some("as the test wants".into()),
        ..TaskResult::new(&polled, "w", ResultStatus::FailedWithTerminalError)
    };
    client.update_task(&result).await.unwrap();
    let failed = client.get_task(&polled.task_id).await.unwrap().unwrap();
    assert_eq!(failed.status, TaskStatus::FailedWithTerminalError);
    assert_eq!(failed.reason_for_incompletion.as_deref(), Some("as the test wants"));
    assert_eq!(client.get_workflow(&run).await.unwrap().unwrap().status, WorkflowStatus::Failed);
    let run = start(&client, &name).await;
    client.terminate_workflow(&run, Some("over")).await.unwrap();
    assert_eq!(client.get_workflow(&run).await.unwrap().unwrap().status, WorkflowStatus::Terminated);
}
