//! The short way of a call that was made before.
//!
//! PyO3's methods parse arguments, count attachments and catch panics, which costs more than the sample itself. So
//! [`install`] puts a C function before each hot method. It does a plain call whose objects this thread has recorded
//! with before, and hands every other call on, unchanged, to PyO3's method: there all rules and errors are.
//!
//! Nothing here allocates, runs Python code or panics, so no panic is caught. Nothing relies on the interpreter's
//! lock either: without one a dictionary is read in its critical section, and the cache is the thread's own.

use std::ffi::c_int;
use std::sync::OnceLock;

use perago_metrics::{Kind, monotonic_nanos};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};
use pyo3::{Borrowed, ffi, intern};

use super::convert::plain_number;
use super::timer::Timer;
use super::{Recorder, bound, cache};

type Object = *mut ffi::PyObject;
/// A method by `METH_FASTCALL | METH_KEYWORDS`: self, arguments, their number, the keywords' names.
type Method = unsafe extern "C" fn(Object, *const Object, ffi::Py_ssize_t, Object) -> Object;

/// PyO3's methods, for every call that is not a known one.
struct Checked {
    histogram: Method,
    gauge: Method,
    timer: Method,
    /// The interned name of the only keyword: names in a call's code are interned too.
    labels: Py<PyString>,
}

static CHECKED: OnceLock<Checked> = OnceLock::new();

/// The methods that [`install`] puts in the way, which happens after this is set.
fn checked() -> &'static Checked {
    CHECKED.get().expect("set before the methods that use it are reachable")
}

/// The arguments of a plain call.
struct Call<'a> {
    recorder: Borrowed<'a, 'a, Recorder>,
    positional: &'a [Object],
    labels: Option<Borrowed<'a, 'a, PyAny>>,
}

impl<'a> Call<'a> {
    /// None unless the call has `count` positional arguments and at most the keyword `labels`.
    ///
    /// # Safety
    ///
    /// What the interpreter passes to a method of [`Recorder`], as it passes it, while the thread is attached.
    #[inline]
    unsafe fn read(
        py: Python<'a>,
        recorder: Object,
        arguments: *const Object,
        given: ffi::Py_ssize_t,
        keywords: Object,
        count: usize,
    ) -> Option<Self> {
        if given != count as ffi::Py_ssize_t {
            return None;
        }
        // SAFETY: the caller's promise: the objects live as long as the call, one for each position and keyword, and
        // the descriptor of the method has checked the type of `recorder`.
        unsafe {
            let labels = if keywords.is_null() {
                None
            } else if ffi::PyTuple_GET_SIZE(keywords) == 1
                && ffi::PyTuple_GET_ITEM(keywords, 0) == checked().labels.as_ptr()
            {
                Some(Borrowed::from_ptr(py, *arguments.add(count))).filter(|labels| !labels.is_none())
            } else {
                return None;
            };
            Some(Self {
                recorder: Borrowed::from_ptr(py, recorder).cast_unchecked(),
                positional: std::slice::from_raw_parts(arguments, count),
                labels,
            })
        }
    }

    /// Records the sample, if it is of a known series. False: nothing was done.
    #[inline]
    fn record(&self, kind: Kind) -> bool {
        let py = self.recorder.py();
        // SAFETY: `positional` holds living objects.
        let value = unsafe { Borrowed::from_ptr(py, self.positional[1]) };
        let Some(number) = plain_number(&value) else { return false };
        let recorder = &self.recorder.get().inner;
        cache::with_series(recorder, kind, &self.name(), self.labels.as_deref(), |found| {
            recorder.record_at_once(&found.series, number)
        })
        .unwrap_or(false)
    }

    /// The timer that an earlier call returned, if nobody holds it any longer; null if there is none.
    #[inline]
    fn timer(&self) -> Object {
        let recorder = &self.recorder.get().inner;
        cache::with_series(recorder, Kind::Histogram, &self.name(), self.labels.as_deref(), |found| {
            // SAFETY: the cell is this thread's, and nothing between here and the end of the borrow changes it.
            let timer = unsafe { (*found.timer.as_ptr()).as_ref() };
            timer.filter(|timer| Timer::is_free(timer)).map_or(std::ptr::null_mut(), |timer| {
                // SAFETY: the object is alive; the caller owns the new reference.
                unsafe { ffi::Py_NewRef(timer.as_ptr()) }
            })
        })
        .unwrap_or(std::ptr::null_mut())
    }

    #[inline]
    fn name(&self) -> Borrowed<'a, 'a, PyAny> {
        // SAFETY: `positional` holds living objects.
        unsafe { Borrowed::from_ptr(self.recorder.py(), self.positional[0]) }
    }
}

#[inline]
fn none() -> Object {
    // SAFETY: the caller owns the new reference.
    unsafe { ffi::Py_NewRef(ffi::Py_None()) }
}

unsafe extern "C" fn histogram(
    slf: Object,
    arguments: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: the interpreter calls this as a method of `Recorder`, attached, and so is PyO3's method called.
    unsafe {
        let py = Python::assume_attached();
        match Call::read(py, slf, arguments, count, keywords, 2) {
            Some(call) if call.record(Kind::Histogram) => none(),
            _ => (checked().histogram)(slf, arguments, count, keywords),
        }
    }
}

// Written out again: one function for both costs a call with labels a tenth more (`bench/recorder.py`).
unsafe extern "C" fn gauge(
    slf: Object,
    arguments: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: as in `histogram`.
    unsafe {
        let py = Python::assume_attached();
        match Call::read(py, slf, arguments, count, keywords, 2) {
            Some(call) if call.record(Kind::Gauge) => none(),
            _ => (checked().gauge)(slf, arguments, count, keywords),
        }
    }
}

unsafe extern "C" fn timer(
    slf: Object,
    arguments: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: as in `histogram`.
    unsafe {
        let py = Python::assume_attached();
        let known = Call::read(py, slf, arguments, count, keywords, 1)
            .map_or(std::ptr::null_mut(), |call| call.timer());
        if known.is_null() { (checked().timer)(slf, arguments, count, keywords) } else { known }
    }
}

/// # Safety
///
/// The thread is attached, and `slf` is a [`Timer`] that lives as long as `'a`.
#[inline]
unsafe fn timer_of<'a>(slf: Object) -> &'a Timer {
    // SAFETY: the caller's promise.
    unsafe { Borrowed::from_ptr(Python::assume_attached(), slf).cast_unchecked::<Timer>() }.get()
}

unsafe fn enter(timer: Object, count: ffi::Py_ssize_t, keywords: Object) -> bool {
    // SAFETY: called as a method of `Timer`, attached.
    count == 0 && keywords.is_null() && unsafe { timer_of(timer) }.enter_first(monotonic_nanos())
}

unsafe fn exit(timer: Object, count: ffi::Py_ssize_t, keywords: Object) -> bool {
    // SAFETY: as in `enter`.
    count == 3 && keywords.is_null() && unsafe { timer_of(timer) }.exit_at_once(monotonic_nanos())
}

/// Puts the functions of this module before PyO3's methods. Called once, by the module's initialisation.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let (recorder, timer_type) = (py.get_type::<Recorder>(), py.get_type::<Timer>());
    let set = CHECKED.set(Checked {
        histogram: checked_method(&recorder, "histogram")?,
        gauge: checked_method(&recorder, "gauge")?,
        timer: checked_method(&recorder, "timer")?,
        labels: intern!(py, "labels").clone().unbind(),
    });
    if set.is_err() {
        // Another interpreter of this process has imported the module, or it is imported anew: PyO3's methods do.
        return Ok(());
    }
    let fast = |function| ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
    replace(&recorder, "histogram", fast(histogram))?;
    replace(&recorder, "gauge", fast(gauge))?;
    replace(&recorder, "timer", fast(timer))?;
    bound::replace(&timer_type, "__enter__", enter)?;
    bound::replace(&timer_type, "__exit__", exit)
}

/// How a method of `class` is defined.
fn definition(class: &Bound<'_, PyType>, name: &str) -> PyResult<*mut ffi::PyMethodDef> {
    let method = class.getattr(name)?;
    // SAFETY: the type of the object says that it has this layout.
    unsafe {
        if ffi::Py_TYPE(method.as_ptr()) == &raw mut ffi::PyMethodDescr_Type {
            Ok((*method.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method)
        } else {
            Err(PyImportError::new_err(format!("{name} is not a method")))
        }
    }
}

fn with_flags(class: &Bound<'_, PyType>, name: &str, flags: c_int) -> PyResult<ffi::PyMethodDefPointer> {
    // SAFETY: definitions of methods are never freed.
    let definition = unsafe { *definition(class, name)? };
    if definition.ml_flags == flags {
        Ok(definition.ml_meth)
    } else {
        Err(PyImportError::new_err(format!("{name} is called by {:#x}", definition.ml_flags)))
    }
}

fn checked_method(class: &Bound<'_, PyType>, name: &str) -> PyResult<Method> {
    let pointer = with_flags(class, name, ffi::METH_FASTCALL | ffi::METH_KEYWORDS)?;
    // SAFETY: the flags say which function it is.
    Ok(unsafe { pointer.PyCFunctionFastWithKeywords })
}

/// Gives the method of `class` another function; name, signature and documentation stay.
fn replace(class: &Bound<'_, PyType>, name: &str, function: ffi::PyMethodDefPointer) -> PyResult<()> {
    // SAFETY: definitions of methods are never freed, as this new one never is; the descriptor is a new reference.
    let method = unsafe {
        let definition = ffi::PyMethodDef { ml_meth: function, ..*definition(class, name)? };
        let definition = Box::leak(Box::new(definition));
        let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(class.py(), descriptor)?
    };
    class.setattr(name, method)
}
