//! Protocol Buffers, as far as an export request needs them.
//!
//! Written by hand because the generated types copy every label and bound into small vectors first. Lengths are
//! computed before anything is written, so that all bytes are written once; a test decodes the result with those types.

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// The length of a field of 64 bits, its key included; every field number here is below 16.
pub(crate) const FIXED64_LENGTH: usize = 9;

/// The length of a field of `length` bytes: a message, a string or a packed list.
pub(crate) fn delimited_length(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// The length of an attribute with its key.
pub(crate) fn attribute_length(key: &str, value: &str) -> usize {
    delimited_length(delimited_length(key.len()) + delimited_length(delimited_length(value.len())))
}

/// The length of a signed number with its key.
pub(crate) fn signed_length(value: i32) -> usize {
    1 + encoded_len_varint(zigzag(value))
}

/// The length of `values` as packed numbers of variable length.
pub(crate) fn varints_length(values: &[u64]) -> usize {
    values.iter().map(|value| encoded_len_varint(*value)).sum()
}

fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)) as u32)
}

/// Writes fields one after another.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Begins a field of `length` bytes, which the caller then writes.
    pub(crate) fn begin(&mut self, field: u32, length: usize) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(length as u64, &mut self.bytes);
    }

    pub(crate) fn string(&mut self, field: u32, text: &str) {
        self.begin(field, text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A number below 128.
    pub(crate) fn small(&mut self, field: u32, value: u8) {
        encode_key(field, WireType::Varint, &mut self.bytes);
        self.bytes.push(value);
    }

    /// A signed number, which takes few bytes also when it is negative.
    pub(crate) fn signed(&mut self, field: u32, value: i32) {
        encode_key(field, WireType::Varint, &mut self.bytes);
        encode_varint(zigzag(value), &mut self.bytes);
    }

    /// A packed list of numbers of variable length.
    pub(crate) fn varints(&mut self, field: u32, values: &[u64]) {
        self.begin(field, varints_length(values));
        for value in values {
            encode_varint(*value, &mut self.bytes);
        }
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
        let length = values.len() * 8;
        self.begin(field, length);
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        for (bytes, value) in self.bytes[start..].as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
    }

    /// A `KeyValue` of strings.
    pub(crate) fn attribute(&mut self, field: u32, key: &str, value: &str) {
        let text = delimited_length(value.len());
        self.begin(field, delimited_length(key.len()) + delimited_length(text));
        self.string(1, key);
        self.begin(2, text);
        self.string(1, value);
    }
}
