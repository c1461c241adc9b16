//! Series by the identity of name and labels: constants of the body's code are the same objects at every call.
//!
//! Each thread has a cache of its own, so a look-up shares nothing. An entry keeps its objects alive, so an address
//! that is equal is the same object.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use perago_metrics::{Kind, Recorder, Series};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyDict, PyString};

use super::timer::Timer;

/// Calls with more labels are looked up by content.
const MOST_LABELS: usize = 6;
const SETS: usize = 256;

/// The addresses of a call's name and labels.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    recorder: u64,
    name: usize,
    labels: [(usize, usize); MOST_LABELS],
    count: u8,
    is_gauge: bool,
}

/// What an earlier call with the same objects found.
pub(super) struct Found {
    pub(super) series: Arc<Series>,
    /// The timer that the last such call returned; it serves again once nobody else holds it.
    pub(super) timer: Cell<Option<Py<Timer>>>,
}

struct Entry {
    identity: Identity,
    found: Found,
    /// What the addresses are of.
    _objects: Vec<Py<PyAny>>,
}

#[derive(Default)]
struct Cache {
    /// Two entries in each set, so that two constants that meet there do not evict each other.
    sets: Vec<[Option<Entry>; 2]>,
}

thread_local! {
    static CACHE: RefCell<Cache> = const { RefCell::new(Cache { sets: Vec::new() }) };
}

impl Identity {
    /// None if the labels are not a dictionary, or too many.
    #[inline]
    fn of(
        recorder: &Recorder,
        kind: Kind,
        name: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> Option<Self> {
        let mut identity = Self {
            recorder: recorder.number(),
            name: name.as_ptr() as usize,
            labels: [(0, 0); MOST_LABELS],
            count: 0,
            is_gauge: kind == Kind::Gauge,
        };
        let Some(labels) = labels else { return Some(identity) };
        let labels = labels.cast_exact::<PyDict>().ok()?;
        with_critical_section(labels, || identity.read(labels)).then_some(identity)
    }

    #[inline]
    fn read(&mut self, labels: &Bound<'_, PyDict>) -> bool {
        let mut position: ffi::Py_ssize_t = 0;
        let mut key = std::ptr::null_mut();
        let mut value = std::ptr::null_mut();
        // SAFETY: `labels` is a dictionary that nobody changes meanwhile; the objects are only compared by address.
        while unsafe { ffi::PyDict_Next(labels.as_ptr(), &raw mut position, &raw mut key, &raw mut value) }
            != 0
        {
            let Some(label) = self.labels.get_mut(usize::from(self.count)) else { return false };
            *label = (key as usize, value as usize);
            self.count += 1;
        }
        true
    }

    #[inline]
    fn set(&self) -> usize {
        const SEED: usize = 0x9e37_79b9_7f4a_7c15;
        let mut hash = self.name;
        for (key, value) in &self.labels[..usize::from(self.count)] {
            hash = (hash.rotate_left(19) ^ key).wrapping_add(value.rotate_left(7));
        }
        (hash.wrapping_mul(SEED) >> 40) % SETS
    }

    #[inline]
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.recorder == other.recorder
            && self.is_gauge == other.is_gauge
            && self.count == other.count
            && self.labels[..usize::from(self.count)] == other.labels[..usize::from(self.count)]
    }
}

/// Runs `found` on what an earlier call with these very objects found.
#[inline]
pub(super) fn with_series<T>(
    recorder: &Recorder,
    kind: Kind,
    name: &Bound<'_, PyAny>,
    labels: Option<&Bound<'_, PyAny>>,
    found: impl FnOnce(&Found) -> T,
) -> Option<T> {
    let identity = Identity::of(recorder, kind, name, labels)?;
    let looked = CACHE.try_with(|cache| {
        // Taken already only if an evicted object's end records.
        let cache = cache.try_borrow().ok()?;
        let set = cache.sets.get(identity.set())?;
        let entry = set.iter().flatten().find(|entry| entry.identity.is(&identity))?;
        Some(found(&entry.found))
    });
    looked.ok().flatten()
}

/// What a look-up by content says.
pub(super) enum Content {
    /// The series.
    Series(Arc<Series>),
    /// The sample is dropped, which has been counted.
    Dropped,
    /// Something in the call is not a plain string.
    NotPlain,
}

/// The series of a call with plain strings, found by content and remembered by identity.
pub(super) fn find(
    recorder: &Recorder,
    kind: Kind,
    name: &Bound<'_, PyAny>,
    text: &str,
    labels: Option<&Bound<'_, PyDict>>,
) -> Content {
    let mut objects = vec![name.clone()];
    for (key, value) in labels.into_iter().flatten() {
        objects.extend([key, value]);
    }
    // Objects of a subclass may be shown differently next time.
    if !objects.iter().all(Bound::is_exact_instance_of::<PyString>) {
        return Content::NotPlain;
    }
    // Lone surrogates cannot be borrowed.
    let strings = objects[1..].iter().map(|object| object.cast::<PyString>().ok()?.to_str().ok());
    let Some(strings) = strings.collect::<Option<Vec<&str>>>() else { return Content::NotPlain };
    let pairs: Vec<(&str, &str)> =
        strings.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)).collect();
    let resolved = recorder.find(kind, text, &pairs);
    let Some(series) = resolved.series.map(Arc::new) else { return Content::Dropped };
    if resolved.is_clean
        && let Some(identity) = Identity::of(recorder, kind, name, labels.map(Bound::as_any))
        && identity.labels[..usize::from(identity.count)]
            .iter()
            .zip(objects[1..].as_chunks::<2>().0)
            .all(|(address, [key, value])| *address == (key.as_ptr() as usize, value.as_ptr() as usize))
    {
        let objects = objects.into_iter().map(Bound::unbind).collect();
        let found = Found { series: Arc::clone(&series), timer: Cell::new(None) };
        remember(Entry { identity, found, _objects: objects });
    }
    Content::Series(series)
}

fn remember(entry: Entry) {
    let evicted = CACHE.try_with(|cache| {
        let mut cache = cache.try_borrow_mut().ok()?;
        if cache.sets.is_empty() {
            cache.sets.resize_with(SETS, <[Option<Entry>; 2]>::default);
        }
        let set = &mut cache.sets[entry.identity.set()];
        set.swap(0, 1);
        set[0].replace(entry)
    });
    // Dropped outside of the borrow.
    drop(evicted);
}
