//! A repository of a test's own on each server, and attempts at one piece of work in it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use perago_contract::OnMovedHead;
use perago_dev::{DevHandle, DevOptions, DevServer, ObjectStore, StoreKey};
use perago_lakefs::{
    Address, Backoff, Client, ClientOptions, CommitRequest, Credentials, ListQuery, NewRepository, ObjectAt,
    RetryOptions, Secret, Upload, UploadSource,
};
use perago_worker::workspace::LakeFsRepository;
use perago_workspace::{
    AttemptControl, Basis, Cache, Directory, Epoch, MaterialiseRequest, Materialised, Prefix, PublishReport,
    PublishRequest, Repository, Stamp, Target, TransferOptions, Work, WorkspaceError, materialise, publish,
};

/// Objects or files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;
/// What somebody else does in the middle of an attempt.
pub(crate) type Interlude = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A store that can be reached; the embedded one ends with it.
pub(crate) struct Store {
    client: Client,
    namespace: Option<String>,
    _server: Option<DevHandle>,
}

impl Store {
    /// An embedded store. Already small objects take the way of large ones.
    pub(crate) async fn embedded(object_store: ObjectStore) -> Self {
        let server = DevServer::start(DevOptions { object_store, ..DevOptions::default() }).await.unwrap();
        let url = server.lakefs_url();
        Self { _server: Some(server), ..Self::embedded_at(&url) }
    }

    /// An embedded store at this address.
    pub(crate) fn embedded_at(url: &str) -> Self {
        let backoff = Backoff { initial: Duration::from_millis(1), maximum: Duration::from_millis(4) };
        let options = ClientOptions {
            retry: RetryOptions { attempts: 3, backoff },
            direct_upload_minimum: 4,
            multipart_minimum: 6 * 1024 * 1024,
            part_size: 5 * 1024 * 1024,
            ..client_options(url, StoreKey::DEFAULT, StoreKey::DEFAULT)
        };
        Self { client: Client::new(&options).unwrap(), namespace: None, _server: None }
    }

    /// Both kinds of embedded store, and the real server where one is named.
    pub(crate) async fn all() -> Vec<Self> {
        let mut all = vec![Self::embedded(ObjectStore::S3).await, Self::embedded(ObjectStore::Local).await];
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        if variable("PERAGO_TEST_LAKEFS").as_deref() == Some("1") {
            let options = client_options(
                &variable("LAKECTL_SERVER_ENDPOINT_URL").unwrap(),
                &variable("LAKECTL_CREDENTIALS_ACCESS_KEY_ID").unwrap(),
                &variable("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY").unwrap(),
            );
            let namespace = variable("PERAGO_TEST_LAKEFS_NAMESPACE");
            all.push(Self { client: Client::new(&options).unwrap(), namespace, _server: None });
        } else {
            eprintln!("real lakeFS: NOT RUN");
        }
        all
    }

    /// A new repository with these files on `main`.
    pub(crate) async fn scene(self, files: &Files) -> Arc<Scene> {
        let store = Arc::new(self);
        Scene::new(&store, files).await
    }
}

fn client_options(url: &str, id: &str, secret: &str) -> ClientOptions {
    let credentials = Credentials { access_key_id: Secret::new(id), secret_access_key: Secret::new(secret) };
    ClientOptions::new(Address::parse(url).unwrap(), credentials)
}

/// A repository and its first commit, the input of all attempts.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) repository: Arc<LakeFsRepository>,
    pub(crate) input: String,
    pub(crate) folder: tempfile::TempDir,
    _store: Arc<Store>,
}

/// One scene on each server.
pub(crate) async fn scenes(base: &[(&str, &str)]) -> Vec<Arc<Scene>> {
    let mut scenes = Vec::new();
    for store in Store::all().await {
        scenes.push(store.scene(&files(base)).await);
    }
    scenes
}

impl Scene {
    /// A new repository with these files on `main`.
    pub(crate) async fn new(store: &Arc<Store>, files: &Files) -> Arc<Self> {
        let client = store.client.clone();
        let name = format!("workspace-{:016x}", fastrand::u64(..));
        let storage = client.storage_config().await.unwrap();
        let namespace = match (&store.namespace, storage.default_namespace_prefix.as_str()) {
            (Some(given), _) => format!("{}/", given.trim_end_matches('/')),
            (None, "") => format!("{}://bucket/", storage.blockstore_type),
            (None, prefix) => prefix.to_owned(),
        };
        let repository = NewRepository {
            name: name.clone(),
            storage_namespace: format!("{namespace}{name}"),
            default_branch: "main".to_owned(),
        };
        client.create_repository(&repository).await.unwrap();
        let repository = Arc::new(LakeFsRepository::new(client.clone(), &name));
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::clone(store);
        let mut scene = Self { client, name, repository, input: String::new(), folder, _store: store };
        scene.input = if files.is_empty() {
            scene.repository.head("main").await.unwrap()
        } else {
            scene.commit_bytes(files).await
        };
        Arc::new(scene)
    }

    /// Stages an object on `main` as another writer.
    pub(crate) async fn upload(&self, key: &str, content: &[u8]) {
        let upload = Upload {
            repository: &self.name,
            branch: "main",
            path: key,
            content_type: "application/octet-stream",
            metadata: BTreeMap::new(),
            source: UploadSource::Bytes(Bytes::copy_from_slice(content)),
        };
        self.client.upload(&upload).await.unwrap();
    }

    /// Commits files to `main` as another writer.
    pub(crate) async fn commit(&self, pairs: &[(&str, &str)]) -> String {
        self.commit_bytes(&files(pairs)).await
    }

    async fn commit_bytes(&self, files: &Files) -> String {
        for (key, content) in files {
            self.upload(key, content).await;
        }
        let request = CommitRequest { message: "theirs".to_owned(), metadata: BTreeMap::new() };
        self.client.commit(&self.name, "main", &request).await.unwrap();
        self.head().await
    }

    /// All objects of `main`, read one by one through the server.
    pub(crate) async fn main(&self) -> Files {
        let page = self.client.list_objects(&self.name, "main@", &ListQuery::default()).await.unwrap();
        assert!(page.next().is_none(), "tests hold fewer objects than a page");
        let mut found = Files::new();
        for stats in page.results {
            let path = stats.path;
            let at = ObjectAt { repository: &self.name, reference: "main@", path: &path, download: None };
            let mut reader = self.client.read_object(&at, None).await.unwrap();
            let mut content = Vec::new();
            while let Some(chunk) = reader.chunk().await.unwrap() {
                content.extend_from_slice(&chunk);
            }
            found.insert(path, content);
        }
        found
    }

    /// The names of all branches.
    pub(crate) async fn branch_names(&self) -> Vec<String> {
        let page = self.repository.branches("", None).await.unwrap();
        page.items.into_iter().map(|branch| branch.name).collect()
    }

    /// The head of `main`.
    pub(crate) async fn head(&self) -> String {
        self.repository.head("main").await.unwrap()
    }

    /// Checks the input out into a new directory.
    pub(crate) async fn checkout(
        &self,
        prefix: &str,
        cache: Option<&Arc<Cache>>,
    ) -> Result<(Arc<Directory>, Materialised), WorkspaceError> {
        self.checkout_at(&self.input, prefix, cache).await
    }

    async fn checkout_at(
        &self,
        reference: &str,
        prefix: &str,
        cache: Option<&Arc<Cache>>,
    ) -> Result<(Arc<Directory>, Materialised), WorkspaceError> {
        let path = self.folder.path().join(format!("{:016x}", fastrand::u64(..)));
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
        let materialised = materialise(&self.repository, &request).await?;
        Ok((directory, materialised))
    }
}

/// The files of a directory.
pub(crate) fn files_in(directory: &Directory) -> Files {
    let read = |path: &str| std::fs::read(directory.path().join(path)).unwrap();
    let scanned = directory.scan().unwrap();
    scanned.iter().map(|(path, _)| (path.as_str().to_owned(), read(path.as_str()))).collect()
}

/// Files with these contents.
pub(crate) fn files(pairs: &[(&str, &str)]) -> Files {
    pairs.iter().map(|&(key, content)| (key.to_owned(), content.as_bytes().to_owned())).collect()
}

/// A fence that holds, and that lets something happen just before the merge.
#[derive(Default)]
pub(crate) struct Control {
    asked: AtomicUsize,
    before_merge: Option<Interlude>,
}

impl Control {
    /// Lets something happen just before the merge.
    pub(crate) fn before_merge(interlude: Interlude) -> Self {
        Self { asked: AtomicUsize::new(0), before_merge: Some(interlude) }
    }
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

/// A checkout of the part `in` of the input and who works on it.
pub(crate) struct Attempt {
    scene: Arc<Scene>,
    retry: u64,
    pub(crate) on_moved_head: OnMovedHead,
    pub(crate) directory: Arc<Directory>,
    materialised: Materialised,
}

impl Attempt {
    /// Checks out for retry number `retry`.
    pub(crate) async fn new(scene: &Arc<Scene>, retry: u64) -> Self {
        Self::at(scene, &scene.input, retry).await
    }

    /// The same from another commit.
    pub(crate) async fn at(scene: &Arc<Scene>, reference: &str, retry: u64) -> Self {
        let (directory, materialised) = scene.checkout_at(reference, "in", None).await.unwrap();
        let scene = Arc::clone(scene);
        Self { scene, retry, on_moved_head: OnMovedHead::Fail, directory, materialised }
    }

    /// Writes or removes files, as a body would.
    pub(crate) fn edit(self, files: &[(&str, Option<&str>)]) -> Self {
        for (name, content) in files {
            let path = self.path().join(name);
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

    /// The directory of the body.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Publishes to `main`.
    pub(crate) async fn publish(&self, control: &Control) -> Result<PublishReport, WorkspaceError> {
        let edits = self.materialised.manifest.edits_in(&self.directory)?;
        let stamp = stamp(&self.scene.input, self.retry);
        let request = PublishRequest {
            target: Target {
                branch: "main",
                prefix: &Prefix::new("in").unwrap(),
                stamp: &stamp,
                on_moved_head: self.on_moved_head,
                merge_limit: Duration::from_secs(60),
                result: None,
            },
            directory: &self.directory,
            manifest: &self.materialised.manifest,
            edits: &edits,
            transfers: 16,
        };
        publish(&self.scene.repository, control, &request).await
    }
}

/// The stamp of retry number `retry` at the only piece of work there is.
pub(crate) fn stamp(input: &str, retry: u64) -> Stamp {
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
        basis: Basis::default(),
    }
}
