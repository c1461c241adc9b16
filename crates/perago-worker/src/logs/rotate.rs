//! Log files that are bounded in size and age.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::macros::format_description;

/// One name in a path made of any text: runs of other characters than `[A-Za-z0-9_.=-]` become one `_`, dots and
/// underscores at both ends are cut, and nothing left becomes `unknown`.
pub fn safe_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || "_.=-".contains(character) {
            segment.push(character);
        } else if !segment.ends_with('_') {
            segment.push('_');
        }
    }
    let trimmed = segment.trim_matches(['.', '_']);
    if trimmed.is_empty() { "unknown".to_owned() } else { trimmed.to_owned() }
}

/// The current file of one worker and what is needed to make the next.
#[derive(Debug)]
pub(super) struct RotatingFile {
    module_root: PathBuf,
    folder: PathBuf,
    stem: String,
    part: u32,
    path: PathBuf,
    file: File,
    written: u64,
    max_bytes: u64,
    retention: Duration,
}

impl RotatingFile {
    pub(super) fn open(
        module_root: PathBuf,
        folder: PathBuf,
        max_bytes: u64,
        retention: Duration,
    ) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let started = OffsetDateTime::now_utc()
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .map_err(io::Error::other)?;
        let stem = format!("pid={}__started={started}", std::process::id());
        let (path, file) = create(&folder, &stem, 1)?;
        let this = Self { module_root, folder, stem, part: 1, path, file, written: 0, max_bytes, retention };
        this.delete_expired(SystemTime::now());
        Ok(this)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line with one write. What a full disk refuses is gone; the next line tries again.
    pub(super) fn append(&mut self, line: &[u8]) {
        if self.written > 0 && self.written + line.len() as u64 > self.max_bytes {
            if let Ok((path, file)) = create(&self.folder, &self.stem, self.part + 1) {
                self.part += 1;
                self.path = path;
                self.file = file;
                self.written = 0;
            }
            self.delete_expired(SystemTime::now());
        }
        if self.file.write_all(line).is_ok() {
            self.written += line.len() as u64;
        }
    }

    /// Deletes the log files of every worker of this module that nobody has written to for the retention, and
    /// folders that are empty then.
    pub(super) fn delete_expired(&self, now: SystemTime) {
        for folder in entries(&self.module_root).filter(|path| path.is_dir()) {
            for path in entries(&folder) {
                if path != self.path && is_log(&path) && is_older(&path, now, self.retention) {
                    let _ = fs::remove_file(&path);
                }
            }
            if folder != self.folder {
                // Refused by the system unless it is empty.
                let _ = fs::remove_dir(&folder);
            }
        }
    }
}

fn create(folder: &Path, stem: &str, part: u32) -> io::Result<(PathBuf, File)> {
    let name = if part == 1 { format!("{stem}.jsonl") } else { format!("{stem}__part={part:04}.jsonl") };
    let path = folder.join(name);
    let file = File::options().create(true).append(true).open(&path)?;
    Ok((path, file))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

fn is_older(path: &Path, now: SystemTime, retention: Duration) -> bool {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > retention))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn open(root: &Path, worker: &str, max_bytes: u64) -> RotatingFile {
        RotatingFile::open(root.to_owned(), root.join(worker), max_bytes, DAY).unwrap()
    }

    #[test]
    fn rotates_before_a_file_grows_too_long_and_loses_no_line() {
        let root = tempfile::tempdir().unwrap();
        let mut log = open(root.path(), "a", 10);
        for line in ["123456\n", "abcdef\n", "a line that is longer than a file\n", "x\n"] {
            log.append(line.as_bytes());
        }
        let mut files: Vec<_> = entries(&root.path().join("a")).collect();
        files.sort();
        let contents: Vec<_> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let mut lines = contents.clone();
        lines.sort();
        assert_eq!(lines, ["123456\n", "a line that is longer than a file\n", "abcdef\n", "x\n"]);
    }

    #[test]
    fn old_files_of_dead_workers_go_and_others_stay() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("dead")).unwrap();
        let old = root.path().join("dead/pid=1__started=x.jsonl");
        fs::write(&old, "{}").unwrap();
        let kept = root.path().join("notes.txt");
        fs::write(&kept, "mine").unwrap();
        let log = open(root.path(), "live", 100);
        assert!(old.exists());
        log.delete_expired(SystemTime::now() + 2 * DAY);
        assert!(!old.exists() && !root.path().join("dead").exists());
        assert!(kept.exists() && log.path().exists());
    }

    #[test]
    fn any_text_becomes_one_safe_segment() {
        assert_eq!(safe_segment("app.tasks"), "app.tasks");
        assert_eq!(safe_segment("worker_id=a b//c"), "worker_id=a_b_c");
        assert_eq!(safe_segment("../.."), "unknown");
        assert_eq!(safe_segment(""), "unknown");
    }
}
