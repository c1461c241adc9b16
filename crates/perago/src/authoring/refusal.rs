//! Why parameters were refused, by place and rule and without any value of them.
//!
//! Inputs may hold what must not be seen, and Conductor keeps reasons for ever. Where serde and pydantic refuse for the
//! same reason, the words are pydantic's, so that one cause has one text whatever language a task is written in.

use perago_contract::Violation;
use serde_path_to_error::{Path, Segment};

/// The longest part of a place that is shown whole.
const LONGEST_PART: usize = 64;

const EXTRA: &str = "Extra inputs are not permitted [extra_forbidden]";

/// What is wrong at a place of the parameters, from serde's own words.
pub(super) fn reason(path: &Path, message: &str) -> String {
    let message = without_position(message);
    let mut place = place(path);
    if let Some(field) = quoted_after(message, "missing field ") {
        place = joined(&place, field);
    }
    if let Some(field) = unknown_field(message) {
        // The path ends with the field where its name was read before it was refused.
        let last = path.iter().next_back().map(ToString::to_string);
        let place = if last.as_deref() == Some(field) { place } else { joined(&place, field) };
        return format!("{place}: {EXTRA}");
    }
    format!("{place}: {}", rule(message))
}

/// What is wrong with a value of another kind than its schema asks for.
pub(super) fn violation(violation: &Violation) -> String {
    let place = violation.place.iter().fold("params".to_owned(), |place, part| joined(&place, part));
    format!("{place}: {}", violation.rule)
}

/// The place that a reason begins with.
pub(super) fn place_of(reason: &str) -> &str {
    reason.split_once(": ").map_or(reason, |(place, _)| place)
}

/// What is wrong with a field that nobody asked for; `path` has dots between its parts.
pub(super) fn extra(path: &str) -> String {
    format!("{}: {EXTRA}", joined("params", path))
}

fn place(path: &Path) -> String {
    path.iter().fold("params".to_owned(), |place, segment| match segment {
        Segment::Seq { index } => format!("{place}.{index}"),
        Segment::Map { key } => joined(&place, key),
        // Which variant was tried is no place in the data.
        Segment::Enum { .. } | Segment::Unknown => place,
    })
}

fn joined(place: &str, part: &str) -> String {
    match part.char_indices().nth(LONGEST_PART - 1) {
        Some((end, _)) if part.chars().count() > LONGEST_PART => format!("{place}.{}…", &part[..end]),
        _ => format!("{place}.{part}"),
    }
}

/// `serde_json` ends its messages with a position in a text that the reader never sees.
fn without_position(message: &str) -> &str {
    let Some((before, position)) = message.rsplit_once(" at line ") else { return message };
    let is_position =
        position.split(" column ").all(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    if is_position { before } else { message }
}

/// The name in front of what serde would have expected.
fn unknown_field(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("unknown field `")?;
    let (field, _) = rest.split_once("`, expected ").or_else(|| rest.split_once("`, there are no fields"))?;
    Some(field)
}

fn quoted_after<'a>(message: &'a str, beginning: &str) -> Option<&'a str> {
    message.strip_prefix(beginning)?.strip_prefix('`')?.strip_suffix('`')
}

fn rule(message: &str) -> String {
    if message.starts_with("missing field ") {
        return "Field required [missing]".to_owned();
    }
    if message.starts_with("unknown variant ") {
        return unknown_variant(message);
    }
    for (beginning, code) in [("invalid type: ", "invalid_type"), ("invalid value: ", "invalid_value")] {
        if let Some(rest) = message.strip_prefix(beginning) {
            // What was expected stands in the author's code; what stands before it is the input, quoted.
            let expected = rest.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
            let wanted = if code == "invalid_type" { wanted(expected) } else { None };
            return wanted.unwrap_or_else(|| format!("{beginning}expected {expected} [{code}]"));
        }
    }
    message.to_owned()
}

/// pydantic's words for what serde expects.
fn wanted(expected: &str) -> Option<String> {
    let known = |what: &str, code: &str| Some(format!("Input should be a valid {what} [{code}]"));
    match expected {
        "a string" | "a borrowed string" | "string or map" => known("string", "string_type"),
        "a boolean" => known("boolean", "bool_type"),
        "f32" | "f64" => known("number", "float_type"),
        "a sequence" => known("list", "list_type"),
        "a map" => known("dictionary", "dict_type"),
        _ => match expected.strip_prefix("struct ") {
            Some(name) => {
                Some(format!("Input should be a valid dictionary or instance of {name} [model_type]"))
            }
            None if is_integer(expected) => known("integer", "int_type"),
            None => None,
        },
    }
}

fn is_integer(expected: &str) -> bool {
    let width = expected.strip_prefix(['i', 'u']).unwrap_or_default();
    width == "size" || (!width.is_empty() && width.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The known variants are the author's words; the one that was given is the input's.
fn unknown_variant(message: &str) -> String {
    let expected = message.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    let names: Vec<String> = expected
        .trim_start_matches("one of ")
        .replace(" or ", ", ")
        .split(", ")
        .map(|name| format!("'{}'", name.trim_matches('`')))
        .collect();
    match names.split_last() {
        Some((last, [])) => format!("Input should be {last} [enum]"),
        Some((last, others)) => format!("Input should be {} or {last} [enum]", others.join(", ")),
        None => "Input is no known variant [enum]".to_owned(),
    }
}
