//! What makes a kept result one of the same work on the same basis.

use std::collections::BTreeMap;

use perago_conductor::Task;
use perago_workspace::Basis;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Deeper parts of an input are taken as they are written: another spelling of them is another input.
const DEEPEST: usize = 64;

/// The work of an attempt, beside what its [`Claim`](super::Claim) says, and what its result depends on. The server's
/// address is no part of it: it may be reached by another one after a restart, and ids of tasks are unique.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Iteration of an enclosing loop.
    pub iteration: i64,
    /// What the result depends on.
    pub basis: Basis,
}

impl Key {
    /// The key of a polled task; `code_hash` stands for the code that would run it, if that is known.
    pub fn of(task: &Task, code_hash: Option<String>) -> Self {
        // An input that the server has moved away cannot be read.
        let is_here = task.external_input_payload_storage_path.is_none();
        let input_hash = is_here.then(|| input_hash(&task.input_data));
        Self { iteration: task.iteration, basis: Basis { input_hash, code_hash } }
    }
}

/// Digits that stand for a JSON text, whatever the order of its keys, its white space and its escapes. Numbers count as
/// they are written.
fn input_hash(input: &RawValue) -> String {
    let mut hasher = blake3::Hasher::new();
    add(&mut hasher, input.get(), 0);
    hasher.finalize().to_hex().to_string()
}

fn add(hasher: &mut blake3::Hasher, text: &str, depth: usize) {
    let text = text.trim();
    if depth < DEEPEST && text.starts_with('{') {
        let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else { return };
        hasher.update(b"{");
        for (name, value) in fields {
            add_string(hasher, &name);
            hasher.update(b":");
            add(hasher, value.get(), depth + 1);
            hasher.update(b",");
        }
        hasher.update(b"}");
    } else if depth < DEEPEST && text.starts_with('[') {
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else { return };
        hasher.update(b"[");
        for item in items {
            add(hasher, item.get(), depth + 1);
            hasher.update(b",");
        }
        hasher.update(b"]");
    } else if let Ok(string) = serde_json::from_str::<String>(text) {
        add_string(hasher, &string);
    } else {
        hasher.update(text.as_bytes());
    }
}

fn add_string(hasher: &mut blake3::Hasher, string: &str) {
    hasher.update(serde_json::Value::from(string).to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> String {
        input_hash(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn spelling_does_not_count_and_content_does() {
        let one = hash(r#"{"a": 1.50, "b": [true, null, "ä\n"], "c": {"x": {}, "y": []}}"#);
        assert_eq!(one, hash(r#"{"c":{"y":[ ],"x":{ }},"b":[true,null,"\u00e4\u000A"],"a":1.50}"#));
        for other in [
            r#"{"a":1.5,"b":[true,null,"ä\n"],"c":{"x":{},"y":[]}}"#,
            r#"{"a":1.50,"b":[null,true,"ä\n"],"c":{"x":{},"y":[]}}"#,
            r#"{"a":1.50,"b":[true,null,"ä\n"],"c":{"x":[],"y":[]}}"#,
            r#"{"a":1.50,"b":[true,null,"ä"],"c":{"x":{},"y":[]}}"#,
            r#"{"a":1.50,"b":[true,null,"ä\n"]}"#,
        ] {
            assert_ne!(one, hash(other), "{other}");
        }
        assert_ne!(hash("123456789012345678901"), hash("123456789012345678902"));
        assert_ne!(hash(r#"["a","b"]"#), hash(r#"["a\",\"b"]"#));
    }

    #[test]
    fn a_deep_input_has_a_hash_too() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(5000), "]".repeat(5000));
        assert_ne!(hash(&deep("1")), hash(&deep("2")));
    }
}
