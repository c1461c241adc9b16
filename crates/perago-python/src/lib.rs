//! PyO3 bindings of Perago: conversions and the interpreter boundary only.
//!
//! Every rule lives in a crate that knows nothing of Python; this one turns Python values into those crates'
//! types and their errors into exceptions. Import it through the façade `perago`, never directly.

use pyo3::prelude::*;

mod contract;

#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::contract::{
        check_guardrail_path, check_name, check_owner, cut_failure_reason, failure_catalogue, pretty_ascii_json,
        staging_branch, task_definition, transform_schema, workspace_prefix,
    };

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods as _;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
