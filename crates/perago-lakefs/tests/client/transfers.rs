//! Objects in both directions, by every way there is.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use perago_dev::ObjectStore;
use perago_lakefs::{Client, ErrorKind, ListQuery, ObjectAt, ObjectReader, Upload, UploadSource};

use crate::support::Lake;

async fn whole(mut reader: ObjectReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 7 % 251) as u8).collect()
}

async fn read(client: &Client, repository: &str, path: &str) -> Vec<u8> {
    let query = ListQuery { prefix: path, with_downloads: true, ..ListQuery::default() };
    let page = client.list_objects(repository, "main", &query).await.unwrap();
    let stats = page.results.iter().find(|stats| stats.path == path).unwrap();
    let at = ObjectAt { repository, reference: "main", path, download: stats.download.as_ref() };
    whole(client.read_object(&at, None).await.unwrap()).await
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    for lake in Lake::all().await {
        let (client, repository) = (&lake.client, lake.repository.as_str());
        // Through the server, by one signed URL, and in parts.
        for length in [0, 5, 300_000, 7 * 1024 * 1024] {
            let bytes = pattern(length);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let path = format!("dir/ü {length}%.bin");
            let upload = Upload {
                repository,
                branch: "main",
                path: &path,
                content_type: "application/x-thing",
                metadata: BTreeMap::from([("hash".to_owned(), "h1".to_owned())]),
                source: UploadSource::File(Arc::new(file), length as u64),
            };
            let written = client.upload(&upload).await.unwrap();
            assert_eq!(
                (written.stats.size_bytes, written.stats.path.as_str()),
                (length as u64, path.as_str())
            );
            let in_parts =
                length > 6 << 20 && client.storage_config().await.unwrap().pre_sign_multipart_upload;
            assert_eq!(written.md5.is_none(), in_parts);
            let stats = client.stat_object(repository, "main", &path, false).await.unwrap().unwrap();
            assert_eq!(
                (stats.size_bytes, stats.checksum.as_str()),
                (length as u64, written.stats.checksum.as_str())
            );
            assert_eq!(
                (stats.content_type.as_str(), stats.metadata["hash"].as_str()),
                ("application/x-thing", "h1")
            );
            assert!(read(client, repository, &path).await == bytes, "{path}");
        }
        assert!(lake.warnings.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn ranges_are_read_by_both_ways() {
    for lake in Lake::all().await {
        let (client, repository) = (&lake.client, lake.repository.as_str());
        lake.put("main", "a", "0123456789").await;
        let stats = client.stat_object(repository, "main", "a", true).await.unwrap().unwrap();
        for download in [None, stats.download.as_ref()] {
            let at = ObjectAt { repository, reference: "main", path: "a", download };
            let reader = client.read_object(&at, Some(2..5)).await.unwrap();
            assert_eq!((reader.length(), reader.total()), (Some(3), Some(10)));
            assert_eq!(whole(reader).await, b"234");
            let beyond = client.read_object(&at, Some(50..60)).await.unwrap_err();
            assert_eq!(beyond.status(), Some(416));
        }
        let at = ObjectAt { repository, reference: "main", path: "nope", download: None };
        assert!(client.read_object(&at, None).await.unwrap_err().is_missing());
    }
}

#[tokio::test]
async fn direct_transfers_can_be_switched_off() {
    let lake = Lake::embedded(ObjectStore::S3).await;
    assert!(lake.client.transfers_directly().await.unwrap());
    let url = lake.client.server();
    let options = perago_lakefs::ClientOptions {
        presign: false,
        ..crate::support::options(&url, perago_dev::StoreKey::DEFAULT, perago_dev::StoreKey::DEFAULT)
    };
    let other = Lake::new(options, None).await;
    assert!(!other.client.transfers_directly().await.unwrap());
    other.put("main", "a", "0123456789").await;
    let query = ListQuery { with_downloads: true, ..ListQuery::default() };
    let page = other.client.list_objects(&other.repository, "main", &query).await.unwrap();
    assert!(page.results[0].download.is_none());
}

#[tokio::test]
async fn a_source_that_became_shorter_is_our_failure() {
    let lake = Lake::embedded(ObjectStore::Local).await;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"short").unwrap();
    let upload = Upload {
        repository: &lake.repository,
        branch: "main",
        path: "a",
        content_type: "text/plain",
        metadata: BTreeMap::new(),
        source: UploadSource::File(Arc::new(file), 500),
    };
    let error = lake.client.upload(&upload).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Source(_)), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(lake.client.stat_object(&lake.repository, "main", "a", false).await.unwrap(), None);
}

#[tokio::test]
async fn bytes_in_memory_are_not_copied_for_a_try() {
    let bytes = Bytes::from(pattern(10));
    let source = UploadSource::Bytes(bytes.clone());
    assert_eq!(source.length(), 10);
    let UploadSource::Bytes(held) = source.clone() else { panic!("bytes stay bytes") };
    assert_eq!(held.as_ptr(), bytes.as_ptr());
}
