//! A local directory that no path leads out of.
//!
//! Every name is opened relative to its parent's descriptor without following links, so a symbolic link that a body
//! planted is never walked through, whatever it does at the same moment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use perago_contract::FailureCode;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::error::WorkspaceError;
use crate::path::{MARKER_FILE, PathError, RelativePath};

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
// Non-blocking, so that a named pipe in the place of a file cannot hang the attempt.
const OPEN_FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const CREATE_FILE: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Directories nested deeper than this hold nothing that has an object key.
const LONGEST_PATH_BYTES: usize = 16 * 1024;

/// What the file system says of a file; any change of its content changes one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds since the epoch.
    pub modified: i128,
    /// Time of the last change of content or attributes, in nanoseconds since the epoch.
    pub changed: i128,
    /// Number of the file in its file system.
    pub inode: u64,
}

impl FileState {
    /// The state of an open file.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from_stat(&rustix::fs::fstat(file)?))
    }

    fn from_stat(stat: &rustix::fs::Stat) -> Self {
        let nanoseconds = |seconds: i128, rest: i128| seconds * 1_000_000_000 + rest;
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: nanoseconds(i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec)),
            changed: nanoseconds(i128::from(stat.st_ctime), i128::from(stat.st_ctime_nsec)),
            inode: stat.st_ino,
        }
    }
}

/// An open directory and everything below it.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory; the path to it is the operator's and may lead over links.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root =
            rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// Where it is, for messages and for the body.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// What the system says; a link on the way or at the end is refused, and so is what is no regular file.
    pub fn open_file(&self, path: &RelativePath) -> io::Result<File> {
        let (parent, name) = path.split_last();
        let file = match parent {
            Some(parent) => {
                rustix::fs::openat(self.descend(parent.as_bytes())?, name, OPEN_FILE, Mode::empty())?
            }
            None => rustix::fs::openat(&self.root, name, OPEN_FILE, Mode::empty())?,
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(File::from(file))
    }

    /// Removes a file if it is there.
    ///
    /// # Errors
    /// What the system says; a link on the way is refused.
    pub fn remove_file(&self, path: &RelativePath) -> io::Result<()> {
        let (parent, name) = path.split_last();
        let removed = match parent {
            Some(parent) => rustix::fs::unlinkat(self.descend(parent.as_bytes())?, name, AtFlags::empty()),
            None => rustix::fs::unlinkat(&self.root, name, AtFlags::empty()),
        };
        match removed {
            Err(rustix::io::Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory and those above it; one that is there already is fine.
    ///
    /// # Errors
    /// What the system says; a link or a file on the way is refused.
    pub fn create_directory(&self, path: &RelativePath) -> io::Result<()> {
        descend(self.root.as_fd(), path.as_str().as_bytes(), true).map(drop)
    }

    /// The time of the file system's own clock, in nanoseconds since the epoch.
    ///
    /// # Errors
    /// What the system says.
    pub fn now(&self) -> io::Result<i128> {
        let name = format!("{MARKER_FILE}.{}", uuid::Uuid::new_v4().simple());
        let file = rustix::fs::openat(&self.root, name.as_str(), CREATE_FILE, Mode::RUSR | Mode::WUSR)?;
        let state = FileState::of(&file);
        rustix::fs::unlinkat(&self.root, name.as_str(), AtFlags::empty())?;
        Ok(state?.changed)
    }

    /// Free space of its file system for this user, and the size of one block, both in bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn free_bytes(&self) -> io::Result<(u64, u64)> {
        let found = rustix::fs::fstatvfs(&self.root)?;
        Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_frsize.max(1)))
    }

    /// All regular files below it, by path. Directories and special files do not count, nor do marker files.
    ///
    /// # Errors
    /// A symbolic link, a file whose name cannot be an object key, or what the system says.
    pub fn scan(&self) -> Result<Vec<(RelativePath, FileState)>, WorkspaceError> {
        let mut found = Vec::new();
        let mut open: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(directory) = open.pop() {
            self.scan_one(&directory, &mut open, &mut found)?;
        }
        found.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        Ok(found)
    }

    fn scan_one(
        &self,
        directory: &[u8],
        open: &mut Vec<Vec<u8>>,
        found: &mut Vec<(RelativePath, FileState)>,
    ) -> Result<(), WorkspaceError> {
        let failed = |error: io::Error| {
            WorkspaceError::local("read the directory", shown(&self.path, directory), error)
        };
        let descriptor = self.descend(directory).map_err(failed)?;
        let entries = Dir::read_from(&descriptor).map_err(|error| failed(error.into()))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(error.into()))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || name == MARKER_FILE.as_bytes() {
                continue;
            }
            let stat = rustix::fs::statat(&descriptor, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed(error.into()))?;
            let path = joined(directory, name);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if path.len() > LONGEST_PATH_BYTES => {
                    return Err(WorkspaceError::new(
                        FailureCode::WorkspacePath,
                        format!("directories are nested too deep below {}", self.path.display()),
                    ));
                }
                FileType::Directory => open.push(path),
                FileType::Symlink => {
                    return Err(WorkspaceError::new(
                        FailureCode::WorkspacePath,
                        format!(
                            "workspace upload does not support symlinks: {}",
                            String::from_utf8_lossy(&path)
                        ),
                    ));
                }
                FileType::RegularFile => found.push((checked(&path)?, FileState::from_stat(&stat))),
                _ => {}
            }
        }
        Ok(())
    }

    fn descend(&self, directory: &[u8]) -> io::Result<OwnedFd> {
        descend(self.root.as_fd(), directory, false)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Creates many files; remembers the last directory, because listings come in order.
#[derive(Debug)]
pub struct FileCreator<'a> {
    directory: &'a Directory,
    last: Option<(String, OwnedFd)>,
}

impl<'a> FileCreator<'a> {
    /// Creates files below `directory`.
    pub fn new(directory: &'a Directory) -> Self {
        Self { directory, last: None }
    }

    /// Creates a new file and the directories above it, open for reading and writing.
    ///
    /// # Errors
    /// What the system says; an existing file and a link on the way are refused.
    pub fn create(&mut self, path: &RelativePath) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let (parent, name) = path.split_last();
        let Some(parent) = parent else {
            return Ok(File::from(rustix::fs::openat(&self.directory.root, name, CREATE_FILE, mode)?));
        };
        let opened = match self.last.take() {
            Some((last, opened)) if last == parent => opened,
            _ => descend(self.directory.root.as_fd(), parent.as_bytes(), true)?,
        };
        let (_, opened) = self.last.insert((parent.to_owned(), opened));
        Ok(File::from(rustix::fs::openat(opened, name, CREATE_FILE, mode)?))
    }
}

fn descend(root: BorrowedFd<'_>, directory: &[u8], create: bool) -> io::Result<OwnedFd> {
    let mut current = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
    for name in directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        current = match rustix::fs::openat(&current, name, OPEN_DIRECTORY, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) if create => {
                match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                rustix::fs::openat(&current, name, OPEN_DIRECTORY, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(current)
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn shown(root: &Path, directory: &[u8]) -> String {
    root.join(&*String::from_utf8_lossy(directory)).display().to_string()
}

fn checked(path: &[u8]) -> Result<RelativePath, PathError> {
    match std::str::from_utf8(path) {
        Ok(path) => RelativePath::parse(path),
        Err(_) => Err(PathError::NotUtf8 { path: String::from_utf8_lossy(path).into_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    fn written(directory: &Directory, name: &str, content: &[u8]) {
        FileCreator::new(directory).create(&path(name)).unwrap().write_all(content).unwrap();
    }

    #[test]
    fn files_are_created_with_their_directories_and_found() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        written(&directory, "b/c/d.txt", b"1");
        written(&directory, "b/a.txt", b"22");
        written(&directory, "top", b"");
        std::fs::create_dir_all(folder.path().join("empty/one")).unwrap();
        std::fs::write(folder.path().join("b").join(MARKER_FILE), b"{}").unwrap();
        let found = directory.scan().unwrap();
        let names: Vec<(&str, u64)> = found.iter().map(|(path, state)| (path.as_str(), state.size)).collect();
        assert_eq!(names, [("b/a.txt", 2), ("b/c/d.txt", 1), ("top", 0)]);
        let mut text = String::new();
        directory.open_file(&path("b/a.txt")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "22");
    }

    #[test]
    fn no_link_is_walked_through() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), b"x").unwrap();
        symlink(outside.path(), folder.path().join("way")).unwrap();
        symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        assert!(directory.open_file(&path("way/secret")).is_err());
        assert!(directory.open_file(&path("file")).is_err());
        assert!(directory.remove_file(&path("way/secret")).is_err());
        assert!(FileCreator::new(&directory).create(&path("way/new")).is_err());
        assert!(directory.create_directory(&path("way/new")).is_err());
        assert!(FileCreator::new(&directory).create(&path("file")).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        let error = directory.scan().unwrap_err();
        assert_eq!(error.code(), FailureCode::WorkspacePath);
        assert!(error.to_string().contains("does not support symlinks"), "{error}");
    }

    #[test]
    fn special_files_are_neither_data_nor_a_trap() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        rustix::fs::mknodat(&directory.root, "pipe", FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(directory.scan().unwrap().is_empty());
        assert!(directory.open_file(&path("pipe")).is_err());
    }

    #[test]
    fn names_that_are_no_keys_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
        std::fs::create_dir(&odd).unwrap();
        assert!(directory.scan().unwrap().is_empty(), "a directory alone does not count");
        std::fs::write(odd.join("x"), b"").unwrap();
        assert!(directory.scan().unwrap_err().to_string().contains("not UTF-8"));
        std::fs::remove_dir_all(&odd).unwrap();
        std::fs::write(folder.path().join("a\\b"), b"").unwrap();
        assert!(directory.scan().unwrap_err().to_string().contains("a\\\\b"));
    }

    #[test]
    fn two_keys_for_one_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        written(&directory, "a", b"1");
        let mut creator = FileCreator::new(&directory);
        assert_eq!(creator.create(&path("a")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(creator.create(&path("a/b")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }
}
