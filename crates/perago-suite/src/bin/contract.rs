//! The two example tasks of `tests/fixtures/examples` in Rust: the TaskDef of each is to be the same, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use perago::{Metrics, TaskError, Workspace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// enum docstring stays or goes?
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Codec {
    #[default]
    Wav,
    Flac,
}

// The docstring above is the model's in one example only.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "MixCodec")]
enum PlainCodec {
    #[default]
    Wav,
    Flac,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "MixTrack")]
#[expect(dead_code, reason = "declared only")]
struct MixTrack {
    /// Stable id.
    #[schemars(length(min = 1))]
    track_id: String,
    #[serde(default)]
    #[schemars(range(min = -60, max = 12))]
    gain: f64,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "declared only")]
struct MixParams {
    #[schemars(length(min = 1))]
    tracks: Vec<MixTrack>,
    #[serde(default)]
    codec: PlainCodec,
    seed: Option<i64>,
    #[serde(default)]
    extras: BTreeMap<String, i64>,
}

#[derive(Serialize, JsonSchema)]
struct MixOutput {
    files: u64,
}

#[perago::task(
    name = "demo.mix",
    owner_email = "ops@example.com",
    description = "Mix stems.",
    workspace(prefix = "/audio", pre = [require_glob("in/*.txt")]),
    metrics,
)]
fn mix(_workspace: &Workspace, params: MixParams, metrics: &Metrics) -> Result<MixOutput, TaskError> {
    metrics.histogram("tracks", params.tracks.len(), &[]);
    Ok(MixOutput { files: 0 })
}

/// A type with a schema of its own: what pydantic has types for and JSON has not.
macro_rules! described {
    ($name:ident, $is_inline:expr, $default:expr, $schema:tt) => {
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        struct $name(Value);

        impl Default for $name {
            fn default() -> Self {
                Self($default.into())
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                $is_inline
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

described!(Uuid, true, "", {"format": "uuid", "type": "string"});
described!(Moment, true, "", {"format": "date-time", "type": "string"});
described!(Day, true, "", {"format": "date", "type": "string"});
described!(Span, true, "PT5S", {"format": "duration", "type": "string"});
described!(Price, true, "1.5", {"anyOf": [{"type": "number"}, {"type": "string"}]});
described!(Place, true, "x", {"format": "path", "type": "string"});
described!(Level, false, 1, {"enum": [1, 2], "type": "integer"});
described!(Mode, true, "fast", {"enum": ["fast", "slow"], "type": "string"});

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Single {
    #[default]
    Only,
}

/// track docstring
#[derive(Serialize, Deserialize, JsonSchema)]
struct Track {
    id: Uuid,
    /// gain
    #[serde(default)]
    #[schemars(range(min = -60, max = 12))]
    gain_db: f64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 4))]
    tags: BTreeSet<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Cat {
    #[schemars(extend("const" = "cat"))]
    kind: String,
    #[serde(default = "nine")]
    lives: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Dog {
    #[schemars(extend("const" = "dog"))]
    kind: String,
    #[serde(default = "good")]
    good: bool,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(transform = tagged)]
enum Pet {
    Cat(Cat),
    Dog(Dog),
}

/// Names what tells the two apart, as pydantic does for a union with a discriminator.
fn tagged(schema: &mut schemars::Schema) {
    if let Some(variants) = schema.remove("anyOf") {
        schema.insert("oneOf".to_owned(), variants);
    }
    let mapping = serde_json::json!({"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"});
    schema
        .insert("discriminator".to_owned(), serde_json::json!({"mapping": mapping, "propertyName": "kind"}));
}

fn nine() -> i64 {
    9
}

fn good() -> bool {
    true
}

fn flac() -> Codec {
    Codec::Flac
}

fn pair() -> (i64, String) {
    (1, "a".to_owned())
}

fn step() -> i64 {
    2
}

/// params docstring
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "declared only")]
struct Params {
    #[schemars(title = "Shown title", length(min = 1, max = 40), regex(pattern = r"^[a-z]+$"), example = &"abc")]
    title: String,
    #[serde(default)]
    codec: Codec,
    #[serde(default)]
    level: Level,
    #[serde(default)]
    single: Single,
    /// doc on ref
    #[serde(default = "flac")]
    codec_documented: Codec,
    #[schemars(length(min = 1))]
    tracks: Vec<Track>,
    lead: Option<Track>,
    #[serde(default)]
    by_name: BTreeMap<String, Track>,
    #[serde(default)]
    counts: BTreeMap<String, i64>,
    #[serde(default)]
    free: Map<String, Value>,
    #[serde(default)]
    untyped: Map<String, Value>,
    anything: Option<Value>,
    pet: Pet,
    when: Moment,
    day: Option<Day>,
    #[serde(default)]
    span: Span,
    #[serde(default)]
    price: Price,
    #[serde(default = "pair")]
    pair: (i64, String),
    #[serde(default = "step")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 100, "multipleOf" = 2))]
    step: i64,
    #[serde(default, rename = "where")]
    place: Place,
    #[serde(default)]
    mode: Mode,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    name: String,
    size: u64,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    rows: Vec<Row>,
    #[serde(default)]
    meta: BTreeMap<String, Row>,
    note: Option<String>,
}

#[perago::task(
    name = "demo.render",
    owner_email = "ops@example.com",
    description = "Render demo.",
    workspace(
        prefix = " /audio/render ",
        pre = [require_file("in/a.txt"), require_dir("in"), require_glob("in/*.txt", min_count = 1, max_count = 9)],
        post = [forbid_glob("tmp/**")],
    ),
    metrics,
    controls(
        retry(count = 5, logic = "EXPONENTIAL_BACKOFF", delay_seconds = 7, max_delay_seconds = 90, jitter_ms = 250),
        timeout(policy = "RETRY", seconds = 3600, response_seconds = 50, poll_seconds = 30, total_seconds = 7200),
        limits(concurrent_exec_limit = 3, rate_limit_frequency_in_seconds = 10, rate_limit_per_frequency = 4),
        publish_budget(
            observed_merge_p99_seconds = 20,
            safety_margin_seconds = 10,
            lakefs_merge_timeout_seconds = 45,
            conductor_completion_timeout_seconds = 15,
            worker_shutdown_grace_seconds = 30,
            heartbeat_interval_seconds = 10,
        ),
    ),
)]
async fn render(_workspace: Workspace, _params: Params, metrics: Metrics) -> Result<Output, TaskError> {
    metrics.histogram("rows", 1, &[]);
    Ok(Output { rows: Vec::new(), meta: BTreeMap::new(), note: None })
}

perago::main!(mix, render);
