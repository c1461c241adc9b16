//! `melody.recognise`: a task with a state. The songbook is read once an executor and used for every attempt.

use std::env;
use std::fs;

use perago::{Metrics, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recording::key_of;

const SONGBOOK: &str = include_str!("../songbook.txt");

/// Tunes by the steps between their notes, which are the same in every key.
pub(crate) struct Songbook {
    tunes: Vec<(String, Vec<i32>)>,
}

/// A melody as `audio.transcribe` writes it.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Melody {
    melody: String,
}

/// What it was recognised as.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Recognised {
    /// Nothing for a melody that is not in the songbook.
    title: Option<String>,
}

/// The steps between the notes of a melody.
fn steps(melody: &str) -> Result<Vec<i32>, TaskError> {
    let key = |name: &str| key_of(name).ok_or_else(|| TaskError::terminal(format!("{name:?} is no note")));
    let keys = melody.split_whitespace().map(key).collect::<Result<Vec<i32>, _>>()?;
    Ok(keys.windows(2).map(|pair| pair[1] - pair[0]).collect())
}

#[perago::task(
    name = "melody.recognise",
    owner_email = "data@example.com",
    description = "Names a melody, whatever its key.",
    metrics
)]
impl Songbook {
    /// Reads the songbook: a title and notes a line. An error keeps the worker from starting.
    fn new() -> Result<Self, TaskError> {
        let text = match env::var_os("SONGBOOK") {
            Some(path) => fs::read_to_string(path)?,
            None => SONGBOOK.to_owned(),
        };
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let tunes = lines.map(|(title, notes)| Ok((title.to_owned(), steps(notes)?)));
        Ok(Self { tunes: tunes.collect::<Result<_, TaskError>>()? })
    }

    fn run(&self, params: Melody, metrics: &Metrics) -> Result<Recognised, TaskError> {
        let wanted = steps(&params.melody)?;
        let found = self.tunes.iter().find(|(_, tune)| *tune == wanted);
        metrics.histogram("known_tunes", self.tunes.len(), &[]);
        Ok(Recognised { title: found.map(|(title, _)| title.clone()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state and its body are plain Rust: no worker is needed to test them.
    fn named(melody: &str) -> Result<Option<String>, TaskError> {
        let params = Melody { melody: melody.to_owned() };
        Ok(Songbook::new()?.run(params, &Metrics::disabled())?.title)
    }

    #[test]
    fn a_tune_is_known_in_every_key() {
        for melody in
            ["C4 D4 E4 C4 C4 D4 E4 C4 E4 F4 G4 E4 F4 G4", "D4 E4 F#4 D4 D4 E4 F#4 D4 F#4 G4 A4 F#4 G4 A4"]
        {
            assert_eq!(named(melody).unwrap().as_deref(), Some("Frère Jacques"));
        }
        assert_eq!(named("C4 C4").unwrap(), None);
        assert!(named("C4 H4").unwrap_err().is_terminal());
    }
}
