//! Which keywords of JSON Schema hold schemas.

use serde_json::{Map, Value};

/// Keywords whose value is a schema; `items` may also be a list of schemas in older drafts.
const SINGLE: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is a list of schemas.
const LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
/// Keywords whose value maps free names to schemas.
const MAPS: [&str; 5] = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/// Calls `visit` with each schema directly below one schema, and with nothing that is data.
pub fn map_subschemas(keywords: &mut Map<String, Value>, visit: &mut dyn FnMut(&mut Value)) {
    for (keyword, value) in keywords.iter_mut() {
        let keyword = keyword.as_str();
        match value {
            Value::Array(items) if LISTS.contains(&keyword) => items.iter_mut().for_each(&mut *visit),
            Value::Object(entries) if MAPS.contains(&keyword) => entries.values_mut().for_each(&mut *visit),
            Value::Object(_) if SINGLE.contains(&keyword) => visit(value),
            _ => {}
        }
    }
}

/// Whether a schema describes an object, perhaps among other types.
pub(super) fn as_object_type(keywords: &Map<String, Value>) -> bool {
    match keywords.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => false,
    }
}
