//! What a model's own schema keeps.

use serde_json::{Map, Value};

use super::keywords::as_object_type;

const KEPT: [&str; 6] = ["$defs", "definitions", "additionalProperties", "properties", "required", "type"];

/// Reduces the root and every object definition to what describes their fields.
///
/// Text about a model as a whole belongs to its source, and would make a TaskDef change with every edited docstring.
pub(super) fn prune_models(schema: &Value) -> Value {
    let mut root = prune_model(schema);
    for keyword in ["$defs", "definitions"] {
        if let Some(Value::Object(definitions)) = root.get_mut(keyword) {
            for definition in definitions.values_mut() {
                *definition = prune_model(definition);
            }
        }
    }
    root
}

fn prune_model(schema: &Value) -> Value {
    match schema {
        Value::Object(keywords) if as_object_type(keywords) => {
            let kept: Map<String, Value> = keywords
                .iter()
                .filter(|(keyword, _)| KEPT.contains(&keyword.as_str()))
                .map(|(keyword, value)| (keyword.clone(), value.clone()))
                .collect();
            Value::Object(kept)
        }
        other => other.clone(),
    }
}
