//! Which alternative of a schema a value can mean.

use serde_json::{Map, Value};

use super::bounds::value_fault;
use super::{Constraints, MOST_REFERENCES, schemas};

impl Constraints {
    /// Whether a value has the type that a schema names, if it names one.
    pub(super) fn has_type(&self, schema: &Value, value: &Value, references: usize) -> bool {
        let Some(keywords) = schema.as_object() else { return schema != &Value::Bool(false) };
        match keywords.get("type") {
            Some(Value::String(kind)) => is_of_type(kind, value),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).any(|kind| is_of_type(kind, value))
            }
            _ => match self.definition(keywords) {
                Some(definition) if references < MOST_REFERENCES => {
                    self.has_type(definition, value, references + 1)
                }
                _ => true,
            },
        }
    }

    /// Whether a value has the shape of a schema: its types, its tags, and the fields that it must have.
    pub(super) fn fits(&self, schema: &Value, value: &Value, references: usize) -> bool {
        let Some(keywords) = schema.as_object() else { return schema != &Value::Bool(false) };
        if references >= MOST_REFERENCES {
            return true;
        }
        let fits = |each: &Value| self.fits(each, value, references + 1);
        self.has_type(schema, value, references)
            && value_fault(keywords, value).is_none()
            && self.definition(keywords).is_none_or(fits)
            && schemas(keywords, "allOf").iter().all(fits)
            && ["anyOf", "oneOf"].iter().all(|choice| {
                let alternatives = schemas(keywords, choice);
                alternatives.is_empty() || alternatives.iter().any(fits)
            })
            && self.parts_fit(keywords, value)
    }

    fn parts_fit(&self, keywords: &Map<String, Value>, value: &Value) -> bool {
        match value {
            Value::Array(items) => {
                items.len() >= schemas(keywords, "prefixItems").len()
                    && items.iter().enumerate().all(|(index, item)| {
                        item_schema(keywords, index).is_none_or(|schema| self.fits(schema, item, 0))
                    })
            }
            Value::Object(fields) => {
                let required = schemas(keywords, "required").iter().filter_map(Value::as_str);
                required.into_iter().all(|name| fields.contains_key(name))
                    && fields.iter().all(|(name, field)| {
                        self.field_schemas(keywords, name).all(|schema| self.fits(schema, field, 0))
                    })
            }
            _ => true,
        }
    }

    /// What a schema says of one field.
    pub(super) fn field_schemas<'a>(
        &'a self,
        keywords: &'a Map<String, Value>,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        let map = |keyword: &str| keywords.get(keyword).and_then(Value::as_object);
        let own = map("properties").and_then(|properties| properties.get(name));
        let named = map("patternProperties").into_iter().flatten();
        let by_pattern: Vec<&Value> = named
            .filter(|(pattern, _)| self.patterns.get(*pattern).is_some_and(|regex| regex.is_match(name)))
            .map(|(_, schema)| schema)
            .collect();
        let is_other = own.is_none() && by_pattern.is_empty();
        let other = keywords.get("additionalProperties").filter(|schema| is_other && schema.is_object());
        own.into_iter().chain(by_pattern).chain(other)
    }
}

/// What a schema says of one item of a list.
pub(super) fn item_schema(keywords: &Map<String, Value>, index: usize) -> Option<&Value> {
    schemas(keywords, "prefixItems").get(index).or_else(|| keywords.get("items"))
}

fn is_of_type(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|it| it.fract() == 0.0),
        "number" => value.is_number(),
        _ => false,
    }
}
