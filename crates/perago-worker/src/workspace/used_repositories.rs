//! Which repositories the attempts of a worker have used: where its timer looks for staging branches.
//!
//! A file of the state directory, because a branch outlives the process that made it and the directory whose marker
//! names the repository.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

const FILE: &str = "repositories.json";

/// A use that is as young as this, in seconds, is not written again.
pub(super) const WRITTEN_AGAIN_AFTER: i64 = 60;

/// A cheap handle to the record.
#[derive(Debug, Clone)]
pub struct UsedRepositories(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    known: Mutex<Vec<Used>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Used {
    /// The lakeFS server.
    server: String,
    repository: String,
    /// When an attempt last began on it, in seconds since the epoch.
    last_begun: i64,
}

impl UsedRepositories {
    /// Opens the record of a state directory; one that is missing or damaged is empty.
    ///
    /// Blocks on the file system.
    pub fn open(state_directory: &Path) -> Self {
        let path = state_directory.join(FILE);
        let text = fs::read(&path).unwrap_or_default();
        let known = serde_json::from_slice(&text).unwrap_or_default();
        Self(Arc::new(Inner { path, known: Mutex::new(known) }))
    }

    /// Records that an attempt begins on a repository, before it can leave anything there.
    ///
    /// Blocks on the file system.
    ///
    /// # Errors
    /// The file cannot be written; the repository is remembered for as long as this process runs.
    pub fn note(&self, server: &str, repository: &str, now: i64) -> io::Result<()> {
        self.change(|known| {
            match known.iter_mut().find(|used| used.is(server, repository)) {
                Some(used) if now - used.last_begun < WRITTEN_AGAIN_AFTER => return false,
                Some(used) => used.last_begun = now,
                None => known.push(Used {
                    server: server.to_owned(),
                    repository: repository.to_owned(),
                    last_begun: now,
                }),
            }
            true
        })
    }

    /// The repositories of a server, in the order of names.
    pub fn of_server(&self, server: &str) -> Vec<String> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.iter().filter(|used| used.server == server);
        let mut names: Vec<String> = own.map(|used| used.repository.clone()).collect();
        names.sort();
        names
    }

    /// Forgets a repository unless an attempt has begun on it since `since`, in seconds since the epoch.
    ///
    /// Blocks on the file system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget(&self, server: &str, repository: &str, since: i64) -> io::Result<()> {
        self.change(|known| {
            let before = known.len();
            known.retain(|used| !used.is(server, repository) || used.last_begun >= since);
            known.len() != before
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Used>) -> bool) -> io::Result<()> {
        // Held while the file is written, so that the last state is the one that stays.
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut known) {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&*known)?;
        let partial = self.0.path.with_extension("partial");
        let mut file = fs::File::create(&partial)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&partial, &self.0.path)
    }
}

impl Used {
    fn is(&self, server: &str, repository: &str) -> bool {
        self.server == server && self.repository == repository
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "http://lakefs";

    #[test]
    fn what_was_used_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let used = UsedRepositories::open(folder.path());
        assert!(used.of_server(SERVER).is_empty());
        for (server, repository) in [(SERVER, "b"), (SERVER, "a"), ("http://other", "c"), (SERVER, "b")] {
            used.note(server, repository, 100).unwrap();
        }
        let again = UsedRepositories::open(folder.path());
        assert_eq!(
            (again.of_server(SERVER), used.of_server("http://other")),
            (vec!["a".into(), "b".into()], vec!["c".into()])
        );
        again.note(SERVER, "a", 200).unwrap();
        again.forget(SERVER, "a", 150).unwrap();
        again.forget(SERVER, "b", 150).unwrap();
        assert_eq!(UsedRepositories::open(folder.path()).of_server(SERVER), ["a"]);
    }

    #[test]
    fn a_use_is_not_written_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let used = UsedRepositories::open(folder.path());
        used.note(SERVER, "a", 100).unwrap();
        fs::remove_file(folder.path().join(FILE)).unwrap();
        used.note(SERVER, "a", 100 + WRITTEN_AGAIN_AFTER - 1).unwrap();
        assert!(!folder.path().join(FILE).exists());
        used.note(SERVER, "a", 100 + WRITTEN_AGAIN_AFTER).unwrap();
        assert!(folder.path().join(FILE).exists());
    }

    #[test]
    fn a_file_that_cannot_be_read_or_written_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "not json").unwrap();
        assert!(UsedRepositories::open(folder.path()).of_server(SERVER).is_empty());
        let used = UsedRepositories::open(&folder.path().join("missing"));
        assert!(used.note(SERVER, "a", 100).is_err());
        assert_eq!(used.of_server(SERVER), ["a"]);
    }
}
