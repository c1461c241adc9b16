//! Servers for the tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perago_dev::{DevHandle, DevOptions, DevServer, ObjectStore, StoreKey};
use perago_lakefs::{
    Address, Backoff, Client, ClientOptions, Credentials, NewRepository, RetryOptions, Secret,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server with a repository of our own.
pub(crate) struct Lake {
    pub(crate) client: Client,
    pub(crate) repository: String,
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
    _server: Option<DevHandle>,
}

/// Options with short pauses and small limits, so that every way of transfer is taken by small objects.
pub(crate) fn options(url: &str, id: &str, secret: &str) -> ClientOptions {
    let credentials = Credentials { access_key_id: Secret::new(id), secret_access_key: Secret::new(secret) };
    let backoff = Backoff { initial: Duration::from_millis(1), maximum: Duration::from_millis(4) };
    ClientOptions {
        retry: RetryOptions { attempts: 3, backoff },
        direct_upload_minimum: 8,
        multipart_minimum: 6 * 1024 * 1024,
        part_size: 5 * 1024 * 1024,
        ..ClientOptions::new(Address::parse(url).unwrap(), credentials)
    }
}

impl Lake {
    /// An embedded store.
    pub(crate) async fn embedded(object_store: ObjectStore) -> Self {
        let server = DevServer::start(DevOptions { object_store, ..DevOptions::default() }).await.unwrap();
        let options = options(&server.lakefs_url(), StoreKey::DEFAULT, StoreKey::DEFAULT);
        Self::new(options, Some(server)).await
    }

    /// Both kinds of embedded store, and the real server where `PERAGO_TEST_LAKEFS=1`, with objects below
    /// `PERAGO_TEST_LAKEFS_NAMESPACE` where its object store needs to be told a bucket.
    pub(crate) async fn all() -> Vec<Self> {
        let mut all = vec![Self::embedded(ObjectStore::S3).await, Self::embedded(ObjectStore::Local).await];
        let read = |name: &str| std::env::var(name).unwrap_or_default();
        if read("PERAGO_TEST_LAKEFS") == "1" {
            let url = read("LAKECTL_SERVER_ENDPOINT_URL");
            let id = read("LAKECTL_CREDENTIALS_ACCESS_KEY_ID");
            let secret = read("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY");
            all.push(Self::new(options(&url, &id, &secret), None).await);
        } else {
            eprintln!("real lakeFS: NOT RUN");
        }
        all
    }

    pub(crate) async fn new(mut options: ClientOptions, server: Option<DevHandle>) -> Self {
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&warnings);
        options.on_warning = Arc::new(move |text| sink.lock().unwrap().push(text.to_owned()));
        let client = Client::new(&options).unwrap();
        let repository = format!("client-{:016x}", fastrand::u64(..));
        let storage = client.storage_config().await.unwrap();
        let given = std::env::var("PERAGO_TEST_LAKEFS_NAMESPACE").ok().filter(|_| server.is_none());
        let prefix = match storage.default_namespace_prefix.as_str() {
            "" => format!("{}://bucket", storage.blockstore_type),
            prefix => prefix.trim_end_matches('/').to_owned(),
        };
        let prefix = given.unwrap_or(prefix);
        let separator = if prefix.ends_with(':') { "//" } else { "/" };
        let new = NewRepository {
            name: repository.clone(),
            storage_namespace: format!("{prefix}{separator}{repository}"),
            default_branch: "main".to_owned(),
        };
        client.create_repository(&new).await.unwrap();
        Self { client, repository, warnings, _server: server }
    }
}

/// What a scripted server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Answers with a status and a JSON body.
    Answer(u16, String),
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Sends these bytes and then nothing more.
    RawAndHang(Vec<u8>),
    /// Closes without an answer.
    Drop,
}

/// A server that takes one step of its script for each request and closes the connection.
pub(crate) struct Scripted {
    pub(crate) url: String,
    pub(crate) targets: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(crate) async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let targets = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) =
            (Arc::clone(&targets), Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>())));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                tokio::spawn(async move {
                    let _ = serve(stream, &seen, &script).await;
                });
            }
        });
        Self { url, targets }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&options(&self.url, "id", "hunter2")).unwrap()
    }

    pub(crate) fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    script: &Mutex<VecDeque<Step>>,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        if name.eq_ignore_ascii_case("content-length") { value.parse::<usize>().ok() } else { None }
    });
    while buffer.len() < end + 4 + length.unwrap_or(0) {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    seen.lock().unwrap().push(line);
    let step = script.lock().unwrap().pop_front();
    match step.unwrap_or(Step::Answer(599, "{}".to_owned())) {
        Step::Answer(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} Any\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await
        }
        Step::Raw(bytes) => stream.write_all(&bytes).await,
        Step::RawAndHang(bytes) => {
            stream.write_all(&bytes).await?;
            while stream.read_buf(&mut buffer).await? > 0 {}
            Ok(())
        }
        Step::Drop => Ok(()),
    }
}
