//! The directory of a workspace task.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use perago_contract::check_workspace_path;

/// The directory that a body reads and edits; what it leaves there is published.
///
/// ```
/// # let folder = std::env::temp_dir().join("perago-workspace-example");
/// # std::fs::create_dir_all(&folder)?;
/// let workspace = perago::Workspace::at(&folder);
/// std::fs::write(workspace.file("notes.txt")?, "C E G")?;
/// assert_eq!(std::fs::read_to_string(workspace.file("notes.txt")?)?, "C E G");
/// assert!(workspace.file("../notes.txt").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
}

/// A path that leaves the workspace, or that the store cannot hold.
///
/// ```
/// let error = perago::Workspace::at("/tmp").file("../secret").unwrap_err();
/// assert!(error.to_string().contains("is no path of a workspace"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no path of a workspace: {rule}")]
pub struct WorkspacePathError {
    path: String,
    rule: String,
}

impl Workspace {
    /// The workspace at a directory of the caller's own, for tests of a body.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The place of a file or directory of the workspace, which need not be there.
    ///
    /// `relative` has `/` between its parts on every system.
    ///
    /// # Errors
    /// A path that is absolute, leaves the workspace or has empty parts.
    pub fn file(&self, relative: &str) -> Result<PathBuf, WorkspacePathError> {
        match check_workspace_path(relative) {
            Ok(()) => Ok(self.root.join(relative)),
            Err(rule) => Err(WorkspacePathError { path: relative.to_owned(), rule: rule.to_string() }),
        }
    }

    /// Makes a file and the directories above it.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join("perago-workspace-create-example");
    /// use std::io::Write as _;
    ///
    /// let workspace = perago::Workspace::at(&folder);
    /// workspace.create("scores/today/song.txt")?.write_all(b"C E G")?;
    /// assert!(folder.join("scores/today/song.txt").exists());
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a path that [`Self::file`] refuses; else what the system says.
    pub fn create(&self, relative: &str) -> io::Result<File> {
        let path = self.file(relative).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        File::create(path)
    }
}

impl AsRef<Path> for Workspace {
    fn as_ref(&self) -> &Path {
        &self.root
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn paths_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(folder.path());
        assert_eq!(workspace.file("in/a.txt").unwrap(), folder.path().join("in/a.txt"));
        for path in ["/etc/passwd", "../a", "a/../../b", "a\\b", "a//b"] {
            let error = workspace.file(path).unwrap_err().to_string();
            assert!(error.contains("is no path of a workspace"), "{error}");
        }
        workspace.create("out/deep/a.txt").unwrap().write_all(b"a").unwrap();
        assert_eq!(fs::read(folder.path().join("out/deep/a.txt")).unwrap(), b"a");
        assert_eq!(workspace.create("../a").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
