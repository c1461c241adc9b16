//! Warnings to a Python callable.

use perago_metrics::{MetricWarning, WarningSink};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Calls a Python function with the fields of each warning, or nobody.
pub(super) struct PythonSink {
    function: Option<Py<PyAny>>,
}

impl PythonSink {
    pub(super) fn new(function: Option<Py<PyAny>>) -> Self {
        Self { function }
    }
}

impl WarningSink for PythonSink {
    fn warn(&self, warning: MetricWarning) {
        let Some(function) = &self.function else { return };
        Python::attach(|py| {
            let call = || {
                let fields = PyDict::new(py);
                fields.set_item("metric_name", warning.metric_name)?;
                fields.set_item("label_key", warning.label_key)?;
                fields.set_item("perago_label_value", warning.perago_label_value)?;
                fields.set_item("ignored_user_label_value", warning.ignored_user_label_value)?;
                fields.set_item("reason", warning.reason.code())?;
                function.call1(py, (fields,))
            };
            if let Err(error) = call() {
                // A warning never fails a task.
                error.write_unraisable(py, Some(function.bind(py)));
            }
        });
    }
}
