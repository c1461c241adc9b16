//! Tasks of every shape: with a state, awaited, with metrics, in a workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use perago::{Metrics, TaskError, Workspace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Counted {
    process: u32,
    bodies: u64,
}

/// Built once an executor.
struct Counting {
    process: u32,
    bodies: AtomicU64,
}

#[perago::task(name = "suite.counting", owner_email = "tests@example.com", metrics(workspace_io = false))]
impl Counting {
    async fn new() -> Result<Self, std::io::Error> {
        if let Some(reason) = std::env::var_os("SUITE_REFUSES") {
            return Err(std::io::Error::other(reason.to_string_lossy().into_owned()));
        }
        tokio::task::yield_now().await;
        Ok(Self { process: std::process::id(), bodies: AtomicU64::new(0) })
    }

    async fn run(&self, _params: Nothing, metrics: &Metrics) -> Result<Counted, TaskError> {
        let bodies = tokio::spawn({
            let bodies = self.bodies.fetch_add(1, Ordering::Relaxed) + 1;
            async move { bodies }
        });
        let bodies = bodies.await?;
        metrics.histogram("bodies", bodies, &[("shape", "state")]);
        Ok(Counted { process: self.process, bodies })
    }
}

#[derive(Deserialize, JsonSchema)]
struct Meeting {
    folder: PathBuf,
}

#[derive(Serialize, JsonSchema)]
struct Waited {
    minutes: u64,
}

/// Says that a body was dropped.
struct Dropped(PathBuf);

impl Drop for Dropped {
    fn drop(&mut self) {
        // A test that does not see the file says so.
        let _ = fs::write(self.0.join("dropped"), "");
    }
}

#[perago::task(name = "suite.waiting", owner_email = "tests@example.com")]
async fn waiting(params: Meeting) -> Result<Waited, std::io::Error> {
    let _dropped = Dropped(params.folder.clone());
    fs::write(params.folder.join("started"), std::process::id().to_string())?;
    tokio::time::sleep(Duration::from_secs(600)).await;
    Ok(Waited { minutes: 10 })
}

#[derive(Deserialize, JsonSchema)]
struct Note {
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct Written {
    bytes: usize,
}

#[perago::task(
    name = "suite.writing",
    owner_email = "tests@example.com",
    workspace(prefix = "notes", pre = [require_file("seed.txt")], post = [forbid_glob("*.tmp")]),
    strict_params = true,
)]
fn writing(workspace: Workspace, params: Note) -> Result<Written, Box<dyn std::error::Error + Send + Sync>> {
    fs::write(workspace.file("note.txt")?, &params.text)?;
    if params.text.is_empty() {
        fs::write(workspace.file("left.tmp")?, "")?;
    }
    Ok(Written { bytes: params.text.len() })
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Codec {
    #[default]
    Wav,
    Flac,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "read and judged alone")]
struct Track {
    #[serde(default)]
    #[schemars(range(min = -60), extend("exclusiveMaximum" = 12, "multipleOf" = 0.5))]
    gain: f64,
    #[schemars(extend("const" = "stem"))]
    kind: String,
}

fn one() -> i64 {
    1
}

/// What each kind of constraint refuses: the twin of `tests/worker/modules/bounded.py`.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "read and judged alone")]
struct Bounded {
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 9))]
    count: i64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    pan: i8,
    #[serde(default)]
    #[schemars(length(max = 5), regex(pattern = "^[a-zäöü]*$"))]
    title: String,
    #[serde(default)]
    #[schemars(length(max = 2), inner(length(min = 1)))]
    tags: Vec<String>,
    #[serde(default)]
    #[schemars(extend("maxProperties" = 2, "additionalProperties" = {"minimum": 0, "type": "integer"}))]
    weights: BTreeMap<String, i64>,
    #[serde(default)]
    #[schemars(length(max = 2))]
    marks: BTreeSet<i64>,
    #[serde(default)]
    codec: Codec,
    track: Option<Track>,
    #[schemars(range(min = 3))]
    depth: Option<i64>,
}

#[perago::task(name = std::env::var("SUITE_TASK").unwrap_or_else(|_| "suite.bounded".to_owned()), owner_email = "tests@example.com")]
fn bounded(_params: Bounded) -> Result<Done, TaskError> {
    Ok(Done {})
}

#[derive(Serialize, JsonSchema)]
struct Done {}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "never read")]
struct Unusable {
    #[schemars(regex(pattern = "^(?=a)"))]
    text: String,
}

#[perago::task(name = "suite.unusable", owner_email = "tests@example.com")]
fn unusable(_params: Unusable) -> Result<Done, TaskError> {
    Ok(Done {})
}

perago::main!(Counting, waiting, writing, bounded, unusable);
