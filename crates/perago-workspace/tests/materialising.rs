//! Checkouts from a repository that breaks, lies and stalls.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use perago_contract::FailureCode;
use perago_workspace::{
    Cache, CacheOptions, Content, Directory, MaterialiseRequest, Materialised, Prefix, Progress,
    StoreErrorKind, TransferOptions, WorkspaceError, materialise,
};

use support::memory::{Fault, MemoryRepository, ReadPlan, Tree};

struct Scene {
    repository: Arc<MemoryRepository>,
    input: String,
    folder: tempfile::TempDir,
    progress: Arc<Progress>,
}

impl Scene {
    fn new(files: &[(&str, &str)]) -> Self {
        let (repository, input) = MemoryRepository::new(files);
        let folder = tempfile::tempdir().unwrap();
        Self { repository: Arc::new(repository), input, folder, progress: Arc::default() }
    }

    async fn checkout(&self, prefix: &str, name: &str) -> Result<Materialised, WorkspaceError> {
        self.checkout_with(prefix, name, None).await
    }

    async fn checkout_with(
        &self,
        prefix: &str,
        name: &str,
        cache: Option<&Arc<Cache>>,
    ) -> Result<Materialised, WorkspaceError> {
        let path = self.folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let directory = Arc::new(Directory::open(&path).unwrap());
        let request = MaterialiseRequest {
            reference: &self.input,
            prefix: &Prefix::new(prefix).unwrap(),
            directory: &directory,
            cache,
            options: TransferOptions { memory_bytes: 2 * 1024 * 1024, ..TransferOptions::default() },
            progress: &self.progress,
        };
        let result = materialise(&self.repository, &request).await;
        if let Ok(result) = &result {
            assert!(result.manifest.edits_in(&directory).unwrap().is_empty());
        }
        result
    }

    fn found(&self, name: &str) -> Tree {
        let directory = Directory::open(&self.folder.path().join(name)).unwrap();
        let files = directory.scan().unwrap();
        files
            .into_iter()
            .map(|(path, _)| {
                let content = std::fs::read(directory.path().join(path.as_str())).unwrap();
                (path.as_str().to_owned(), Bytes::from(content))
            })
            .collect()
    }

    fn cache(&self, most_bytes: u64) -> Arc<Cache> {
        let place = self.folder.path().join("cache");
        Arc::new(Cache::open(CacheOptions { place, most_bytes }).unwrap())
    }
}

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|&(key, content)| (key.to_owned(), Bytes::from(content.to_owned()))).collect()
}

/// Large enough for several ranges, and different everywhere.
fn large() -> String {
    (0..700_000).map(|number| format!("{number:08}")).collect::<Vec<String>>().concat()
}

#[tokio::test(start_paused = true)]
async fn a_prefix_becomes_a_directory() {
    let long = format!("in/{}/{}/e", vec!["a".repeat(200); 4].join("/"), "b".repeat(215));
    assert_eq!(long.len(), 1024);
    let scene = Scene::new(&[
        ("in/a", "1"),
        ("in/empty", ""),
        ("in/ä b%20/c", "2"),
        ("in/.perago-attempt.json", "not ours to show"),
        ("in2/x", "3"),
        (&long, "4"),
    ]);
    let result = scene.checkout("in", "one").await.unwrap();
    assert_eq!(scene.found("one"), tree(&[("a", "1"), ("empty", ""), ("ä b%20/c", "2"), (&long[3..], "4")]));
    assert_eq!((result.downloaded_files, result.downloaded_bytes), (4, 3));
    assert_eq!(scene.progress.done_files.load(Ordering::Relaxed), 4);
    assert_eq!(scene.progress.done_bytes.load(Ordering::Relaxed), 3);
    scene.checkout("/", "all").await.unwrap();
    assert_eq!(scene.found("all").len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_names_no_file_fails_and_is_named() {
    for key in ["in/../x", "in//x", "in/dir/", "in/a\\b", "in/C:/x"] {
        let scene = Scene::new(&[("in/a", "1"), (key, "2")]);
        let error = scene.checkout("in", "one").await.unwrap_err();
        assert_eq!(error.code(), FailureCode::WorkspacePath, "{key}");
        assert!(scene.found("one").is_empty());
    }
    let scene = Scene::new(&[("in/a", "1"), ("in/a-b", "1"), ("in/a/b", "2")]);
    let error = scene.checkout("in", "one").await.unwrap_err();
    assert_eq!(error.code(), FailureCode::WorkspacePath);
    assert!(error.to_string().contains("\"in/a\"") && error.to_string().contains("\"in/a/b\""), "{error}");
    assert!(error.hint().contains("rename one of the objects"));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_stands_for_a_directory_becomes_one() {
    let scene = Scene::new(&[
        ("in/", ""),
        ("in/empty/", ""),
        ("in/deep/er/", ""),
        ("in/full/", ""),
        ("in/full/x", "1"),
        ("in/file", "2"),
        ("in/file/", ""),
        ("in/file/below/", ""),
    ]);
    let result = scene.checkout("in", "one").await.unwrap();
    assert_eq!(scene.found("one"), tree(&[("full/x", "1"), ("file", "2")]));
    assert_eq!(result.downloaded_files, 2);
    let path = |name: &str| scene.folder.path().join("one").join(name);
    assert!(path("empty").is_dir() && path("deep/er").is_dir() && path("file").is_file());
}

#[tokio::test(start_paused = true)]
async fn large_files_are_read_in_ranges_and_put_together() {
    let content = large();
    let scene = Scene::new(&[("big", &content), ("small", "1")]);
    scene.checkout("/", "one").await.unwrap();
    assert!(scene.found("one")["big"] == content);
    let reads = scene.repository.state().calls().iter().filter(|call| call.name == "read").count();
    assert_eq!(reads, 3);
    assert_eq!(scene.repository.state().bytes_read(), content.len() as u64 + 1);
}

#[tokio::test(start_paused = true)]
async fn broken_truncated_and_stalled_reads_go_on_where_they_were() {
    type Plan = fn(usize) -> ReadPlan;
    let content = large();
    for plan in [ReadPlan::BreaksAfter as Plan, ReadPlan::EndsAfter as Plan, ReadPlan::StallsAfter as Plan] {
        let scene = Scene::new(&[("big", &content), ("small", "123456789")]);
        let mut tries: BTreeMap<String, usize> = BTreeMap::new();
        scene.repository.plan_reads(move |object, wanted| {
            let count = tries.entry(object.key.clone()).or_default();
            *count += 1;
            if *count % 2 == 1 { plan(wanted.len() / 2) } else { ReadPlan::Whole }
        });
        scene.checkout("/", "one").await.unwrap();
        assert!(scene.found("one") == tree(&[("big", &content), ("small", "123456789")]));
        // Nothing was read twice.
        assert_eq!(scene.repository.state().bytes_read(), content.len() as u64 + 9);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_never_goes_on_ends_clearly() {
    for plan in [|| ReadPlan::StallsAfter(0), || ReadPlan::EndsAfter(0), || ReadPlan::BreaksAfter(0)] {
        let scene = Scene::new(&[("a", "123")]);
        scene.repository.plan_reads(move |_, _| plan());
        let error = scene.checkout("/", "one").await.unwrap_err();
        assert_eq!(error.code(), FailureCode::Workspace);
        assert!(error.to_string().contains("cannot read a:"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_contents_are_read_again_and_judged() {
    let content = large();
    let wrong = |wanted: &[u8]| wanted.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    for key in ["small", "big"] {
        // Wrong once.
        let scene = Scene::new(&[("small", "abc"), ("big", &content)]);
        let mut is_first = true;
        scene.repository.plan_reads(move |object, wanted| {
            let lies = object.key == key && std::mem::take(&mut is_first);
            if lies { ReadPlan::Delivers(wrong(wanted)) } else { ReadPlan::Whole }
        });
        assert!(scene.checkout("/", "one").await.unwrap().warnings.is_empty());
        assert!(scene.found("one") == tree(&[("small", "abc"), ("big", &content)]));

        // Another content than the checksum says, always the same one.
        scene.repository.plan_reads(move |object, wanted| {
            if object.key == key { ReadPlan::Delivers(wrong(wanted)) } else { ReadPlan::Whole }
        });
        let warnings = scene.checkout("/", "two").await.unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("two downloads were equal"), "{warnings:?}");

        // Another content each time.
        let mut count = 0_u8;
        scene.repository.plan_reads(move |object, wanted| {
            count = count.wrapping_add(1);
            let garbage = vec![count; wanted.len()];
            if object.key == key { ReadPlan::Delivers(garbage) } else { ReadPlan::Whole }
        });
        let error = scene.checkout("/", "three").await.unwrap_err();
        assert_eq!(error.code(), FailureCode::WorkspaceCorrupt, "{error}");
    }
    let scene = Scene::new(&[("a", "123")]);
    scene.repository.plan_reads(|_, _| ReadPlan::Delivers(b"12345".to_vec()));
    let error = scene.checkout("/", "one").await.unwrap_err();
    assert_eq!(error.code(), FailureCode::WorkspaceCorrupt, "{error}");
}

#[tokio::test(start_paused = true)]
async fn storms_pass_and_a_store_that_is_gone_is_named() {
    let scene = Scene::new(&[("a", "1"), ("b", "2"), ("c", "3")]);
    scene
        .repository
        .interfere(|_, call| (call.number % 2 == 0).then_some(Fault::Refused(StoreErrorKind::Busy)));
    scene.checkout("/", "one").await.unwrap();
    for from in [0, 1] {
        let scene = Scene::new(&[("a", "1")]);
        scene.repository.interfere(move |_, call| {
            (call.number >= from).then_some(Fault::Refused(StoreErrorKind::Unreachable))
        });
        let error = scene.checkout("/", "one").await.unwrap_err();
        assert_eq!(error.code(), FailureCode::Workspace);
        assert!(error.to_string().contains("was refused"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_checkout_moves_no_byte_and_cannot_be_spoiled_by_the_first() {
    let content = large();
    let scene = Scene::new(&[("big", &content), ("small", "abc"), ("empty", "")]);
    let cache = scene.cache(1 << 30);
    let first = scene.checkout_with("/", "one", Some(&cache)).await.unwrap();
    assert_eq!((first.downloaded_files, first.cached_files), (3, 0));
    std::fs::write(scene.folder.path().join("one/small"), "XYZ").unwrap();
    let moved = scene.repository.state().bytes_read();
    let second = scene.checkout_with("/", "two", Some(&cache)).await.unwrap();
    assert_eq!((second.downloaded_files, second.cached_files), (0, 3));
    assert_eq!(second.cached_bytes, content.len() as u64 + 3);
    assert_eq!(scene.repository.state().bytes_read(), moved);
    assert!(scene.found("two") == tree(&[("big", &content), ("small", "abc"), ("empty", "")]));
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_has_gone_is_fetched_again() {
    let scene = Scene::new(&[("a", "abc")]);
    let cache = scene.cache(1 << 20);
    scene.checkout_with("/", "one", Some(&cache)).await.unwrap();
    std::fs::remove_dir_all(scene.folder.path().join("cache/blobs")).unwrap();
    let again = scene.checkout_with("/", "two", Some(&cache)).await.unwrap();
    assert_eq!(again.downloaded_files, 1);
    assert_eq!(scene.found("two"), tree(&[("a", "abc")]));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_refused_before_its_first_byte_with_both_figures() {
    let scene = Scene::new(&[("a", "1"), ("huge", "2"), ("more", "3")]);
    scene.repository.state().claim_size("huge", 1 << 60);
    scene.repository.state().claim_size("more", u64::MAX);
    let cache = scene.cache(1 << 20);
    let place = scene.folder.path();
    let kept = tempfile::tempfile_in(place).unwrap();
    assert!(cache.keep([0; 32], blake3::hash(b""), Content::File(&kept), 0));
    let error = scene.checkout_with("/", "one", Some(&cache)).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::WorkspaceNoSpace);
    let text = error.to_string();
    let figures: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(figures.len() == 2 && figures[0] > 1 << 60 && figures[1] < 1 << 60, "{text}");
    assert!(scene.repository.state().calls().iter().all(|call| call.name == "objects"));
    assert!(scene.found("one").is_empty());
    assert!(cache.holds(&[0; 32]), "nothing is given up for what does not fit anyway");
}
