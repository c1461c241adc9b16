//! How long the workspace side of an attempt takes on a lakeFS server, named by the `LAKECTL_*` variables.
//!
//! `workspace_speed FILES BYTES [ATTEMPTS]`: each attempt checks out FILES files of BYTES bytes and adds one small
//! file, once without and once with a filled cache; prints seconds and the resident memory before and after.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an example speaks, and fails like a test")]

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use perago_contract::envelope::{RefType, WorkspaceRef};
use perago_lakefs::{
    Address, Client, ClientOptions, CommitOutcome, CommitRequest, Credentials, NewRepository, Secret, Upload,
    UploadSource,
};
use perago_worker::workspace::{Transfer, UsedRepositories, WorkspaceService};
use perago_workspace::{
    AttemptControl, Basis, Cache, CacheOptions, Epoch, GlobDialect, Stamp, TransferOptions, Work,
};

/// A fence without a server behind it.
struct Alone;

impl AttemptControl for Alone {
    async fn fence(&self, _effect: Duration) -> Result<(), String> {
        Ok(())
    }

    async fn staged(&self, _branch: &str, _commit: &str) {}

    fn uploaded(&self, _duration: Duration, _bytes: Option<u64>) {}
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let (files, bytes) = (arguments.next().unwrap(), arguments.next().unwrap());
    let attempts = arguments.next().unwrap_or(3);
    let variable = |name: &str| std::env::var(name).unwrap();
    let credentials = Credentials {
        access_key_id: Secret::new(variable("LAKECTL_CREDENTIALS_ACCESS_KEY_ID")),
        secret_access_key: Secret::new(variable("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY")),
    };
    let address = Address::parse(&variable("LAKECTL_SERVER_ENDPOINT_URL")).unwrap();
    let client = Client::new(&ClientOptions::new(address, credentials)).unwrap();
    let name = format!("speed-{:016x}", fastrand::u64(..));
    let reference = fill(&client, &name, files, bytes).await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("cache");
    let cache = Arc::new(Cache::open(CacheOptions { place, most_bytes: 8 << 30 }).unwrap());
    println!("resident before: {} MiB", memory_mebibytes("VmRSS:"));
    let mut service = WorkspaceService {
        client,
        root: folder.path().to_owned(),
        cache: None,
        transfers: TransferOptions::default(),
        spec: serde_json::from_str(r#"{"prefix": "in", "on_moved_head": "merge"}"#).unwrap(),
        dialect: GlobDialect::default(),
        merge_limit: Duration::from_secs(60),
        used: UsedRepositories::open(folder.path()),
    };
    let input =
        WorkspaceRef { repository: name, branch: "main".to_owned(), ref_type: RefType::Commit, reference };
    for number in 0..attempts {
        service.cache = None;
        attempt("without cache", &service, &input, 2 * number).await;
        service.cache = Some(Arc::clone(&cache));
        if number == 0 {
            attempt("filling cache", &service, &input, 1_000_000).await;
        }
        attempt("with cache", &service, &input, 2 * number + 1).await;
    }
    println!(
        "resident after: {} MiB, at most {} MiB",
        memory_mebibytes("VmRSS:"),
        memory_mebibytes("VmHWM:")
    );
}

async fn attempt(what: &str, service: &WorkspaceService, input: &WorkspaceRef, number: usize) {
    let begun = Instant::now();
    let parts = Mutex::new(String::new());
    let record = |transfer: Transfer| {
        let text = format!(" {} {:.3}", transfer.operation.label(), transfer.duration.as_secs_f64());
        parts.lock().unwrap().push_str(&text);
    };
    let stamp = stamp(&input.reference, number);
    let workspace = service.prepare(input.clone(), stamp, &Arc::default(), &record, pending()).await.unwrap();
    std::fs::write(workspace.files().join(format!("added-{number}")), "a small file").unwrap();
    service.publish(&workspace, "null", &Alone, &record).await.unwrap();
    workspace.discard().await.unwrap();
    println!("{what}: {:.3} s;{}", begun.elapsed().as_secs_f64(), parts.into_inner().unwrap());
}

async fn fill(client: &Client, name: &str, files: usize, bytes: usize) -> String {
    let config = client.storage_config().await.unwrap();
    let namespace = match config.default_namespace_prefix.as_str() {
        "" => format!("{}://bucket/", config.blockstore_type),
        prefix => prefix.to_owned(),
    };
    let repository = NewRepository {
        name: name.to_owned(),
        storage_namespace: format!("{namespace}{name}"),
        default_branch: "main".to_owned(),
    };
    client.create_repository(&repository).await.unwrap();
    let uploads = stream::iter(0..files).map(|number| async move {
        let mut content = vec![0; bytes];
        fastrand::Rng::with_seed(number as u64).fill(&mut content);
        let upload = Upload {
            repository: name,
            branch: "main",
            path: &format!("in/{:03}/{number:06}", number % 100),
            content_type: "application/octet-stream",
            metadata: BTreeMap::new(),
            source: UploadSource::Bytes(content.into()),
        };
        client.upload(&upload).await.map(drop)
    });
    uploads.buffer_unordered(16).try_collect::<Vec<()>>().await.unwrap();
    let request = CommitRequest { message: "base".to_owned(), metadata: BTreeMap::new() };
    match client.commit(name, "main", &request).await.unwrap() {
        CommitOutcome::Committed(commit) => commit.id,
        CommitOutcome::NoChanges => unreachable!("files were uploaded"),
    }
}

fn stamp(input: &str, number: usize) -> Stamp {
    Stamp {
        work: Work {
            conductor: "http://conductor/api".to_owned(),
            workflow_instance_id: format!("workflow-{number}"),
            reference_task_name: "speed".to_owned(),
            iteration: 0,
        },
        epoch: Epoch { retry_count: 0, poll_count: 1 },
        task_id: format!("task-{number}"),
        task_name: "speed".to_owned(),
        seq: 1,
        execution: format!("{number:032x}"),
        worker_id: "worker".to_owned(),
        input_ref: input.to_owned(),
        link: String::new(),
        basis: Basis::default(),
    }
}

fn memory_mebibytes(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}
