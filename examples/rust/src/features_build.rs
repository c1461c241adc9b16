//! `features.build`: measure how loud, bright and high a recording is, and add that to its workspace.

use std::fs;

use perago::{Metrics, TaskError, Workspace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recording::{
    RECORDING, Recording, amplitude, frame_levels, frequency_of, hann, largest, read_recording, rounded,
};

/// Name of the file that this task adds.
pub(crate) const FEATURES: &str = "features.json";

const FRAMES_PER_SECOND: usize = 100;
const PEAK_KEYS: std::ops::Range<i32> = 36..97;
const CENTS_PER_KEY: i32 = 100;
const PEAK_STEP_CENTS: i32 = 5;

/// How to measure.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct BuildFeaturesParams {
    /// Length of the loudest moment.
    #[serde(default = "tenth_of_a_second")]
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    peak_window_seconds: f64,
}

fn tenth_of_a_second() -> f64 {
    0.1
}

/// The features that one number tells.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct BuildFeaturesResult {
    /// Frames of 10 ms.
    frames: i64,
    /// Level of the loudest frame, 0 to 1.
    loudest_level: f64,
    /// Mean level below full scale.
    mean_decibels: f64,
    /// Changes of sign per second.
    zero_crossing_rate: f64,
    /// Strongest frequency of the loudest moment.
    spectral_peak_hertz: f64,
}

/// Everything that the next task reads from the workspace.
#[derive(Serialize)]
struct Features {
    #[serde(flatten)]
    result: BuildFeaturesResult,
    levels: Vec<f64>,
}

/// How often per second the signal changes its sign.
fn zero_crossing_rate(recording: &Recording) -> f64 {
    let samples = &recording.samples;
    let crossings = samples.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
    (crossings * recording.sample_rate) as f64 / samples.len().max(1) as f64
}

/// The strongest frequency in hertz: by keys first, then between them in steps of five cents.
fn spectral_peak(samples: &[i16], sample_rate: usize) -> f64 {
    let faded = hann(samples);
    let strength = |key: f64| amplitude(&faded, sample_rate, frequency_of(key));
    let nearest = largest(PEAK_KEYS.map(f64::from), strength).unwrap_or_default();
    let cents = (-CENTS_PER_KEY / 2..=CENTS_PER_KEY / 2).step_by(PEAK_STEP_CENTS as usize);
    let between = cents.map(|offset| nearest + f64::from(offset) / f64::from(CENTS_PER_KEY));
    frequency_of(largest(between, strength).unwrap_or(nearest))
}

/// Measures one recording.
#[perago::task(
    name = "features.build",
    owner_email = "data@example.com",
    description = "Measures level, zero crossings and spectral peak of a WAV file.",
    workspace(pre = [require_file("recording.wav")], post = [require_file("features.json")]),
    metrics,
)]
pub(crate) fn build_features(
    workspace: &Workspace,
    params: BuildFeaturesParams,
    metrics: &Metrics,
) -> Result<BuildFeaturesResult, TaskError> {
    let recording = read_recording(&workspace.file(RECORDING)?)?;
    let rate = recording.sample_rate;
    metrics.histogram("input_files", 1, &[]);

    let timer = metrics.timer("feature_pass", &[("feature", "level")]);
    let levels = frame_levels(&recording.samples, rate / FRAMES_PER_SECOND);
    drop(timer);
    // Looked up once: each sample then costs a few nanoseconds.
    let frame_level = metrics.bind_histogram("frame_level", &[]);
    for level in &levels {
        frame_level.record(*level);
    }

    let timer = metrics.timer("feature_pass", &[("feature", "zero_crossings")]);
    let crossings = zero_crossing_rate(&recording);
    drop(timer);

    let timer = metrics.timer("feature_pass", &[("feature", "spectrum")]);
    let loudest =
        largest(0..levels.len(), |frame| levels[frame]).ok_or("the recording has no whole frame")?;
    let moment = &recording.samples[loudest * rate / FRAMES_PER_SECOND..];
    let window = (params.peak_window_seconds * rate as f64) as usize;
    let peak = spectral_peak(&moment[..window.min(moment.len())], rate);
    drop(timer);

    let mean_power = levels.iter().map(|level| level * level).sum::<f64>() / levels.len() as f64;
    let result = BuildFeaturesResult {
        frames: levels.len() as i64,
        loudest_level: rounded(levels[loudest], 4),
        mean_decibels: rounded(10.0 * mean_power.max(1e-12).log10(), 1),
        zero_crossing_rate: rounded(crossings, 1),
        spectral_peak_hertz: rounded(peak, 1),
    };
    let levels = levels.iter().map(|level| rounded(*level, 4)).collect();
    let features = Features { result: result.clone(), levels };
    fs::write(workspace.file(FEATURES)?, serde_json::to_string(&features)?)?;
    Ok(result)
}
