//! The `.env` file of the current directory.
//!
//! One `KEY=VALUE` a line: blank lines, lines that start with `#` and lines without `=` are skipped, a leading
//! `export ` is dropped, key and value are stripped, and one pair of equal quotes around the whole value is
//! removed. There are no escapes, references to other variables or comments behind a value. The last line of a key
//! wins.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::error::SettingsError;

/// Name of the file.
pub const FILE_NAME: &str = ".env";

/// Reads a `.env` file; a missing one is empty.
///
/// # Errors
/// When it is a directory, cannot be read, or is not UTF-8 (with the line).
pub fn read(path: &Path) -> Result<BTreeMap<String, String>, SettingsError> {
    let refuse = |reason: &str, line| {
        let message = format!("{} {reason}", path.display());
        SettingsError::dotenv(message, path.to_owned(), line)
    };
    if path.is_dir() {
        return Err(refuse("is a directory, not a file", None).with_hint("remove or rename the directory"));
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(refuse(&format!("cannot be read: {error}"), None)),
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(parse(text)),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count() as u32;
            Err(refuse(&format!("is not UTF-8 (line {line})"), Some(line))
                .with_hint("save the file as UTF-8"))
        }
    }
}

/// Parses the text of a `.env` file; a byte order mark is dropped.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.split(['\n', '\r']).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (key, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let key = key.trim();
    if key.is_empty() {
        return None;
    }
    Some((key.to_owned(), unquote(value.trim()).to_owned()))
}

fn unquote(value: &str) -> &str {
    ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{parse, read};

    fn one(text: &str) -> Option<String> {
        parse(text).remove("K")
    }

    #[test]
    fn the_grammar_line_by_line() {
        for (text, value) in [
            ("K=v", "v"),
            ("  K = v w  ", "v w"),
            ("export K=v", "v"),
            ("export   K=v", "v"),
            ("K=\"v\"", "v"),
            ("K=' v '", " v "),
            ("K=\"v'", "\"v'"),
            ("K=\"", "\""),
            ("K=\"\"", ""),
            ("K=", ""),
            ("K=a=b", "a=b"),
            ("K=1 # c", "1 # c"),
            ("K=$HOME\\n", "$HOME\\n"),
            ("\u{feff}K=v", "v"),
            ("K=1\nK=2", "2"),
            ("K=1\r\nL=2\r\n", "1"),
        ] {
            assert_eq!(one(text).as_deref(), Some(value), "{text:?}");
        }
        for text in ["", "K", "# K=v", "#K=v", "exportK=v", "=v", " = v"] {
            assert_eq!(one(text), None, "{text:?}");
        }
    }

    #[test]
    fn unreadable_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(&directory.path().join("absent")).unwrap().is_empty());
        let error = read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
        let file = directory.path().join(".env");
        std::fs::write(&file, b"A=1\nB=\xff\n").unwrap();
        let finding = read(&file).unwrap_err().finding();
        assert!(finding.message.contains("is not UTF-8 (line 2)"), "{}", finding.message);
        assert_eq!((finding.line, finding.file.as_deref()), (Some(2), file.to_str()));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed(text in ".*") {
            for (key, _) in parse(&text) {
                prop_assert_eq!(key.trim(), key.as_str());
                prop_assert!(!key.is_empty() && !key.contains('='));
            }
        }

        #[test]
        fn a_quoted_value_comes_back_as_it_was(value in "[^\r\n]*", quote in "[\"']") {
            prop_assert_eq!(one(&format!("K={quote}{value}{quote}")), Some(value));
        }
    }
}
