//! Object keys and paths below a workspace: the only place where one becomes the other.
//!
//! Pure. A path that passes here names something below the directory on every platform; that no symbolic link is
//! walked through is the business of [`crate::directory`].

use perago_contract::{ContractError, FailureCode, WorkspaceSpec, check_workspace_path, normalise_prefix};

use crate::error::WorkspaceError;

/// What has this name, at any depth, is ours and belongs to no workspace, nor does anything below it.
pub const MARKER_FILE: &str = ".perago-attempt.json";

/// Longest object key of a lakeFS repository, in bytes.
pub const LONGEST_KEY_BYTES: usize = 1024;

/// Longest name of a file or directory on common file systems, in bytes.
const LONGEST_SEGMENT_BYTES: usize = 255;

/// Why a key or path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It could leave the workspace or means something else on some platform.
    #[error("{path:?} cannot be a file of a workspace: {reason}")]
    Refused {
        /// The key or path.
        path: String,
        /// The rule it breaks.
        reason: String,
    },
    /// The object key would be too long.
    #[error("the object key {key:?} has {length} bytes; lakeFS takes at most 1024")]
    KeyTooLong {
        /// The key.
        key: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A name in it is longer than a file system can hold.
    #[error("{path:?} holds a name of {length} bytes; a file system takes at most 255")]
    NameTooLong {
        /// The path.
        path: String,
        /// Length of the name in bytes.
        length: usize,
    },
    /// A file name is not UTF-8 and cannot be an object key.
    #[error("{path:?} is not UTF-8 and cannot be an object key")]
    NotUtf8 {
        /// The path with replacement characters.
        path: String,
    },
}

/// A checked path below a workspace, with `/` as separator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`PathError::Refused`] or [`PathError::NameTooLong`].
    pub fn parse(path: &str) -> Result<Self, PathError> {
        Self::parse_for(path, cfg!(windows))
    }

    fn parse_for(path: &str, on_windows: bool) -> Result<Self, PathError> {
        let refuse =
            |reason: &str| Err(PathError::Refused { path: path.to_owned(), reason: reason.to_owned() });
        if let Err(error) = check_workspace_path(path) {
            return refuse(error.message());
        }
        if path.contains('\0') {
            return refuse("it holds a NUL byte");
        }
        if let Some(long) = path.split('/').find(|name| name.len() > LONGEST_SEGMENT_BYTES) {
            return Err(PathError::NameTooLong { path: path.to_owned(), length: long.len() });
        }
        if on_windows && path.split('/').any(means_something_else_on_windows) {
            return refuse("a name in it means something else on Windows");
        }
        Ok(Self(path.to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the workspace down to the file.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The names of the directories above it, each as the whole path, from the top.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }

    /// The directory above, `None` for an entry of the workspace itself, and the last name.
    pub fn split_last(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((parent, name)) => (Some(parent), name),
            None => (None, &self.0),
        }
    }

    // A scan of a directory passes over everything of this name, so nothing may come from or go to a key with it.
    fn is_ours(&self) -> bool {
        self.segments().any(|name| name == MARKER_FILE)
    }
}

impl std::fmt::Display for RelativePath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The part of a repository that a task sees as its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    // Empty, or with one slash at its end, so that `audio` never takes `audio2/`.
    listing: String,
}

impl Prefix {
    /// The prefix of a `WorkspaceSpec`; `/` is the whole repository.
    ///
    /// # Errors
    /// What [`normalise_prefix`] refuses.
    pub fn new(prefix: &str) -> Result<Self, ContractError> {
        Ok(match normalise_prefix(prefix)?.as_str() {
            "/" => Self { listing: String::new() },
            normalised => Self { listing: format!("{normalised}/") },
        })
    }

    /// The prefix that a task declares.
    ///
    /// # Errors
    /// What [`normalise_prefix`] refuses, as the failure of an attempt.
    pub fn of_spec(spec: &WorkspaceSpec) -> Result<Self, WorkspaceError> {
        Self::new(&spec.prefix)
            .map_err(|error| WorkspaceError::new(FailureCode::WorkspacePath, error.message().to_owned()))
    }

    /// What to list: exactly the objects of this prefix.
    pub fn listing(&self) -> &str {
        &self.listing
    }

    /// The path of an object below the workspace; `None` for objects outside the prefix and for marker files.
    ///
    /// # Errors
    /// A key of this prefix that names no file below a directory.
    pub fn path_of(&self, key: &str) -> Result<Option<RelativePath>, PathError> {
        let Some(rest) = key.strip_prefix(&self.listing) else { return Ok(None) };
        let path = RelativePath::parse(rest)?;
        Ok((!path.is_ours()).then_some(path))
    }

    /// The directory that a key with a slash at its end stands for; `None` for other keys, for the prefix itself, and
    /// outside the prefix.
    ///
    /// Consoles and file system adapters of object stores write such keys, without content, to show an empty directory.
    ///
    /// # Errors
    /// A key of this prefix that names no directory below the workspace.
    pub fn directory_of(&self, key: &str) -> Result<Option<RelativePath>, PathError> {
        let below = key.strip_prefix(&self.listing).and_then(|rest| rest.strip_suffix('/'));
        let path = below.map(RelativePath::parse).transpose()?;
        Ok(path.filter(|path| !path.is_ours()))
    }

    /// The object key of a path.
    ///
    /// # Errors
    /// [`PathError::KeyTooLong`].
    pub fn key_of(&self, path: &RelativePath) -> Result<String, PathError> {
        let key = format!("{}{path}", self.listing);
        match key.len() {
            length if length > LONGEST_KEY_BYTES => Err(PathError::KeyTooLong { key, length }),
            _ => Ok(key),
        }
    }
}

// Devices, alternate streams, and trailing dots and spaces that Windows drops.
fn means_something_else_on_windows(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device).is_some_and(|digit| {
            matches!(digit, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
        || name.ends_with(['.', ' '])
        || name.contains([':', '<', '>', '"', '|', '?', '*'])
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text).unwrap()
    }

    #[test]
    fn keys_map_below_their_prefix_and_back() {
        for (given, key, path) in [
            ("/", "a.txt", "a.txt"),
            ("audio", "audio/x/y z.wav", "x/y z.wav"),
            ("/audio", "audio/ä%20b/音", "ä%20b/音"),
        ] {
            let prefix = prefix(given);
            let mapped = prefix.path_of(key).unwrap().unwrap();
            assert_eq!(mapped.as_str(), path);
            assert_eq!(prefix.key_of(&mapped).unwrap(), key);
        }
    }

    #[test]
    fn a_prefix_takes_neither_its_neighbour_nor_itself() {
        assert_eq!(prefix("audio").path_of("audio2/x"), Ok(None));
        assert_eq!(prefix("audio").path_of("audio"), Ok(None));
        assert_eq!(prefix("audio").listing(), "audio/");
        assert_eq!(prefix("/").listing(), "");
    }

    #[test]
    fn the_marker_file_belongs_to_no_workspace() {
        assert_eq!(prefix("/").path_of(".perago-attempt.json"), Ok(None));
        assert_eq!(prefix("a").path_of("a/b/.perago-attempt.json"), Ok(None));
        assert_eq!(prefix("a").path_of("a/.perago-attempt.json/x"), Ok(None));
        assert_eq!(prefix("a").directory_of("a/.perago-attempt.json/"), Ok(None));
        assert!(prefix("/").path_of(".perago-attempt.json2").unwrap().is_some());
    }

    #[test]
    fn a_slash_at_the_end_stands_for_a_directory() {
        let directory = |given: &str, key| prefix(given).directory_of(key);
        let wanted = |path| Ok(Some(RelativePath::parse(path).unwrap()));
        assert_eq!(directory("/", "a/"), wanted("a"));
        assert_eq!(directory("in", "in/a/b c/"), wanted("a/b c"));
        for outside in ["in/", "in2/a/", "in/a"] {
            assert_eq!(directory("in", outside), Ok(None), "{outside}");
        }
        for refused in ["in//", "in/a//", "in/../", "in/a/../"] {
            assert!(directory("in", refused).is_err(), "{refused}");
        }
        let path = RelativePath::parse("a/b/c").unwrap();
        assert_eq!(path.ancestors().collect::<Vec<_>>(), ["a", "a/b"]);
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for key in ["/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "C:/x", "a\\b", "a\0b", "", "a/.."]
        {
            assert!(prefix("/").path_of(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn lengths_are_counted_in_bytes() {
        let long = format!("{}/{}", "a".repeat(255), "b".repeat(255));
        let path = RelativePath::parse(&format!("{long}/{long}/e")).unwrap();
        assert!(path.as_str().len() == 1025 && prefix("/").key_of(&path).is_err());
        let fitting = RelativePath::parse(&format!("{long}/{long}")).unwrap();
        assert_eq!(prefix("/").key_of(&fitting).unwrap().len(), 1023);
        assert!(matches!(
            RelativePath::parse(&"ä".repeat(128)),
            Err(PathError::NameTooLong { length: 256, .. })
        ));
    }

    #[test]
    fn windows_names_are_refused_there_and_plain_names_elsewhere() {
        for path in ["aux/x", "a/NUL.txt", "com1", "a.", "a ", "LPT³.x", "file.txt:stream"] {
            assert!(RelativePath::parse_for(path, true).is_err(), "{path:?}");
            assert!(RelativePath::parse_for(path, false).is_ok(), "{path:?}");
        }
        assert!(RelativePath::parse_for("auxiliary/com10.txt", true).is_ok());
    }

    proptest! {
        #[test]
        fn no_key_leaves_the_directory(key in "([a-z.:\\\\ ä%\0]{0,4}/?){0,6}", below in any::<bool>()) {
            let prefix = prefix(if below { "in" } else { "/" });
            let key = if below { format!("in/{key}") } else { key };
            if let Ok(Some(path)) = prefix.path_of(&key) {
                for component in Path::new(path.as_str()).components() {
                    prop_assert!(matches!(component, Component::Normal(_)));
                }
                prop_assert_eq!(Path::new(path.as_str()).components().count(), path.segments().count());
                prop_assert_eq!(prefix.key_of(&path).unwrap(), key.clone());
            }
            if let Ok(Some(path)) = prefix.directory_of(&key) {
                let components: Vec<_> = Path::new(path.as_str()).components().collect();
                prop_assert!(components.iter().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(components.len(), path.segments().count());
            }
        }
    }
}
