//! PyO3 bindings of Perago: conversions and the interpreter boundary only.
//!
//! Every rule lives in a crate that knows nothing of Python; this one turns Python values into those crates'
//! types and their errors into exceptions. Import it through the façade `perago`, never directly.

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods as _;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
