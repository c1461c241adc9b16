//! The mapping from whole descriptions to what Conductor gets.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use perago_contract::{Severity, TaskDescription, to_pretty_ascii_json};
use serde_json::{Value, json};

fn fixture(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../../tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn description(changes: &[(&str, Value)]) -> TaskDescription {
    let mut document = json!({
        "name": "demo.echo",
        "owner_email": "ops@example.com",
        "params_schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
        "result_schema": {"type": "object", "properties": {}}
    });
    for (key, value) in changes {
        document[*key] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

#[test]
fn task_defs_of_the_examples_are_byte_for_byte_the_expected_files() {
    for name in ["demo.mix", "demo.render"] {
        let description: TaskDescription =
            serde_json::from_str(&fixture(&format!("descriptions/{name}.json"))).unwrap();
        let text = to_pretty_ascii_json(&description.task_def().unwrap());
        assert_eq!(text, fixture(&format!("examples/{name}.taskdef.json")), "{name}");
    }
}

#[test]
fn keys_stand_in_the_order_of_the_contract() {
    let task_def = description(&[("description", json!("text"))]).task_def().unwrap();
    let keys: Vec<&String> = task_def.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "name",
            "ownerEmail",
            "description",
            "retryCount",
            "retryLogic",
            "retryDelaySeconds",
            "maxRetryDelaySeconds",
            "backoffJitterMs",
            "totalTimeoutSeconds",
            "timeoutPolicy",
            "timeoutSeconds",
            "responseTimeoutSeconds",
            "pollTimeoutSeconds",
            "inputKeys",
            "outputKeys",
            "inputSchema",
            "outputSchema"
        ]
    );
    assert_eq!(task_def["inputKeys"], json!(["params"]));
    assert_eq!(task_def["outputKeys"], json!(["result"]));
}

#[test]
fn strict_params_close_the_params_but_not_the_envelope() {
    for strict in [false, true] {
        let task_def = description(&[("strict_params", json!(strict))]).task_def().unwrap();
        let data = &task_def["inputSchema"]["data"];
        assert_eq!(data["additionalProperties"], json!(true));
        assert_eq!(data["properties"]["params"]["additionalProperties"], json!(!strict));
        assert_eq!(
            task_def["outputSchema"]["data"]["properties"]["result"]["additionalProperties"],
            json!(false)
        );
    }
}

#[test]
fn recursive_definitions_stand_where_their_references_point() {
    let schema = json!({
        "$defs": {"N": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}}, "$ref": "#/$defs/N"
    });
    let task_def = description(&[("params_schema", schema)]).task_def().unwrap();
    let data = &task_def["inputSchema"]["data"];
    assert_eq!(data["properties"]["params"]["properties"]["n"], json!({"$ref": "#/$defs/N"}));
    assert_eq!(data["properties"]["params"].get("$defs"), None);
    assert_eq!(data["$defs"]["N"]["type"], json!("object"));
}

#[test]
fn every_violation_is_found_at_once() {
    let findings = description(&[
        ("name", json!("a/b")),
        ("owner_email", json!(" ")),
        ("controls", json!({"retry": {"count": 99}})),
        ("result_schema", json!({"type": "string"})),
        ("source", json!({"file": "task.py", "line": 7})),
    ])
    .validate();
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code.as_ref()).collect();
    assert_eq!(
        codes,
        ["PERAGO-TASK-NAME", "PERAGO-OWNER-EMAIL", "PERAGO-CONTROLS", "PERAGO-SCHEMA-NOT-OBJECT"]
    );
    assert!(findings.iter().all(|finding| finding.is_error() && finding.line == Some(7)));
}

#[test]
fn budgets_are_compared_with_the_lease() {
    let budget = json!({
        "observed_merge_p99_seconds": 1, "safety_margin_seconds": 1, "lakefs_merge_timeout_seconds": 600,
        "conductor_completion_timeout_seconds": 1, "worker_shutdown_grace_seconds": 1, "heartbeat_interval_seconds": 1
    });
    let find = |workspace: Value| {
        let controls = json!({"publish_budget": budget});
        description(&[("workspace", workspace), ("controls", controls)]).validate()
    };
    let warnings = find(json!({}));
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].severity, Severity::Warning);
    for part in [
        "demo.echo",
        "TaskControls.timeout.response_seconds=600",
        "publish_budget.response_timeout_seconds=603",
    ] {
        assert!(warnings[0].message.contains(part), "{}", warnings[0].message);
    }
    assert_eq!(find(json!({"read_only": true}))[0].code, "PERAGO-BUDGET-IGNORED");
    assert_eq!(find(Value::Null)[0].code, "PERAGO-PUBLISH-BUDGET");
}
