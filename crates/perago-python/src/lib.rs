//! PyO3 bindings of Perago: conversions and the interpreter boundary only.
//!
//! Every rule lives in a crate that knows nothing of Python; this one turns Python values into those crates'
//! types and their errors into exceptions. Import it through the façade `perago`, never directly.

use pyo3::prelude::*;

mod cli;
mod contract;
mod executor;
mod interpreter;
mod recorder;
mod settings;
mod workspace;

#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::cli::run_command_line;
    #[pymodule_export]
    use crate::contract::{
        check_guardrail_path, check_name, check_owner, cut_failure_reason, failure_catalogue,
        pretty_ascii_json, staging_branch, task_definition, transform_schema, workspace_prefix,
    };
    #[pymodule_export]
    use crate::executor::{AttemptAssignment, Channel};

    #[pymodule_export]
    use crate::recorder::{ArenaStore, DisabledRecorder, Done, MetricRules, Recorder, Timer, open_recorder};

    #[pymodule_export]
    use crate::settings::{
        check_writable_root, kill_points, load_settings, parse_conductor, parse_days_seconds,
        parse_duration_seconds, parse_execution_mode_word, parse_lakefs, parse_metrics,
        parse_positive_integer, parse_size_bytes, read_dotenv_file, resolve_worker_id, settings_defaults,
        slot_environment,
    };

    #[pymodule_export]
    use crate::workspace::guardrail_violation;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods as _;
        crate::recorder::install(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
