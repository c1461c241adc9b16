//! What a schema asks of values beyond their shape: bounds, lengths, patterns and lists of values.
//!
//! For authoring languages whose own reader knows shapes alone, as serde does. What was read is judged here before a body
//! gets it, so that a TaskDef promises nothing that is not kept. Shape (types, required and unknown fields, which
//! alternative is meant) is the reader's word: it knows of other names of a field, and of more than a schema can say.
//! `docs/adr/0015-constraints.md` says why there is no library in place of it.

mod bounds;
mod shape;

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::error::ContractError;
use crate::schema::map_subschemas;
use bounds::{dictionary_fault, list_fault, number_fault, text_fault, value_fault};

/// Keywords that say more than the shape.
const JUDGED: [&str; 14] = [
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
];
/// References that lead to each other without a value in between say nothing.
const MOST_REFERENCES: usize = 16;

/// The constraints of one schema.
#[derive(Debug, Clone)]
pub struct Constraints {
    root: Value,
    patterns: BTreeMap<String, Regex>,
}

/// One value that a constraint does not admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Keys and indices that lead from the root to the value.
    pub place: Vec<String>,
    /// The rule, with its code in brackets and without the value: `Input should be greater than 0 [greater_than]`.
    pub rule: String,
}

impl Constraints {
    /// The constraints of a schema as it stands in a TaskDef; `None` if it describes shapes alone.
    ///
    /// # Errors
    /// A pattern that cannot be judged.
    pub fn of(schema: &Value) -> Result<Option<Self>, ContractError> {
        let mut constraints = Self { root: schema.clone(), patterns: BTreeMap::new() };
        let is_needed = constraints.gather(schema)?;
        Ok(is_needed.then_some(constraints))
    }

    /// What a value violates, in the order of its parts. At each of them it is one rule, and a list or dictionary of
    /// another size than asked for is not looked into.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        self.judge(&self.root, value, &mut Vec::new(), &mut found, 0);
        found
    }

    /// Compiles the patterns of a schema and all below it; says whether there is anything to judge.
    fn gather(&mut self, schema: &Value) -> Result<bool, ContractError> {
        let Some(keywords) = schema.as_object() else { return Ok(false) };
        let named = keywords.get("patternProperties").and_then(Value::as_object);
        let patterns = named.into_iter().flat_map(Map::keys).map(String::as_str);
        for pattern in patterns.chain(keywords.get("pattern").and_then(Value::as_str)) {
            let compiled = Regex::new(pattern).map_err(|error| unusable(pattern, &error))?;
            self.patterns.insert(pattern.to_owned(), compiled);
        }
        let mut is_needed = JUDGED.iter().any(|keyword| keywords.contains_key(*keyword));
        let mut failure = None;
        // `map_subschemas` is the one place that knows where schemas are; it wants a mutable schema.
        map_subschemas(&mut keywords.clone(), &mut |below| match self.gather(below) {
            Ok(more) => is_needed |= more,
            Err(error) => failure = Some(error),
        });
        failure.map_or(Ok(is_needed), Err)
    }

    fn judge(
        &self,
        schema: &Value,
        value: &Value,
        place: &mut Vec<String>,
        found: &mut Vec<Violation>,
        references: usize,
    ) {
        let Some(keywords) = schema.as_object() else { return };
        if let Some(definition) = self.definition(keywords).filter(|_| references < MOST_REFERENCES) {
            self.judge(definition, value, place, found, references + 1);
        }
        if let Some(rule) = self.fault(keywords, value) {
            found.push(Violation { place: place.clone(), rule });
            return;
        }
        for each in schemas(keywords, "allOf") {
            self.judge(each, value, place, found, references);
        }
        for choice in ["anyOf", "oneOf"] {
            self.judge_alternatives(schemas(keywords, choice), value, place, found, references);
        }
        self.judge_parts(keywords, value, place, found);
    }

    /// The rule that a value violates by itself.
    fn fault(&self, keywords: &Map<String, Value>, value: &Value) -> Option<String> {
        value_fault(keywords, value).or_else(|| match value {
            Value::Number(number) => number_fault(keywords, number),
            Value::String(text) => text_fault(keywords, text, &self.patterns),
            Value::Array(items) => list_fault(keywords, items),
            Value::Object(fields) => dictionary_fault(keywords, fields.len()),
            Value::Null | Value::Bool(_) => None,
        })
    }

    /// Items of a list, fields of an object.
    fn judge_parts(
        &self,
        keywords: &Map<String, Value>,
        value: &Value,
        place: &mut Vec<String>,
        found: &mut Vec<Violation>,
    ) {
        let mut below = |name: String, schema: &Value, value: &Value| {
            place.push(name);
            self.judge(schema, value, place, found, 0);
            place.pop();
        };
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Some(schema) = shape::item_schema(keywords, index) {
                        below(index.to_string(), schema, item);
                    }
                }
            }
            Value::Object(fields) => {
                // As the schema has them, whatever order they come in.
                let known = keywords.get("properties").and_then(Value::as_object);
                let known: Vec<&String> = known.into_iter().flat_map(Map::keys).collect();
                let others = fields.keys().filter(|name| !known.contains(name));
                for name in known.iter().copied().chain(others) {
                    if let Some(field) = fields.get(name) {
                        for schema in self.field_schemas(keywords, name) {
                            below(name.clone(), schema, field);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// A value that only one alternative can mean is judged by it; else one of those that it has the shape of suffices.
    fn judge_alternatives(
        &self,
        alternatives: &[Value],
        value: &Value,
        place: &mut Vec<String>,
        found: &mut Vec<Violation>,
        references: usize,
    ) {
        if references >= MOST_REFERENCES {
            return;
        }
        let typed: Vec<&Value> =
            alternatives.iter().filter(|each| self.has_type(each, value, references)).collect();
        let meant = match typed.as_slice() {
            [_] => typed,
            _ => typed.into_iter().filter(|each| self.fits(each, value, references)).collect(),
        };
        let mut first = None;
        for each in meant {
            let mut own = Vec::new();
            self.judge(each, value, place, &mut own, references + 1);
            if own.is_empty() {
                return;
            }
            first.get_or_insert(own);
        }
        found.extend(first.into_iter().flatten());
    }

    /// The definition that a schema refers to.
    fn definition(&self, keywords: &Map<String, Value>) -> Option<&Value> {
        let name = keywords.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        self.root.get("$defs")?.get(name.replace("~1", "/").replace("~0", "~"))
    }
}

/// The schemas in the list of a keyword.
fn schemas<'a>(keywords: &'a Map<String, Value>, keyword: &str) -> &'a [Value] {
    keywords.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn unusable(pattern: &str, error: &regex_lite::Error) -> ContractError {
    ContractError::new("PERAGO-SCHEMA-PATTERN", format!("pattern {pattern:?} cannot be used: {error}"))
        .with_hint(
            "write it without look-around, back-references and \\p classes, or check the value in the body",
        )
}

#[cfg(test)]
mod tests;
