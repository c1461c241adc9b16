//! Patterns over a directory tree, with the meaning of Python's `pathlib.Path.glob`.
//!
//! Matches are counted once each, directories among them; names that start with a dot are nothing special; our own
//! marker files are not there. Links to directories are followed by name and by wildcard, never by `**`.

mod pattern;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::path::MARKER_FILE;

pub use pattern::NamePattern;

/// Which Python's `glob` is meant; they differ in what `**` at the end of a pattern matches.
///
/// ```
/// use perago_workspace::GlobDialect;
///
/// assert_eq!(GlobDialect::of_python(3, 12), GlobDialect::DirectoriesOnly);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GlobDialect {
    /// Up to Python 3.12: directories only.
    DirectoriesOnly,
    /// From Python 3.13: files and directories.
    #[default]
    FilesAndDirectories,
}

impl GlobDialect {
    /// The dialect of a version of Python.
    pub fn of_python(major: u32, minor: u32) -> Self {
        if (major, minor) < (3, 13) { Self::DirectoriesOnly } else { Self::FilesAndDirectories }
    }
}

/// Counts what a pattern matches below a directory.
///
/// What cannot be read counts as absent, as it does for `pathlib`.
pub fn count_matches(root: &Path, pattern: &str, dialect: GlobDialect) -> usize {
    let parts: Vec<Part> = pattern.split('/').map(Part::parse).collect();
    let mut search = Search { dialect, found: HashSet::new() };
    if root.is_dir() {
        search.select(root, &parts);
    }
    search.found.len()
}

enum Part {
    Recursive,
    Wildcard(NamePattern),
    Literal(String),
}

impl Part {
    fn parse(text: &str) -> Self {
        match text {
            "**" => Self::Recursive,
            text if text.contains(['*', '?', '[']) => Self::Wildcard(NamePattern::parse(text)),
            text => Self::Literal(text.to_owned()),
        }
    }
}

struct Search {
    dialect: GlobDialect,
    found: HashSet<PathBuf>,
}

impl Search {
    fn select(&mut self, directory: &Path, parts: &[Part]) {
        let Some((part, rest)) = parts.split_first() else {
            self.found.insert(directory.to_owned());
            return;
        };
        match part {
            Part::Recursive => self.select_below(directory, rest),
            Part::Wildcard(pattern) => {
                for (name, path) in entries(directory) {
                    if pattern.matches(&name) && (rest.is_empty() || path.is_dir()) {
                        self.select(&path, rest);
                    }
                }
            }
            Part::Literal(name) => {
                let path = directory.join(name);
                let there = if rest.is_empty() { path.exists() } else { path.is_dir() };
                if there && name != MARKER_FILE {
                    self.select(&path, rest);
                }
            }
        }
    }

    fn select_below(&mut self, directory: &Path, rest: &[Part]) {
        let mut open = vec![directory.to_owned()];
        while let Some(current) = open.pop() {
            for (_, path) in entries(&current) {
                let is_directory = path.symlink_metadata().is_ok_and(|entry| entry.is_dir());
                if is_directory {
                    open.push(path);
                } else if rest.is_empty() && self.dialect == GlobDialect::FilesAndDirectories {
                    self.found.insert(path);
                }
            }
            self.select(&current, rest);
        }
    }
}

fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(listed) = std::fs::read_dir(directory) else { return Vec::new() };
    listed
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| name != MARKER_FILE)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        folder
    }

    #[test]
    fn patterns_count_what_pathlib_counts() {
        let folder = tree(&["a.txt", "raw/1.wav", "raw/2.wav", "raw/deep/3.wav", ".hidden", "tmp/x/y/z"]);
        for (pattern, wanted) in [
            ("raw/*.wav", 2),
            ("**/*.wav", 3),
            ("*", 4),
            ("*/*", 4),
            ("**/*", 11),
            ("raw", 1),
            ("raw/deep/*", 1),
            ("tmp/**/z", 1),
            ("**/**/z", 1),
            ("missing/*", 0),
            ("a.txt/*", 0),
        ] {
            for dialect in [GlobDialect::DirectoriesOnly, GlobDialect::FilesAndDirectories] {
                assert_eq!(count_matches(folder.path(), pattern, dialect), wanted, "{pattern}");
            }
        }
        assert_eq!(count_matches(folder.path(), "tmp/**", GlobDialect::DirectoriesOnly), 3);
        assert_eq!(count_matches(folder.path(), "tmp/**", GlobDialect::FilesAndDirectories), 4);
        assert_eq!(count_matches(folder.path(), "**", GlobDialect::DirectoriesOnly), 6);
    }

    #[test]
    fn our_marker_counts_nowhere() {
        let folder = tree(&[".perago-attempt.json", "a/.perago-attempt.json"]);
        for (pattern, wanted) in [("*", 1), ("**/*", 1), (".perago-attempt.json", 0), ("a/.perago*", 0)] {
            assert_eq!(count_matches(folder.path(), pattern, GlobDialect::default()), wanted, "{pattern}");
        }
    }

    #[test]
    fn a_loop_of_links_ends() {
        let folder = tree(&["a/b"]);
        std::os::unix::fs::symlink("..", folder.path().join("a/up")).unwrap();
        assert_eq!(count_matches(folder.path(), "**/b", GlobDialect::default()), 1);
        assert_eq!(count_matches(folder.path(), "a/up/a/b", GlobDialect::default()), 1);
    }
}
