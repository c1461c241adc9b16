//! Properties of path rules and JSON text.

use perago_contract::{check_workspace_path, normalise_prefix, to_pretty_ascii_json};
use proptest::prelude::*;
use serde_json::Value;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn text_is_ascii_and_reads_back_to_the_same_value(value in value()) {
        let text = to_pretty_ascii_json(&value);
        prop_assert!(text.is_ascii());
        prop_assert!(text.ends_with('\n'));
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn accepted_paths_stay_inside(path in r"[a-c./\\: *]{0,12}") {
        if check_workspace_path(&path).is_ok() {
            let joined = std::path::Path::new("/root").join(&path);
            prop_assert!(joined.starts_with("/root"));
            prop_assert!(joined.components().all(|part| part.as_os_str() != ".."));
            prop_assert!(joined.components().count() > 2);
        }
    }

    #[test]
    fn normalising_a_prefix_twice_changes_nothing(prefix in r" {0,2}[a-c./\\]{0,12} {0,2}") {
        if let Ok(once) = normalise_prefix(&prefix) {
            prop_assert_eq!(normalise_prefix(&once), Ok(once.clone()));
            prop_assert!(once == "/" || check_workspace_path(&once).is_ok());
        }
    }
}
