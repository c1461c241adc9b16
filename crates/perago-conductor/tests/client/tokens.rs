//! Authentication: tokens are fetched, shared, renewed and never shown.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{FakeServer, Step};
use perago_conductor::{Client, ClientOptions, Credentials, ErrorKind, Secret};

const EXPIRED: &str = r#"{"error":"EXPIRED_TOKEN","message":"token expired"}"#;

fn options(server: &FakeServer) -> ClientOptions {
    let credentials = Credentials { key: Secret::new("key-1"), secret: Secret::new("hunter2") };
    ClientOptions { credentials: Some(credentials), ..server.options() }
}

fn token(text: &str) -> Step {
    Step::ok(&format!(r#"{{"token":"{text}"}}"#))
}

fn sent_tokens(server: &FakeServer) -> Vec<(String, Option<String>)> {
    server
        .received()
        .iter()
        .map(|request| {
            let path = request.target().split(['?']).next().unwrap_or_default().to_owned();
            (path, request.header("x-authorization").map(str::to_owned))
        })
        .collect()
}

fn expect(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    pairs.iter().map(|(path, token)| ((*path).to_owned(), token.map(str::to_owned))).collect()
}

#[tokio::test]
async fn one_token_serves_many_calls() {
    let server = FakeServer::start([token("T1"), Step::ok("1"), Step::ok("2")]).await;
    let client = Client::new(&options(&server)).unwrap();
    assert_eq!(client.queue_size("a", None).await.unwrap(), 1);
    assert_eq!(client.clone().queue_size("a", None).await.unwrap(), 2);
    assert_eq!(
        sent_tokens(&server),
        expect(&[
            ("POST /api/token", None),
            ("GET /api/tasks/queue/size", Some("T1")),
            ("GET /api/tasks/queue/size", Some("T1")),
        ])
    );
    assert_eq!(server.received()[0].body, r#"{"keyId":"key-1","keySecret":"hunter2"}"#);
}

#[tokio::test]
async fn a_refused_token_is_renewed_and_the_call_repeated() {
    for refusal in [Step::Answer(401, String::new()), Step::Answer(403, EXPIRED.to_owned())] {
        let server = FakeServer::start([token("T1"), refusal, token("T2"), Step::ok("7")]).await;
        let client = Client::new(&options(&server)).unwrap();
        assert_eq!(client.queue_size("a", None).await.unwrap(), 7);
        let sent = sent_tokens(&server);
        assert_eq!((sent[1].1.as_deref(), sent[3].1.as_deref()), (Some("T1"), Some("T2")));
    }
}

#[tokio::test]
async fn a_lasting_refusal_is_reported_once() {
    let server = FakeServer::start([
        token("T1"),
        Step::Answer(401, EXPIRED.to_owned()),
        token("T2"),
        Step::Answer(401, EXPIRED.to_owned()),
    ])
    .await;
    let error = Client::new(&options(&server)).unwrap().queue_size("a", None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Authentication { status: 401, .. }), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(server.targets().len(), 4);
}

#[tokio::test]
async fn a_forbidden_call_does_not_renew() {
    let forbidden = Step::Answer(403, r#"{"message":"no permission on task a"}"#.to_owned());
    let server = FakeServer::start([token("T1"), forbidden]).await;
    let error = Client::new(&options(&server)).unwrap().queue_size("a", None).await.unwrap_err();
    assert!(error.to_string().contains("no permission on task a"), "{error}");
    assert_eq!(server.targets().len(), 2);
}

#[tokio::test]
async fn an_old_token_is_renewed_before_it_expires() {
    let server = FakeServer::start([token("T1"), Step::ok("1"), token("T2"), Step::ok("2")]).await;
    let options = ClientOptions { token_lifetime: Duration::ZERO, ..options(&server) };
    let client = Client::new(&options).unwrap();
    client.queue_size("a", None).await.unwrap();
    client.queue_size("a", None).await.unwrap();
    let sent = sent_tokens(&server);
    assert_eq!((sent[1].1.as_deref(), sent[3].1.as_deref()), (Some("T1"), Some("T2")));
}

#[tokio::test]
async fn calls_that_wait_share_one_exchange() {
    let server = FakeServer::start([token("T1"), Step::ok("1"), Step::ok("1"), Step::ok("1")]).await;
    let client = Client::new(&options(&server)).unwrap();
    let (first, second, third) = tokio::join!(
        client.queue_size("a", None),
        client.queue_size("a", None),
        client.queue_size("a", None)
    );
    assert_eq!((first.unwrap(), second.unwrap(), third.unwrap()), (1, 1, 1));
    let exchanges = server.targets().iter().filter(|target| target.ends_with("/token")).count();
    assert_eq!(exchanges, 1);
}

#[tokio::test]
async fn an_open_server_is_used_without_token_and_warned_of_once() {
    let not_found = Step::Answer(404, r#"{"status":404,"message":"no token"}"#.to_owned());
    let server = FakeServer::start([not_found, Step::ok("1"), Step::ok("2")]).await;
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&warnings);
    let options = ClientOptions {
        on_warning: Arc::new(move |text| sink.lock().unwrap().push(text.to_owned())),
        ..options(&server)
    };
    let client = Client::new(&options).unwrap();
    client.queue_size("a", None).await.unwrap();
    client.queue_size("a", None).await.unwrap();
    assert_eq!(sent_tokens(&server)[1..], expect(&[("GET /api/tasks/queue/size", None); 2]));
    assert_eq!(warnings.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn refused_credentials_are_named_but_not_shown() {
    let echo = r#"{"status":401,"message":"invalid key key-1 with secret hunter2"}"#;
    let server = FakeServer::start([Step::Answer(401, echo.to_owned())]).await;
    let error = Client::new(&options(&server)).unwrap().queue_size("a", None).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("key-1"), "{shown}");
    assert!(error.hint().unwrap().contains("CONDUCTOR_AUTH_KEY"));
    assert_eq!(error.code(), "PERAGO-CONDUCTOR-AUTHENTICATION");
}

#[tokio::test]
async fn a_token_service_that_is_down_can_be_retried() {
    let server = FakeServer::start([Step::Answer(503, String::new())]).await;
    let error = Client::new(&options(&server)).unwrap().queue_size("a", None).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}
