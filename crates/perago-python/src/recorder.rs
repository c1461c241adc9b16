//! The recorder of a task body: Python values to samples, at the cost of an empty call.

mod bound;
mod cache;
mod convert;
mod disabled;
mod known;
mod rules;
mod store;
mod timer;
mod warnings;

use std::path::PathBuf;
use std::sync::Arc;

use perago_metrics::{ArenaWriter, DEFAULT_LABEL_SETS, Kind, LadderRules, Reason, RecorderOptions, Rules};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub(crate) use disabled::DisabledRecorder;
pub(crate) use known::install;
pub(crate) use rules::MetricRules;
pub(crate) use store::ArenaStore;
pub(crate) use timer::{Done, Timer};

use convert::{Labels, labels_argument, name_argument, number};

/// Records the samples of one task into its slot's arena. Made by `open_recorder`.
#[pyclass(frozen, module = "perago._native")]
pub(crate) struct Recorder {
    inner: perago_metrics::Recorder,
}

#[pymethods]
impl Recorder {
    /// Adds `value` to the histogram `app.<name>`.
    #[pyo3(signature = (name, value, *, labels = None))]
    fn histogram(
        &self,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.record(Kind::Histogram, name, value, labels)
    }

    /// Sets the gauge `app.<name>` to `value`.
    #[pyo3(signature = (name, value, *, labels = None))]
    fn gauge(
        &self,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.record(Kind::Gauge, name, value, labels)
    }

    /// A context manager and decorator that adds elapsed seconds to the histogram `app.<name>`.
    #[pyo3(signature = (name, *, labels = None))]
    fn timer(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Timer>> {
        let known = cache::with_series(&slf.get().inner, Kind::Histogram, name, labels, |found| {
            let timer = match found.timer.take() {
                Some(timer) if Timer::is_free(&timer) => timer,
                _ => Py::new(slf.py(), Timer::bound(slf.clone().unbind(), Arc::clone(&found.series)))?,
            };
            found.timer.set(Some(timer.clone_ref(slf.py())));
            Ok(timer)
        });
        known.unwrap_or_else(|| Py::new(slf.py(), Timer::named(slf, name, labels)?))
    }
}

impl Recorder {
    pub(crate) fn inner(&self) -> &perago_metrics::Recorder {
        &self.inner
    }

    #[inline]
    fn record(
        &self,
        kind: Kind,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let number = number(value)?;
        let record = |found: &cache::Found| self.inner.record(&found.series, number);
        match cache::with_series(&self.inner, kind, name, labels, record) {
            Some(()) => Ok(()),
            None => self.record_unknown(kind, name, number, labels),
        }
    }

    /// A sample whose name and labels are not the objects of an earlier call.
    #[cold]
    #[inline(never)]
    pub(crate) fn record_unknown(
        &self,
        kind: Kind,
        name: &Bound<'_, PyAny>,
        number: f64,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let text = name_argument(name)?;
        // SAFETY: the object is alive. The number is only a hint.
        let ends = labels.is_none_or(|labels| unsafe { ffi::Py_REFCNT(labels.as_ptr()) } <= 1);
        let labels = labels_argument(labels)?;
        if matches!(labels, Labels::Unreadable) {
            self.inner.reject_call(&text, Reason::LabelsUnreadable);
            return Ok(());
        }
        let labels = labels.dictionary();
        if !cache::record(&self.inner, kind, (name, &text), number, labels, ends)
            && let Some(series) = self.inner.resolve(kind, &text, convert::texts(labels)?).series
        {
            self.inner.record(&series, number);
        }
        Ok(())
    }
}

/// Opens the arena at `arena_path`, which the supervisor has made, for the samples of `task_name`.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "arguments from Python are owned")]
#[pyo3(signature = (arena_path, task_name, *, reserved_labels = Vec::new(), buckets = None, label_sets = DEFAULT_LABEL_SETS, warning = None))]
pub(crate) fn open_recorder(
    arena_path: PathBuf,
    task_name: &str,
    reserved_labels: Vec<String>,
    buckets: Option<&Bound<'_, PyDict>>,
    label_sets: usize,
    warning: Option<Py<PyAny>>,
) -> PyResult<Recorder> {
    let mut overrides: Vec<(String, Vec<f64>)> = Vec::new();
    for (name, bounds) in buckets.into_iter().flatten() {
        overrides.push((name.extract()?, bounds.extract()?));
    }
    let ladders = LadderRules::new(overrides.iter().map(|(name, bounds)| (&**name, &**bounds)))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let writer = ArenaWriter::open(&arena_path).map_err(|error| PyOSError::new_err(describe(&error)))?;
    let options = RecorderOptions {
        rules: Rules::new(task_name, reserved_labels),
        ladders,
        label_sets,
        warnings: Box::new(warnings::PythonSink::new(warning)),
    };
    Ok(Recorder { inner: perago_metrics::Recorder::new(writer, options) })
}

/// The error, its code, and its cause.
fn describe(error: &perago_metrics::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause} ({})", error.code()),
        None => format!("{error} ({})", error.code()),
    }
}
