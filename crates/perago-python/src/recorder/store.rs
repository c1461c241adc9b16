//! Arenas for Python: what a supervisor does in Rust, for tests and benchmarks of the recorder.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use perago_metrics::{REASONS, Reason, StoreOptions, Value};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::describe;

/// The arenas in one directory.
#[pyclass(frozen, module = "perago._native")]
pub(crate) struct ArenaStore {
    store: Mutex<perago_metrics::ArenaStore>,
}

#[pymethods]
impl ArenaStore {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "arguments from Python are owned")]
    fn new(directory: PathBuf) -> PyResult<Self> {
        let store = perago_metrics::ArenaStore::open(&directory, StoreOptions::default())
            .map_err(|error| PyOSError::new_err(describe(&error)))?;
        Ok(Self { store: Mutex::new(store) })
    }

    /// The path of a slot's arena, made if it is missing, for a new writer.
    fn begin(&self, slot: &str) -> PyResult<PathBuf> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = store.begin_generation(slot).and_then(|_| store.slot(slot));
        begun.map_err(|error| PyOSError::new_err(describe(&error)))
    }

    /// All series, merged, as dictionaries of `name`, `labels` and either `value` or `count`, `sum`, `bounds` and
    /// `counts`.
    fn series<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let snapshot = self.store.lock().unwrap_or_else(PoisonError::into_inner).snapshot();
        let mut series = Vec::with_capacity(snapshot.points.len());
        for point in snapshot.points {
            let labels = PyDict::new(py);
            for (key, value) in point.key.labels() {
                labels.set_item(&**key, &**value)?;
            }
            let fields = PyDict::new(py);
            fields.set_item("name", point.key.name())?;
            fields.set_item("labels", labels)?;
            match point.value {
                Value::Gauge(value) | Value::Counter(value) => fields.set_item("value", value)?,
                Value::Histogram { bounds, counts, sum } => {
                    fields.set_item("count", counts.iter().sum::<u64>())?;
                    fields.set_item("sum", sum)?;
                    fields.set_item("bounds", &*bounds)?;
                    fields.set_item("counts", counts)?;
                }
                Value::Exponential { zero_threshold, zero_count, offset, counts, sum } => {
                    fields.set_item("count", zero_count + counts.iter().sum::<u64>())?;
                    fields.set_item("sum", sum)?;
                    fields.set_item("zero_threshold", zero_threshold)?;
                    fields.set_item("zero_count", zero_count)?;
                    fields.set_item("offset", offset)?;
                    fields.set_item("counts", counts)?;
                }
            }
            series.push(fields);
        }
        Ok(series)
    }

    /// How many samples or labels were dropped or changed, by reason.
    fn dropped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let snapshot = self.store.lock().unwrap_or_else(PoisonError::into_inner).snapshot();
        dropped_by_reason(py, snapshot.dropped)
    }
}

/// The counts that are not zero, by the reasons' codes.
pub(super) fn dropped_by_reason(py: Python<'_>, counts: [u64; REASONS]) -> PyResult<Bound<'_, PyDict>> {
    let dropped = PyDict::new(py);
    for (reason, count) in Reason::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
        dropped.set_item(reason.code(), count)?;
    }
    Ok(dropped)
}
