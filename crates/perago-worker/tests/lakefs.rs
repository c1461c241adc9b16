//! The workspace engine over the lakeFS client against a server, named by the `LAKECTL_*` variables and asked for by
//! `PERAGO_TEST_LAKEFS=1`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail like tests and may speak"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use perago_contract::envelope::{RefType, WorkspaceRef};
use perago_contract::{FailureCode, OnMovedHead};
use perago_lakefs::{
    Address, Client, ClientOptions, CommitRequest, Credentials, NewRepository, Secret, Upload, UploadSource,
};
use perago_worker::workspace::{LakeFsRepository, Operation, Published, Transfer, WorkspaceService};
use perago_workspace::{
    AttemptControl, Cache, CacheOptions, Directory, Epoch, MaterialiseRequest, Materialised, Prefix,
    PublishReport, PublishRequest, Repository, Stamp, TransferOptions, Work, WorkspaceError, materialise,
    publish,
};

type Files = BTreeMap<String, String>;
type Interlude = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

struct Scene {
    client: Client,
    name: String,
    repository: Arc<LakeFsRepository>,
    input: String,
    folder: tempfile::TempDir,
}

/// A repository of its own with these files on `main`; `None` where no server is named.
async fn scene(files: &[(&str, &str)]) -> Option<Scene> {
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    if variable("PERAGO_TEST_LAKEFS").as_deref() != Some("1") {
        eprintln!("real lakeFS: NOT RUN, PERAGO_TEST_LAKEFS is not 1");
        return None;
    }
    let address = Address::parse(&variable("LAKECTL_SERVER_ENDPOINT_URL").unwrap()).unwrap();
    let credentials = Credentials {
        access_key_id: Secret::new(variable("LAKECTL_CREDENTIALS_ACCESS_KEY_ID").unwrap()),
        secret_access_key: Secret::new(variable("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY").unwrap()),
    };
    let client = Client::new(&ClientOptions::new(address, credentials)).unwrap();
    let name = format!("workspace-{:016x}", fastrand::u64(..));
    let namespace = &client.storage_config().await.unwrap().default_namespace_prefix;
    let storage_namespace = format!("{namespace}{name}");
    let repository =
        NewRepository { name: name.clone(), storage_namespace, default_branch: "main".to_owned() };
    client.create_repository(&repository).await.unwrap();
    let repository = Arc::new(LakeFsRepository::new(client.clone(), &name));
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene { client, name, repository, input: String::new(), folder };
    scene.input = scene.commit(files).await;
    Some(scene)
}

impl Scene {
    async fn upload(&self, key: &str, content: &str) {
        let upload = Upload {
            repository: &self.name,
            branch: "main",
            path: key,
            content_type: "application/octet-stream",
            metadata: BTreeMap::new(),
            source: UploadSource::Bytes(content.to_owned().into()),
        };
        self.client.upload(&upload).await.unwrap();
    }

    /// Commits files to `main` as another writer.
    async fn commit(&self, files: &[(&str, &str)]) -> String {
        for (key, content) in files {
            self.upload(key, content).await;
        }
        let request = CommitRequest { message: "theirs".to_owned(), metadata: BTreeMap::new() };
        self.client.commit(&self.name, "main", &request).await.unwrap();
        self.repository.head("main").await.unwrap()
    }

    async fn main(&self) -> Files {
        let head = self.repository.head("main").await.unwrap();
        let name = format!("seen-{:016x}", fastrand::u64(..));
        let directory = checkout(self, &head, "/", &name, None).await.unwrap().0;
        files_in(&directory)
    }

    async fn branch_names(&self) -> Vec<String> {
        let page = self.repository.branches("", None).await.unwrap();
        page.items.into_iter().map(|branch| branch.name).collect()
    }
}

fn files_in(directory: &Directory) -> Files {
    let read = |path: &str| std::fs::read_to_string(directory.path().join(path)).unwrap();
    let scanned = directory.scan().unwrap();
    scanned.iter().map(|(path, _)| (path.as_str().to_owned(), read(path.as_str()))).collect()
}

async fn checkout(
    scene: &Scene,
    reference: &str,
    prefix: &str,
    name: &str,
    cache: Option<&Arc<Cache>>,
) -> Result<(Arc<Directory>, Materialised), WorkspaceError> {
    let path = scene.folder.path().join(name);
    std::fs::create_dir(&path).unwrap();
    let directory = Arc::new(Directory::open(&path).unwrap());
    let request = MaterialiseRequest {
        reference,
        prefix: &Prefix::new(prefix).unwrap(),
        directory: &directory,
        cache,
        options: TransferOptions::default(),
        progress: &Arc::default(),
    };
    let materialised = materialise(&scene.repository, &request).await?;
    Ok((directory, materialised))
}

/// A fence that holds, and that lets something happen just before the merge.
#[derive(Default)]
struct Control {
    asked: AtomicUsize,
    before_merge: Option<Interlude>,
}

impl AttemptControl for Control {
    async fn fence(&self, _effect: Duration) -> Result<(), String> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if let (1, Some(interlude)) = (asked, &self.before_merge) {
            interlude().await;
        }
        Ok(())
    }

    async fn staged(&self, _branch: &str, _commit: &str) {}

    fn uploaded(&self, _duration: Duration, _bytes: Option<u64>) {}
}

struct Attempt {
    scene: Arc<Scene>,
    retry: u64,
    on_moved_head: OnMovedHead,
    directory: Arc<Directory>,
    materialised: Materialised,
}

impl Attempt {
    async fn new(scene: &Arc<Scene>, retry: u64) -> Self {
        let name = format!("attempt-{:016x}", fastrand::u64(..));
        let (directory, materialised) = checkout(scene, &scene.input, "in", &name, None).await.unwrap();
        Self { scene: Arc::clone(scene), retry, on_moved_head: OnMovedHead::Fail, directory, materialised }
    }

    fn edit(self, files: &[(&str, Option<&str>)]) -> Self {
        for (name, content) in files {
            let path = self.directory.path().join(name);
            match content {
                Some(content) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, content).unwrap();
                }
                None => std::fs::remove_file(path).unwrap(),
            }
        }
        self
    }

    async fn publish(&self, control: &Control) -> Result<PublishReport, WorkspaceError> {
        let edits = self.materialised.manifest.edits_in(&self.directory)?;
        let stamp = stamp(&self.scene.input, self.retry);
        let request = PublishRequest {
            branch: "main",
            prefix: &Prefix::new("in").unwrap(),
            stamp: &stamp,
            on_moved_head: self.on_moved_head,
            directory: &self.directory,
            manifest: &self.materialised.manifest,
            edits: &edits,
            merge_limit: Duration::from_secs(60),
            transfers: 16,
        };
        publish(&self.scene.repository, control, &request).await
    }
}

fn stamp(input: &str, retry: u64) -> Stamp {
    Stamp {
        work: Work {
            conductor: "http://conductor/api".to_owned(),
            workflow_instance_id: "workflow".to_owned(),
            reference_task_name: "mix".to_owned(),
            iteration: 0,
        },
        epoch: Epoch { retry_count: retry, poll_count: 1 },
        task_id: format!("task-{retry}"),
        task_name: "audio.mix".to_owned(),
        seq: 1,
        execution: format!("{retry:032x}"),
        worker_id: "worker".to_owned(),
        input_ref: input.to_owned(),
        link: "http://conductor/execution/workflow".to_owned(),
    }
}

fn files(pairs: &[(&str, &str)]) -> Files {
    pairs.iter().map(|&(key, content)| (key.to_owned(), content.to_owned())).collect()
}

const BASE: &[(&str, &str)] = &[("in/a", "1"), ("in/b", "2"), ("in2/c", "3"), ("in/d e/ä%2", "5")];
const EDITS: &[(&str, Option<&str>)] = &[("a", Some("one")), ("b", None), ("new/x y", Some(""))];

fn wanted(more: &[(&str, &str)]) -> Files {
    let mut wanted = files(&[("in/a", "one"), ("in/d e/ä%2", "5"), ("in/new/x y", ""), ("in2/c", "3")]);
    wanted.extend(files(more));
    wanted
}

#[tokio::test]
async fn a_publication_its_retries_and_its_undoing() {
    let Some(scene) = scene(BASE).await else { return };
    let scene = Arc::new(scene);
    let attempt = async |retry: u64, edits: &[(&str, Option<&str>)]| {
        Attempt::new(&scene, retry).await.edit(edits).publish(&Control::default()).await.unwrap()
    };
    let first = attempt(0, EDITS).await;
    assert_eq!((first.uploaded_files, first.deleted_files, first.is_new), (2, 1, true));
    assert_eq!(scene.main().await, wanted(&[]));
    let head = scene.repository.commit_of("main").await.unwrap();
    assert_eq!((&head.id, &head.parents[0]), (&first.commit, &scene.input));
    assert_eq!(head.metadata["perago.worker_id"], "worker");

    let again = attempt(1, EDITS).await;
    assert_eq!((again.commit, again.is_new, again.uploaded_files), (first.commit.clone(), false, 0));
    let other = attempt(2, &[("a", Some("two"))]).await;
    assert_eq!(scene.main().await["in/a"], "two");
    assert_eq!(scene.main().await["in/b"], "2", "the first attempt's deletion is undone");
    let undone = attempt(3, &[]).await;
    assert!(undone.is_new && undone.commit != other.commit);
    assert_eq!(scene.main().await, files(BASE));
    assert_eq!(scene.branch_names().await, ["main"]);
}

#[tokio::test]
async fn a_foreign_commit_is_kept_whenever_it_comes() {
    for (moment, on_moved_head) in
        [(0, OnMovedHead::Fail), (0, OnMovedHead::Merge), (1, OnMovedHead::Fail), (1, OnMovedHead::Merge)]
    {
        let Some(scene) = scene(BASE).await else { return };
        let scene = Arc::new(scene);
        let mut attempt = Attempt::new(&scene, 0).await.edit(EDITS);
        attempt.on_moved_head = on_moved_head;
        let mut control = Control::default();
        if moment == 0 {
            scene.commit(&[("in/theirs", "t")]).await;
        } else {
            let writer = Arc::clone(&scene);
            control.before_merge = Some(Box::new(move || {
                let writer = Arc::clone(&writer);
                Box::pin(async move {
                    writer.commit(&[("in/theirs", "t")]).await;
                })
            }));
        }
        let result = attempt.publish(&control).await;
        let main = scene.main().await;
        match on_moved_head {
            OnMovedHead::Merge => {
                assert!(result.unwrap().is_new);
                assert_eq!(main, wanted(&[("in/theirs", "t")]));
            }
            OnMovedHead::Fail => {
                let error = result.unwrap_err();
                assert_eq!(error.code(), FailureCode::PublishFence, "{error}");
                assert_eq!(error.to_string().contains("was reverted"), moment == 1, "{error}");
                let mut kept = files(BASE);
                kept.insert("in/theirs".to_owned(), "t".to_owned());
                assert_eq!(main, kept);
            }
        }
        assert_eq!(scene.branch_names().await, ["main"]);
    }
}

#[tokio::test]
async fn conflicts_and_a_dirty_branch_are_named() {
    let Some(scene) = scene(BASE).await else { return };
    let scene = Arc::new(scene);
    let mut attempt = Attempt::new(&scene, 0).await.edit(EDITS);
    attempt.on_moved_head = OnMovedHead::Merge;
    scene.commit(&[("in/a", "theirs")]).await;
    let error = attempt.publish(&Control::default()).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::PublishConflict, "{error}");
    assert!(error.to_string().ends_with("in/a"), "{error}");

    scene.upload("loose", "x").await;
    let mut attempt = Attempt::new(&scene, 0).await.edit(&[("new", Some("1"))]);
    attempt.on_moved_head = OnMovedHead::Merge;
    let error = attempt.publish(&Control::default()).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::BranchUnusable, "{error}");
    assert_eq!(scene.branch_names().await, ["main"]);
}

#[tokio::test]
async fn the_server_refuses_a_zombies_late_merge() {
    let Some(scene) = scene(BASE).await else { return };
    let scene = Arc::new(scene);
    let zombie = Attempt::new(&scene, 0).await.edit(&[("a", Some("zombie"))]);
    let newer = Arc::new(Attempt::new(&scene, 1).await.edit(EDITS));
    let control = Control {
        before_merge: Some(Box::new(move || {
            let newer = Arc::clone(&newer);
            Box::pin(async move {
                newer.publish(&Control::default()).await.unwrap();
            })
        })),
        ..Control::default()
    };
    let error = zombie.publish(&control).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::LeaseLost, "{error}");
    assert_eq!(scene.main().await, wanted(&[]));
    assert_eq!(scene.branch_names().await, ["main"]);
}

#[tokio::test]
async fn contents_of_every_size_and_name_come_and_go_unchanged() {
    let long = format!("in/{}/{}/e", vec!["a".repeat(200); 4].join("/"), "b".repeat(215));
    assert_eq!(long.len(), 1024);
    let large: String = (0..1_500_000).map(|number| format!("{number:08}")).collect::<Vec<String>>().concat();
    let base =
        [("in/empty", ""), (long.as_str(), "long"), ("in/large", large.as_str()), ("in/a+b&c=d?#", "1")];
    let Some(scene) = scene(&base).await else { return };
    let scene = Arc::new(scene);
    let place = scene.folder.path().join("cache");
    let cache = Arc::new(Cache::open(CacheOptions { place, most_bytes: 1 << 30 }).unwrap());
    let (_, cold) = checkout(&scene, &scene.input, "in", "cold", Some(&cache)).await.unwrap();
    let (directory, warm) = checkout(&scene, &scene.input, "in", "warm", Some(&cache)).await.unwrap();
    assert_eq!((cold.downloaded_files, warm.downloaded_files, warm.cached_files), (4, 0, 4));
    assert!(cold.warnings.is_empty() && warm.manifest.edits_in(&directory).unwrap().is_empty());
    assert!(files_in(&directory)["large"] == large);

    let larger = format!("{large}{large}");
    let attempt = Attempt::new(&scene, 0).await.edit(&[("large", Some(&larger)), ("empty", None)]);
    attempt.publish(&Control::default()).await.unwrap();
    let main = scene.main().await;
    assert!(main["in/large"] == larger && !main.contains_key("in/empty"));
    assert_eq!((main[&long].as_str(), main["in/a+b&c=d?#"].as_str()), ("long", "1"));
}

/// A service over a scene, and a place where it notes its transfers.
fn service(scene: &Scene, spec: &str) -> WorkspaceService {
    WorkspaceService {
        client: scene.client.clone(),
        root: scene.folder.path().join("root"),
        cache: None,
        transfers: TransferOptions::default(),
        spec: serde_json::from_str(spec).unwrap(),
        dialect: perago_workspace::GlobDialect::default(),
        merge_limit: Duration::from_secs(60),
    }
}

async fn run(
    scene: &Scene,
    service: &WorkspaceService,
    body: impl FnOnce(&std::path::Path),
) -> (Result<Published, WorkspaceError>, Vec<(Operation, Option<u64>)>) {
    std::fs::create_dir_all(&service.root).unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let record = |transfer: Transfer| seen.lock().unwrap().push((transfer.operation, transfer.bytes));
    let input = WorkspaceRef {
        repository: scene.name.clone(),
        branch: "main".to_owned(),
        ref_type: RefType::Commit,
        reference: scene.input.clone(),
    };
    let result = async {
        let workspace =
            service.prepare(input, stamp(&scene.input, 0), &Arc::default(), &record, pending()).await?;
        body(&workspace.files());
        let published = service.publish(&workspace, &Control::default(), &record).await;
        workspace.discard().await?;
        published
    }
    .await;
    assert_eq!(std::fs::read_dir(&service.root).unwrap().count(), 0, "no directory is left");
    (result, seen.into_inner().unwrap())
}

#[tokio::test]
async fn an_attempt_says_what_it_moved_and_leaves_nothing() {
    use Operation::{Download, Publish, Upload};

    let Some(scene) = scene(BASE).await else { return };
    let none = |_: &std::path::Path| {};
    let (unchanged, moved) = run(&scene, &service(&scene, r#"{"prefix": "in"}"#), none).await;
    assert_eq!(unchanged.unwrap().output.reference, scene.input);
    assert_eq!(moved, [(Download, Some(3)), (Publish, None)]);

    let read_only = service(&scene, r#"{"prefix": "in", "read_only": true}"#);
    let write = |files: &std::path::Path| std::fs::write(files.join("a"), "more").unwrap();
    let (kept, moved) = run(&scene, &read_only, write).await;
    assert_eq!((kept.unwrap().output.reference, moved), (scene.input.clone(), vec![(Download, Some(3))]));

    let guarded = r#"{"prefix": "in", "pre": [{"kind": "require_file", "path": "missing"}]}"#;
    let (refused, moved) = run(&scene, &service(&scene, guarded), none).await;
    assert_eq!(refused.unwrap_err().code(), FailureCode::PreGuardrail);
    assert_eq!(moved, [(Download, Some(3))]);
    let guarded = r#"{"prefix": "in", "post": [{"kind": "forbid_glob", "path": "**/*.tmp"}]}"#;
    let litter = |files: &std::path::Path| std::fs::write(files.join("x.tmp"), "").unwrap();
    let (refused, _) = run(&scene, &service(&scene, guarded), litter).await;
    assert_eq!(refused.unwrap_err().code(), FailureCode::PostGuardrail);

    let (published, moved) = run(&scene, &service(&scene, r#"{"prefix": "in"}"#), write).await;
    let published = published.unwrap();
    assert_eq!(published.output.reference, scene.repository.head("main").await.unwrap());
    assert_eq!(moved, [(Download, Some(3)), (Upload, Some(4)), (Publish, None)]);
    assert_eq!(scene.main().await["in/a"], "more");
}
