//! JSON kept as the text it arrived in: shared without copying, parsed only where a path looks into it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value as text; clones share it.
#[derive(Clone, Debug)]
pub struct Raw(Arc<RawValue>);

impl Raw {
    /// The value `{}`.
    pub fn empty_object() -> Self {
        static EMPTY: OnceLock<Raw> = OnceLock::new();
        EMPTY.get_or_init(|| Self::of(&serde_json::Map::new())).clone()
    }

    /// Returns the JSON text of any serialisable value.
    ///
    /// # Panics
    /// Never for the types of this crate: their keys are strings and their numbers finite.
    pub fn of<T: Serialize>(value: &T) -> Self {
        Self(serde_json::value::to_raw_value(value).expect("string keys and finite numbers").into())
    }

    /// Takes a text that is known to be JSON.
    pub fn from_json(text: String) -> Result<Self, serde_json::Error> {
        Ok(Self(RawValue::from_string(text)?.into()))
    }

    /// Returns the text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Returns the text's length in bytes.
    pub fn byte_length(&self) -> usize {
        self.0.get().len()
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.into()))
    }
}

/// Whether `text` is a JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Returns the value of `key` in the object `text`; the last one where it occurs twice.
pub(super) fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    struct Wanted<'k>(&'k str);

    impl<'de> Visitor<'de> for Wanted<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(hit) = map.next_key_seed(SameText(self.0))? {
                if hit {
                    found = Some(map.next_value::<&RawValue>()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }

    if !is_object(text) {
        return None;
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Wanted(key)).ok().flatten().map(RawValue::get)
}

/// Returns the element of the array `text`; a negative index counts from the end.
pub(super) fn element(text: &str, index: i64) -> Option<&str> {
    struct Elements;

    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = sequence.next_element::<&RawValue>()? {
                elements.push(element);
            }
            Ok(elements)
        }
    }

    if !text.trim_start().starts_with('[') {
        return None;
    }
    let elements = serde_json::Deserializer::from_str(text).deserialize_seq(Elements).ok()?;
    let position = if index < 0 { index + elements.len() as i64 } else { index };
    usize::try_from(position).ok().and_then(|position| elements.get(position)).map(|element| element.get())
}

struct SameText<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for SameText<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for SameText<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        Ok(text == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_into_objects_and_arrays() {
        let text = r#"{"a": [1, {"k\"": "v"}], "b": 2, "b": 3}"#;
        assert_eq!(member(text, "b"), Some("3"));
        assert_eq!(member(text, "c"), None);
        let array = member(text, "a").unwrap();
        assert_eq!(element(array, 0), Some("1"));
        assert_eq!(member(element(array, -1).unwrap(), "k\""), Some("\"v\""));
        assert_eq!(element(array, 2), None);
        assert_eq!(element(array, -3), None);
        assert_eq!(member("[1]", "a"), None);
        assert_eq!(element("{}", 0), None);
    }
}
