//! Names and sizes of every kind.

use std::sync::Arc;

use perago_contract::FailureCode;
use perago_workspace::{Cache, CacheOptions};

use crate::scene::{Attempt, Control, files, files_in, scenes};

#[tokio::test]
async fn contents_of_every_size_and_name_come_and_go_unchanged() {
    let long = format!("in/{}/{}/e", vec!["a".repeat(200); 4].join("/"), "b".repeat(215));
    assert_eq!(long.len(), 1024);
    let large: String = (0..1_500_000).map(|number| format!("{number:08}")).collect::<Vec<String>>().concat();
    let base =
        [("in/empty", ""), (long.as_str(), "long"), ("in/large", large.as_str()), ("in/a+b&c=d?#", "1")];
    for scene in scenes(&base).await {
        let place = scene.folder.path().join("cache");
        let cache = Arc::new(Cache::open(CacheOptions { place, most_bytes: 1 << 30 }).unwrap());
        let (_, cold) = scene.checkout("in", Some(&cache)).await.unwrap();
        let (directory, warm) = scene.checkout("in", Some(&cache)).await.unwrap();
        assert_eq!((cold.downloaded_files, warm.downloaded_files, warm.cached_files), (4, 0, 4));
        assert!(cold.warnings.is_empty() && warm.manifest.edits_in(&directory).unwrap().is_empty());
        assert!(files_in(&directory)["large"] == large.as_bytes());

        let larger = format!("{large}{large}");
        let attempt = Attempt::new(&scene, 0).await.edit(&[("large", Some(&larger)), ("empty", None)]);
        attempt.publish(&Control::default()).await.unwrap();
        let main = scene.main().await;
        assert!(main["in/large"] == larger.as_bytes() && !main.contains_key("in/empty"));
        assert_eq!((&main[&long][..], &main["in/a+b&c=d?#"][..]), (&b"long"[..], &b"1"[..]));

        let again = Attempt::new(&scene, 1).await.edit(&[("large", Some(&larger)), ("empty", None)]);
        assert!(!again.publish(&Control::default()).await.unwrap().is_new, "an identical retry adds nothing");
    }
}

#[tokio::test]
async fn a_key_that_would_be_too_long_fails_before_anything_is_staged() {
    for scene in scenes(&[("in/a", "1")]).await {
        let name = format!("{}/{}", vec!["a".repeat(200); 5].join("/"), "b".repeat(100));
        let attempt = Attempt::new(&scene, 0).await.edit(&[(&name, Some("x"))]);
        let error = attempt.publish(&Control::default()).await.unwrap_err();
        assert_eq!(error.code(), FailureCode::WorkspacePath, "{error}");
        assert!(error.to_string().contains("at most 1024"), "{error}");
        assert_eq!(scene.branch_names().await, ["main"]);
    }
}

#[tokio::test]
async fn two_objects_for_one_name_are_both_named() {
    for scene in scenes(&[("in/a", "1"), ("in/a/b", "2")]).await {
        let error = scene.checkout("in", None).await.unwrap_err();
        assert_eq!(error.code(), FailureCode::WorkspacePath);
        assert!(
            error.to_string().contains("\"in/a\"") && error.to_string().contains("\"in/a/b\""),
            "{error}"
        );
    }
}

#[tokio::test]
async fn objects_that_stand_for_directories_stay_as_they_are() {
    let base = [("in/", ""), ("in/empty/", ""), ("in/full/", ""), ("in/full/x", "1")];
    for scene in scenes(&base).await {
        let attempt = Attempt::new(&scene, 0).await;
        assert!(attempt.path().join("empty").is_dir());
        // One directory is gone and a file has the place of the other.
        std::fs::remove_dir_all(attempt.path().join("full")).unwrap();
        std::fs::remove_dir(attempt.path().join("empty")).unwrap();
        let attempt = attempt.edit(&[("empty", Some("a file now"))]);
        attempt.publish(&Control::default()).await.unwrap();
        let wanted = [("in/", ""), ("in/empty", "a file now"), ("in/empty/", ""), ("in/full/", "")];
        assert_eq!(scene.main().await, files(&wanted));
        let head = Attempt::at(&scene, &scene.head().await, 1).await;
        assert_eq!(files_in(&head.directory), files(&[("empty", "a file now")]));
        assert!(head.path().join("full").is_dir());
    }
}
