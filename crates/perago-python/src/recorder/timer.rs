//! Elapsed seconds as a histogram: around a block, plain or `async`, and around a function.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use perago_metrics::{Kind, Series, monotonic_nanos};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::Recorder;
use super::convert::{labels_argument, name_argument};

/// Measures a block or a function. Made by `timer()` of a recorder; may be used again, also inside itself.
#[pyclass(frozen, module = "perago._native")]
pub(crate) struct Timer {
    recorder: Py<Recorder>,
    target: Target,
    /// When the innermost block began; zero outside.
    started: AtomicU64,
    is_nested: AtomicBool,
    outer: Mutex<Vec<u64>>,
}

enum Target {
    Bound(Arc<Series>),
    Named { name: Py<PyAny>, labels: Option<Py<PyDict>> },
}

impl Timer {
    #[inline]
    fn new(recorder: Py<Recorder>, target: Target) -> Self {
        Self {
            recorder,
            target,
            started: AtomicU64::new(0),
            is_nested: AtomicBool::new(false),
            outer: Mutex::new(Vec::new()),
        }
    }

    #[inline]
    pub(super) fn bound(recorder: Py<Recorder>, series: Arc<Series>) -> Self {
        Self::new(recorder, Target::Bound(series))
    }

    pub(super) fn named(
        recorder: Py<Recorder>,
        name: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        name_argument(name)?;
        // A copy: the block may change the caller's.
        let labels = labels_argument(labels)?.map(|labels| labels.copy()).transpose()?.map(Bound::unbind);
        Ok(Self::new(recorder, Target::Named { name: name.clone().unbind(), labels }))
    }

    /// Whether `timer` is held by the asker alone and measures nothing, so that it is as good as new.
    #[inline]
    pub(super) fn is_free(timer: &Py<Self>) -> bool {
        // SAFETY: the object is alive. A count of one cannot rise meanwhile: only the holder can share it.
        let is_free = unsafe { pyo3::ffi::Py_REFCNT(timer.as_ptr()) } == 1;
        is_free && timer.get().started.load(Ordering::Relaxed) == 0
    }

    #[inline]
    fn enter(&self) {
        let now = monotonic_nanos();
        let outer = self.started.load(Ordering::Relaxed);
        if outer != 0 {
            self.nest(outer);
        }
        self.started.store(now, Ordering::Relaxed);
    }

    #[cold]
    fn nest(&self, outer: u64) {
        self.outer.lock().unwrap_or_else(PoisonError::into_inner).push(outer);
        self.is_nested.store(true, Ordering::Release);
    }

    #[inline]
    fn exit(&self, py: Python<'_>) -> PyResult<()> {
        let now = monotonic_nanos();
        let started = self.started.load(Ordering::Relaxed);
        if started == 0 {
            return Ok(());
        }
        let outer = if self.is_nested.load(Ordering::Acquire) { self.unnest() } else { 0 };
        self.started.store(outer, Ordering::Relaxed);
        let seconds = now.saturating_sub(started) as f64 * 1e-9;
        let recorder = self.recorder.get();
        match &self.target {
            Target::Bound(series) => {
                recorder.inner().add(series, seconds);
                Ok(())
            }
            Target::Named { name, labels } => {
                let labels = labels.as_ref().map(|labels| labels.bind(py).as_any());
                recorder.record_unknown(Kind::Histogram, name.bind(py), seconds, labels)
            }
        }
    }

    #[cold]
    fn unnest(&self) -> u64 {
        let mut outer = self.outer.lock().unwrap_or_else(PoisonError::into_inner);
        let started = outer.pop().unwrap_or(0);
        self.is_nested.store(!outer.is_empty(), Ordering::Release);
        started
    }
}

#[pymethods]
impl Timer {
    fn __enter__(&self) {
        self.enter();
    }

    #[pyo3(signature = (_type = None, _value = None, _traceback = None, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _type: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.exit(py)
    }

    fn __aenter__(&self) -> Done {
        self.enter();
        Done
    }

    #[pyo3(signature = (_type = None, _value = None, _traceback = None, /))]
    fn __aexit__(
        &self,
        py: Python<'_>,
        _type: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Done> {
        self.exit(py)?;
        Ok(Done)
    }

    /// Decorates a function: each call of it is measured on its own.
    fn __call__<'py>(slf: &Bound<'py, Self>, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        static TIMED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        TIMED.import(py, "perago.metrics", "_timed")?.call1((slf, function))
    }

    /// Another timer into the same histogram.
    fn _again(&self, py: Python<'_>) -> Self {
        let target = match &self.target {
            Target::Bound(series) => Target::Bound(Arc::clone(series)),
            Target::Named { name, labels } => Target::Named {
                name: name.clone_ref(py),
                labels: labels.as_ref().map(|labels| labels.clone_ref(py)),
            },
        };
        Self::new(self.recorder.clone_ref(py), target)
    }
}

/// An awaitable that is done: entering and leaving a timer never waits.
#[pyclass(frozen, module = "perago._native")]
pub(crate) struct Done;

#[pymethods]
impl Done {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[expect(clippy::unused_self, reason = "the iterator protocol passes it")]
    fn __next__(&self) -> Option<()> {
        None
    }
}
