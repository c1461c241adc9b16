//! `audio.transcribe`: write down the melody of a recording that plays one detached note after another.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

use perago::{Metrics, TaskError, Workspace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features_build::FEATURES;
use crate::recording::{
    RECORDING, amplitude, frame_levels, frequency_of, hann, largest, note_name, read_recording, rounded,
};

const FRAMES_PER_SECOND: usize = 200;
const SHORTEST_NOTE_SECONDS: f64 = 0.03;
const ATTACK_SECONDS: f64 = 0.01;
const LISTEN_SECONDS: f64 = 0.1;
const KEYS: Range<i32> = 48..85;
/// Keys above the ground tone at which its second and third harmonic lie, and what they count for.
const HARMONICS: [(i32, f64); 2] = [(12, 1.0 / 2.0), (19, 1.0 / 3.0)];

/// How to listen.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct TranscribeParams {
    /// Below this share of the loudest level is silence.
    #[serde(default = "tenth")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    silence_share: f64,
}

fn tenth() -> f64 {
    0.1
}

/// One note.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Note {
    name: String,
    start_seconds: f64,
    seconds: f64,
}

/// The melody, as text and as notes with their times.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Transcript {
    melody: String,
    notes: Vec<Note>,
}

/// What this task reads of the features.
#[derive(Deserialize)]
struct Features {
    loudest_level: f64,
}

/// Where at least `shortest` frames reach the threshold.
fn sounding(levels: &[f64], threshold: f64, shortest: usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let mut begin = None;
    for (index, is_loud) in levels.iter().map(|level| *level >= threshold).chain([false]).enumerate() {
        match (begin, is_loud) {
            (None, true) => begin = Some(index),
            (Some(first), false) => {
                chunks.push(first..index);
                begin = None;
            }
            _ => {}
        }
    }
    chunks.retain(|chunk| chunk.len() >= shortest);
    chunks
}

/// The key whose ground tone and harmonics are strongest.
fn pitch(samples: &[i16], sample_rate: usize) -> Option<i32> {
    let faded = hann(samples);
    let reach = HARMONICS.iter().map(|(offset, _)| *offset).max().unwrap_or_default();
    let audible = |key: &i32| frequency_of(f64::from(*key)) < sample_rate as f64 / 2.0;
    let strength: BTreeMap<i32, f64> = (KEYS.start..KEYS.end + reach)
        .filter(audible)
        .map(|key| (key, amplitude(&faded, sample_rate, frequency_of(f64::from(key)))))
        .collect();
    let of = |key: i32| strength.get(&key).copied().unwrap_or_default();
    let salience =
        |key: i32| of(key) + HARMONICS.iter().map(|(offset, weight)| weight * of(key + offset)).sum::<f64>();
    largest(KEYS.filter(|key| strength.contains_key(key)), salience)
}

/// Transcribes one recording, with the features that the task before has published.
#[perago::task(
    name = "audio.transcribe",
    owner_email = "data@example.com",
    description = "Writes down the melody of a WAV file.",
    workspace(pre = [require_file("recording.wav"), require_file("features.json")], read_only = true),
    metrics,
)]
pub(crate) fn transcribe(
    workspace: &Workspace,
    params: TranscribeParams,
    metrics: &Metrics,
) -> Result<Transcript, TaskError> {
    let features: Features = serde_json::from_slice(&fs::read(workspace.file(FEATURES)?)?)?;
    if features.loudest_level == 0.0 {
        return Ok(Transcript { melody: String::new(), notes: Vec::new() });
    }
    let recording = read_recording(&workspace.file(RECORDING)?)?;
    let rate = recording.sample_rate;
    let frame_length = rate / FRAMES_PER_SECOND;
    let levels = frame_levels(&recording.samples, frame_length);
    let shortest = (SHORTEST_NOTE_SECONDS * FRAMES_PER_SECOND as f64) as usize;
    let chunks = sounding(&levels, params.silence_share * features.loudest_level, shortest);
    metrics.histogram("audio_chunks", chunks.len(), &[("stage", "decode"), ("format", "wav")]);

    let model_call = metrics.bind_timer("model_call", &[("provider", "goertzel")]);
    let samples_of = |seconds: f64| (seconds * rate as f64) as usize;
    let mut notes = Vec::new();
    for chunk in chunks {
        let (begin, end) = (chunk.start * frame_length, chunk.end * frame_length);
        let listen_from = begin + samples_of(ATTACK_SECONDS);
        let heard = &recording.samples[listen_from..end.min(listen_from + samples_of(LISTEN_SECONDS))];
        let timer = model_call.start();
        let key = pitch(heard, rate).ok_or("the sample rate is too low for any note")?;
        drop(timer);
        notes.push(Note {
            name: note_name(key),
            start_seconds: rounded(begin as f64 / rate as f64, 3),
            seconds: rounded((end - begin) as f64 / rate as f64, 3),
        });
    }
    let notes_per_second = (notes.len() * rate) as f64 / recording.samples.len().max(1) as f64;
    metrics.gauge("notes_per_second", rounded(notes_per_second, 2), &[]);
    let names: Vec<&str> = notes.iter().map(|note| note.name.as_str()).collect();
    Ok(Transcript { melody: names.join(" "), notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_enough_sound_counts() {
        let levels = [0.0, 0.5, 0.5, 0.0, 0.9, 0.0, 0.7, 0.7];
        assert_eq!(sounding(&levels, 0.4, 2), [1..3, 6..8]);
        assert!(sounding(&[], 0.4, 1).is_empty());
    }
}
