//! Arguments of a recording call: what raises, and what is made of the rest.

use std::borrow::Cow;

use perago_metrics::Label;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyMapping, PyString};

/// The value of a sample. An integer too large for a float is infinite, and dropped as such.
#[inline]
pub(super) fn number(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Ok(float.value());
    }
    // SAFETY: the interpreter is attached and `value` is alive. -1 may stand for an exception.
    let number = unsafe { pyo3::ffi::PyFloat_AsDouble(value.as_ptr()) };
    if number.to_bits() == (-1.0_f64).to_bits()
        && let Some(error) = PyErr::take(value.py())
    {
        return number_error(value, error);
    }
    Ok(number)
}

#[cold]
fn number_error(value: &Bound<'_, PyAny>, error: PyErr) -> PyResult<f64> {
    let py = value.py();
    if error.is_instance_of::<PyOverflowError>(py) {
        return Ok(f64::INFINITY);
    }
    let wrong = PyTypeError::new_err(format!("value must be a real number, not {}", type_name(value)));
    wrong.set_cause(py, Some(error));
    Err(wrong)
}

/// The name of a metric. Lone surrogates, which no name may have, are replaced.
pub(super) fn name_argument<'a>(name: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    let text = name
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("name must be a str, not {}", type_name(name))))?;
    Ok(text.to_string_lossy())
}

/// The labels of a call as a dictionary.
pub(super) fn labels_argument<'py>(
    labels: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(labels) = labels else { return Ok(None) };
    if let Ok(dictionary) = labels.cast::<PyDict>() {
        return Ok(Some(dictionary.clone()));
    }
    let mapping = labels
        .cast::<PyMapping>()
        .map_err(|_| PyTypeError::new_err(format!("labels must be a mapping, not {}", type_name(labels))))?;
    let dictionary = PyDict::new(labels.py());
    dictionary.update(mapping)?;
    Ok(Some(dictionary))
}

/// The labels as text, and whether they were something else before.
pub(super) fn labels(labels: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<Label<'static>>> {
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
        return Ok(shown(value));
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(float_text(float.value()));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        let encoded = value.py().import("base64")?.call_method1("b64encode", (bytes,))?;
        return encoded.call_method1("decode", ("ascii",))?.extract();
    }
    let json = value.py().import("json")?;
    let options = PyDict::new(value.py());
    options.set_item("separators", (",", ":"))?;
    options.set_item("ensure_ascii", false)?;
    match json.call_method("dumps", (value,), Some(&options)) {
        Ok(text) => Ok(shown(&text)),
        Err(_) => Ok(shown(value)),
    }
}

/// `str(value)`, or the type's name where that raises: content never fails a task.
fn shown(value: &Bound<'_, PyAny>) -> String {
    value.str().map_or_else(|_| type_name(value), |text| text.to_string_lossy().into_owned())
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
