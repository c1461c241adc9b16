//! Elapsed seconds as a histogram: around a block, plain or `async`, and around a function.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use perago_metrics::{Kind, Reason, Series, monotonic_nanos};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::Recorder;
use super::convert::{Labels, labels_argument, name_argument};

/// Measures a block or a function. Made by `timer()` of a recorder; may be used again, also inside itself and by
/// several threads and tasks at once.
#[pyclass(frozen, module = "perago._native")]
pub(crate) struct Timer {
    target: Target,
    /// When the block that was entered while no other was open began; zero without one.
    started: AtomicU64,
    has_further: AtomicBool,
    /// The blocks that were entered while another was open.
    further: Mutex<Vec<Block>>,
}

enum Target {
    Series { recorder: Py<Recorder>, series: Arc<Series> },
    Named { recorder: Py<Recorder>, name: Py<PyAny>, labels: Option<Py<PyDict>> },
    Nothing,
}

/// An open block.
struct Block {
    flow: Flow,
    started: u64,
}

/// The thread and the asyncio task that entered it: blocks of one flow are left in the opposite order.
type Flow = (u64, u64);

impl Timer {
    #[inline]
    fn new(target: Target) -> Self {
        Self {
            target,
            started: AtomicU64::new(0),
            has_further: AtomicBool::new(false),
            further: Mutex::new(Vec::new()),
        }
    }

    #[inline]
    pub(super) fn bound(recorder: Py<Recorder>, series: Arc<Series>) -> Self {
        Self::new(Target::Series { recorder, series })
    }

    pub(super) fn named(
        recorder: &Bound<'_, Recorder>,
        name: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let text = name_argument(name)?;
        let labels = match labels_argument(labels)? {
            Labels::None => None,
            Labels::Given(labels) => Some(labels.unbind()),
            Labels::Unreadable => {
                recorder.get().inner().reject_call(&text, Reason::LabelsUnreadable);
                return Ok(Self::nothing());
            }
        };
        let recorder = recorder.clone().unbind();
        Ok(Self::new(Target::Named { recorder, name: name.clone().unbind(), labels }))
    }

    /// A timer that records nowhere.
    pub(super) fn nothing() -> Self {
        Self::new(Target::Nothing)
    }

    /// Whether `timer` is held by the asker alone and measures nothing, so that it is as good as new.
    #[inline]
    pub(super) fn is_free(timer: &Py<Self>) -> bool {
        // SAFETY: the object is alive. A count of one cannot rise meanwhile: only the holder can share it.
        let is_free = unsafe { pyo3::ffi::Py_REFCNT(timer.as_ptr()) } == 1;
        let timer = timer.get();
        is_free && timer.started.load(Ordering::Relaxed) == 0 && !timer.has_further.load(Ordering::Relaxed)
    }

    /// Begins the only open block. False: nothing was done, because there is another.
    #[inline]
    pub(super) fn enter_first(&self, now: u64) -> bool {
        !self.has_further.load(Ordering::Acquire)
            && self.started.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Ends the only open block into a series that is known. False: nothing was done.
    #[inline]
    pub(super) fn exit_at_once(&self, now: u64) -> bool {
        let Target::Series { recorder, series } = &self.target else { return false };
        let started = self.started.load(Ordering::Relaxed);
        if started == 0 || self.has_further.load(Ordering::Acquire) {
            return false;
        }
        let is_recorded = recorder.get().inner().record_at_once(series, seconds(started, now));
        if is_recorded {
            self.started.store(0, Ordering::Relaxed);
        }
        is_recorded
    }

    fn enter(&self, py: Python<'_>) -> PyResult<()> {
        let now = monotonic_nanos();
        if !self.enter_first(now) {
            let flow = flow(py)?;
            let mut further = self.further.lock().unwrap_or_else(PoisonError::into_inner);
            further.push(Block { flow, started: now });
            self.has_further.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn exit(&self, py: Python<'_>) -> PyResult<()> {
        let now = monotonic_nanos();
        let has_further = self.has_further.load(Ordering::Acquire);
        let started =
            if has_further { self.leave(flow(py)?) } else { self.started.swap(0, Ordering::Relaxed) };
        if started == 0 {
            return Ok(());
        }
        let seconds = seconds(started, now);
        match &self.target {
            Target::Series { recorder, series } => {
                recorder.get().inner().record(series, seconds);
                Ok(())
            }
            Target::Named { recorder, name, labels } => {
                let labels = labels.as_ref().map(|labels| labels.bind(py).as_any());
                recorder.get().record_unknown(Kind::Histogram, name.bind(py), seconds, labels)
            }
            Target::Nothing => Ok(()),
        }
    }

    /// Closes the block that `flow` entered last, and returns its beginning.
    fn leave(&self, flow: Flow) -> u64 {
        let mut further = self.further.lock().unwrap_or_else(PoisonError::into_inner);
        let own = further.iter().rposition(|block| block.flow == flow);
        let started = match own {
            Some(position) => further.remove(position).started,
            // Entered first, or by another flow than this one.
            None => match self.started.swap(0, Ordering::Relaxed) {
                0 => further.pop().map_or(0, |block| block.started),
                first => first,
            },
        };
        self.has_further.store(!further.is_empty(), Ordering::Release);
        started
    }
}

#[inline]
fn seconds(started: u64, now: u64) -> f64 {
    now.saturating_sub(started) as f64 * 1e-9
}

fn flow(py: Python<'_>) -> PyResult<Flow> {
    static FLOW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FLOW.import(py, "perago.metrics", "_flow")?.call0()?.extract()
}

#[pymethods]
impl Timer {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        self.enter(py)
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

    fn __aenter__(&self, py: Python<'_>) -> PyResult<Done> {
        self.enter(py).map(|()| Done)
    }

    #[pyo3(signature = (_type = None, _value = None, _traceback = None, /))]
    fn __aexit__(
        &self,
        py: Python<'_>,
        _type: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Done> {
        self.exit(py).map(|()| Done)
    }

    /// Decorates a function: each call of it is measured on its own.
    fn __call__<'py>(slf: &Bound<'py, Self>, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        static TIMED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        TIMED.import(py, "perago.metrics", "_timed")?.call1((slf, function))
    }

    /// Another timer into the same histogram.
    fn _again(&self, py: Python<'_>) -> Self {
        Self::new(match &self.target {
            Target::Series { recorder, series } => {
                Target::Series { recorder: recorder.clone_ref(py), series: Arc::clone(series) }
            }
            Target::Named { recorder, name, labels } => Target::Named {
                recorder: recorder.clone_ref(py),
                name: name.clone_ref(py),
                labels: labels.as_ref().map(|labels| labels.clone_ref(py)),
            },
            Target::Nothing => Target::Nothing,
        })
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
