//! The rules alone, for the recorder that keeps samples in memory.

use perago_metrics::{Checker, DEFAULT_LABEL_SETS, Kind, Reason, Rules};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::{Labels, labels_argument, name_argument, number, texts};
use super::disabled;
use super::store::dropped_by_reason;
use super::warnings::PythonSink;

/// Says of a sample what the recorder of a worker would make of it.
#[pyclass(frozen, module = "perago._native")]
pub(crate) struct MetricRules {
    checker: Checker,
}

#[pymethods]
impl MetricRules {
    #[new]
    #[pyo3(signature = (task_name, *, reserved_labels = Vec::new(), label_sets = DEFAULT_LABEL_SETS, warning = None))]
    fn new(
        task_name: &str,
        reserved_labels: Vec<String>,
        label_sets: usize,
        warning: Option<Py<PyAny>>,
    ) -> Self {
        let rules = Rules::new(task_name, reserved_labels);
        Self { checker: Checker::new(rules, label_sets, PythonSink::new(warning)) }
    }

    /// Name, value and labels as exported, or `None` if the sample is dropped. `kind` is `histogram` or `gauge`.
    #[pyo3(signature = (kind, name, value, labels = None))]
    fn check<'py>(
        &self,
        py: Python<'py>,
        kind: &str,
        name: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        labels: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<(String, f64, Bound<'py, PyDict>)>> {
        let kind = match kind {
            "histogram" => Kind::Histogram,
            "gauge" => Kind::Gauge,
            other => {
                return Err(PyValueError::new_err(format!("kind must be histogram or gauge, not {other}")));
            }
        };
        let number = number(value)?;
        let name = name_argument(name)?;
        let labels = labels_argument(labels)?;
        if matches!(labels, Labels::Unreadable) {
            self.checker.reject_call(&name, Reason::LabelsUnreadable);
            return Ok(None);
        }
        let texts = texts(labels.dictionary())?;
        let Some(key) = self.checker.check(kind, &name, number, texts) else { return Ok(None) };
        let exported = PyDict::new(py);
        for (label, value) in key.labels() {
            exported.set_item(&**label, &**value)?;
        }
        Ok(Some((key.name().to_owned(), number, exported)))
    }

    /// How many samples or labels were dropped or changed, by reason.
    fn dropped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        dropped_by_reason(py, self.checker.dropped())
    }

    /// Raises what `timer()` raises for a name that is not a string and labels that are not a mapping.
    #[staticmethod]
    #[pyo3(signature = (name, labels = None))]
    fn check_shape(name: &Bound<'_, PyAny>, labels: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        disabled::check_shape(name, labels)
    }
}
