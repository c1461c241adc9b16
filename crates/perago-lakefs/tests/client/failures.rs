//! What broken exchanges become, and which calls are repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use perago_lakefs::{
    Client, CommitOutcome, CommitRequest, CreatedBranch, ErrorKind, MergeOutcome, MergeRequest, ObjectAt,
    Upload, UploadSource,
};

use crate::support::{Scripted, Step, options};

const LIMIT: Duration = Duration::from_secs(5);

fn answer(status: u16, message: &str) -> Step {
    Step::Answer(status, format!(r#"{{"message":"{message}"}}"#))
}

fn commit() -> Step {
    Step::Answer(201, r#"{"id":"c1","parents":["c0"],"message":"m"}"#.to_owned())
}

async fn try_commit(server: &Scripted) -> Result<CommitOutcome, perago_lakefs::Error> {
    server.client().commit("demo", "work", &CommitRequest::default()).await
}

#[tokio::test]
async fn contention_and_storms_are_waited_out() {
    let storm = [
        answer(500, "predicate failed"),
        answer(429, "Too many attempts, try again later"),
        answer(503, "Throughput exceeded. Slow down and retry"),
        commit(),
    ];
    let server = Scripted::start(storm).await;
    assert!(matches!(try_commit(&server).await.unwrap(), CommitOutcome::Committed(_)));
    assert_eq!(server.targets().len(), 4);

    let server = Scripted::start(vec![answer(503, "Throughput exceeded"); 9]).await;
    let error = try_commit(&server).await.unwrap_err();
    assert_eq!((error.status(), server.targets().len()), (Some(503), 4));
    assert!(error.is_retryable() && error.may_have_been_received());
    assert_eq!(error.code(), "PERAGO-LAKEFS-STATUS");
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    for (status, message) in
        [(400, "bad"), (403, "cannot commit to protected branch"), (500, "boom"), (501, "no")]
    {
        let server = Scripted::start([answer(status, message)]).await;
        let error = try_commit(&server).await.unwrap_err();
        assert_eq!((error.status(), server.targets().len()), (Some(status), 1), "{error}");
    }
    let server = Scripted::start([answer(401, "error authenticating request")]).await;
    let error = try_commit(&server).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Authentication { status: 401, .. }));
    assert!(error.hint().unwrap().contains("LAKECTL_CREDENTIALS_ACCESS_KEY_ID"));
    assert!(!format!("{error} {error:?} {:?}", server.client()).contains("hunter2"));
}

#[tokio::test]
async fn a_lost_merge_comes_back_to_its_caller() {
    let server = Scripted::start([Step::Drop, answer(400, "update branch main: no changes")]).await;
    let client = server.client();
    let merge = async || client.merge("demo", "work", "main", &MergeRequest::default(), LIMIT).await;
    let lost = merge().await.unwrap_err();
    assert!(matches!(lost.kind(), ErrorKind::Interrupted(_)), "{lost:?}");
    assert!(lost.may_have_been_received());
    assert_eq!(server.targets(), ["POST /api/v1/repositories/demo/refs/work/merge/main"]);
    assert_eq!(merge().await.unwrap(), MergeOutcome::NoChanges);
}

#[tokio::test]
async fn a_merge_under_contention_ends_by_its_limit() {
    let server = Scripted::start(vec![answer(429, "Too many attempts, try again later"); 9]).await;
    let client = server.client();
    let request = MergeRequest::default();
    let error = client.merge("demo", "work", "main", &request, Duration::from_nanos(1)).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(server.targets().len() <= 1);
}

#[tokio::test]
async fn a_lost_creation_is_looked_at_again() {
    let server = Scripted::start([Step::Drop, answer(409, "branch already exists: not unique")]).await;
    let created = server.client().create_branch("demo", "work", "main").await.unwrap();
    assert_eq!((created, server.targets().len()), (CreatedBranch::Exists, 2));
}

#[tokio::test]
async fn a_body_cut_short_and_one_that_stalls_are_failures() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123";
    let server = Scripted::start([Step::Raw(head.into()), Step::RawAndHang(head.into())]).await;
    let options = perago_lakefs::ClientOptions {
        stall_timeout: Duration::from_millis(60),
        ..options(&server.url, "id", "secret")
    };
    let client = Client::new(&options).unwrap();
    let at = ObjectAt { repository: "demo", reference: "main", path: "a", download: None };
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut reader = client.read_object(&at, None).await.unwrap();
        assert_eq!(reader.length(), Some(10));
        let error = loop {
            match reader.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ten bytes were announced and four came"),
                Err(error) => break error,
            }
        };
        assert!(error.is_retryable());
        kinds.push(error.code());
    }
    assert_eq!(kinds, ["PERAGO-LAKEFS-INTERRUPTED", "PERAGO-LAKEFS-STALLED"]);
}

fn upload(text: &'static str) -> Upload<'static> {
    Upload {
        repository: "demo",
        branch: "work",
        path: "a",
        content_type: "text/plain",
        metadata: BTreeMap::new(),
        source: UploadSource::Bytes(Bytes::from_static(text.as_bytes())),
    }
}

fn stats(checksum: &str, size: usize) -> Step {
    Step::Answer(201, format!(r#"{{"path":"a","checksum":"{checksum}","size_bytes":{size}}}"#))
}

const MD5_OF_HELLO: &str = "5d41402abc4b2a76b9719d911017c592";

#[tokio::test]
async fn a_damaged_upload_is_sent_again() {
    let server = Scripted::start([stats("0".repeat(32).as_str(), 5), stats(MD5_OF_HELLO, 5)]).await;
    let written = server.client().upload(&upload("hello")).await.unwrap();
    assert_eq!(written.md5.as_deref(), Some(MD5_OF_HELLO));
    assert_eq!(server.targets().len(), 2);
}

#[tokio::test]
async fn a_store_out_of_reach_is_given_up_with_one_warning() {
    // Nothing listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/bucket/x?X-Amz-Signature=s", closed.local_addr().unwrap());
    drop(closed);
    let config = Step::Answer(200, r#"{"blockstore_type":"s3","pre_sign_support":true}"#.to_owned());
    let address =
        Step::Answer(200, format!(r#"{{"physical_address":"s3://b/x,sig","presigned_url":"{url}"}}"#));
    let long = "0123456789";
    let md5 = "781e5e245d69b566979b86e28d23f2c7";
    let script = [config, address, Step::Answer(204, String::new()), stats(md5, 10), stats(md5, 10)];
    let server = Scripted::start(script).await;
    let warnings = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&warnings);
    let options = perago_lakefs::ClientOptions {
        on_warning: std::sync::Arc::new(move |text| sink.lock().unwrap().push(text.to_owned())),
        ..options(&server.url, "id", "secret")
    };
    let client = Client::new(&options).unwrap();
    client.upload(&upload(long)).await.unwrap();
    client.upload(&upload(long)).await.unwrap();
    assert_eq!(server.targets().len(), 5, "{:?}", server.targets());
    let warnings = warnings.lock().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("cannot be reached") && !warnings[0].contains("X-Amz"), "{warnings:?}");
}

#[tokio::test]
async fn a_tag_that_is_not_the_checksum_is_looked_into() {
    let (text, md5, other) = ("0123456789", "781e5e245d69b566979b86e28d23f2c7", "0".repeat(32));
    let put = |tag: &str| {
        let head =
            format!("HTTP/1.1 200 OK\r\netag: \"{tag}\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        Step::Raw(head.into_bytes())
    };
    let object = |content: &str| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{content}");
        Step::Raw(head.into_bytes())
    };
    let config = Step::Answer(200, r#"{"blockstore_type":"s3","pre_sign_support":true}"#.to_owned());
    // The object is as it was sent: the store's tags are no checksums, and the second upload is taken at its word.
    let opaque = (vec![put(&other), put(&other)], object(text), 2);
    // It is not: it is sent again.
    let damaged = (vec![put(&other), put(md5)], object("012345678X"), 1);
    for (puts, found, uploads) in [opaque, damaged] {
        let store = Scripted::start(puts).await;
        let url = format!("{}/bucket/x?X-Amz-Signature=s", store.url);
        let address =
            Step::Answer(200, format!(r#"{{"physical_address":"s3://b/x,sig","presigned_url":"{url}"}}"#));
        let (link, look) = (stats(md5, 10), stats(md5, 10));
        let script = [config.clone(), address.clone(), link.clone(), look, found, address, link];
        let server = Scripted::start(script).await;
        let client = server.client();
        for _ in 0..uploads {
            assert_eq!(client.upload(&upload(text)).await.unwrap().md5.as_deref(), Some(md5));
        }
        assert_eq!((server.targets().len(), store.targets().len()), (7, 2), "{:?}", server.targets());
    }
}

#[tokio::test]
async fn names_cannot_walk_to_other_routes() {
    let server = Scripted::start([]).await;
    for name in ["..", ".", ""] {
        let error = server.client().get_branch("demo", name).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Encode(_)), "{error:?}");
    }
    assert!(server.client().get_branch("a/b", "c").await.is_err());
    assert_eq!(server.targets(), ["GET /api/v1/repositories/a%2Fb/branches/c"]);
}
