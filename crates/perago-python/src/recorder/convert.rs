//! Arguments of a recording call: what raises, and what is made of the rest.

use std::borrow::Cow;

use perago_metrics::Label;
use pyo3::exceptions::{PyArithmeticError, PyException, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyMapping, PyString};

/// The labels of a call.
pub(super) enum Labels<'py> {
    None,
    /// A copy: nobody else changes it.
    Given(Bound<'py, PyDict>),
    /// The mapping raised when it was read.
    Unreadable,
}

impl<'py> Labels<'py> {
    pub(super) fn dictionary(&self) -> Option<&Bound<'py, PyDict>> {
        if let Self::Given(labels) = self { Some(labels) } else { None }
    }
}

/// The value of a sample. What has no finite float, but is a number, is infinite or NaN, and dropped as such.
#[inline]
pub(super) fn number(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Ok(float.value());
    }
    other_number(value)
}

/// The value of a sample that is exactly a float or an integer; none if it has to be looked at.
#[inline]
pub(super) fn plain_number(value: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Some(float.value());
    }
    if !value.is_exact_instance_of::<PyInt>() {
        return None;
    }
    // SAFETY: the interpreter is attached and `value` is alive. Of an integer this runs no Python code.
    let number = unsafe { pyo3::ffi::PyLong_AsDouble(value.as_ptr()) };
    if number.to_bits() == (-1.0_f64).to_bits() {
        // Perhaps too large a number; -1 itself is looked at too.
        // SAFETY: the interpreter is attached.
        unsafe { pyo3::ffi::PyErr_Clear() };
        return None;
    }
    Some(number)
}

fn other_number(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    // Some libraries give their texts and complex numbers a conversion to float.
    let is_no_number = value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyComplex>();
    if is_no_number {
        return Err(number_error(value));
    }
    // SAFETY: the interpreter is attached and `value` is alive. -1 may stand for an exception.
    let number = unsafe { pyo3::ffi::PyFloat_AsDouble(value.as_ptr()) };
    let py = value.py();
    match PyErr::take(py) {
        None => Ok(number),
        Some(error) if !error.is_instance_of::<PyException>(py) => Err(error),
        Some(error) if error.is_instance_of::<PyOverflowError>(py) => Ok(f64::INFINITY),
        // As a signalling NaN of `decimal` does.
        Some(error)
            if error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyArithmeticError>(py) =>
        {
            Ok(f64::NAN)
        }
        Some(error) => {
            let wrong = number_error(value);
            wrong.set_cause(py, Some(error));
            Err(wrong)
        }
    }
}

fn number_error(value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("value must be a real number, not {}", type_name(value)))
}

/// The name of a metric. Lone surrogates, which no name may have, are replaced.
pub(super) fn name_argument<'a>(name: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    let text = name
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("name must be a str, not {}", type_name(name))))?;
    Ok(text.to_string_lossy())
}

/// The labels of a call, copied.
pub(super) fn labels_argument<'py>(labels: Option<&Bound<'py, PyAny>>) -> PyResult<Labels<'py>> {
    let Some(labels) = labels else { return Ok(Labels::None) };
    if let Ok(dictionary) = labels.cast::<PyDict>() {
        return dictionary.copy().map(Labels::Given);
    }
    let mapping = labels
        .cast::<PyMapping>()
        .map_err(|_| PyTypeError::new_err(format!("labels must be a mapping, not {}", type_name(labels))))?;
    let dictionary = PyDict::new(labels.py());
    match dictionary.update(mapping) {
        Ok(()) => Ok(Labels::Given(dictionary)),
        Err(error) => content(labels.py(), error).map(|()| Labels::Unreadable),
    }
}

/// The labels as text, and whether they were something else before.
pub(super) fn texts(labels: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<Label<'static>>> {
    let mut converted = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        converted.push(Label {
            key: Cow::Owned(text(&key)?),
            value: Cow::Owned(text(&value)?),
            converted: !(key.is_instance_of::<PyString>() && value.is_instance_of::<PyString>()),
        });
    }
    Ok(converted)
}

/// A key or value as VictoriaMetrics shows one of its type.
fn text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    if let Ok(string) = value.cast::<PyString>() {
        return Ok(string.to_string_lossy().into_owned());
    }
    if value.is_none() {
        return Ok(String::new());
    }
    if let Ok(boolean) = value.cast::<PyBool>() {
        return Ok(boolean.is_true().to_string());
    }
    if value.is_instance_of::<PyInt>() {
        // Of an enumeration's member too, the number.
        return shown(value, py.get_type::<PyInt>().call_method1("__repr__", (value,)));
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(float_text(float.value()));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        let encoded = py.import("base64")?.call_method1("b64encode", (bytes,))?;
        return encoded.call_method1("decode", ("ascii",))?.extract();
    }
    let json = py.import("json")?;
    let options = PyDict::new(py);
    options.set_item("separators", (",", ":"))?;
    options.set_item("ensure_ascii", false)?;
    match json.call_method("dumps", (value,), Some(&options)) {
        Ok(text) => shown(value, Ok(text)),
        Err(error) => {
            content(py, error)?;
            shown(value, value.str().map(Bound::into_any))
        }
    }
}

/// What a conversion of `value` gave, or the type's name where it raised: content never fails a task.
fn shown(value: &Bound<'_, PyAny>, text: PyResult<Bound<'_, PyAny>>) -> PyResult<String> {
    match text.and_then(|text| Ok(text.cast::<PyString>()?.to_string_lossy().into_owned())) {
        Ok(text) => Ok(text),
        Err(error) => content(value.py(), error).map(|()| type_name(value)),
    }
}

/// Passes over an exception of the content; what ends a program is none.
fn content(py: Python<'_>, error: PyErr) -> PyResult<()> {
    if error.is_instance_of::<PyException>(py) { Ok(()) } else { Err(error) }
}

/// The shortest decimal digits without an exponent: `1` for `1.0`.
fn float_text(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string_lossy().into_owned())
}
