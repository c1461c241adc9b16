//! Each rule for one value, in pydantic's words: one cause has one text whatever language a task is written in.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;
use serde_json::{Map, Number, Value};

/// A value that is none of those that are listed.
pub(super) fn value_fault(keywords: &Map<String, Value>, value: &Value) -> Option<String> {
    if let Some(only) = keywords.get("const").filter(|only| !is_same(only, value)) {
        return Some(format!("Input should be {} [literal_error]", shown(only)));
    }
    let listed = keywords.get("enum")?.as_array()?;
    if listed.iter().any(|each| is_same(each, value)) {
        return None;
    }
    let texts: Vec<String> = listed.iter().map(shown).collect();
    Some(match texts.split_last() {
        Some((last, [])) => format!("Input should be {last} [enum]"),
        Some((last, others)) => format!("Input should be {} or {last} [enum]", others.join(", ")),
        None => "Input is no known value [enum]".to_owned(),
    })
}

/// 1 and 1.0 are one number to JSON Schema.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other) == Some(Ordering::Equal),
        _ => one == other,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        Value::Number(number) => written(number),
        other => other.to_string(),
    }
}

pub(super) fn number_fault(keywords: &Map<String, Value>, value: &Number) -> Option<String> {
    type Holds = fn(Ordering) -> bool;
    if let Some(step) = number(keywords, "multipleOf")
        && !is_multiple(value, step)
    {
        return Some(format!("Input should be a multiple of {} [multiple_of]", written(step)));
    }
    let bounds: [(&str, Holds, &str, &str); 4] = [
        ("maximum", Ordering::is_le, "less than or equal to", "less_than_equal"),
        ("exclusiveMaximum", Ordering::is_lt, "less than", "less_than"),
        ("minimum", Ordering::is_ge, "greater than or equal to", "greater_than_equal"),
        ("exclusiveMinimum", Ordering::is_gt, "greater than", "greater_than"),
    ];
    bounds.iter().find_map(|(keyword, holds, words, code)| {
        let bound = number(keywords, keyword)?;
        let is_broken = compare(value, bound).is_some_and(|ordering| !holds(ordering));
        is_broken.then(|| format!("Input should be {words} {} [{code}]", written(bound)))
    })
}

fn number<'a>(keywords: &'a Map<String, Value>, keyword: &str) -> Option<&'a Number> {
    match keywords.get(keyword) {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    }
}

/// Exact between whole numbers, which may be larger than what a float can tell apart.
fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn is_multiple(value: &Number, step: &Number) -> bool {
    match (value.as_i128(), step.as_i128()) {
        (Some(value), Some(step)) if step != 0 => value % step == 0,
        _ => match (value.as_f64(), step.as_f64()) {
            (Some(value), Some(step)) if step != 0.0 => {
                // 0.3 is a multiple of 0.1 to everybody but to binary floats.
                let times = value / step;
                (times - times.round()).abs() <= f64::EPSILON * times.abs()
            }
            _ => true,
        },
    }
}

/// Whole floats without their point, however they were declared.
fn written(number: &Number) -> String {
    match (number.is_f64(), number.as_f64()) {
        (true, Some(float)) => float.to_string(),
        _ => number.to_string(),
    }
}

pub(super) fn text_fault(
    keywords: &Map<String, Value>,
    text: &str,
    patterns: &BTreeMap<String, Regex>,
) -> Option<String> {
    let size = || text.chars().count() as u64;
    if let Some(least) = count(keywords, "minLength").filter(|least| size() < *least) {
        return Some(format!(
            "String should have at least {} [string_too_short]",
            counted(least, "character")
        ));
    }
    if let Some(most) = count(keywords, "maxLength").filter(|most| size() > *most) {
        return Some(format!("String should have at most {} [string_too_long]", counted(most, "character")));
    }
    let pattern = keywords.get("pattern")?.as_str()?;
    let is_matched = patterns.get(pattern).is_none_or(|regex| regex.is_match(text));
    (!is_matched).then(|| format!("String should match pattern '{pattern}' [string_pattern_mismatch]"))
}

pub(super) fn list_fault(keywords: &Map<String, Value>, items: &[Value]) -> Option<String> {
    let bounds = ["minItems", "maxItems"].map(|keyword| count(keywords, keyword));
    if bounds == [None, None] {
        return None;
    }
    if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
        // A set reads the same item twice as one.
        let distinct: BTreeSet<String> = items.iter().map(Value::to_string).collect();
        return size_fault(bounds, "Set", distinct.len(), "not more");
    }
    size_fault(bounds, "List", items.len(), &format!("not {}", items.len()))
}

pub(super) fn dictionary_fault(keywords: &Map<String, Value>, size: usize) -> Option<String> {
    let bounds = ["minProperties", "maxProperties"].map(|keyword| count(keywords, keyword));
    size_fault(bounds, "Dictionary", size, "not more")
}

fn size_fault(bounds: [Option<u64>; 2], noun: &str, size: usize, too_many: &str) -> Option<String> {
    let [least, most] = bounds;
    let said = |word: &str, bound: u64, instead: &str, code: &str| {
        let items = counted(bound, "item");
        format!("{noun} should have at {word} {items} after validation, {instead} [{code}]")
    };
    let too_few = least.filter(|least| (size as u64) < *least);
    let too_few = too_few.map(|least| said("least", least, &format!("not {size}"), "too_short"));
    too_few.or_else(|| {
        let most = most.filter(|most| size as u64 > *most)?;
        Some(said("most", most, too_many, "too_long"))
    })
}

fn count(keywords: &Map<String, Value>, keyword: &str) -> Option<u64> {
    keywords.get(keyword)?.as_u64()
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
