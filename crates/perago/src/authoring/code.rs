//! Digits that stand for the code of this binary: a result is taken over only where the same code would make it.

use std::fs::File;
use std::io;
use std::thread::{self, JoinHandle};

/// The running file, even after another has taken its place on disk.
const THIS_BINARY: &str = "/proc/self/exe";

/// Hexadecimal digits that are being worked out: a large binary takes some milliseconds, which the task's state needs too.
#[derive(Debug)]
pub(super) struct CodeHash(Option<JoinHandle<io::Result<String>>>);

impl CodeHash {
    /// Begins to read the binary.
    pub(super) fn begin() -> Self {
        let name = "perago-code-hash".to_owned();
        Self(thread::Builder::new().name(name).spawn(|| digits(THIS_BINARY)).ok())
    }

    /// The 64 digits; none where the binary cannot be read, and then no result is taken over.
    pub(super) fn finish(self) -> Option<String> {
        self.0?.join().ok()?.ok()
    }
}

fn digits(path: &str) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_those_of_the_file() {
        let own = std::env::current_exe().unwrap();
        let expected = blake3::hash(&std::fs::read(own).unwrap()).to_hex().to_string();
        assert_eq!(CodeHash::begin().finish(), Some(expected));
    }

    #[test]
    fn a_file_that_cannot_be_read_has_none() {
        assert!(digits("/nonexistent/binary").is_err());
    }
}
