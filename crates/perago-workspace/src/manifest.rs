//! What was checked out, and what a body has changed since.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use crate::directory::{Directory, FileState};
use crate::error::WorkspaceError;
use crate::path::RelativePath;

/// Clocks of file systems tick in steps of up to this length.
pub(crate) const LONGEST_CLOCK_TICK: Duration = Duration::from_millis(10);
/// A time this close to the manifest's proves nothing.
pub(crate) const CLOCK_SLACK: Duration = Duration::from_millis(20);
const HASH_BUFFER_BYTES: usize = 256 * 1024;

/// What a store calls the content of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectIdentity {
    /// Length in bytes.
    pub size: u64,
    /// The store's checksum.
    pub checksum: String,
}

/// One file as it was checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// What the file system said of it.
    pub state: FileState,
    /// Our own hash of its content.
    pub hash: blake3::Hash,
    /// The object it came from.
    pub object: ObjectIdentity,
}

/// All files of a checkout.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The files.
    pub files: BTreeMap<RelativePath, ManifestEntry>,
    /// When the checkout was complete, by the file system's clock, in nanoseconds since the epoch.
    pub taken_at: i128,
}

/// What a body has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// New files and files with other content, with what the file system says of them.
    pub written: BTreeMap<RelativePath, FileState>,
    /// Files that are gone.
    pub removed: Vec<RelativePath>,
}

impl Edits {
    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }

    /// Length of all written files together, in bytes.
    pub fn written_bytes(&self) -> u64 {
        self.written.values().map(|state| state.size).sum()
    }
}

/// A scan against a manifest, before any content was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Comparison {
    edits: Edits,
    // Files whose content has to tell.
    suspects: Vec<(RelativePath, FileState)>,
}

impl Manifest {
    /// Notes what is in a directory that nobody checked out: no object is behind its files, so their checksums are
    /// empty. Reads every file.
    ///
    /// # Errors
    /// What [`Directory::scan`] refuses, or a file that cannot be read.
    pub fn of(directory: &Directory) -> Result<Self, WorkspaceError> {
        let mut manifest = Self::default();
        for (path, state) in directory.scan()? {
            let hash = hash_of(directory, &path)?;
            let object = ObjectIdentity { size: state.size, checksum: String::new() };
            manifest.files.insert(path, ManifestEntry { state, hash, object });
        }
        manifest.taken_at = directory
            .now()
            .map_err(|error| WorkspaceError::local("write to", directory.path().display(), error))?;
        Ok(manifest)
    }

    /// Finds what has changed in a directory since the manifest was taken. Blocks on file input.
    ///
    /// # Errors
    /// What [`Directory::scan`] refuses, or a file that cannot be read.
    pub fn edits_in(&self, directory: &Directory) -> Result<Edits, WorkspaceError> {
        let Comparison { mut edits, suspects } = self.compare(&directory.scan()?);
        for (path, state) in suspects {
            let hash = hash_of(directory, &path)?;
            if self.files.get(&path).is_none_or(|entry| entry.hash != hash) {
                edits.written.insert(path, state);
            }
        }
        Ok(edits)
    }

    /// Length of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.state.size).sum()
    }

    /// Length of the files whose times prove nothing, in bytes.
    pub(crate) fn fresh_bytes(&self) -> u64 {
        let fresh = self.files.values().filter(|entry| self.is_too_fresh(&entry.state));
        fresh.map(|entry| entry.state.size).sum()
    }

    fn compare(&self, scanned: &[(RelativePath, FileState)]) -> Comparison {
        let mut comparison = Comparison::default();
        let mut missing: BTreeMap<&RelativePath, &ManifestEntry> = self.files.iter().collect();
        for (path, state) in scanned {
            match missing.remove(path) {
                None => {
                    comparison.edits.written.insert(path.clone(), *state);
                }
                Some(entry) if entry.state.size != state.size => {
                    comparison.edits.written.insert(path.clone(), *state);
                }
                Some(entry) if entry.state != *state || self.is_too_fresh(state) => {
                    comparison.suspects.push((path.clone(), *state));
                }
                Some(_) => {}
            }
        }
        comparison.edits.removed = missing.into_keys().cloned().collect();
        comparison
    }

    fn is_too_fresh(&self, state: &FileState) -> bool {
        state.modified.max(state.changed) >= self.taken_at - CLOCK_SLACK.as_nanos() as i128
    }
}

fn hash_of(directory: &Directory, path: &RelativePath) -> Result<blake3::Hash, WorkspaceError> {
    let failed = |error| WorkspaceError::local("read", path, error);
    let mut file = directory.open_file(path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hasher.finalize()),
            length => hasher.update(&buffer[..length]),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::directory::FileCreator;

    struct Checkout {
        folder: tempfile::TempDir,
        directory: Directory,
        manifest: Manifest,
    }

    fn checkout(files: &[(&str, &str)]) -> Checkout {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let mut manifest = Manifest::default();
        let mut creator = FileCreator::new(&directory);
        for (name, content) in files {
            let path = RelativePath::parse(name).unwrap();
            let mut file = creator.create(&path).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            let entry = ManifestEntry {
                state: FileState::of(&file).unwrap(),
                hash: blake3::hash(content.as_bytes()),
                object: ObjectIdentity { size: content.len() as u64, checksum: String::new() },
            };
            manifest.files.insert(path, entry);
        }
        manifest.taken_at = directory.now().unwrap();
        Checkout { folder, directory, manifest }
    }

    fn names(edits: &Edits) -> (Vec<&str>, Vec<&str>) {
        (
            edits.written.keys().map(RelativePath::as_str).collect(),
            edits.removed.iter().map(RelativePath::as_str).collect(),
        )
    }

    #[test]
    fn edits_are_found_by_content() {
        let checkout = checkout(&[("a", "one"), ("b/c", "two"), ("gone", "x"), ("same", "y")]);
        let root = checkout.folder.path();
        assert!(checkout.manifest.edits_in(&checkout.directory).unwrap().is_empty());
        std::fs::write(root.join("a"), "ONE").unwrap();
        std::fs::write(root.join("b/new"), "").unwrap();
        std::fs::remove_file(root.join("gone")).unwrap();
        std::fs::write(root.join("same"), "y").unwrap();
        let edits = checkout.manifest.edits_in(&checkout.directory).unwrap();
        assert_eq!(names(&edits), (vec!["a", "b/new"], vec!["gone"]));
        assert_eq!(edits.written_bytes(), 3);
    }

    #[test]
    fn a_directory_that_nobody_checked_out_is_compared_alike() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("b")).unwrap();
        for (name, content) in [("a", "one"), ("b/c", "two"), ("gone", "x")] {
            std::fs::write(root.join(name), content).unwrap();
        }
        let directory = Directory::open(root).unwrap();
        let manifest = Manifest::of(&directory).unwrap();
        assert_eq!((manifest.files.len(), manifest.bytes()), (3, 7));
        assert!(manifest.edits_in(&directory).unwrap().is_empty());
        std::fs::write(root.join("a"), "ONE").unwrap();
        std::fs::write(root.join("b/c"), "two").unwrap();
        std::fs::write(root.join("new"), "").unwrap();
        std::fs::remove_file(root.join("gone")).unwrap();
        let edits = manifest.edits_in(&directory).unwrap();
        assert_eq!(names(&edits), (vec!["a", "new"], vec!["gone"]));
    }

    #[test]
    fn an_edit_that_restores_the_times_is_found() {
        let mut checkout = checkout(&[("a", "one")]);
        checkout.manifest.taken_at += 1_000_000_000;
        let path = checkout.folder.path().join("a");
        let before = std::fs::metadata(&path).unwrap();
        std::fs::write(&path, "ONE").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mtime_nsec(), before.mtime_nsec());
        let edits = checkout.manifest.edits_in(&checkout.directory).unwrap();
        assert_eq!(names(&edits).0, ["a"]);
    }

    #[test]
    fn only_what_the_times_cannot_clear_is_read() {
        let state = |changed| FileState { size: 1, modified: 0, changed, inode: 1 };
        let entry = |changed| ManifestEntry {
            state: state(changed),
            hash: blake3::hash(b""),
            object: ObjectIdentity { size: 1, checksum: String::new() },
        };
        let path = |name| RelativePath::parse(name).unwrap();
        let manifest = Manifest {
            files: [(path("old"), entry(0)), (path("fresh"), entry(90_000_000))].into(),
            taken_at: 100_000_000,
        };
        let scanned = [(path("fresh"), state(90_000_000)), (path("old"), state(0))];
        let comparison = manifest.compare(&scanned);
        assert_eq!(comparison.suspects, [(path("fresh"), state(90_000_000))]);
        let touched = [(path("fresh"), state(90_000_000)), (path("old"), state(5))];
        assert_eq!(manifest.compare(&touched).suspects.len(), 2);
    }

    #[test]
    fn a_directory_in_the_place_of_a_file_removes_it() {
        let checkout = checkout(&[("a", "one"), ("d/x", "1")]);
        let root = checkout.folder.path();
        std::fs::remove_file(root.join("a")).unwrap();
        std::fs::create_dir(root.join("a")).unwrap();
        std::fs::write(root.join("a/b"), "2").unwrap();
        std::fs::remove_dir_all(root.join("d")).unwrap();
        std::fs::write(root.join("d"), "3").unwrap();
        let edits = checkout.manifest.edits_in(&checkout.directory).unwrap();
        assert_eq!(names(&edits), (vec!["a/b", "d"], vec!["a", "d/x"]));
    }
}
