//! Reading a WAV file, and the little signal arithmetic that the tasks share.

use std::f64::consts::PI;
use std::path::Path;

use perago::TaskError;

/// Name of the recording in a workspace.
pub(crate) const RECORDING: &str = "recording.wav";

/// The magnitude of the loudest 16-bit sample.
const FULL_SCALE: f64 = 32_768.0;
const CONCERT_PITCH_HERTZ: f64 = 440.0;
const CONCERT_PITCH_KEY: i32 = 69;
const KEYS_PER_OCTAVE: i32 = 12;
const NAMES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];

/// What the header of a WAV file says.
pub(crate) struct WavHeader {
    /// Channels.
    pub(crate) channels: u16,
    /// Bits of one sample.
    pub(crate) sample_bits: u16,
    /// Samples a second.
    pub(crate) sample_rate: u32,
    /// Samples of one channel.
    pub(crate) sample_count: u32,
}

impl WavHeader {
    /// The duration.
    pub(crate) fn seconds(&self) -> f64 {
        f64::from(self.sample_count) / f64::from(self.sample_rate)
    }
}

/// One channel of 16-bit samples.
pub(crate) struct Recording {
    /// Samples a second.
    pub(crate) sample_rate: usize,
    /// The samples.
    pub(crate) samples: Vec<i16>,
}

/// Reads the header of a WAV file. Its errors are final: another attempt would find the same.
pub(crate) fn read_header(path: &Path) -> Result<WavHeader, TaskError> {
    let reader = hound::WavReader::open(path).map_err(|error| unreadable(path, &error))?;
    let spec = reader.spec();
    Ok(WavHeader {
        channels: spec.channels,
        sample_bits: spec.bits_per_sample,
        sample_rate: spec.sample_rate,
        sample_count: reader.duration(),
    })
}

/// Reads all samples of a WAV file with one channel of 16-bit samples. Its errors are final.
pub(crate) fn read_recording(path: &Path) -> Result<Recording, TaskError> {
    let mut reader = hound::WavReader::open(path).map_err(|error| unreadable(path, &error))?;
    let spec = reader.spec();
    if (spec.channels, spec.bits_per_sample) != (1, 16) {
        return Err(TaskError::terminal(format!(
            "{}: one channel of 16-bit samples is needed, not {} channels of {}-bit samples",
            name(path),
            spec.channels,
            spec.bits_per_sample
        )));
    }
    let samples = reader.samples().collect::<Result<_, _>>().map_err(|error| unreadable(path, &error))?;
    Ok(Recording { sample_rate: spec.sample_rate as usize, samples })
}

fn unreadable(path: &Path, error: &hound::Error) -> TaskError {
    match error {
        hound::Error::IoError(error) if error.raw_os_error().is_some() => {
            TaskError::terminal(format!("{}: {error}", name(path)))
        }
        _ => TaskError::terminal(format!("{} is not a WAV file: {error}", name(path))),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The root mean square of some samples, 0 to 1.
pub(crate) fn level(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let power: i64 = samples.iter().map(|&sample| i64::from(sample) * i64::from(sample)).sum();
    (power as f64 / samples.len() as f64).sqrt() / FULL_SCALE
}

/// The level of each whole frame.
pub(crate) fn frame_levels(samples: &[i16], frame_length: usize) -> Vec<f64> {
    samples.chunks_exact(frame_length).map(level).collect()
}

/// Fades samples in and out, so that the cut does not look like sound.
pub(crate) fn hann(samples: &[i16]) -> Vec<f64> {
    let step = 2.0 * PI / samples.len().max(1) as f64;
    let faded = samples.iter().enumerate();
    faded.map(|(index, &sample)| f64::from(sample) * (0.5 - 0.5 * (step * index as f64).cos())).collect()
}

/// How much of one frequency (hertz) samples hold, by Goertzel's recurrence.
pub(crate) fn amplitude(samples: &[f64], sample_rate: usize, frequency: f64) -> f64 {
    let coefficient = 2.0 * (2.0 * PI * frequency / sample_rate as f64).cos();
    let (mut latest, mut before) = (0.0, 0.0);
    for sample in samples {
        (latest, before) = (sample + coefficient * latest - before, latest);
    }
    let power: f64 = latest * latest + before * before - coefficient * latest * before;
    power.max(0.0).sqrt() / samples.len().max(1) as f64
}

/// The frequency in hertz of a key of the keyboard, where 69 is A4 and an octave has 12.
pub(crate) fn frequency_of(key: f64) -> f64 {
    CONCERT_PITCH_HERTZ * 2_f64.powf((key - f64::from(CONCERT_PITCH_KEY)) / f64::from(KEYS_PER_OCTAVE))
}

/// The name of a key, such as `C4` or `F#5`.
pub(crate) fn note_name(key: i32) -> String {
    format!("{}{}", NAMES[key.rem_euclid(KEYS_PER_OCTAVE) as usize], key.div_euclid(KEYS_PER_OCTAVE) - 1)
}

/// The key that a name means, if it is one.
pub(crate) fn key_of(name: &str) -> Option<i32> {
    let (note, octave) = name.split_at_checked(name.len().checked_sub(1)?)?;
    let step = NAMES.iter().position(|known| *known == note)?;
    let octave: i32 = octave.parse().ok()?;
    Some(step as i32 + KEYS_PER_OCTAVE * (octave + 1))
}

/// A number with so many decimal places.
pub(crate) fn rounded(number: f64, places: i32) -> f64 {
    format!("{number:.*}", places as usize).parse().unwrap_or(number)
}

/// What is largest by its weight, the first of equals.
pub(crate) fn largest<T: Copy>(items: impl IntoIterator<Item = T>, weight: impl Fn(T) -> f64) -> Option<T> {
    let mut best: Option<(T, f64)> = None;
    for item in items {
        let weighed = weight(item);
        if best.is_none_or(|(_, heaviest)| weighed > heaviest) {
            best = Some((item, weighed));
        }
    }
    best.map(|(item, _)| item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names_and_names_have_keys() {
        for (key, name) in [(60, "C4"), (69, "A4"), (78, "F#5")] {
            assert_eq!((note_name(key).as_str(), key_of(name)), (name, Some(key)));
        }
        assert_eq!((key_of("H4"), key_of(""), key_of("ä")), (None, None, None));
    }

    #[test]
    fn the_frequency_that_sounds_is_the_strongest() {
        let tone: Vec<i16> =
            (0..1000).map(|at| (8000.0 * (2.0 * PI * 440.0 * f64::from(at) / 8000.0).sin()) as i16).collect();
        let faded = hann(&tone);
        let heard = largest(48..85, |key| amplitude(&faded, 8000, frequency_of(f64::from(key))));
        assert_eq!(heard.map(note_name).as_deref(), Some("A4"));
    }
}
