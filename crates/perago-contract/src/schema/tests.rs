use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn node_definitions() -> Value {
    json!({"Node": {
        "title": "Node", "description": "of the model", "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": null, "title": "Next"}}
    }})
}

#[test]
fn model_texts_titles_and_definitions_go() {
    let schema = json!({
        "$defs": {"Kind": {"description": "kept", "enum": ["a"], "title": "Kind", "type": "string"}},
        "title": "Params", "description": "gone", "type": "object", "x-own": 1,
        "properties": {
            "title": {"title": "Title", "type": "string", "description": "stays"},
            "kind": {"$ref": "#/$defs/Kind", "description": "wins", "default": "a"}
        },
        "required": ["title"]
    });
    let wanted = json!({
        "type": "object",
        "properties": {
            "title": {"type": "string", "description": "stays"},
            "kind": {"description": "wins", "enum": ["a"], "type": "string", "default": "a"}
        },
        "required": ["title"],
        "additionalProperties": true
    });
    assert_eq!(transform(&schema, true).unwrap(), wanted);
}

#[test]
fn data_that_looks_like_a_schema_is_left_alone() {
    let data = json!({"title": "T", "type": "object", "properties": {"title": 1}, "$ref": "#/$defs/Missing"});
    let schema = json!({"type": "object", "properties": {
        "value": {"default": data, "examples": [data], "const": data, "enum": [data], "x-own": data, "type": "object"}
    }});
    let value = &transform(&schema, false).unwrap()["properties"]["value"];
    for keyword in ["default", "const", "x-own"] {
        assert_eq!(value[keyword], data, "{keyword}");
    }
    assert_eq!(value["examples"], json!([data]));
    assert_eq!(value["enum"], json!([data]));
    assert_eq!(value.get("additionalProperties"), None);
}

#[test]
fn a_field_may_be_called_properties() {
    let schema = json!({"type": "object", "properties": {"properties": {
        "title": "Properties", "type": "object", "properties": {"a": {"title": "A", "type": "integer"}}
    }}});
    let wanted = json!({"type": "object", "additionalProperties": false, "properties": {"properties": {
        "type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false
    }}});
    assert_eq!(transform(&schema, false).unwrap(), wanted);
}

#[test]
fn a_model_that_contains_itself_keeps_its_definition() {
    let schema = json!({"$defs": node_definitions(), "$ref": "#/$defs/Node"});
    let node = json!({
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": null}},
        "additionalProperties": true
    });
    let mut wanted = node.clone();
    wanted["$defs"] = json!({"Node": node});
    assert_eq!(transform(&schema, true).unwrap(), wanted);
}

#[test]
fn a_recursive_model_inside_another_keeps_only_its_own_definition() {
    let mut definitions = node_definitions();
    definitions["Plain"] = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let schema = json!({"$defs": definitions, "type": "object", "properties": {
        "tree": {"$ref": "#/$defs/Node", "description": "beside"}, "plain": {"$ref": "#/$defs/Plain"}
    }});
    let result = transform(&schema, false).unwrap();
    assert_eq!(result["properties"]["tree"], json!({"$ref": "#/$defs/Node", "description": "beside"}));
    assert_eq!(result["properties"]["plain"]["properties"]["a"], json!({"type": "integer"}));
    assert_eq!(result["$defs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["Node"]);
}

#[test]
fn mutually_recursive_models_keep_both_definitions() {
    let schema = json!({"$defs": {
        "A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}},
        "B": {"type": "object", "properties": {"a": {"items": {"$ref": "#/$defs/A"}, "type": "array"}}}
    }, "$ref": "#/$defs/A"});
    let result = transform(&schema, false).unwrap();
    assert_eq!(result["properties"]["b"], json!({"$ref": "#/$defs/B"}));
    assert_eq!(result["$defs"].as_object().unwrap().len(), 2);
}

#[test]
fn definitions_that_are_missing_or_explode_are_refused() {
    let missing = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/Nope"}}});
    assert_eq!(transform(&missing, false).unwrap_err().code(), "PERAGO-SCHEMA-REFERENCE");
    let mut definitions = Map::new();
    for level in 0..40 {
        let next = json!({"$ref": format!("#/$defs/M{}", level + 1)});
        definitions.insert(
            format!("M{level}"),
            json!({"type": "object", "properties": {"a": next, "b": next.clone()}}),
        );
    }
    definitions.insert("M40".to_owned(), json!({"type": "integer"}));
    let explosion = json!({"$defs": definitions, "$ref": "#/$defs/M0"});
    assert_eq!(transform(&explosion, false).unwrap_err().code(), "PERAGO-SCHEMA-TOO-LARGE");
    let alias = json!({"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"});
    assert_eq!(transform(&alias, false).unwrap_err().code(), "PERAGO-SCHEMA-TOO-LARGE");
}

/// Any JSON value, with keys that look like keywords.
fn data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z$#/]{0,8}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec!["title", "type", "properties", "$ref", "$defs", "object", "default"]);
    leaf.prop_recursive(3, 20, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4).prop_map(|entries| entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

/// A schema over the definitions D0 to D3, which may refer to each other in any way.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string", "title": "T"})),
        (0..4_u8).prop_map(|name| json!({"$ref": format!("#/$defs/D{name}")})),
        data().prop_map(|data| json!({"type": "integer", "default": data})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"anyOf": list, "title": "U"})),
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            (inner.clone(), inner).prop_map(|(one, two)| json!({
                "type": "object", "title": "O", "properties": {"title": one, "properties": two}
            })),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    prop::collection::vec(schema(), 5).prop_map(|schemas| {
        let mut root = json!({"type": "object", "properties": {"a": schemas[0]}});
        for (index, definition) in schemas[1..].iter().enumerate() {
            root["$defs"][format!("D{index}")] = definition.clone();
        }
        root
    })
}

fn check_schema(schema: &Value, definitions: &Map<String, Value>, allow_extra: bool) {
    let Some(keywords) = schema.as_object() else { return };
    assert!(!keywords.contains_key("title"));
    if let Some(target) = keywords.get("$ref") {
        assert!(definitions.contains_key(target.as_str().unwrap().strip_prefix("#/$defs/").unwrap()));
    }
    if as_object_type(keywords) && keywords.get("properties").is_some_and(Value::is_object) {
        assert_eq!(keywords["additionalProperties"], json!(allow_extra));
    }
    let mut keywords = keywords.clone();
    map_subschemas(&mut keywords, &mut |subschema| check_schema(subschema, definitions, allow_extra));
}

proptest! {
    #[test]
    fn every_transformed_schema_is_closed_untitled_and_complete(document in document(), allow_extra: bool) {
        match transform(&document, allow_extra) {
            Ok(result) => {
                let definitions = result.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
                check_schema(&result, &definitions, allow_extra);
                // What is left is a fixed point: definitions stay only where references to them do.
                prop_assert_eq!(transform(&result, allow_extra).unwrap(), result);
            }
            Err(error) => prop_assert_eq!(error.code(), "PERAGO-SCHEMA-TOO-LARGE"),
        }
    }

    #[test]
    fn defaults_survive_unchanged(data in data()) {
        let schema = json!({"type": "object", "properties": {"a": {"default": data}}});
        let result = transform(&schema, true).unwrap();
        prop_assert_eq!(&result["properties"]["a"]["default"], &data);
    }
}
