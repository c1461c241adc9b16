//! Input expressions: `${workflow.input.x}` and `${reference.output.list[0].key}`, alone or inside a text.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

use super::raw::{element, member};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(i64),
}

/// A parsed path: what it starts from, and the steps below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// `workflow`, or the reference name of a task.
    pub source: String,
    steps: Vec<Step>,
}

/// Where paths are read from: the field of a source (`input`, `output`, `status`, …) as JSON text.
pub(super) trait Source {
    /// Returns the JSON text of `field` of `source`, or nothing where either is unknown.
    fn field(&self, source: &str, field: &str) -> Option<Cow<'_, str>>;

    /// Returns a whole source (`${reference}`) as JSON text.
    fn whole(&self, source: &str) -> Option<Cow<'_, str>>;
}

impl Path {
    /// Parses `workflow.input.x`, `a.output.list[0]['key']`; nothing where the syntax goes beyond that.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.contains(['*', '?', '@', '(', ')', ':', '$', '{', '}']) || text.contains("..") {
            return None;
        }
        let mut names = text.trim().split('.');
        let (source, mut steps) = parse_name(names.next()?)?;
        for name in names {
            let (key, indices) = parse_name(name)?;
            steps.push(Step::Key(key));
            steps.extend(indices);
        }
        Some(Self { source, steps })
    }

    fn read(&self, source: &impl Source) -> Option<String> {
        let Some((Step::Key(field), below)) = self.steps.split_first() else {
            return self.steps.is_empty().then(|| source.whole(&self.source))?.map(Cow::into_owned);
        };
        let start = source.field(&self.source, field)?;
        let mut text: &str = &start;
        for step in below {
            text = match step {
                Step::Key(key) => member(text, key)?,
                Step::Index(index) => element(text, *index)?,
            };
        }
        Some(text.to_owned())
    }
}

fn parse_name(text: &str) -> Option<(String, Vec<Step>)> {
    let (name, mut rest) = text.split_at(text.find('[').unwrap_or(text.len()));
    let mut steps = Vec::new();
    while let Some(inner) = rest.strip_prefix('[') {
        let (bracketed, after) = inner.split_once(']')?;
        let quoted = ['\'', '"']
            .iter()
            .find_map(|quote| bracketed.strip_prefix(*quote).and_then(|name| name.strip_suffix(*quote)));
        steps.push(match quoted {
            Some(key) => Step::Key(key.to_owned()),
            None => Step::Index(bracketed.trim().parse().ok()?),
        });
        rest = after;
    }
    (!name.is_empty() && rest.is_empty()).then(|| (name.to_owned(), steps))
}

/// Splits a text before every `${` that no `$` precedes, and after every `}`: as the server does.
fn pieces(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut start = 0;
    for position in 1..bytes.len() {
        let opens = bytes[position..].starts_with(b"${") && bytes[position - 1] != b'$';
        if opens || bytes[position - 1] == b'}' {
            found.push(&text[start..position]);
            start = position;
        }
    }
    found.push(&text[start..]);
    found
}

fn expression(piece: &str) -> Option<&str> {
    piece.strip_prefix("${")?.strip_suffix('}')
}

/// Calls `visit` with the text of every expression inside a template.
pub(super) fn for_each_expression(template: &Value, visit: &mut impl FnMut(&str)) {
    match template {
        Value::String(text) if text.contains("${") => {
            pieces(text).into_iter().filter_map(expression).for_each(visit);
        }
        Value::Array(values) => values.iter().for_each(|value| for_each_expression(value, visit)),
        Value::Object(members) => members.values().for_each(|value| for_each_expression(value, visit)),
        _ => {}
    }
}

/// Appends the JSON of `template` to `output`, every expression replaced; what is missing becomes `null`.
pub(super) fn render(template: &Value, source: &impl Source, output: &mut String) {
    match template {
        Value::String(text) if text.contains("${") => render_text(text, source, output),
        Value::Array(values) => {
            output.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    output.push(',');
                }
                render(value, source, output);
            }
            output.push(']');
        }
        Value::Object(members) => {
            output.push('{');
            for (position, (key, value)) in members.iter().enumerate() {
                if position > 0 {
                    output.push(',');
                }
                write_json(key, output);
                output.push(':');
                render(value, source, output);
            }
            output.push('}');
        }
        plain => write_json(plain, output),
    }
}

fn render_text(text: &str, source: &impl Source, output: &mut String) {
    let parts = pieces(text);
    let read = |expression: &str| Path::parse(expression).and_then(|path| path.read(source));
    if let [single] = parts.as_slice() {
        match expression(single) {
            Some(path) => output.push_str(read(path).as_deref().unwrap_or("null")),
            None => write_json(&single.replace("$${", "${"), output),
        }
        return;
    }
    let mut whole = String::new();
    for part in parts {
        match expression(part) {
            Some(path) => {
                let value =
                    read(path).and_then(|json| serde_json::from_str(&json).ok()).unwrap_or(Value::Null);
                append_like_java(&value, &mut whole);
            }
            None => whole.push_str(&part.replace("$${", "${")),
        }
    }
    write_json(&whole, output);
}

/// Appends a value as Java's `toString` shows it, which is what the server puts into texts.
fn append_like_java(value: &Value, output: &mut String) {
    match value {
        Value::String(text) => output.push_str(text),
        Value::Array(values) => {
            output.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    output.push_str(", ");
                }
                append_like_java(value, output);
            }
            output.push(']');
        }
        Value::Object(members) => {
            output.push('{');
            for (position, (key, value)) in members.iter().enumerate() {
                if position > 0 {
                    output.push_str(", ");
                }
                output.push_str(key);
                output.push('=');
                append_like_java(value, output);
            }
            output.push('}');
        }
        plain => {
            let _ = write!(output, "{plain}");
        }
    }
}

fn write_json<T: serde::Serialize + ?Sized>(value: &T, output: &mut String) {
    output.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()));
}

/// Returns a map as Java's `toString` shows it (`{x=1}`), which is what search results carry.
pub(super) fn java_text(json: &str) -> String {
    let mut text = String::new();
    append_like_java(&serde_json::from_str(json).unwrap_or(Value::Null), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Fixture;

    impl Source for Fixture {
        fn field(&self, source: &str, field: &str) -> Option<Cow<'_, str>> {
            let text = match (source, field) {
                ("a", "output") => {
                    r#"{"o":{"p":1,"q":"s","r":null},"l":[{"k":"v"},2.5],"n":7,"t":true,"f":1.0,"big":12345678901234567890123,"d-k":4}"#
                }
                ("a", "status") => "\"COMPLETED\"",
                ("workflow", "input") => r#"{"x":{"deep":[1]}}"#,
                _ => return None,
            };
            Some(Cow::Borrowed(text))
        }

        fn whole(&self, _source: &str) -> Option<Cow<'_, str>> {
            None
        }
    }

    #[test]
    fn replaced_as_the_real_server_does() {
        let template = json!({
            "obj": "${a.output.o}", "item": "${a.output.l[1]}", "key": "${a.output.l[0].k}",
            "text": "v=${a.output.n} and ${a.output.missing}!", "map": "x${a.output.o}", "miss": "${a.output.nope}",
            "nested": {"q": ["${workflow.input.x}", 1]}, "null": null, "status": "${a.status}",
            "last": "${a.output.l[-1]}", "beyond": "${a.output.l[9]}", "quoted": "${a.output['o']}",
            "escaped": "$${x.y}", "bool": "b${a.output.t}", "float": "${a.output.f} ", "list": "l${a.output.l}",
            "big": "${a.output.big}", "dash": "${a.output.d-k}", "input": "${a.input.none}",
        });
        let mut output = String::new();
        render(&template, &Fixture, &mut output);
        assert!(output.contains("12345678901234567890123"), "numbers keep their digits");
        let expected = json!({
            "obj": {"p": 1, "q": "s", "r": null}, "item": 2.5, "key": "v",
            "text": "v=7 and null!", "map": "x{p=1, q=s, r=null}", "miss": null,
            "nested": {"q": [{"deep": [1]}, 1]}, "null": null, "status": "COMPLETED",
            "last": 2.5, "beyond": null, "quoted": {"p": 1, "q": "s", "r": null},
            "escaped": "${x.y}", "bool": "btrue", "float": "1.0 ", "list": "l[{k=v}, 2.5]",
            "big": 12_345_678_901_234_567_890_123.0_f64, "dash": 4, "input": null,
        });
        assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), expected);
    }

    #[test]
    fn paths_beyond_keys_and_indices_are_not_parsed() {
        for text in
            ["a.output.l[*].k", "a..k", "a.output.l.length()", "a.output.l[0:2]", "", "a.output.l[", ".x"]
        {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }
}
