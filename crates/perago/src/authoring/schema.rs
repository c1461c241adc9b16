//! Schemas of Rust types in the form in which pydantic writes that of the same model.
//!
//! schemars says how wide an integer is, puts null into the type, and describes each variant of an enum; the rest of
//! the contract, and everybody who compares one TaskDef with another, expects one form for one meaning. What follows from here on is
//! the contract's own transformation, for all languages.

use perago_contract::schema::map_subschemas;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Keywords that stay beside `anyOf` when null is taken out of a type.
const ABOUT_THE_FIELD: [&str; 7] =
    ["default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly"];
/// How wide a number is in Rust is nothing that JSON knows.
const WIDTHS: [&str; 14] = [
    "double", "float", "int", "int128", "int16", "int32", "int64", "int8", "uint", "uint128", "uint16",
    "uint32", "uint64", "uint8",
];

/// The schema of what a task takes.
pub(super) fn of_params<P: JsonSchema>() -> Value {
    canonical::<P>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The schema of what a task returns.
///
/// As for Python, it is the model's ordinary schema, in which a field with a default may be left out, except where the
/// model is written in another shape than it is read.
pub(super) fn of_result<O: JsonSchema>() -> Value {
    let read = canonical::<O>(SchemaSettings::draft2020_12().for_deserialize());
    let written = canonical::<O>(SchemaSettings::draft2020_12().for_serialize());
    if shape(&read) == shape(&written) { read } else { written }
}

fn canonical<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    normalise(&mut schema);
    schema
}

/// A schema without what a reader may leave out.
fn shape(schema: &Value) -> Value {
    fn forget(schema: &mut Value) {
        if let Some(keywords) = schema.as_object_mut() {
            keywords.shift_remove("required");
            keywords.shift_remove("default");
            map_subschemas(keywords, &mut forget);
        }
    }
    let mut schema = schema.clone();
    forget(&mut schema);
    schema
}

fn normalise(schema: &mut Value) {
    if *schema == Value::Bool(true) {
        *schema = json!({});
    }
    let Some(keywords) = schema.as_object_mut() else { return };
    map_subschemas(keywords, &mut |below| {
        // Only a whole schema: `additionalProperties: true` is written as it is.
        if !below.is_boolean() {
            normalise(below);
        }
    });
    drop_width(keywords);
    merge_variants(keywords);
    name_discriminator(keywords);
    take_null_out(keywords);
    give_defaults(keywords);
    name_no_fields(keywords);
    keywords.sort_keys();
}

/// A struct without fields has none, rather than any.
fn name_no_fields(keywords: &mut Map<String, Value>) {
    let is_open = |keyword: &str| keywords.get(keyword).is_some_and(|fields| *fields != Value::Bool(false));
    let has_fields = ["properties", "additionalProperties", "patternProperties"].into_iter().any(is_open);
    if keywords.get("type") == Some(&json!("object")) && !has_fields {
        keywords.insert("properties".to_owned(), json!({}));
    }
}

fn drop_width(keywords: &mut Map<String, Value>) {
    if keywords.get("format").and_then(Value::as_str).is_some_and(|format| WIDTHS.contains(&format)) {
        keywords.shift_remove("format");
    }
}

/// One list of values in place of one schema a documented variant.
fn merge_variants(keywords: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = keywords.get("oneOf") else { return };
    let mut values = Vec::new();
    for variant in variants {
        let Some(variant) = variant.as_object() else { return };
        let is_plain = variant
            .keys()
            .all(|keyword| matches!(keyword.as_str(), "const" | "enum" | "type" | "description" | "title"));
        match (variant.get("const"), variant.get("enum").and_then(Value::as_array)) {
            _ if !is_plain || variant.get("type") != Some(&json!("string")) => return,
            (Some(value), None) => values.push(value.clone()),
            (None, Some(several)) => values.extend(several.iter().cloned()),
            _ => return,
        }
    }
    keywords.shift_remove("oneOf");
    keywords.insert("enum".to_owned(), Value::Array(values));
    keywords.insert("type".to_owned(), json!("string"));
}

/// The field that tells the variants of an internally tagged enum apart, as pydantic names it.
fn name_discriminator(keywords: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = keywords.get("oneOf") else { return };
    if keywords.contains_key("discriminator") || variants.len() < 2 {
        return;
    }
    let tags_of = |variant: &Value| -> Vec<(String, String)> {
        let properties = variant.get("properties").and_then(Value::as_object);
        let tags = properties
            .into_iter()
            .flatten()
            .filter_map(|(name, property)| Some((name.clone(), property.get("const")?.as_str()?.to_owned())));
        tags.collect()
    };
    let all: Vec<Vec<(String, String)>> = variants.iter().map(tags_of).collect();
    let Some((tag, _)) =
        all[0].iter().find(|(tag, _)| all.iter().all(|tags| tags.iter().any(|(name, _)| name == tag)))
    else {
        return;
    };
    let tag = tag.clone();
    keywords.insert("discriminator".to_owned(), json!({"propertyName": tag}));
}

/// `{"type": ["integer", "null"]}` as a choice between two schemas.
fn take_null_out(keywords: &mut Map<String, Value>) {
    let Some(Value::Array(kinds)) = keywords.get("type") else { return };
    let others: Vec<Value> = kinds.iter().filter(|kind| **kind != json!("null")).cloned().collect();
    let has_null = others.len() < kinds.len();
    let choices: Vec<Value> = if let [only] = others.as_slice() {
        vec![Value::Object(taken_apart(keywords, only))]
    } else {
        // Several types share no other keyword that a Rust type can have.
        keywords.shift_remove("type");
        others.into_iter().map(|kind| json!({"type": kind})).collect()
    };
    let null = has_null.then(|| json!({"type": "null"}));
    keywords.insert("anyOf".to_owned(), choices.into_iter().chain(null).collect());
}

/// What describes the values of one type, without what is about the field.
fn taken_apart(keywords: &mut Map<String, Value>, kind: &Value) -> Map<String, Value> {
    let moved: Vec<String> =
        keywords.keys().filter(|keyword| !ABOUT_THE_FIELD.contains(&keyword.as_str())).cloned().collect();
    let mut inner: Map<String, Value> =
        moved.into_iter().filter_map(|keyword| keywords.shift_remove_entry(&keyword)).collect();
    inner.insert("type".to_owned(), kind.clone());
    if let Some(Value::Array(values)) = inner.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    inner.sort_keys();
    inner
}

/// A field that may be null and may be left out is null when it is left out: so serde reads an `Option`.
fn give_defaults(keywords: &mut Map<String, Value>) {
    let required = keywords.get("required").cloned().unwrap_or_default();
    let is_required =
        |name: &str| required.as_array().is_some_and(|names| names.iter().any(|required| required == name));
    let Some(Value::Object(properties)) = keywords.get_mut("properties") else { return };
    for (name, property) in properties {
        if *property == Value::Bool(true) {
            *property = json!({});
        }
        if let Some(property) = property.as_object_mut()
            && !is_required(name)
            && !property.contains_key("default")
            && takes_null(property)
        {
            property.insert("default".to_owned(), Value::Null);
            property.sort_keys();
        }
    }
}

fn takes_null(property: &Map<String, Value>) -> bool {
    let choices = property.get("anyOf").and_then(Value::as_array);
    property.is_empty() || choices.is_some_and(|choices| choices.contains(&json!({"type": "null"})))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Codec {
        /// Uncompressed.
        Wav,
        Flac,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Pet {
        Cat { lives: u32 },
        Dog { good: bool },
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Model {
        /// How loud.
        #[schemars(range(min = -60, max = 12))]
        gain: f64,
        count: Option<u16>,
        codec: Codec,
        pet: Pet,
        #[serde(default)]
        extras: BTreeMap<String, i64>,
        anything: Option<serde_json::Value>,
        pair: (i32, String),
    }

    #[test]
    fn a_model_looks_as_pydantic_writes_it() {
        let schema = perago_contract::schema::transform(&of_params::<Model>(), true).unwrap();
        let wanted = json!({
            "properties": {
                "gain": {"description": "How loud.", "maximum": 12, "minimum": -60, "type": "number"},
                "count": {"anyOf": [{"maximum": 65535, "minimum": 0, "type": "integer"}, {"type": "null"}], "default": null},
                "codec": {"enum": ["flac", "wav"], "type": "string"},
                "pet": {"discriminator": {"propertyName": "kind"}, "oneOf": [
                    {"properties": {"kind": {"const": "cat", "type": "string"}, "lives": {"minimum": 0, "type": "integer"}},
                     "required": ["kind", "lives"], "type": "object", "additionalProperties": true},
                    {"properties": {"kind": {"const": "dog", "type": "string"}, "good": {"type": "boolean"}},
                     "required": ["kind", "good"], "type": "object", "additionalProperties": true},
                ]},
                "extras": {"additionalProperties": {"type": "integer"}, "default": {}, "type": "object"},
                "anything": {"default": null},
                "pair": {"maxItems": 2, "minItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}], "type": "array"},
            },
            "required": ["gain", "codec", "pet", "pair"],
            "type": "object",
            "additionalProperties": true,
        });
        assert_eq!(
            serde_json::to_string_pretty(&schema).unwrap(),
            serde_json::to_string_pretty(&wanted).unwrap()
        );
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Empty {}

    #[test]
    fn a_struct_without_fields_is_no_free_object() {
        for (schema, is_free) in [(of_params::<Empty>(), false), (of_params::<Map<String, Value>>(), true)] {
            assert_eq!(schema.get("properties").is_none(), is_free, "{schema}");
        }
    }

    #[test]
    fn a_result_that_is_written_as_it_is_read_keeps_its_defaults() {
        assert_eq!(of_result::<Model>(), of_params::<Model>());
    }
}
