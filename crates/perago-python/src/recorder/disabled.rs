//! The recorder of a worker that exports no metrics.

use pyo3::prelude::*;

use super::convert::{labels_argument, name_argument, number};
use super::timer::Timer;

/// Records nothing; a call of the wrong shape raises as with any recorder.
#[pyclass(frozen, module = "perago._native")]
pub(crate) struct DisabledRecorder;

#[pymethods]
#[expect(clippy::unused_self, reason = "a recorder has methods")]
impl DisabledRecorder {
    #[new]
    fn new() -> Self {
        Self
    }

    /// Drops `value`.
    #[pyo3(signature = (name, value, *, labels = None))]
    fn histogram(
        &self,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        number(value)?;
        check_shape(name, labels)
    }

    /// Drops `value`.
    #[pyo3(signature = (name, value, *, labels = None))]
    fn gauge(
        &self,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        number(value)?;
        check_shape(name, labels)
    }

    /// A context manager and decorator that records nothing.
    #[pyo3(signature = (name, *, labels = None))]
    fn timer(&self, name: &Bound<'_, PyAny>, labels: Option<&Bound<'_, PyAny>>) -> PyResult<Timer> {
        check_shape(name, labels)?;
        Ok(Timer::nothing())
    }
}

/// Raises for a name that is not a string and labels that are not a mapping.
pub(super) fn check_shape(name: &Bound<'_, PyAny>, labels: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    name_argument(name)?;
    labels_argument(labels)?;
    Ok(())
}
