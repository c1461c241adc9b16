//! A task whose body does what its parameters say: the twin of `tests/worker/modules/scenario.py`.

#![expect(clippy::exit, clippy::print_stderr, clippy::print_stdout, reason = "what the suites ask of a body")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use perago::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Params {
    #[serde(default = "echo_action")]
    action: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    number: i64,
    #[serde(default)]
    folder: PathBuf,
}

fn echo_action() -> String {
    "echo".to_owned()
}

#[derive(Default, Serialize, JsonSchema)]
struct Output {
    text: String,
    number: f64,
    environment: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Silent;

impl std::fmt::Display for Silent {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Silent {}

/// Says that the body runs, and where: whoever sees the file sees all of it.
fn say_started(folder: &Path) -> io::Result<()> {
    let part = folder.join("started.part");
    fs::write(&part, process::id().to_string())?;
    fs::rename(part, folder.join("started"))
}

/// Says that the body runs, and waits until the test lets it go on.
fn gate(folder: &Path) -> io::Result<()> {
    say_started(folder)?;
    while !folder.join("go").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The same, ending as soon as it is told to stop.
fn gate_until_cancelled(folder: &Path) -> Result<(), TaskError> {
    say_started(folder)?;
    let cancellation = perago::cancellation();
    while !folder.join("go").exists() {
        cancellation.sleep(Duration::from_millis(10))?;
    }
    Ok(())
}

/// A program that leaves our process group and session.
fn apart(program: &str) -> Command {
    let mut command = Command::new(program);
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    command
}

/// Starts a program that leaves our process group and session and would run for long.
fn start_child(folder: &Path) -> io::Result<()> {
    let child = apart("sleep").arg("600").spawn()?;
    fs::write(folder.join("child"), child.id().to_string())
}

/// Waits for good, whatever it is told.
fn block(folder: &Path) -> io::Result<()> {
    say_started(folder)?;
    loop {
        thread::park();
    }
}

/// Takes so many bytes and never gives them back.
fn leak(folder: &Path, bytes: usize) -> io::Result<()> {
    for _ in 0..bytes / 1_000_000 {
        // An optimiser leaves out what nobody looks at.
        std::mem::forget(std::hint::black_box(vec![b'x'; 1_000_000]));
    }
    block(folder)
}

/// Holds so many bytes, half of them in a program that leaves our process group and session.
fn hold_memory(folder: &Path, bytes: usize) -> io::Result<()> {
    let held = vec![b'x'; bytes / 2];
    // It keeps what may turn out to be the last lines.
    let mut child = apart("tail").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    input.write_all(&held)?;
    fs::write(folder.join("child"), child.id().to_string())?;
    gate(folder)?;
    drop((held, input));
    Ok(())
}

fn abort() -> io::Result<()> {
    io::stderr().write_all(b"last words\n")?;
    process::abort();
}

/// Writes, once told to stop, that there was time to clean up.
fn clean_up(folder: &Path) -> Result<(), TaskError> {
    let waited = gate_until_cancelled(folder);
    thread::sleep(Duration::from_millis(200));
    fs::write(folder.join("cleaned"), process::id().to_string())?;
    waited
}

fn die_of_signal(number: i32) {
    // SAFETY: what the test asks for.
    unsafe {
        if number == libc::SIGSEGV {
            std::ptr::null_mut::<u8>().write_volatile(0);
        }
        libc::raise(number);
        libc::pause();
    }
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn overflow(depth: u64) -> u64 {
    std::hint::black_box([depth; 64]);
    std::hint::black_box(overflow(depth + 1)) + 1
}

/// Takes memory until there is none.
fn take_memory() {
    let group = PathBuf::from(env::var_os("SUITE_CGROUP").unwrap_or_default());
    let mut taken = Vec::new();
    while group.exists() {
        taken.push(std::hint::black_box(vec![b'x'; 1_000_000]));
    }
}

fn write_log(text: &str) -> io::Result<()> {
    println!("printed {text}");
    eprintln!("to stderr {text}");
    let span = tracing::info_span!("render", song = 7);
    span.in_scope(|| tracing::warn!(target: "author", colour = "blue", "logged {text}"));
    tracing::debug!("not seen by default");
    Command::new("sh")
        .args(["-c", &format!("echo from a program {text}; echo its error {text} >&2")])
        .status()?;
    print!("no line end");
    io::stdout().flush()
}

fn environment() -> BTreeMap<String, String> {
    let names = ["PERAGO_WORKER_ID", "PERAGO_SLOT", "PERAGO_SLOTS"];
    names.iter().filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?))).collect()
}

#[perago::task(name = env::var("SUITE_TASK").unwrap_or_else(|_| "suite.scenario".to_owned()), owner_email = "tests@example.com")]
fn scenario(params: Params) -> Result<Output, TaskError> {
    let Params { action, text, number, folder } = params;
    let whole = |number: i64| usize::try_from(number).unwrap_or_default();
    match action.as_str() {
        "echo" => return Ok(Output { text, number: number as f64, ..Output::default() }),
        "gate" => gate(&folder)?,
        "child" => {
            start_child(&folder)?;
            gate(&folder)?;
        }
        "clean" => clean_up(&folder)?,
        "swallow" => match gate_until_cancelled(&folder) {
            Ok(()) => {}
            Err(error) => fs::write(folder.join("caught"), error.reason())?,
        },
        "native" => {
            say_started(&folder)?;
            loop {
                std::hint::spin_loop();
            }
        }
        "block" => block(&folder)?,
        "memory" => take_memory(),
        "leak" => leak(&folder, whole(number))?,
        "hold" => hold_memory(&folder, whole(number))?,
        "abort" => abort()?,
        "leave" => {
            start_child(&folder)?;
            abort()?;
        }
        "thread" => {
            thread::spawn(|| thread::sleep(Duration::from_secs(600)));
        }
        "sleep" => thread::sleep(Duration::from_secs(number.unsigned_abs())),
        "spin" => {
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(number.unsigned_abs()) {}
        }
        "failed" => return Err(TaskError::failed(text)),
        "terminal" => return Err(TaskError::terminal(text)),
        "raise" => return Err(text.into()),
        "io" => {
            fs::read(folder.join("missing"))?;
        }
        "silent" => return Err(Silent.into()),
        "panic" => panic!("{text}"),
        "overflow" => return Ok(Output { number: overflow(0) as f64, ..Output::default() }),
        "nan" => return Ok(Output { number: f64::NAN, ..Output::default() }),
        "large" => return Ok(Output { text: "x".repeat(whole(number)), ..Output::default() }),
        "log" => write_log(&text)?,
        "flood" => {
            for line in 0..number {
                println!("line {line} {}", "y".repeat(100));
            }
        }
        "exit" => {
            eprintln!("last words");
            process::exit(i32::try_from(number)?);
        }
        "_exit" => {
            io::stderr().write_all(b"last words\n")?;
            // SAFETY: what the test asks for.
            unsafe { libc::_exit(i32::try_from(number)?) }
        }
        "signal" => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            fs::write(folder.join("died"), now.as_secs_f64().to_string())?;
            die_of_signal(i32::try_from(number)?);
        }
        "environment" => {
            return Ok(Output {
                environment: environment(),
                number: f64::from(process::id()),
                ..Output::default()
            });
        }
        _ => {}
    }
    Ok(Output { text, ..Output::default() })
}

perago::main!(scenario);
