use proptest::prelude::*;
use serde_json::json;

use super::*;

fn rules(schema: &Value, value: &Value) -> Vec<String> {
    let constraints = Constraints::of(schema).unwrap();
    let found = constraints.map(|constraints| constraints.violations(value)).unwrap_or_default();
    found
        .into_iter()
        .map(
            |Violation { place, rule }| {
                if place.is_empty() { rule } else { format!("{}: {rule}", place.join(".")) }
            },
        )
        .collect()
}

#[test]
fn each_rule_has_pydantics_words() {
    for (schema, value, wanted) in [
        (json!({"minimum": 1}), json!(0), "Input should be greater than or equal to 1 [greater_than_equal]"),
        (json!({"maximum": 0.5}), json!(1), "Input should be less than or equal to 0.5 [less_than_equal]"),
        (json!({"exclusiveMinimum": 0.0}), json!(0), "Input should be greater than 0 [greater_than]"),
        (json!({"exclusiveMaximum": 12}), json!(12.0), "Input should be less than 12 [less_than]"),
        (json!({"multipleOf": 2}), json!(3), "Input should be a multiple of 2 [multiple_of]"),
        (json!({"multipleOf": 0.5}), json!(1.2), "Input should be a multiple of 0.5 [multiple_of]"),
        (json!({"minLength": 1}), json!(""), "String should have at least 1 character [string_too_short]"),
        (json!({"maxLength": 3}), json!("äöüß"), "String should have at most 3 characters [string_too_long]"),
        (
            json!({"pattern": "^[a-z]+$"}),
            json!("A"),
            "String should match pattern '^[a-z]+$' [string_pattern_mismatch]",
        ),
        (
            json!({"minItems": 1}),
            json!([]),
            "List should have at least 1 item after validation, not 0 [too_short]",
        ),
        (
            json!({"maxItems": 2}),
            json!([1, 2, 3]),
            "List should have at most 2 items after validation, not 3 [too_long]",
        ),
        (
            json!({"minItems": 2, "uniqueItems": true}),
            json!([1, 1]),
            "Set should have at least 2 items after validation, not 1 [too_short]",
        ),
        (
            json!({"maxProperties": 1}),
            json!({"a": 1, "b": 2}),
            "Dictionary should have at most 1 item after validation, not more [too_long]",
        ),
        (json!({"const": "x"}), json!("y"), "Input should be 'x' [literal_error]"),
        (json!({"enum": ["x", "y", 1]}), json!(2), "Input should be 'x', 'y' or 1 [enum]"),
    ] {
        assert_eq!(rules(&schema, &value), [wanted]);
    }
}

#[test]
fn values_within_and_of_other_types_are_left_alone() {
    for (schema, value) in [
        (json!({"minimum": 1, "maximum": 1}), json!(1.0)),
        (json!({"maximum": u64::MAX}), json!(u64::MAX)),
        (json!({"multipleOf": 0.1}), json!(0.3)),
        (json!({"multipleOf": 0}), json!(3)),
        (json!({"minLength": 4, "maxLength": 4}), json!("äöüß")),
        (json!({"maxItems": 1, "uniqueItems": true}), json!(["a", "a"])),
        (json!({"uniqueItems": true}), json!([1, 1])),
        (json!({"const": 1}), json!(1.0)),
        (json!({"minimum": 1, "pattern": "^a"}), json!(null)),
        (json!({"type": "string", "format": "date"}), json!(7)),
        (json!(true), json!(7)),
    ] {
        assert_eq!(rules(&schema, &value), [] as [&str; 0], "{schema} {value}");
    }
}

#[test]
fn every_part_is_judged_at_its_place() {
    let schema = json!({"properties": {
        "tags": {"type": "array", "items": {"minLength": 1}},
        "pair": {"prefixItems": [{"minimum": 0}, {"maxLength": 1}], "items": {"maximum": 9}},
        "counts": {"additionalProperties": {"minimum": 0}, "patternProperties": {"^x": {"minimum": 5}}},
        "gain": {"allOf": [{"minimum": 0}, {"multipleOf": 2}]},
    }});
    let value = json!({
        "tags": ["a", "", ""], "pair": [-1, "ab", 10], "counts": {"a": -1, "x1": 1, "b": 1}, "gain": -1, "free": "",
    });
    let places: Vec<String> = Constraints::of(&schema)
        .unwrap()
        .unwrap()
        .violations(&value)
        .iter()
        .map(|found| found.place.join("."))
        .collect();
    let wanted = ["tags.1", "tags.2", "pair.0", "pair.1", "pair.2", "counts.a", "counts.x1", "gain", "gain"];
    assert_eq!(places, wanted);
}

#[test]
fn only_the_alternative_that_is_meant_counts() {
    let optional = json!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]});
    let tagged = json!({"oneOf": [
        {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"maximum": 9}}, "required": ["kind"]},
        {"type": "object", "properties": {"kind": {"const": "dog"}, "lives": {"maximum": 1}}, "required": ["kind"]},
    ]});
    let untagged = json!({"anyOf": [
        {"type": "object", "properties": {"a": {"maximum": 1}}, "required": ["a"]},
        {"type": "object", "properties": {"b": {"maximum": 1}}, "required": ["b"]},
    ]});
    for (schema, value, wanted) in [
        (&optional, json!(null), None),
        (&optional, json!(1), None),
        (&optional, json!(0), Some("")),
        // What it is not is for the reader to say.
        (&optional, json!("text"), None),
        (&tagged, json!({"kind": "cat", "lives": 9}), None),
        (&tagged, json!({"kind": "dog", "lives": 9}), Some("lives")),
        (&tagged, json!({"kind": "eel", "lives": 99}), None),
        (&untagged, json!({"a": 2}), Some("a")),
        (&untagged, json!({"b": 2}), Some("b")),
        (&untagged, json!({"a": 2, "b": 1}), None),
    ] {
        let found = Constraints::of(schema).unwrap().unwrap().violations(&value);
        assert_eq!(found.first().map(|one| one.place.join(".")).as_deref(), wanted, "{schema} {value}");
    }
}

#[test]
fn definitions_are_followed_and_end_where_they_lead_nowhere() {
    let schema = json!({"$defs": {
        "a/b": {"type": "object", "properties": {
            "weight": {"minimum": 0},
            "next": {"anyOf": [{"$ref": "#/$defs/a~1b"}, {"type": "null"}]},
        }},
        "Loop": {"$ref": "#/$defs/Loop"},
        "Twice": {"anyOf": [{"$ref": "#/$defs/Twice"}, {"$ref": "#/$defs/Loop"}]},
    }, "properties": {
        "tree": {"$ref": "#/$defs/a~1b"}, "loop": {"$ref": "#/$defs/Loop"}, "twice": {"$ref": "#/$defs/Twice"},
        "missing": {"$ref": "#/$defs/Nope"},
    }});
    let tree = json!({"weight": 1, "next": {"weight": 1, "next": {"weight": -1, "next": null}}});
    let value = json!({"tree": tree, "loop": 1, "twice": 1, "missing": 1});
    let wanted = "tree.next.next.weight: Input should be greater than or equal to 0 [greater_than_equal]";
    assert_eq!(rules(&schema, &value), [wanted]);
}

#[test]
fn shapes_alone_need_no_judgement_and_unusable_patterns_are_refused() {
    let shapes = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "default": {"minimum": 1}}}});
    assert!(Constraints::of(&shapes).unwrap().is_none());
    for pattern in ["(?=a)", "(", r"\p{L}"] {
        for schema in [json!({"items": {"pattern": pattern}}), json!({"patternProperties": {pattern: {}}})] {
            let error = Constraints::of(&schema).unwrap_err();
            assert_eq!(error.code(), "PERAGO-SCHEMA-PATTERN");
            assert!(error.message().contains(pattern.trim_start_matches('\\')));
        }
    }
}

/// Any JSON value, of few keys so that they meet.
fn data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9..9_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "hunter2[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A schema of every keyword that is looked at, with references in any direction.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (-9..9_i64, -9..9_i64).prop_map(|(least, most)| json!({"minimum": least, "exclusiveMaximum": most})),
        (0..4_u8, 0..4_u8).prop_map(|(least, most)| json!({"minLength": least, "maxItems": most})),
        (0..4_u8).prop_map(|most| json!({"maxProperties": most, "uniqueItems": true, "minItems": most})),
        Just(json!({"pattern": "^a", "multipleOf": 0.5, "type": ["string", "number"]})),
        (0..3_u8).prop_map(|name| json!({"$ref": format!("#/$defs/{name}")})),
        (0..9_i64).prop_map(|value| json!({"enum": [value, null], "type": "integer"})),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"anyOf": list})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"allOf": list})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"prefixItems": list})),
            inner.clone().prop_map(|items| json!({"items": items})),
            (inner.clone(), inner).prop_map(|(own, other)| json!({
                "type": "object", "properties": {"a": own}, "additionalProperties": other, "required": ["a"]
            })),
        ]
    })
}

proptest! {
    #[test]
    fn a_number_is_refused_exactly_outside_of_its_bounds(value in any::<i64>(), least: i64, most: i64) {
        let found = rules(&json!({"minimum": least, "maximum": most}), &json!(value));
        prop_assert_eq!(found.is_empty(), (least..=most).contains(&value));
        let found = rules(&json!({"exclusiveMinimum": least, "exclusiveMaximum": most}), &json!(value));
        prop_assert_eq!(found.is_empty(), least < value && value < most);
    }

    #[test]
    fn a_text_is_refused_exactly_outside_of_its_lengths(text: String, least in 0..20_usize, most in 0..20_usize) {
        let size = text.chars().count();
        let found = rules(&json!({"minLength": least, "maxLength": most}), &json!(text));
        prop_assert_eq!(found.is_empty(), (least..=most).contains(&size));
    }

    #[test]
    fn a_list_is_refused_for_its_size_or_for_exactly_its_wrong_items(
        items in prop::collection::vec(-5..5_i64, 0..6), most in 0..6_usize, least: i8,
    ) {
        let found = rules(&json!({"maxItems": most, "items": {"minimum": least}}), &json!(items));
        let wrong = items.iter().filter(|item| **item < i64::from(least)).count();
        prop_assert_eq!(found.len(), if items.len() > most { 1 } else { wrong });
    }

    #[test]
    fn every_judgement_ends_names_places_that_exist_and_no_value(
        schemas in prop::collection::vec(schema(), 4), value in data(),
    ) {
        let mut root = schemas[0].clone();
        root["$defs"] = json!({"0": schemas[1], "1": schemas[2], "2": schemas[3]});
        if let Some(constraints) = Constraints::of(&root).unwrap() {
            for found in constraints.violations(&value) {
                let pointer: String = found.place.iter().flat_map(|part| ["/", part]).collect();
                prop_assert!(value.pointer(&pointer).is_some(), "{}", pointer);
                prop_assert!(!found.rule.contains("hunter2"), "{}", found.rule);
            }
        }
    }

    #[test]
    fn what_one_alternative_admits_is_admitted(
        least in -9..9_i64, most in -9..9_i64, value in -9..9_i64,
    ) {
        let schema = json!({"anyOf": [{"type": "integer", "minimum": least}, {"type": "integer", "maximum": most}]});
        prop_assert_eq!(rules(&schema, &json!(value)).is_empty(), value >= least || value <= most);
    }
}
