//! Digits that stand for the code of a program: a result is taken over only where the same code would make it.

use std::io;
use std::path::{Path, PathBuf};

use tokio::task::{JoinHandle, spawn_blocking};

/// Hexadecimal digits that are being worked out: a large binary takes as long as its executors take to start.
#[derive(Debug)]
pub(crate) struct CodeHash(Option<JoinHandle<io::Result<String>>>);

impl CodeHash {
    /// Begins to read the file that is all of a program's code, if there is one. Needs a runtime.
    pub(crate) fn begin(file: Option<&PathBuf>) -> Self {
        let file = file.cloned();
        Self(file.map(|file| spawn_blocking(move || digits(&file))))
    }

    /// The 64 digits; none where there is no such file or it cannot be read, and then no result is taken over.
    pub(crate) async fn finish(self) -> Option<String> {
        self.0?.await.ok()?.ok()
    }
}

fn digits(path: &Path) -> io::Result<String> {
    // Copying a program out of the system's cache takes longer than hashing it, so it is mapped. A file that runs cannot be
    // shortened meanwhile.
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(path)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_digits_are_those_of_the_file() {
        let own = std::env::current_exe().unwrap();
        let expected = blake3::hash(&std::fs::read(&own).unwrap()).to_hex().to_string();
        assert_eq!(CodeHash::begin(Some(&own)).finish().await, Some(expected));
    }

    #[tokio::test]
    async fn without_a_file_there_are_none() {
        let absent = PathBuf::from("/nonexistent/binary");
        assert_eq!(CodeHash::begin(Some(&absent)).finish().await, None);
        assert_eq!(CodeHash::begin(None).finish().await, None);
    }
}
