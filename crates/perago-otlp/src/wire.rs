//! Protocol Buffers, as far as an export request needs them.
//!
//! Written by hand because the generated types copy every label and bound into small vectors first, which takes five
//! times as long as the bytes; a test decodes the result with those types.

use prost::encoding::{WireType, encode_key, encode_varint};

/// A message under construction. Fields are written in any order; the default value is not written by its users.
#[derive(Debug, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn message(&mut self, field: u32, message: &Self) {
        self.delimited(field, &message.bytes);
    }

    pub(crate) fn string(&mut self, field: u32, text: &str) {
        self.delimited(field, text.as_bytes());
    }

    pub(crate) fn varint(&mut self, field: u32, value: u64) {
        encode_key(field, WireType::Varint, &mut self.bytes);
        encode_varint(value, &mut self.bytes);
    }

    pub(crate) fn fixed64(&mut self, field: u32, value: u64) {
        encode_key(field, WireType::SixtyFourBit, &mut self.bytes);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    /// A packed list of values of 64 bits.
    pub(crate) fn packed(&mut self, field: u32, values: impl ExactSizeIterator<Item = u64>) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(values.len() as u64 * 8, &mut self.bytes);
        for value in values {
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A `KeyValue` of strings.
    pub(crate) fn attribute(&mut self, field: u32, key: &str, value: &str) {
        let text = 1 + varint_length(value.len()) + value.len();
        let length = 1 + varint_length(key.len()) + key.len() + 1 + varint_length(text) + text;
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(length as u64, &mut self.bytes);
        self.string(1, key);
        encode_key(2, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(text as u64, &mut self.bytes);
        self.string(1, value);
    }

    fn delimited(&mut self, field: u32, bytes: &[u8]) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(bytes.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(bytes);
    }
}

fn varint_length(value: usize) -> usize {
    prost::encoding::encoded_len_varint(value as u64)
}
