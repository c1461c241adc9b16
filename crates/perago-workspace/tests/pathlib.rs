//! Patterns mean what `pathlib.Path.glob` means, in each dialect: asked of the interpreters that `PERAGO_TEST_PYTHONS`
//! names, separated by colons, or of `python3`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use perago_workspace::{GlobDialect, count_matches};
use proptest::prelude::*;

/// Says its version, then how many paths each pattern matches: one line for the directory, one for the pattern.
const PROGRAM: &str = "
import pathlib, sys
print(*sys.version_info[:3], flush=True)
while root := sys.stdin.readline().rstrip('\\n'):
    pattern = sys.stdin.readline().rstrip('\\n')
    print(len(set(pathlib.Path(root).glob(pattern))), flush=True)
";

struct Interpreter {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    version: Vec<u32>,
}

impl Interpreter {
    fn start(command: &str) -> Option<Self> {
        let arguments = ["-X", "utf8", "-c", PROGRAM];
        let started =
            Command::new(command).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.ok()?;
        let input = child.stdin.take()?;
        let output = BufReader::new(child.stdout.take()?);
        let mut interpreter = Self { child, input, output, version: Vec::new() };
        let version = interpreter.line();
        interpreter.version = version.split(' ').map(|part| part.parse().unwrap()).collect();
        Some(interpreter)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn count(&mut self, root: &Path, pattern: &str) -> usize {
        writeln!(self.input, "{}\n{pattern}", root.display()).unwrap();
        self.line().parse().unwrap()
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn name() -> impl Strategy<Value = String> {
    "[ab.ä\\[\\]! 1^*?-]{1,4}"
        .prop_filter("a file system has no such name", |name| name != "." && name != "..")
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("**".to_owned()),
        2 => Just("*".to_owned()),
        3 => name().prop_filter("only a whole segment may be recursive", |name| !name.contains("**")),
        2 => "[ab*?.1]{0,2}\\[[ab!\\]^1&~|\\[-]{0,5}\\]".prop_filter("as above", |name| !name.contains("**")),
    ]
}

/// Makes a file with the directories above it, unless a file is in the way.
fn plant(root: &Path, path: &[String]) {
    let (file, above) = path.split_last().unwrap();
    let directory = above.iter().fold(root.to_owned(), |directory, name| directory.join(name));
    if std::fs::create_dir_all(&directory).is_ok() && !directory.join(file).exists() {
        std::fs::write(directory.join(file), b"").unwrap();
    }
}

#[test]
fn a_pattern_matches_what_pathlib_finds() {
    let interpreters: Vec<Interpreter> = match std::env::var("PERAGO_TEST_PYTHONS") {
        Ok(named) => named.split(':').map(|command| Interpreter::start(command).expect(command)).collect(),
        Err(_) => Interpreter::start("python3").into_iter().collect(),
    };
    if interpreters.is_empty() {
        eprintln!("pathlib: NOT RUN, there is no python3");
    }
    let interpreters = RefCell::new(interpreters);
    let tree = prop::collection::vec(prop::collection::vec(name(), 1..5), 0..8);
    let pattern = prop::collection::vec(segment(), 1..5).prop_map(|segments| segments.join("/"));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(tree in tree, pattern in pattern)| {
        let folder = tempfile::tempdir().unwrap();
        for path in &tree {
            plant(folder.path(), path);
        }
        for interpreter in interpreters.borrow_mut().iter_mut() {
            let wanted = interpreter.count(folder.path(), &pattern);
            let dialect = GlobDialect::of_python(interpreter.version[0], interpreter.version[1]);
            prop_assert_eq!(
                count_matches(folder.path(), &pattern, dialect), wanted, "Python {:?}", interpreter.version
            );
        }
    });
}
