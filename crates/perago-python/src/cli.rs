//! The command line, started by the console script.

use std::ffi::OsString;
use std::sync::Arc;

use perago::{DemoMaterial, GlobDialect, Host, Targets};
use perago_worker::executor::launch::ExecutorProgram;
use pyo3::prelude::*;

use crate::interpreter::PythonInterpreter;

/// Makes an executor of an interpreter. The current directory, which `-c` puts first on the module path, is taken
/// off again before anything of ours is imported; the executor appends it.
const EXECUTOR: &str =
    "import sys; sys.path[:1] == [''] and sys.path.pop(0); from perago._executor import main; main()";

/// Starts the command line again, as `python -m perago` would, with the same care for the module path.
const COMMAND: &str = "import sys; sys.path[:1] == [''] and sys.path.pop(0); from perago.__main__ import main; sys.exit(main())";

/// Plays the demo's songs.
const SONGS: &str =
    "import sys; sys.path[:1] == [''] and sys.path.pop(0); from perago.demo.songs import main; main()";

/// Runs one command line and returns its exit code.
///
/// `arguments` begins with the program's name; `interpreter` is the path of the interpreter that executors use.
#[pyfunction]
pub fn run_command_line(py: Python<'_>, arguments: Vec<OsString>, interpreter: &str) -> u8 {
    // Python's handler would only set a flag that nobody looks at while Rust runs.
    // SAFETY: sets the default action of one signal; no handler of ours is installed yet.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
    }
    let program = |code: &str| ExecutorProgram {
        program: interpreter.to_owned(),
        arguments: vec!["-c".to_owned(), code.to_owned()],
        code: None,
    };
    let demo =
        DemoMaterial { command: program(COMMAND), songs: program(SONGS), package: "perago.demo".to_owned() };
    let version = py.version_info();
    let glob_dialect = GlobDialect::of_python(version.major.into(), version.minor.into());
    let host = Host {
        executor: program(EXECUTOR),
        interpreter: Arc::new(PythonInterpreter::default()),
        targets: Targets::Modules,
        glob_dialect,
        demo: Some(demo),
    };
    py.detach(|| perago::run(arguments, &host)).code()
}
