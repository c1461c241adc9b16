//! Bytes leave with the last object that consists of them, in memory and in a folder.

use std::collections::BTreeMap;

use super::{Blobs, ObjectStore, Storage};
use crate::store::{RepositoryCreation, StoreError, Upload};

fn repository(storage: &Storage, name: &str, namespace: &str) {
    let new = RepositoryCreation {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        default_branch: "main".to_owned(),
        read_only: false,
    };
    storage.change(|store, now| store.create_repository(&new, "s3://", now)).unwrap();
}

fn put(storage: &Storage, repository: &str, path: &str, bytes: &[u8]) -> Result<String, StoreError> {
    let mut writer = storage.blobs().writer().unwrap();
    writer.write(bytes).unwrap();
    let entry = storage.receive(writer, |store, object, now| {
        let upload = Upload {
            address: store.new_address(repository, path)?,
            object,
            content_type: "text/plain".to_owned(),
            metadata: BTreeMap::default(),
            only_if_absent: false,
        };
        store.upload(repository, "main", path, upload, now)
    })?;
    Ok(entry.address.clone())
}

fn part(storage: &Storage, upload: &str, repository: &str, bytes: &[u8]) {
    storage
        .change(|store, _| {
            let address = store.new_address(repository, upload)?;
            Ok(((), vec![crate::store::Change::UploadStarted { upload: upload.to_owned(), address }]))
        })
        .unwrap();
    let mut writer = storage.blobs().writer().unwrap();
    writer.write(bytes).unwrap();
    storage.receive(writer, |store, object, _| store.store_part(upload, 1, object)).unwrap();
}

fn is_there(storage: &Storage, address: &str) -> bool {
    storage.read(|store| {
        store.object(address).is_some_and(|object| storage.blobs().open_object(object).is_some())
    })
}

fn leaves_with_its_last_object(storage: &Storage, count: impl Fn(&Blobs) -> usize) {
    repository(storage, "outer", "s3://bucket/outer");
    repository(storage, "other", "s3://bucket/outer-other");
    repository(storage, "inner", "s3://bucket/outer/inner");
    put(storage, "outer", "own", b"own").unwrap();
    let shared = put(storage, "outer", "shared", b"shared").unwrap();
    let kept = put(storage, "other", "shared", b"shared").unwrap();
    let inside = put(storage, "inner", "inside", b"inside").unwrap();
    part(storage, "of-outer", "outer", b"part of an upload that nobody ends");
    part(storage, "of-other", "other", b"part");
    assert_eq!(count(storage.blobs()), 5);

    storage.delete_repository("outer", false).unwrap();

    assert_eq!(count(storage.blobs()), 3);
    assert!(is_there(storage, &kept) && is_there(storage, &inside));
    assert!(!is_there(storage, &shared));

    // Bytes of a refused upload go with the next sweep.
    assert_eq!(put(storage, "outer", "late", b"late").unwrap_err().status, 404);
    storage.delete_repository("inner", false).unwrap();
    assert_eq!(count(storage.blobs()), 2);
    assert!(is_there(storage, &kept));
}

#[test]
fn bytes_in_memory_leave_with_their_last_object() {
    let storage = Storage::in_memory(ObjectStore::S3);
    leaves_with_its_last_object(&storage, |blobs| match blobs {
        Blobs::Memory(held) => held.lock().unwrap().len(),
        Blobs::Folder(_) => unreachable!("bytes are in memory"),
    });
}

#[test]
fn bytes_in_a_folder_leave_with_their_last_object() {
    let folder = tempfile::tempdir().unwrap();
    let count = |_: &Blobs| {
        let fans = std::fs::read_dir(folder.path().join("blobs")).unwrap();
        fans.map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap().count()).sum()
    };
    leaves_with_its_last_object(&Storage::open(folder.path(), ObjectStore::S3).unwrap(), count);

    let orphan = folder.path().join("blobs/ab/cdef");
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, b"of a process that died between two steps").unwrap();
    let again = Storage::open(folder.path(), ObjectStore::S3).unwrap();
    assert_eq!(count(again.blobs()), 2);
}
