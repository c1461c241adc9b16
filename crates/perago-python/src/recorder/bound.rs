//! Methods whose binding allocates nothing.
//!
//! Before version 3.14 a `with` statement makes bound methods of `__enter__` and `__exit__`: two objects that live for
//! one call each and cost more than the sample. [`replace`] has them made of memory that the thread has used before,
//! and calls a short way first. The class itself still shows the usual method.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

type Object = *mut ffi::PyObject;

/// Does a call of a method without the usual way: owner, number of arguments, names of keywords. False: nothing was
/// done.
pub(super) type Short = unsafe fn(Object, ffi::Py_ssize_t, Object) -> bool;

/// What stands in the class: binds in place of the usual descriptor. Never freed, as classes of an extension are not.
#[repr(C)]
struct Descriptor {
    base: ffi::PyObject,
    short: Short,
    usual: Object,
}

/// A method bound to its owner.
#[repr(C)]
struct BoundMethod {
    base: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    descriptor: *const Descriptor,
    owner: Object,
}

/// Memory of bound methods that are out of use. An open block uses one, the statement that opens it another.
struct Spare {
    memory: [*mut BoundMethod; 8],
    count: usize,
}

impl Drop for Spare {
    fn drop(&mut self) {
        for memory in &self.memory[..self.count] {
            // SAFETY: allocated by `bind`, and out of use; raw memory needs no interpreter.
            unsafe { ffi::PyMem_RawFree(memory.cast()) };
        }
    }
}

thread_local! {
    static SPARE: UnsafeCell<Spare> = const { UnsafeCell::new(Spare { memory: [ptr::null_mut(); 8], count: 0 }) };
}

/// Runs `work` with the thread's spare memory; `None` in a thread that is ending.
#[inline]
fn with_spare<T>(work: impl FnOnce(&mut Spare) -> T) -> Option<T> {
    // SAFETY: the thread's own, and `work` below runs no other code that could come back here.
    SPARE.try_with(|spare| work(unsafe { &mut *spare.get() })).ok()
}

/// `tp_descr_get`: the usual method for the class, a bound one for an object.
unsafe extern "C" fn get(slf: Object, owner: Object, _class: Object) -> Object {
    // SAFETY: the interpreter passes a descriptor of ours and, unless null, an object of its class.
    unsafe {
        let descriptor = slf.cast::<Descriptor>();
        if owner.is_null() {
            return ffi::Py_NewRef((*descriptor).usual);
        }
        bind(descriptor, owner)
    }
}

#[inline]
unsafe fn bind(descriptor: *const Descriptor, owner: Object) -> Object {
    let spare = with_spare(|spare| {
        spare.count.checked_sub(1).map(|last| {
            spare.count = last;
            spare.memory[last]
        })
    });
    // SAFETY: memory of the right size, not shared with anybody; the type was made before the first descriptor.
    unsafe {
        let memory = match spare.flatten() {
            Some(memory) => memory,
            None => ffi::PyMem_RawMalloc(size_of::<BoundMethod>()).cast(),
        };
        if memory.is_null() {
            return ffi::PyErr_NoMemory();
        }
        ffi::PyObject_Init(
            memory.cast(),
            BOUND.get(Python::assume_attached()).map_or(ptr::null_mut(), type_pointer),
        );
        (&raw mut (*memory).vectorcall).write(call);
        (&raw mut (*memory).descriptor).write(descriptor);
        (&raw mut (*memory).owner).write(ffi::Py_NewRef(owner));
        memory.cast()
    }
}

unsafe extern "C" fn call(
    slf: Object,
    arguments: *const Object,
    count_and_flag: usize,
    keywords: Object,
) -> Object {
    // SAFETY: the interpreter calls a bound method of ours by the vectorcall protocol.
    unsafe {
        let BoundMethod { descriptor, owner, .. } = *slf.cast::<BoundMethod>();
        let count = ffi::PyVectorcall_NARGS(count_and_flag);
        if ((*descriptor).short)(owner, count, keywords) {
            return ffi::Py_NewRef(ffi::Py_None());
        }
        let usual = usual_bound(descriptor, owner);
        if usual.is_null() {
            return usual;
        }
        // The flag allows writing before the arguments, which are not ours to pass on.
        let result = ffi::PyObject_Vectorcall(usual, arguments, count.cast_unsigned(), keywords);
        ffi::Py_DECREF(usual);
        result
    }
}

#[cold]
unsafe fn usual_bound(descriptor: *const Descriptor, owner: Object) -> Object {
    // SAFETY: the usual method is a descriptor, and the owner an object of its class.
    unsafe {
        let usual = (*descriptor).usual;
        let get = ffi::PyType_GetSlot(ffi::Py_TYPE(usual), ffi::Py_tp_descr_get);
        let get: ffi::descrgetfunc = std::mem::transmute::<*mut c_void, ffi::descrgetfunc>(get);
        get(usual, owner, ffi::Py_TYPE(owner).cast())
    }
}

unsafe extern "C" fn deallocate(slf: Object) {
    // SAFETY: the last reference is gone, so that the memory belongs to this function.
    unsafe {
        let class = ffi::Py_TYPE(slf);
        ffi::Py_DECREF((*slf.cast::<BoundMethod>()).owner);
        let kept = with_spare(|spare| {
            let has_room = spare.count < spare.memory.len();
            if has_room {
                spare.memory[spare.count] = slf.cast();
                spare.count += 1;
            }
            has_room
        });
        if kept != Some(true) {
            ffi::PyMem_RawFree(slf.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

static BOUND: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static DESCRIPTOR: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn type_pointer(class: &Py<PyType>) -> *mut ffi::PyTypeObject {
    class.as_ptr().cast()
}

fn make_type(py: Python<'_>, spec: &mut ffi::PyType_Spec) -> PyResult<Py<PyType>> {
    // SAFETY: the specification and what it points to live as long as the call, its names and members for ever.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(spec)) }?;
    Ok(made.cast_into::<PyType>()?.unbind())
}

fn bound_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let end = ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() };
    let members = Box::leak(Box::new([
        ffi::PyMemberDef {
            name: c"__vectorcalloffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset_of!(BoundMethod, vectorcall).cast_signed(),
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        },
        ffi::PyMemberDef::default(),
    ]));
    let mut slots = [
        ffi::PyType_Slot { slot: ffi::Py_tp_dealloc, pfunc: deallocate as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_tp_call, pfunc: ffi::PyVectorcall_Call as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_tp_members, pfunc: members.as_mut_ptr().cast() },
        end,
    ];
    let flags =
        ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_VECTORCALL | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    make_type(
        py,
        &mut ffi::PyType_Spec {
            name: c"perago._native.BoundMethod".as_ptr(),
            basicsize: size_of::<BoundMethod>() as i32,
            itemsize: 0,
            flags: flags as u32,
            slots: slots.as_mut_ptr(),
        },
    )
}

fn descriptor_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let mut slots = [
        ffi::PyType_Slot { slot: ffi::Py_tp_descr_get, pfunc: get as *mut c_void },
        ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
    ];
    make_type(
        py,
        &mut ffi::PyType_Spec {
            name: c"perago._native.ReusedMethod".as_ptr(),
            basicsize: size_of::<Descriptor>() as i32,
            itemsize: 0,
            flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION) as u32,
            slots: slots.as_mut_ptr(),
        },
    )
}

/// Puts `short` before the method `name` of `class`, and binds it without allocation.
///
/// Interpreters without a global lock keep the usual method: their objects must come from their own allocator.
pub(super) fn replace(class: &Bound<'_, PyType>, name: &str, short: Short) -> PyResult<()> {
    let py = class.py();
    let abi: String = py.import("sys")?.getattr("abiflags")?.extract()?;
    if abi.contains('t') {
        return Ok(());
    }
    BOUND.get_or_try_init(py, || bound_type(py))?;
    let descriptor_type = DESCRIPTOR.get_or_try_init(py, || descriptor_type(py))?;
    let usual = class.getattr(name)?;
    // SAFETY: the type of the object says that it binds by `tp_descr_get`; the new object is filled in whole.
    let descriptor = unsafe {
        if ffi::Py_TYPE(usual.as_ptr()) != &raw mut ffi::PyMethodDescr_Type {
            return Err(PyImportError::new_err(format!("{name} is not a method")));
        }
        let made = ffi::PyType_GenericAlloc(type_pointer(descriptor_type), 0);
        let made = Bound::from_owned_ptr_or_err(py, made)?;
        let fields = made.as_ptr().cast::<Descriptor>();
        (&raw mut (*fields).short).write(short);
        (&raw mut (*fields).usual).write(usual.into_ptr());
        made
    };
    class.setattr(name, &descriptor)?;
    // Bound methods point to it without a reference.
    std::mem::forget(descriptor);
    Ok(())
}
