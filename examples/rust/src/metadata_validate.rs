//! `metadata.validate`: refuse a recording that the pipeline cannot use, before anything costs time.

use perago::{Metrics, TaskError, Workspace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recording::{RECORDING, WavHeader, read_header, rounded};

/// What is demanded of the recording.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ValidateMetadataParams {
    #[serde(default = "one_second")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    min_duration_seconds: f64,
}

fn one_second() -> f64 {
    1.0
}

/// The facts of a recording that passed.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ValidateMetadataResult {
    duration_seconds: f64,
    // As the `int` of the Python twin: an unsigned type would bring its bounds into the schema.
    sample_rate: i64,
    sample_count: i64,
    channels: i64,
}

/// Whether each check passed, and what to say if it did not.
fn checks(header: &WavHeader, min_duration_seconds: f64) -> [(bool, String); 4] {
    let (rate, seconds) = (header.sample_rate, header.seconds());
    [
        (header.channels == 1, format!("{} channels instead of one", header.channels)),
        (header.sample_bits == 16, format!("{}-bit samples instead of 16-bit ones", header.sample_bits)),
        ((8_000..=48_000).contains(&rate), format!("a sample rate of {rate} Hz")),
        (seconds >= min_duration_seconds, format!("{seconds:.2} s is shorter than {min_duration_seconds} s")),
    ]
}

/// Checks one recording.
#[perago::task(
    name = "metadata.validate",
    owner_email = "data@example.com",
    description = "Checks header, format and duration of a WAV file.",
    workspace(pre = [require_file("recording.wav")], read_only = true),
    metrics,
)]
pub(crate) fn validate_metadata(
    workspace: &Workspace,
    params: ValidateMetadataParams,
    metrics: &Metrics,
) -> Result<ValidateMetadataResult, TaskError> {
    let timer = metrics.timer("metadata_lookup", &[("source", "wav_header")]);
    let header = read_header(&workspace.file(RECORDING)?)?;
    drop(timer);
    let checked = checks(&header, params.min_duration_seconds);
    metrics.histogram("checked_items", checked.len(), &[]);
    let faults: Vec<&str> =
        checked.iter().filter(|(passed, _)| !passed).map(|(_, fault)| fault.as_str()).collect();
    if !faults.is_empty() {
        return Err(TaskError::terminal(format!("{RECORDING}: {}", faults.join("; "))));
    }
    Ok(ValidateMetadataResult {
        duration_seconds: rounded(header.seconds(), 2),
        sample_rate: header.sample_rate.into(),
        sample_count: header.sample_count.into(),
        channels: header.channels.into(),
    })
}
