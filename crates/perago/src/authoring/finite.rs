//! Looks for numbers that JSON cannot hold: `serde_json` writes NaN and infinity as null.

use std::fmt;

use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, SerializeStruct};

/// The first place of a value that holds NaN or infinity, below `root`.
pub(super) fn non_finite_place<T: Serialize>(root: &str, value: &T) -> Option<String> {
    match value.serialize(Finder { place: root.to_owned() }) {
        Err(Found(Some(place))) => Some(place),
        _ => None,
    }
}

/// Ends the search: at a place, or because the value cannot be written at all.
#[derive(Debug)]
struct Found(Option<String>);

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_deref().unwrap_or("not serialisable"))
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

struct Finder {
    place: String,
}

/// The parts of a list or an object, in their order.
struct Parts {
    place: String,
    index: usize,
    key: String,
}

impl Finder {
    fn parts(self) -> Parts {
        Parts { place: self.place, index: 0, key: String::new() }
    }

    fn parts_of(self, variant: &str) -> Parts {
        Parts { place: format!("{}.{variant}", self.place), index: 0, key: String::new() }
    }

    fn number(self, is_finite: bool) -> Result<(), Found> {
        if is_finite { Ok(()) } else { Err(Found(Some(self.place))) }
    }
}

impl Parts {
    fn next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        let place = format!("{}.{}", self.place, self.index);
        self.index += 1;
        value.serialize(Finder { place })
    }

    fn named<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Found> {
        value.serialize(Finder { place: format!("{}.{name}", self.place) })
    }
}

macro_rules! harmless {
    ($($method:ident($kind:ty))*) => {
        $(fn $method(self, _: $kind) -> Result<(), Found> {
            Ok(())
        })*
    };
}

impl ser::Serializer for Finder {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    harmless! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_i128(i128) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
        serialize_u128(u128) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_unit_struct(&'static str)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Found> {
        self.number(value.is_finite())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Found> {
        self.number(value.is_finite())
    }

    fn serialize_none(self) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        self.parts().named(variant, value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, Found> {
        Ok(self.parts())
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, Found> {
        Ok(self.parts())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, Found> {
        Ok(self.parts())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Found> {
        Ok(self.parts_of(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts, Found> {
        Ok(self.parts())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts, Found> {
        Ok(self.parts())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Found> {
        Ok(self.parts_of(variant))
    }
}

impl SerializeSeq for Parts {
    type Ok = ();
    type Error = Found;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        self.next(value)
    }

    fn end(self) -> Result<(), Found> {
        Ok(())
    }
}

macro_rules! like_a_list {
    ($($kind:ident :: $method:ident)*) => {
        $(impl ser::$kind for Parts {
            type Ok = ();
            type Error = Found;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
                self.next(value)
            }

            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        })*
    };
}

like_a_list!(SerializeTuple::serialize_element SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field);

impl SerializeMap for Parts {
    type Ok = ();
    type Error = Found;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Found> {
        // The value was written before, so its keys have a form in JSON.
        let key = serde_json::to_value(key).unwrap_or_default();
        self.key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        let key = std::mem::take(&mut self.key);
        self.named(&key, value)
    }

    fn end(self) -> Result<(), Found> {
        Ok(())
    }
}

impl SerializeStruct for Parts {
    type Ok = ();
    type Error = Found;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Found> {
        self.named(name, value)
    }

    fn end(self) -> Result<(), Found> {
        Ok(())
    }
}

impl ser::SerializeStructVariant for Parts {
    type Ok = ();
    type Error = Found;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Found> {
        self.named(name, value)
    }

    fn end(self) -> Result<(), Found> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    enum Step {
        Fade(f32),
        Cut { at: f64 },
    }

    #[derive(Serialize)]
    struct Output {
        gain: Option<f64>,
        steps: Vec<Step>,
        by_name: BTreeMap<String, (u8, f64)>,
    }

    #[test]
    fn the_place_is_named() {
        let output = |gain, step, pan| Output {
            gain,
            steps: vec![Step::Fade(1.0), step],
            by_name: BTreeMap::from([("lead".to_owned(), (1, pan))]),
        };
        let place = |output: &Output| non_finite_place("result", output);
        assert_eq!(place(&output(None, Step::Cut { at: 1.0 }, 0.5)), None);
        assert_eq!(place(&output(Some(f64::NAN), Step::Fade(1.0), 0.0)).unwrap(), "result.gain");
        let infinite = Step::Cut { at: f64::INFINITY };
        assert_eq!(place(&output(None, infinite, 0.0)).unwrap(), "result.steps.1.Cut.at");
        assert_eq!(place(&output(None, Step::Fade(f32::NAN), 0.0)).unwrap(), "result.steps.1.Fade");
        let nan = output(None, Step::Fade(0.0), f64::NEG_INFINITY);
        assert_eq!(place(&nan).unwrap(), "result.by_name.lead.1");
    }
}
