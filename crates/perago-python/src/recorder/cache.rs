//! Series by the identity of name and labels: constants of the body's code are the same objects at every call.
//!
//! Each thread has a cache of its own, so a look-up shares nothing. An entry keeps its objects alive, so an address
//! that is equal is the same object.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
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

/// The addresses of a call's name and labels. Filled in place and never copied by a look-up.
struct Identity {
    recorder: u64,
    name: usize,
    hash: usize,
    count: usize,
    /// The first `count` are the addresses of keys and values.
    labels: [MaybeUninit<(usize, usize)>; MOST_LABELS],
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
    #[inline]
    fn new(recorder: &Recorder, kind: Kind, name: &Bound<'_, PyAny>) -> Self {
        let name = name.as_ptr() as usize;
        Self {
            recorder: recorder.number(),
            name,
            hash: name,
            count: 0,
            labels: [MaybeUninit::uninit(); MOST_LABELS],
            is_gauge: kind == Kind::Gauge,
        }
    }

    /// Adds the call's labels. False if they are not exactly a dictionary, or too many.
    #[inline]
    fn add(&mut self, labels: Option<&Bound<'_, PyAny>>) -> bool {
        let Some(labels) = labels else { return true };
        let Ok(labels) = labels.cast_exact::<PyDict>() else { return false };
        with_critical_section(labels, || self.read(labels))
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
            let Some(label) = self.labels.get_mut(self.count) else { return false };
            let (key, value) = (key as usize, value as usize);
            label.write((key, value));
            self.hash = (self.hash.rotate_left(19) ^ key).wrapping_add(value.rotate_left(7));
            self.count += 1;
        }
        true
    }

    #[inline]
    fn labels(&self) -> &[(usize, usize)] {
        // SAFETY: so many were written, and `count` only grows with them.
        unsafe { std::slice::from_raw_parts(self.labels.as_ptr().cast(), self.count) }
    }

    #[inline]
    fn set(&self) -> usize {
        const SEED: usize = 0x9e37_79b9_7f4a_7c15;
        (self.hash.wrapping_mul(SEED) >> 40) % SETS
    }

    #[inline]
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.hash == other.hash
            && self.recorder == other.recorder
            && self.is_gauge == other.is_gauge
            && self.labels() == other.labels()
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
    let mut identity = Identity::new(recorder, kind, name);
    if !identity.add(labels) {
        return None;
    }
    let looked = CACHE.try_with(|cache| {
        // Taken already only if an evicted object's end records.
        let cache = cache.try_borrow().ok()?;
        let set = cache.sets.get(identity.set())?;
        let entry = set.iter().flatten().find(|entry| entry.identity.is(&identity))?;
        Some(found(&entry.found))
    });
    looked.ok().flatten()
}

/// Records a sample of a call with plain strings, found by content. False: something in the call is not a plain
/// string, and nothing was done.
///
/// The objects are remembered, unless one of them ends with the call: it could never be met again, and would only push
/// out others. `labels` is a copy of the caller's dictionary, and `ends` tells that the caller's ends with the call.
pub(super) fn record(
    recorder: &Recorder,
    kind: Kind,
    name: (&Bound<'_, PyAny>, &str),
    number: f64,
    labels: Option<&Bound<'_, PyDict>>,
    ends: bool,
) -> bool {
    let (name, text) = name;
    let mut objects = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        objects.extend([key, value]);
    }
    // Objects of a subclass may be shown differently next time.
    if !name.is_exact_instance_of::<PyString>()
        || !objects.iter().all(Bound::is_exact_instance_of::<PyString>)
    {
        return false;
    }
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(objects.len() / 2);
    for [key, value] in objects.as_chunks::<2>().0 {
        match (borrowed(key), borrowed(value)) {
            (Some(key), Some(value)) => pairs.push((key, value)),
            // Lone surrogates cannot be borrowed.
            _ => return false,
        }
    }
    // Held by the caller's dictionary, by its copy, and here.
    let is_temporary =
        references(name) <= 1 || (ends && objects.iter().any(|object| references(object) <= 3));
    if is_temporary {
        if kind == Kind::Gauge {
            recorder.gauge(text, number, &pairs);
        } else {
            recorder.histogram(text, number, &pairs);
        }
        return true;
    }
    let resolved = recorder.find(kind, text, &pairs);
    let Some(series) = resolved.series else { return true };
    recorder.record(&series, number);
    let mut identity = Identity::new(recorder, kind, name);
    if resolved.is_clean && identity.add(labels.map(Bound::as_any)) {
        objects.push(name.clone());
        let objects = objects.into_iter().map(Bound::unbind).collect();
        let found = Found { series: Arc::new(series), timer: Cell::new(None) };
        remember(Entry { identity, found, _objects: objects });
    }
    true
}

fn borrowed<'a>(text: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    text.cast::<PyString>().ok()?.to_str().ok()
}

fn references(object: &Bound<'_, PyAny>) -> ffi::Py_ssize_t {
    // SAFETY: the object is alive. The number is only a hint.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
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
