//! JSON text as Python's `json.dumps(value, indent=2)` writes it.
//!
//! TaskDef files are compared as text and kept in version control, so they must not change by a byte when the
//! program that writes them does.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// The value as text: two spaces of indent, ASCII only, key order kept, floats as Python's `repr`, one final newline.
pub fn to_pretty_ascii_json(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, 0);
    text.push('\n');
    text
}

fn write_value(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(text, number),
        Value::String(string) => write_string(text, string),
        Value::Array(items) if items.is_empty() => text.push_str("[]"),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                start_line(text, index, depth + 1);
                write_value(text, item, depth + 1);
            }
            end_block(text, ']', depth);
        }
        Value::Object(entries) if entries.is_empty() => text.push_str("{}"),
        Value::Object(entries) => {
            text.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                start_line(text, index, depth + 1);
                write_string(text, key);
                text.push_str(": ");
                write_value(text, item, depth + 1);
            }
            end_block(text, '}', depth);
        }
    }
}

fn start_line(text: &mut String, index: usize, depth: usize) {
    text.push_str(if index == 0 { "\n" } else { ",\n" });
    indent(text, depth);
}

fn end_block(text: &mut String, bracket: char, depth: usize) {
    text.push('\n');
    indent(text, depth);
    text.push(bracket);
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(text, "\\u{unit:04x}").expect("writing to a string cannot fail");
                }
            }
        }
    }
    text.push('"');
}

fn write_number(text: &mut String, number: &Number) {
    match number.as_f64() {
        Some(float) if number.is_f64() => text.push_str(&python_float(float)),
        _ => text.push_str(&number.to_string()),
    }
}

/// Python's `repr` of a finite float: shortest digits that round-trip, an exponent below 1e-4 and from 1e16 on.
fn python_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) =
        scientific.split_once('e').expect("the exponent form of a finite float always has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent of a float is a small integer");
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (value, wanted) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (12.0, "12.0"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (-2.5e-10, "-2.5e-10"),
            (123_456_789.123_456_78, "123456789.12345678"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(python_float(value), wanted);
        }
    }

    #[test]
    fn layout_and_escapes_are_those_of_python() {
        let value = json!({"a": {}, "b": [], "ü😀\u{7f}": ["\"\\\n\r\t\u{8}\u{c}\u{1}", 1, null, true]});
        let wanted = concat!(
            "{\n  \"a\": {},\n  \"b\": [],\n  \"\\u00fc\\ud83d\\ude00\\u007f\": [\n    ",
            "\"\\\"\\\\\\n\\r\\t\\b\\f\\u0001\",\n    1,\n    null,\n    true\n  ]\n}\n"
        );
        assert_eq!(to_pretty_ascii_json(&value), wanted);
    }
}
