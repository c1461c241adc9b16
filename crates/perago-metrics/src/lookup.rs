//! Series by name and labels, remembered by each thread so that a second look-up takes no lock.

use std::cell::RefCell;

use crate::recorder::{Recorder, Resolved, Series};
use crate::series::Kind;

const SLOTS: usize = 512;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

struct Remembered {
    recorder: u64,
    kind: Kind,
    name: Box<str>,
    labels: Box<[(Box<str>, Box<str>)]>,
    series: Series,
}

thread_local! {
    static REMEMBERED: RefCell<Vec<Option<Remembered>>> = const { RefCell::new(Vec::new()) };
}

impl Remembered {
    #[inline]
    fn is(&self, recorder: u64, kind: Kind, name: &str, labels: &[(&str, &str)]) -> bool {
        self.recorder == recorder
            && self.kind == kind
            && *self.name == *name
            && self.labels.len() == labels.len()
            && self.labels.iter().zip(labels).all(|(own, other)| *own.0 == *other.0 && *own.1 == *other.1)
    }
}

/// Runs `record` on the series that a call with plain strings means, unless the call is to be dropped.
pub(crate) fn with_series(
    recorder: &Recorder,
    kind: Kind,
    name: &str,
    labels: &[(&str, &str)],
    record: impl Fn(&Series),
) {
    let slot = slot(name, labels);
    if look(recorder, kind, name, labels, slot, &record).is_none()
        && let Some(series) = remember(recorder, kind, name, labels, slot).series
    {
        record(&series);
    }
}

/// The series that a call with plain strings means.
pub(crate) fn find(recorder: &Recorder, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Resolved {
    let slot = slot(name, labels);
    look(recorder, kind, name, labels, slot, &Series::clone).map_or_else(
        || remember(recorder, kind, name, labels, slot),
        |series| Resolved { series: Some(series), is_clean: true },
    )
}

#[inline]
fn look<T>(
    recorder: &Recorder,
    kind: Kind,
    name: &str,
    labels: &[(&str, &str)],
    slot: usize,
    found: &impl Fn(&Series) -> T,
) -> Option<T> {
    let looked = REMEMBERED.try_with(|remembered| {
        // Taken already only if a warning sink records, which falls through to the registry.
        let remembered = remembered.try_borrow().ok()?;
        let entry = remembered.get(slot)?.as_ref()?;
        entry.is(recorder.number(), kind, name, labels).then(|| found(&entry.series))
    });
    looked.ok().flatten()
}

#[cold]
fn remember(recorder: &Recorder, kind: Kind, name: &str, labels: &[(&str, &str)], slot: usize) -> Resolved {
    let resolved = recorder.bind(kind, name, labels);
    if let Some(series) = resolved.series.clone()
        && resolved.is_clean
    {
        // Not remembered while the thread ends: the next call looks it up again.
        let _ = REMEMBERED.try_with(|remembered| {
            let Ok(mut remembered) = remembered.try_borrow_mut() else { return };
            remembered.resize_with(SLOTS, || None);
            let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            remembered[slot] =
                Some(Remembered { recorder: recorder.number(), kind, name: name.into(), labels, series });
        });
    }
    resolved
}

#[inline]
fn slot(name: &str, labels: &[(&str, &str)]) -> usize {
    let mut hash = mix(0, name);
    for (key, value) in labels {
        hash = mix(mix(hash, key), value);
    }
    (hash >> 32) as usize % SLOTS
}

/// Length, first and last eight bytes: enough to spread names, and the entry is compared whole anyway.
#[inline]
fn mix(hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (first, last) = match bytes.len() {
        8.. => (word(bytes.first_chunk()), word(bytes.last_chunk())),
        4..8 => (half_word(bytes.first_chunk()), half_word(bytes.last_chunk())),
        1..4 => {
            (u64::from(bytes[0]), u64::from(bytes[bytes.len() - 1]) << 8 | u64::from(bytes[bytes.len() / 2]))
        }
        0 => (0, 0),
    };
    let part = first ^ last.rotate_left(29) ^ bytes.len() as u64;
    (hash.rotate_left(23) ^ part).wrapping_mul(SEED)
}

#[inline]
fn word(bytes: Option<&[u8; 8]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline]
fn half_word(bytes: Option<&[u8; 4]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
}
