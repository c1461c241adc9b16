//! What any tool does that copies in parallel: list, get, write; upload, commit, merge. What a workspace does beyond
//! that, verifying and caching and fencing, is measured against it.
//!
//! `cargo run --release -p perago-lakefs --example parallel_copy -- REPOSITORY BRANCH PREFIX DIRECTORY COPIES`
//!
//! Copies all objects below PREFIX of BRANCH into the empty DIRECTORY, COPIES at once; adds one small file on a branch
//! of its own, commits and merges it. The server is the one that the `LAKECTL_*` variables name. Prints the seconds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use perago_lakefs::{
    Address, Client, ClientOptions, CommitRequest, Credentials, ListQuery, MergeRequest, ObjectAt,
    ObjectStats, PathType, Secret, Upload, UploadSource,
};

type Failure = Box<dyn std::error::Error>;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1024 * 1024;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a figure for the caller")]
async fn main() -> Result<(), Failure> {
    let [repository, branch, prefix, directory, copies] =
        <[String; 5]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
            .map_err(|_| "usage: parallel_copy REPOSITORY BRANCH PREFIX DIRECTORY COPIES")?;
    let (directory, copies): (PathBuf, usize) = (directory.into(), copies.parse()?);
    let credentials = Credentials {
        access_key_id: Secret::new(std::env::var("LAKECTL_CREDENTIALS_ACCESS_KEY_ID")?),
        secret_access_key: Secret::new(std::env::var("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY")?),
    };
    let address = Address::parse(&std::env::var("LAKECTL_SERVER_ENDPOINT_URL")?)?;
    let begun = Instant::now();
    let client = Client::new(&ClientOptions::new(address, credentials))?;
    let objects = list(&client, &repository, &branch, &prefix).await?;
    let (client, place) = (&client, (repository.as_str(), branch.as_str()));
    stream::iter(objects)
        .map(|object| copy(client, place, &directory, object))
        .buffer_unordered(copies)
        .try_collect::<Vec<()>>()
        .await?;
    publish(client, place, &prefix).await?;
    println!("{:.4}", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn list(
    client: &Client,
    repository: &str,
    branch: &str,
    prefix: &str,
) -> Result<Vec<ObjectStats>, Failure> {
    let mut objects = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let query = ListQuery { prefix, after: after.as_deref(), with_downloads: true };
        let page = client.list_objects(repository, branch, &query).await?;
        after = page.next().map(str::to_owned);
        objects.extend(page.results.into_iter().filter(|stats| stats.path_type == PathType::Object));
        if after.is_none() {
            return Ok(objects);
        }
    }
}

async fn copy(
    client: &Client,
    (repository, reference): (&str, &str),
    directory: &Path,
    object: ObjectStats,
) -> Result<(), Failure> {
    let place = directory.join(&object.path);
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = File::create(&place)?;
    let at = ObjectAt { repository, reference, path: &object.path, download: object.download.as_ref() };
    let mut reader = client.read_object(&at, None).await?;
    let mut gathered: Vec<u8> = Vec::new();
    while let Some(bytes) = reader.chunk().await? {
        gathered.extend_from_slice(&bytes);
        if gathered.len() >= WRITE_BYTES {
            file.write_all(&gathered)?;
            gathered.clear();
        }
    }
    file.write_all(&gathered)?;
    Ok(())
}

async fn publish(client: &Client, (repository, branch): (&str, &str), prefix: &str) -> Result<(), Failure> {
    let staging = format!("copy-{:016x}", fastrand::u64(..));
    client.create_branch(repository, &staging, branch).await?;
    let upload = Upload {
        repository,
        branch: &staging,
        path: &format!("{prefix}added"),
        content_type: "application/octet-stream",
        metadata: BTreeMap::new(),
        source: UploadSource::Bytes("a small file".into()),
    };
    client.upload(&upload).await?;
    let commit = CommitRequest { message: "add".to_owned(), metadata: BTreeMap::new() };
    client.commit(repository, &staging, &commit).await?;
    let merge = MergeRequest { message: "merge".to_owned(), metadata: BTreeMap::new() };
    client.merge(repository, &staging, branch, &merge, Duration::from_secs(60)).await?;
    client.delete_branch(repository, &staging).await?;
    Ok(())
}
