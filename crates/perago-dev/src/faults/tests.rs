//! Every fault as a client sees it on the wire, for each service; every named call.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::calls::{BEAT, CALLS};
use super::{Fault, FaultError, Rule, Service};
use crate::testing::TestServices;
use crate::{DevOptions, DevServer};

/// What a client got until the connection ended.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    status: Option<u16>,
    length: Option<usize>,
    body: Vec<u8>,
    is_reset: bool,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

const NOTHING: Got = Got { status: None, length: None, body: Vec::new(), is_reset: false };

async fn send(services: &TestServices, method: &str, path: &str, kind: &str, body: &[u8]) -> Got {
    let mut stream = TcpStream::connect(services.address()).await.unwrap();
    let key = STANDARD.encode("perago-dev:perago-dev");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Basic {key}\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        services.address(),
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let (mut got, mut is_reset) = (Vec::new(), false);
    loop {
        match stream.read_buf(&mut got).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                is_reset = true;
                break;
            }
        }
    }
    let Some(end) = got.windows(4).position(|window| window == b"\r\n\r\n") else {
        assert_eq!(got, b"", "no part of a head");
        return Got { is_reset, ..NOTHING };
    };
    let head = String::from_utf8(got[..end].to_vec()).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    Got { status, length: length.map(|text| text.parse().unwrap()), body: got[end + 4..].to_vec(), is_reset }
}

async fn send_json(services: &TestServices, method: &str, path: &str, body: &Value) -> Got {
    send(services, method, path, "application/json", body.to_string().as_bytes()).await
}

/// A call with an effect that can be seen, as the client of one service would send it.
struct Target {
    call: &'static str,
    method: &'static str,
    path: String,
    kind: &'static str,
    body: Vec<u8>,
    /// What shows the effect: method, path, body, and the status that it has then.
    sight: (&'static str, String, Value, u16),
}

impl Target {
    async fn send(&self, services: &TestServices) -> Got {
        send(services, self.method, &self.path, self.kind, &self.body).await
    }

    async fn is_done(&self, services: &TestServices) -> bool {
        if self.call == "push_metrics" {
            return !services.metric_series().is_empty();
        }
        if self.call == "put_object" {
            // The store links what is not there, as lakeFS does; reading it shows that.
            let (method, path, body, _) = &self.sight;
            assert_eq!(send_json(services, method, path, body).await.status, Some(200));
            let read = format!("{REPOSITORY}/refs/main/objects?path=a");
            return send(services, "GET", &read, "", b"").await.body == self.body;
        }
        let (method, path, body, status) = &self.sight;
        send_json(services, method, path, body).await.status == Some(*status)
    }
}

const REPOSITORY: &str = "/api/v1/repositories/songs";

async fn target(services: &TestServices, service: Service) -> Target {
    let none = ("GET", String::new(), Value::Null, 0);
    match service {
        Service::Conductor => Target {
            call: "register_task_defs",
            method: "POST",
            path: "/api/metadata/taskdefs".to_owned(),
            kind: "application/json",
            body: br#"[{"name":"mix","ownerEmail":"a@example.com"}]"#.to_vec(),
            sight: ("GET", "/api/metadata/taskdefs/mix".to_owned(), Value::Null, 200),
        },
        Service::LakeFs | Service::ObjectStore => {
            let repository = json!({"name": "songs", "storage_namespace": "s3://bucket/songs"});
            let made = send_json(services, "POST", "/api/v1/repositories", &repository).await;
            assert_eq!(made.status, Some(201));
            if service == Service::LakeFs {
                return Target {
                    call: "create_branch",
                    method: "POST",
                    path: format!("{REPOSITORY}/branches"),
                    kind: "application/json",
                    body: br#"{"name":"take-2","source":"main"}"#.to_vec(),
                    sight: ("GET", format!("{REPOSITORY}/branches/take-2"), Value::Null, 200),
                };
            }
            let backing = format!("{REPOSITORY}/branches/main/staging/backing?path=a&presign=true");
            let address = send(services, "GET", &backing, "application/json", b"").await.json();
            let url = address["presigned_url"].as_str().unwrap();
            let link = json!({"staging": address, "checksum": "x", "size_bytes": 4});
            Target {
                call: "put_object",
                method: "PUT",
                path: url.split_once(&services.address().to_string()).unwrap().1.to_owned(),
                kind: "application/octet-stream",
                body: b"song".to_vec(),
                sight: ("PUT", format!("{REPOSITORY}/branches/main/staging/backing?path=a"), link, 200),
            }
        }
        Service::Otlp => Target {
            call: "push_metrics",
            method: "POST",
            path: "/opentelemetry/v1/metrics".to_owned(),
            kind: "application/x-protobuf",
            body: one_sample().encode_to_vec(),
            sight: none,
        },
    }
}

fn one_sample() -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: 1,
        value: Some(number_data_point::Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge { data_points: vec![point] };
    let metric = Metric { name: "m".to_owned(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

const SERVICES: [Service; 4] = [Service::Conductor, Service::LakeFs, Service::ObjectStore, Service::Otlp];

/// Does one fault to one call of a service: what the client got, and whether the service did what it was asked.
async fn meet(service: Service, fault: Fault) -> (Got, bool) {
    let services = TestServices::start().await.unwrap();
    let target = target(&services, service).await;
    let name = format!("{}.{}", service.name(), target.call);
    let scripted = services.faults().script(Rule::new(name, fault).nth(1)).unwrap();
    let got = target.send(&services).await;
    assert!(scripted.hit_within(Duration::ZERO).await);
    let is_done = target.is_done(&services).await;
    let again = target.send(&services).await;
    assert!(again.status.is_some() && !again.is_reset, "only the first is met");
    assert_eq!(services.faults().calls(target.call), Ok(2));
    services.shutdown().await;
    (got, is_done)
}

#[tokio::test]
async fn a_dropped_request_is_never_heard_of() {
    for service in SERVICES {
        assert_eq!(meet(service, Fault::DropRequest).await, (NOTHING, false), "{service:?}");
    }
}

#[tokio::test]
async fn a_dropped_reply_leaves_the_effect() {
    for service in SERVICES {
        assert_eq!(meet(service, Fault::DropReply).await, (NOTHING, true), "{service:?}");
    }
}

#[tokio::test]
async fn a_reset_is_seen_as_one() {
    for service in SERVICES {
        let reset = Got { is_reset: true, ..NOTHING };
        assert_eq!(meet(service, Fault::Reset).await, (reset, false), "{service:?}");
    }
}

#[tokio::test]
async fn another_status_stands_for_the_reply() {
    for service in SERVICES {
        let fault = Fault::Status { code: 503, body: r#"{"message":"busy"}"#.to_owned() };
        let (got, is_done) = meet(service, fault).await;
        assert_eq!((got.status, is_done), (Some(503), false), "{service:?}");
        assert_eq!(got.json(), json!({"message": "busy"}));
    }
}

#[tokio::test]
async fn a_truncated_reply_promises_more_than_it_holds() {
    for service in [Service::LakeFs, Service::ObjectStore] {
        let services = TestServices::start().await.unwrap();
        target(&services, service).await;
        let path = format!("{REPOSITORY}/branches");
        let (call, path) = if service == Service::LakeFs {
            ("list_branches", path)
        } else {
            let upload = format!("{path}/main/objects?path=a");
            let stored =
                send(&services, "POST", &upload, "application/octet-stream", &vec![7; 300_000]).await;
            assert_eq!(stored.status, Some(201));
            let stat = format!("{REPOSITORY}/refs/main/objects/stat?path=a&presign=true");
            let stat = send(&services, "GET", &stat, "", b"").await.json();
            let url = stat["physical_address"].as_str().unwrap();
            ("get_object", url.split_once(&services.address().to_string()).unwrap().1.to_owned())
        };
        let whole = send(&services, "GET", &path, "", b"").await;
        for bytes in [0, 5, whole.body.len() - 1, whole.body.len()] {
            let fault = Fault::Truncate { bytes: bytes as u64 };
            let scripted = services.faults().script(Rule::new(call, fault)).unwrap();
            let got = send(&services, "GET", &path, "", b"").await;
            assert_eq!(got.body, whole.body[..bytes], "{service:?}");
            assert_eq!((got.status, got.length, got.is_reset), (whole.status, whole.length, false));
            scripted.lift();
        }
        services.shutdown().await;
    }
    for service in [Service::Conductor, Service::Otlp] {
        let (got, is_done) = meet(service, Fault::Truncate { bytes: 0 }).await;
        assert_eq!((got.body, is_done, got.status), (Vec::new(), true, Some(200)), "{service:?}");
    }
}

#[tokio::test]
async fn delays_come_before_or_after_the_effect() {
    for service in SERVICES {
        for is_reply in [false, true] {
            let services = TestServices::start().await.unwrap();
            let target = target(&services, service).await;
            let milliseconds = 3_600_000;
            let fault =
                if is_reply { Fault::DelayReply { milliseconds } } else { Fault::Delay { milliseconds } };
            let late = services.faults().script(Rule::new(target.call, fault).nth(1)).unwrap();
            let waiting = target.send(&services);
            tokio::select! {
                got = waiting => panic!("{service:?} has answered: {got:?}"),
                is_seen = seen(&services, &target, &late, is_reply) => assert_eq!(is_seen, is_reply),
            }
        }
        let begun = Instant::now();
        let (got, is_done) = meet(service, Fault::Delay { milliseconds: 30 }).await;
        assert!(is_done && got.status.is_some() && begun.elapsed() >= Duration::from_millis(30));
    }
}

/// Waits until a delay has begun, and for the effect where there is to be one; says whether there is one.
async fn seen(services: &TestServices, target: &Target, late: &super::Scripted, is_awaited: bool) -> bool {
    assert!(late.hit().await);
    while is_awaited && !target.is_done(services).await {
        tokio::task::yield_now().await;
    }
    target.is_done(services).await
}

#[tokio::test]
async fn every_named_call_can_be_met() {
    let services = TestServices::start().await.unwrap();
    for (call, method, route) in CALLS {
        let name = format!("{}.{}", call.service.name(), call.name);
        let fault = Fault::Status { code: 599, body: String::new() };
        let scripted = services.faults().script(Rule::new(&name, fault)).unwrap();
        let segments = route.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment });
        let path = segments.collect::<Vec<_>>().join("/");
        let body: &[u8] = if *call == BEAT { br#"{"extendLease":true}"# } else { b"{}" };
        let got = send(&services, method, &path, "application/json", body).await;
        assert_eq!((got.status, scripted.hits()), (Some(599), 1), "{name}: {method} {path}");
        scripted.lift();
    }
    services.shutdown().await;
}

#[tokio::test]
async fn a_beat_is_told_from_an_update() {
    let services = TestServices::start().await.unwrap();
    let beat = json!({"taskId": "t", "workflowInstanceId": "w", "extendLease": true});
    let update = json!({"taskId": "t", "workflowInstanceId": "w", "status": "COMPLETED"});
    send_json(&services, "POST", "/api/tasks", &beat).await;
    send_json(&services, "POST", "/api/tasks", &update).await;
    send_json(&services, "POST", "/api/tasks", &update).await;
    let counted = |name| services.faults().calls(name).unwrap();
    assert_eq!((counted("extend_lease"), counted("update_task"), counted("*")), (1, 2, 3));
    services.shutdown().await;
}

#[tokio::test]
async fn faults_are_scripted_over_http_where_they_are_enabled() {
    let services = TestServices::start().await.unwrap();
    let rule = json!({"call": "health", "fault": {"kind": "status", "code": 500}, "when": {"nth": 2}});
    let made = send_json(&services, "POST", "/perago/faults", &rule).await;
    assert_eq!((made.status, made.json()), (Some(201), json!({"id": 1})));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(send(&services, "GET", "/health", "", b"").await.status.unwrap());
    }
    assert_eq!(statuses, [200, 500, 200]);
    let shown = send(&services, "GET", "/perago/faults", "", b"").await.json();
    assert_eq!((&shown["rules"][0]["seen"], &shown["rules"][0]["hits"]), (&json!(3), &json!(1)));
    assert_eq!(
        (&shown["calls"]["conductor.health"], &shown["calls"]["lakefs.merge"]),
        (&json!(3), &json!(0))
    );
    let lifted = send(&services, "DELETE", "/perago/faults/1", "", b"").await;
    assert_eq!((lifted.status, lifted.json()), (Some(200), json!({"seen": 3, "hits": 1})));
    assert_eq!(send(&services, "DELETE", "/perago/faults/1", "", b"").await.status, Some(404));
    for (refused, code) in [
        (json!({"call": "pull", "fault": {"kind": "reset"}}), "PERAGO-FAULT-CALL"),
        (json!({"call": "poll", "fault": {"kind": "melt"}}), "PERAGO-FAULT-VALUE"),
        (json!({"call": "poll", "fault": {"kind": "reset"}, "often": 1}), "PERAGO-FAULT-VALUE"),
    ] {
        let answer = send_json(&services, "POST", "/perago/faults", &refused).await;
        assert_eq!((answer.status, &answer.json()["code"]), (Some(400), &json!(code)));
    }
    services.shutdown().await;

    let plain = DevServer::start(DevOptions::default()).await.unwrap();
    assert_eq!((plain.faults().unwrap_err(), plain.faults_url()), (FaultError::Off, None));
    assert_eq!(plain.advance(Duration::from_secs(1)), Err(FaultError::Off));
    plain.shutdown().await;
}

#[tokio::test]
async fn time_passes_for_the_engine_at_once() {
    let services = TestServices::start().await.unwrap();
    let task = json!([{
        "name": "mix", "retryCount": 1, "retryDelaySeconds": 60, "retryLogic": "FIXED",
        "responseTimeoutSeconds": 600, "timeoutSeconds": 3600, "ownerEmail": "a@example.com",
    }]);
    send_json(&services, "POST", "/api/metadata/taskdefs", &task).await;
    let workflow = json!([{
        "name": "mix", "version": 1, "schemaVersion": 2, "timeoutSeconds": 0, "ownerEmail": "a@example.com",
        "tasks": [{"name": "mix", "taskReferenceName": "mix", "type": "SIMPLE", "inputParameters": {}}],
    }]);
    send_json(&services, "PUT", "/api/metadata/workflow", &workflow).await;
    let run = send_json(&services, "POST", "/api/workflow", &json!({"name": "mix"})).await;
    let run = String::from_utf8(run.body).unwrap();
    let poll =
        async || send(&services, "GET", "/api/tasks/poll/batch/mix?count=1&timeout=0", "", b"").await.json();
    let tasks = async || {
        let shown = send(&services, "GET", &format!("/api/workflow/{run}"), "", b"").await.json();
        let tasks = shown["tasks"].as_array().unwrap().iter();
        tasks.map(|task| task["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(poll().await.as_array().unwrap().len(), 1);
    services.advance(Duration::from_secs(590)).unwrap();
    assert_eq!(tasks().await, ["IN_PROGRESS"]);
    // The response timeout, then the delay of the retry, in one step.
    services.advance(Duration::from_secs(71)).unwrap();
    assert_eq!(tasks().await, ["TIMED_OUT", "SCHEDULED"]);
    assert_eq!(poll().await.as_array().unwrap().len(), 1);

    let clock = async |text: &str| send(&services, "POST", "/perago/clock", "", text.as_bytes()).await;
    let moved = clock(r#"{"advance_seconds": 600.5}"#).await;
    assert_eq!((moved.status, moved.json()), (Some(200), json!({"ahead_seconds": 1261.5})));
    assert_eq!(tasks().await, ["TIMED_OUT", "TIMED_OUT"]);
    for refused in [r#"{"advance_seconds": -1}"#, r#"{"advance_seconds": 1e12}"#, "{}"] {
        assert_eq!(clock(refused).await.status, Some(400), "{refused}");
    }
    services.shutdown().await;
}
