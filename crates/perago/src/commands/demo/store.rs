//! The songs in the embedded store: a branch each, and what tasks have committed to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use indicatif::BinaryBytes;
use perago_contract::envelope::{RefType, WorkspaceRef};
use perago_dev::{DevHandle, StoreKey};
use perago_lakefs::{
    Address, Client, ClientOptions, Commit, CommitOutcome, CommitRequest, CreatedBranch, Credentials,
    DiffEntry, DiffForm, DiffKind, DiffQuery, LogQuery, NewRepository, Secret, Upload, UploadSource,
};

use super::internal;
use super::prepare::SongFile;
use super::style::Style;
use crate::failure::Failure;

/// Name of the repository.
pub(super) const REPOSITORY: &str = "songs";
/// Where every branch starts.
const TRUNK: &str = "main";
/// Path of the recording on a song's branch.
const RECORDING: &str = "recording.wav";
/// The key under which a commit of a task says which task it was.
const TASK_NAME: &str = "perago.task_name";
/// Digits of a commit's id that are shown.
const SHORT_ID: usize = 12;

/// The repository of the demo.
#[derive(Debug)]
pub(super) struct Store(Client);

impl Store {
    /// Makes the repository.
    pub async fn create(server: &DevHandle) -> Result<Self, Failure> {
        let address = Address::parse(&server.lakefs_url()).map_err(internal)?;
        let credentials = Credentials {
            access_key_id: Secret::new(StoreKey::DEFAULT),
            secret_access_key: Secret::new(StoreKey::DEFAULT),
        };
        let client = Client::new(&ClientOptions::new(address, credentials)).map_err(refused)?;
        let repository = NewRepository {
            name: REPOSITORY.to_owned(),
            storage_namespace: format!("s3://perago-demo/{REPOSITORY}"),
            default_branch: TRUNK.to_owned(),
        };
        client.create_repository(&repository).await.map_err(refused)?;
        Ok(Self(client))
    }

    /// Commits a song's recording to a branch of its own; returns what the first task gets as its workspace.
    pub async fn add(&self, song: &SongFile) -> Result<WorkspaceRef, Failure> {
        let branch = &song.song_id;
        let unreadable =
            |error| Failure::new(format!("{}: {} cannot be read: {error}", song.title, song.path));
        let file = File::open(&song.path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        if self.0.create_branch(REPOSITORY, branch, TRUNK).await.map_err(refused)? == CreatedBranch::Exists {
            return Err(internal(format!("two songs are called {branch}")));
        }
        let upload = Upload {
            repository: REPOSITORY,
            branch,
            path: RECORDING,
            content_type: "audio/wav",
            metadata: BTreeMap::new(),
            source: UploadSource::File(Arc::new(file), length),
        };
        self.0.upload(&upload).await.map_err(refused)?;
        let message = format!("record {}", song.title);
        let request = CommitRequest { message, ..CommitRequest::default() };
        match self.0.commit(REPOSITORY, branch, &request).await.map_err(refused)? {
            CommitOutcome::Committed(commit) => Ok(WorkspaceRef {
                repository: REPOSITORY.to_owned(),
                branch: branch.clone(),
                ref_type: RefType::Commit,
                reference: commit.id,
            }),
            CommitOutcome::NoChanges => Err(internal(format!("{branch} has its recording already"))),
        }
    }

    /// What was committed to a branch since it left the trunk, oldest first.
    pub async fn history(&self, branch: &str) -> Result<Vec<HistoryEntry>, Failure> {
        let query = LogQuery { first_parent: true, ..LogQuery::default() };
        let page = self.0.log(REPOSITORY, branch, &query).await.map_err(refused)?;
        let mut entries = Vec::new();
        for commit in page.results.into_iter().rev() {
            // Only the empty commit that every repository begins with has no parent.
            let Some(parent) = commit.parents.first() else { continue };
            let (refs, query) = ((parent.as_str(), commit.id.as_str()), DiffQuery::default());
            let page = self.0.diff_refs(REPOSITORY, refs, DiffForm::TwoDot, &query).await.map_err(refused)?;
            entries.push(HistoryEntry { commit, changes: page.results });
        }
        Ok(entries)
    }
}

/// One commit and what it changed.
#[derive(Debug)]
pub(super) struct HistoryEntry {
    commit: Commit,
    changes: Vec<DiffEntry>,
}

/// For each commit a line with id, author and message, and a line a path.
pub(super) fn lines(entries: &[HistoryEntry], style: Style) -> String {
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default();
    let author_width = longest(&mut entries.iter().map(|entry| entry.author().chars().count()));
    let paths = entries.iter().flat_map(|entry| &entry.changes);
    let path_width = longest(&mut paths.map(|change| change.path.chars().count()));
    let mut lines = Vec::new();
    for entry in entries {
        let id = entry.commit.id.get(..SHORT_ID).unwrap_or(&entry.commit.id);
        lines.push(format!(
            "  {}  {}  {}",
            style.dim(&format!("commit {id}")),
            style.name(&format!("{:author_width$}", entry.author())),
            entry.commit.message
        ));
        lines.extend(entry.changes.iter().map(|change| {
            let path = format!("{} {:path_width$}", sign(change.kind), change.path);
            let size = BinaryBytes(change.size_bytes).to_string();
            format!("    {}  {}", style.change(change.kind, &path), style.dim(&size))
        }));
    }
    lines.join("\n")
}

impl HistoryEntry {
    /// The task that made the commit, or the user.
    fn author(&self) -> &str {
        self.commit.metadata.get(TASK_NAME).unwrap_or(&self.commit.committer)
    }
}

/// What stands before a path of a diff.
fn sign(kind: DiffKind) -> char {
    match kind {
        DiffKind::Added => '+',
        DiffKind::Removed => '-',
        _ => '~',
    }
}

/// A failed call to the embedded store.
fn refused(error: impl std::fmt::Display) -> Failure {
    internal(format!("the embedded store refused: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{HistoryEntry, lines};
    use crate::commands::demo::style::Style;

    #[test]
    fn a_commit_names_its_author_and_what_it_changed() {
        let entry = |id: &str, metadata: serde_json::Value, changes: serde_json::Value| HistoryEntry {
            commit: serde_json::from_value(
                json!({"id": id, "committer": "admin", "message": "a message", "metadata": metadata}),
            )
            .unwrap(),
            changes: serde_json::from_value(changes).unwrap(),
        };
        let entries = [
            entry(
                "1234567890abcdef",
                json!({}),
                json!([{"path": "a.wav", "type": "added", "size_bytes": 2048}]),
            ),
            entry(
                "short",
                json!({"perago.task_name": "features.build"}),
                json!([
                    {"path": "a.wav", "type": "changed", "size_bytes": 1},
                    {"path": "notes.json", "type": "removed", "size_bytes": 1500},
                ]),
            ),
        ];
        let expected = [
            "  commit 1234567890ab  admin           a message",
            "    + a.wav       2.00 KiB",
            "  commit short  features.build  a message",
            "    ~ a.wav       1 B",
            "    - notes.json  1.46 KiB",
        ];
        assert_eq!(lines(&entries, Style::PLAIN), expected.join("\n"));
    }
}
