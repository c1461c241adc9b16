//! What each kind of broken exchange becomes.

use std::time::Duration;

use crate::support::{FakeServer, Step};
use perago_conductor::{Address, Client, ClientOptions, Error, ErrorKind, ProxyOptions};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

async fn failure_of(step: Step) -> Error {
    let server = FakeServer::start([step]).await;
    server.client().poll_batch("a", "w", None, 1, 0).await.expect_err("the answer is broken")
}

#[tokio::test]
async fn a_closed_port_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = ClientOptions::new(Address::parse(&format!("http://{address}/api")).unwrap());
    let error = Client::new(&options).unwrap().get_task_def("a").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connect(_)), "{error:?}");
    assert!(error.is_retryable() && !error.may_have_been_received());
    assert_eq!(error.code(), "PERAGO-CONDUCTOR-CONNECT");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("failed to read a TaskDef on http://{address}/api: cannot connect: ")),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_dropped_connection_may_have_been_received() {
    let partial = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{".to_vec();
    for step in [Step::Drop, Step::Raw(partial)] {
        let error = failure_of(step).await;
        assert!(matches!(error.kind(), ErrorKind::Interrupted(_)), "{error:?}");
        assert!(error.is_retryable() && error.may_have_been_received());
    }
}

#[tokio::test]
async fn a_dropped_update_is_not_sent_twice() {
    let server = FakeServer::start([Step::Drop, Step::ok("t")]).await;
    let error = server.client().extend_lease("w", "t").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Interrupted(_)), "{error:?}");
    assert_eq!(server.targets().len(), 1);
}

#[tokio::test]
async fn silence_is_a_timeout_beyond_the_polls_own() {
    let server = FakeServer::start([Step::Hang]).await;
    let options = ClientOptions { request_timeout: Duration::from_millis(40), ..server.options() };
    let error = Client::new(&options).unwrap().poll_batch("a", "w", None, 1, 30).await.unwrap_err();
    let ErrorKind::Timeout(limit) = error.kind() else { panic!("{error:?}") };
    assert_eq!(*limit, Duration::from_millis(70));
    assert!(error.is_retryable() && error.may_have_been_received());
}

#[tokio::test]
async fn answers_that_are_none() {
    for (step, word) in [
        (Step::ok("<html>hello</html>"), "HTML"),
        (Step::ok("[{\"taskId\":"), "EOF"),
        (Step::ok("{\"taskId\":1}"), "invalid type"),
        (Step::ok("\u{fffd}"), "expected value"),
    ] {
        let error = failure_of(step).await;
        assert!(matches!(error.kind(), ErrorKind::Decode(_)), "{error:?}");
        assert!(error.to_string().contains(word) && !error.is_retryable(), "{error}");
        assert!(error.hint().unwrap().contains("/api"));
    }
    let error = failure_of(Step::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())).await;
    assert!(matches!(error.kind(), ErrorKind::Interrupted(_)), "{error:?}");
}

#[tokio::test]
async fn server_errors_keep_their_class() {
    let body = |message: &str, retryable| {
        format!(r#"{{"status":500,"message":"{message}","retryable":{retryable}}}"#)
    };
    for (status, body, retryable) in [
        (500, body("JSON parse error: Unexpected character", false), false),
        (500, body("queue write failed", true), true),
        (500, body("[SQLITE_BUSY] The database file is locked", false), true),
        (503, "<html>".to_owned(), true),
        (429, String::new(), true),
        (400, body("Long Poll Timeout value cannot be more than 5 seconds", false), false),
    ] {
        let error = failure_of(Step::Answer(status, body)).await;
        assert_eq!((error.status(), error.is_retryable()), (Some(status), retryable), "{error}");
    }
}

#[tokio::test]
async fn redirects_are_shown_and_not_followed() {
    let server = FakeServer::start([Step::Raw(
        b"HTTP/1.1 301 Moved\r\nlocation: http://other/api\r\ncontent-length: 0\r\n\r\n".to_vec(),
    )])
    .await;
    let error = server.client().extend_lease("w", "t").await.unwrap_err();
    assert_eq!(error.status(), Some(301));
    assert!(error.hint().unwrap().contains("redirects"));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let mut server = FakeServer::start([Step::AnswerAndClose(200, "t".into()), Step::ok("t")]).await;
    let client = server.client();
    client.extend_lease("w", "t").await.unwrap();
    server.connection_closed().await;
    // A connection of another client makes the runtime deliver what the closed one has to say.
    let _other = tokio::net::TcpStream::connect(server.address).await.unwrap();
    tokio::task::yield_now().await;
    client.extend_lease("w", "t").await.unwrap();
    let connections: Vec<_> = server.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections.len(), 2);
    assert_ne!(connections[0], connections[1]);
}

#[tokio::test]
async fn ipv6_addresses_work() {
    let Ok(server) = FakeServer::start_on("[::1]:0", [Step::ok("[]")]).await else {
        eprintln!("IPv6: NOT RUN, this machine has no ::1");
        return;
    };
    assert!(server.url().starts_with("http://[::1]:"));
    assert!(server.client().poll_batch("a", "w", None, 1, 0).await.unwrap().is_empty());
    assert_eq!(server.received()[0].header("host"), Some(server.address.to_string().as_str()));
}

fn through(proxy: &FakeServer, no_proxy: Option<&str>, address: &str) -> Client {
    let proxies = ProxyOptions {
        http: Some(format!("http://{}", proxy.address)),
        https: None,
        no_proxy: no_proxy.map(str::to_owned),
    };
    let address = Address::parse(address).unwrap();
    Client::new(&ClientOptions { proxies, ..ClientOptions::new(address) }).unwrap()
}

#[tokio::test]
async fn proxies_serve_other_hosts_only() {
    let proxy = FakeServer::start([Step::ok("[]")]).await;
    let remote = through(&proxy, None, "http://conductor.invalid:8080/api");
    assert!(remote.poll_batch("a", "w", None, 1, 0).await.unwrap().is_empty());
    assert_eq!(
        proxy.targets(),
        ["GET http://conductor.invalid:8080/api/tasks/poll/batch/a?count=1&timeout=0&workerid=w"]
    );

    let server = FakeServer::start([Step::ok("[]")]).await;
    let local = through(&proxy, None, &server.url());
    assert!(local.poll_batch("a", "w", None, 1, 0).await.unwrap().is_empty());
    assert_eq!((proxy.targets().len(), server.targets().len()), (1, 1), "loopback never takes the proxy");
}

#[tokio::test]
async fn no_proxy_is_respected() {
    let proxy = FakeServer::start([]).await;
    let client = through(&proxy, Some("other,.invalid"), "http://conductor.invalid:8080/api");
    let error = client.poll_batch("a", "w", None, 1, 0).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connect(_)), "{error:?}");
    assert!(proxy.targets().is_empty());
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/api", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    });
    let client = Client::new(&ClientOptions::new(Address::parse(&url).unwrap())).unwrap();
    let error = client.health().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Tls(_)), "{error:?}");
    assert!(!error.may_have_been_received() && !error.is_retryable());
}

#[test]
fn certificate_files_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for (file, word) in [(empty, "no certificate"), (directory.path().join("absent.pem"), "cannot read")] {
        let address = Address::parse("https://conductor/api").unwrap();
        let options = ClientOptions { extra_ca_files: vec![file], ..ClientOptions::new(address) };
        let error = Client::new(&options).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Options(_)) && error.to_string().contains(word), "{error}");
    }
}
