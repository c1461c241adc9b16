//! The identity of a series: kind, name and sorted labels.

use crate::Error;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Counts of values by bucket, and their sum.
    Histogram,
    /// The latest value.
    Gauge,
    /// A total that only grows. Perago's own: task bodies have histograms, whose counts do the same.
    Counter,
}

impl Kind {
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Histogram => 1,
            Self::Gauge => 2,
            Self::Counter => 3,
        }
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Histogram),
            2 => Some(Self::Gauge),
            3 => Some(Self::Counter),
            _ => None,
        }
    }
}

/// A series of one task. Two keys are equal exactly if they are one series in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    kind: Kind,
    name: Box<str>,
    labels: Box<[(Box<str>, Box<str>)]>,
}

impl SeriesKey {
    /// A key of `name` and `labels`, which are sorted here.
    pub fn new(kind: Kind, name: &str, mut labels: Vec<(Box<str>, Box<str>)>) -> Self {
        labels.sort();
        Self { kind, name: name.into(), labels: labels.into() }
    }

    /// What the metric is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The exported name, prefix included.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The labels, sorted by key, `task_name` included.
    pub fn labels(&self) -> &[(Box<str>, Box<str>)] {
        &self.labels
    }

    /// Whether an author's label is part of it, so that it counts against the cap on label sets.
    pub(crate) fn has_user_labels(&self) -> bool {
        self.name.starts_with(crate::rules::APPLICATION_PREFIX)
            && self
                .labels
                .iter()
                .any(|(key, _)| **key != *"task_name" && **key != *crate::rules::OVERFLOW_LABEL)
    }

    /// Appends the form that an arena holds.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut text = |text: &str| {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        text(&self.name);
        for (key, value) in &self.labels {
            text(key);
            text(value);
        }
    }

    /// Reads the form that an arena holds.
    pub(crate) fn decode(kind: Kind, mut bytes: &[u8]) -> Result<Self, Error> {
        let mut texts = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) =
                bytes.split_first_chunk::<4>().ok_or(Error::Damaged { what: "series key" })?;
            let length = u32::from_le_bytes(*length) as usize;
            let (text, rest) = rest.split_at_checked(length).ok_or(Error::Damaged { what: "series key" })?;
            texts.push(std::str::from_utf8(text).map_err(|_| Error::Damaged { what: "series key" })?);
            bytes = rest;
        }
        let (name, labels) = texts.split_first().ok_or(Error::Damaged { what: "series key" })?;
        let (pairs, odd) = labels.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(Error::Damaged { what: "series key" });
        }
        Ok(Self::new(kind, name, pairs.iter().map(|[key, value]| ((*key).into(), (*value).into())).collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_survives_its_form(name in ".{0,20}", labels in proptest::collection::vec((".{0,8}", ".{0,8}"), 0..5)) {
            let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            let key = SeriesKey::new(Kind::Gauge, &name, labels);
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            prop_assert_eq!(SeriesKey::decode(Kind::Gauge, &bytes).unwrap(), key);
        }
    }
}
