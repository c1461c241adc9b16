//! What the author gave: parameters, and where the workspace comes from.

use std::fs;
use std::path::{Path, PathBuf};

use perago_contract::TaskDescription;
use serde_json::value::RawValue;

use crate::ExitStatus;
use crate::arguments::RunOptions;
use crate::failure::Failure;

/// Where the directory of a workspace task comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Nothing was given.
    None,
    /// A directory of the author's.
    Directory(PathBuf),
    /// A commit of a repository.
    Commit {
        /// The repository.
        repository: String,
        /// The commit, or what names one.
        reference: String,
        /// Whether the directory stays.
        keep: bool,
    },
}

impl Source {
    /// Reads the options.
    pub fn of(options: &RunOptions) -> Result<Self, Failure> {
        if let (Some(repository), Some(reference)) = (&options.repository, &options.reference) {
            let (repository, reference) = (repository.clone(), reference.clone());
            return Ok(Self::Commit { repository, reference, keep: options.keep });
        }
        let Some(directory) = &options.workspace else { return Ok(Self::None) };
        if !directory.is_dir() {
            return Err(usage(format!("--workspace {} is not a directory", directory.display()), None));
        }
        let directory = std::path::absolute(directory)
            .map_err(|error| usage(format!("--workspace {}: {error}", directory.display()), None))?;
        Ok(Self::Directory(directory))
    }

    /// Refuses a workspace task without a directory, and the other way round.
    pub fn check(&self, task: &TaskDescription) -> Result<(), Failure> {
        match (self, task.has_workspace()) {
            (Self::None, true) => Err(usage(
                format!("task {} works on a workspace, and none was given", task.name),
                Some("add --workspace DIR, or --repository REPOSITORY --ref COMMIT"),
            )),
            (Self::Directory(_) | Self::Commit { .. }, false) => Err(usage(
                format!("task {} has no workspace", task.name),
                Some(
                    "leave out --workspace, --repository and --ref, or declare workspace=WorkspaceSpec(...)",
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The parameters: JSON, or a file that holds it.
pub(super) fn params(given: &str) -> Result<Box<RawValue>, Failure> {
    let (text, origin) = match given.strip_prefix('@') {
        Some(path) => {
            let read = fs::read_to_string(Path::new(path));
            let text =
                read.map_err(|error| usage(format!("--params @{path} cannot be read: {error}"), None))?;
            (text, format!("--params @{path}"))
        }
        None => (given.to_owned(), "--params".to_owned()),
    };
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        usage(
            format!("{origin} is not JSON: {error}"),
            Some("for example --params '{\"text\": \"one two\"}', or --params @params.json"),
        )
    })
}

fn usage(text: String, hint: Option<&str>) -> Failure {
    Failure::with_hint(text, hint.map(str::to_owned)).with_status(ExitStatus::Usage)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn parameters_come_from_the_line_or_from_a_file() {
        assert_eq!(params(" {\"n\": 1.10} ").unwrap().get(), "{\"n\": 1.10}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "\u{feff}{{\"n\": 2}}").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(params(&format!("@{path}")).unwrap().get(), "{\"n\": 2}");
        assert!(params("{").is_err());
        assert!(params("@").is_err());
    }
}
