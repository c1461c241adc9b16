//! An attempt on a workspace leaves nothing in the memory of its worker: every byte that this binary allocates and frees
//! is counted.
//!
//! The embedded store keeps every commit, so it is another process: this binary again.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a failed set-up fails the test; they speak")]

#[path = "../src/simulation/allocated.rs"]
mod allocated;
#[expect(dead_code, reason = "what other tests of scenes need")]
#[path = "lakefs/scene.rs"]
mod scene;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use allocated::allocated_bytes;
use perago_contract::envelope::{RefType, WorkspaceRef};
use perago_dev::{DevOptions, DevServer};
use perago_worker::logs::{Destination, Logger};
use perago_worker::workspace::{Keeping, UsedRepositories, WorkspaceMail, WorkspaceService, Workspaces};
use perago_workspace::{Cache, CacheOptions, GlobDialect, Repository as _, TransferOptions};
use scene::{Files, Scene, Store, stamp};
use tokio::sync::{mpsc, watch};

/// Attempts on one repository. One after the other, so that there are few connections: each takes 34 KB, of which 9 KB from
/// its 33rd request on.
const ATTEMPTS: u64 = 16;
/// Rounds until caches, pools and tables have the sizes that they keep, and rounds that are compared with them.
const WARM_UP: usize = 5;
const ROUNDS: usize = 8;
/// What an attempt may add on average: less than its stamp alone.
const MOST_BYTES_PER_ATTEMPT: i64 = 256;

/// The store's process. It ends with its input.
#[test]
#[ignore = "started by the other test"]
fn store() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(DevServer::start(DevOptions::default())).unwrap();
    println!("\nserving {}", server.lakefs_url());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Starts the store's process and returns it with its address.
fn start_store() -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "store", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.by_ref().lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.strip_prefix("serving ").map(str::to_owned)).unwrap();
    // It still has its result to say.
    child.stdout = Some(output.into_inner());
    (child, address)
}

#[test]
fn attempts_leave_nothing_in_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut store, address) = start_store();
    let allocated = runtime.block_on(rounds(&address));
    drop(store.stdin.take());
    store.wait().unwrap();
    let (first, last) = (median(&allocated[WARM_UP..WARM_UP + 3]), median(&allocated[allocated.len() - 3..]));
    let attempts = (ROUNDS - 3) as i64 * ATTEMPTS as i64;
    eprintln!(
        "allocated after each round: {allocated:?}; {} bytes for each attempt",
        (last - first) / attempts
    );
    assert!(last - first <= MOST_BYTES_PER_ATTEMPT * attempts, "bytes after each round: {allocated:?}");
}

fn median(values: &[i64]) -> i64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}

/// What is allocated after each round.
async fn rounds(address: &str) -> Vec<i64> {
    let store = Arc::new(Store::embedded_at(address));
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("root")).unwrap();
    let cache = CacheOptions { place: home.path().join("cache"), most_bytes: 256 * 1024 };
    let used = UsedRepositories::open(home.path());
    let service = WorkspaceService {
        client: Scene::new(&store, &Files::new()).await.client.clone(),
        root: home.path().join("root"),
        cache: Some(Arc::new(Cache::open(cache).unwrap())),
        transfers: TransferOptions { transfers: 1, ..TransferOptions::default() },
        spec: serde_json::from_str(r#"{"prefix": "in"}"#).unwrap(),
        dialect: GlobDialect::default(),
        merge_limit: Duration::from_secs(60),
        used: used.clone(),
    };
    let workspaces = Workspaces::start(service).unwrap();
    let mut allocated = Vec::with_capacity(WARM_UP + ROUNDS);
    for _ in 0..WARM_UP + ROUNDS {
        round(&store, &workspaces).await;
        for repository in used.of_server(&workspaces.service().client.server()) {
            used.forget(&workspaces.service().client.server(), &repository, i64::MAX).unwrap();
        }
        allocated.push(allocated_bytes());
    }
    allocated
}

/// Attempts at a repository whose contents are in no cache yet.
async fn round(store: &Arc<Store>, workspaces: &Workspaces) {
    let files: Files = (0..24).map(|number| (format!("in/{number:02}"), random_bytes(4096))).collect();
    let scene = Scene::new(store, &files).await;
    for number in 0..ATTEMPTS {
        attempt(&scene, workspaces, number).await;
    }
}

async fn attempt(scene: &Scene, workspaces: &Workspaces, number: u64) {
    let branch = format!("run-{number}");
    scene.repository.create_branch(&branch, &scene.input).await.unwrap();
    let mut stamp = stamp(&scene.input, 0);
    stamp.work.workflow_instance_id = format!("{}-{branch}", scene.name);
    stamp.task_id = format!("task-{}", stamp.work.workflow_instance_id);
    stamp.execution = format!("{:032x}", fastrand::u128(..));
    let (mail, mut mails) = mpsc::unbounded_channel();
    let (_stop, stop) = watch::channel(false);
    let (alive, mut dead) = mpsc::channel(1);
    let kept = workspaces.keep(Keeping {
        input: WorkspaceRef {
            repository: scene.name.clone(),
            branch,
            ref_type: RefType::Commit,
            reference: scene.input.clone(),
        },
        stamp,
        mail,
        stop,
        alive,
        logger: Logger::open(&Destination::Stdout, "test", "test").unwrap(),
    });
    let files = kept.ready.await.unwrap().unwrap();
    std::fs::write(files.join("added"), random_bytes(512)).unwrap();
    kept.publish.send("null".to_owned()).unwrap();
    while let Some(mail) = mails.recv().await {
        if let WorkspaceMail::Fence(_, lift) = mail {
            lift.send(()).unwrap();
        }
    }
    assert_ne!(kept.published.await.unwrap().unwrap().output.reference, scene.input);
    assert!(dead.recv().await.is_none(), "the directory is removed");
}

fn random_bytes(length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect()
}
