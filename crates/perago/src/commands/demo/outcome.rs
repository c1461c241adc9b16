//! What became of one song, in a line a task and a few a commit.

use perago_conductor::Task;
use serde_json::Value;

use super::internal;
use super::prepare::SongFile;
use super::store::{self, HistoryEntry, REPOSITORY};
use super::style::Style;
use crate::failure::Failure;

/// Width of the longest task name.
const NAME_WIDTH: usize = 17;
/// Decimal places of numbers.
const PLACES: i32 = 2;

/// A song whose workflow is complete.
#[derive(Debug)]
pub(super) struct Song {
    title: String,
    /// Where its commits are, as lakeFS writes it.
    place: String,
    tasks: Vec<TaskOutcome>,
    history: Vec<HistoryEntry>,
}

#[derive(Debug)]
struct TaskOutcome {
    name: String,
    queued_milliseconds: i64,
    run_milliseconds: i64,
    result: Vec<(String, String)>,
}

impl Song {
    /// Reads the tasks of a completed run; `history` is what was committed to the song's branch.
    pub fn new(song: &SongFile, tasks: &[Task], history: Vec<HistoryEntry>) -> Result<Self, Failure> {
        let tasks = tasks.iter().map(TaskOutcome::new).collect::<Result<_, _>>()?;
        let place = format!("lakefs://{REPOSITORY}/{}", song.song_id);
        Ok(Self { title: song.title.clone(), place, tasks, history })
    }

    /// The title, then a line a task: phases with durations, result; then commits and what they changed.
    pub fn lines(&self, style: Style) -> String {
        let mut lines = vec![format!("\n♪ {}  {}", style.bold(&self.title), style.dim(&self.place))];
        lines.extend(self.tasks.iter().map(|task| {
            let result: Vec<String> =
                task.result.iter().map(|(name, value)| format!("{} {value}", style.dim(name))).collect();
            format!(
                "  {} {}  {}",
                style.name(&format!("{:NAME_WIDTH$}", task.name)),
                style.dim(&format!(
                    "queued {:>4} ms  run {:>4} ms",
                    task.queued_milliseconds, task.run_milliseconds
                )),
                result.join("  ")
            )
        }));
        if !self.history.is_empty() {
            lines.push(store::lines(&self.history, style));
        }
        lines.join("\n")
    }
}

impl TaskOutcome {
    fn new(task: &Task) -> Result<Self, Failure> {
        let output: Value = serde_json::from_str(task.output_data.get()).map_err(internal)?;
        let result = output
            .get("result")
            .and_then(Value::as_object)
            .ok_or_else(|| internal(format!("{} has no result although it is complete", task.task_type)))?;
        Ok(Self {
            name: task.task_type.clone(),
            queued_milliseconds: task.start_time - task.scheduled_time,
            run_milliseconds: task.end_time - task.start_time,
            result: result.iter().map(|(name, value)| (name.clone(), short(value))).collect(),
        })
    }
}

/// A value as a person writes it; a list by its length.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("×{}", items.len()),
        Value::Number(number) if number.is_f64() => {
            let scale = 10_f64.powi(PLACES);
            ((number.as_f64().unwrap_or_default() * scale).round() / scale).to_string()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use perago_conductor::Task;

    use super::Song;
    use crate::commands::demo::prepare::SongFile;
    use crate::commands::demo::style::Style;

    fn song() -> SongFile {
        SongFile { song_id: "song-1".to_owned(), title: "Tune".to_owned(), path: String::new() }
    }

    fn task(output: &str) -> Task {
        let text = format!(
            r#"{{"taskType":"audio.transcribe","status":"COMPLETED","scheduledTime":100,"startTime":103,
                "endTime":150,"outputData":{output}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_task_is_one_line() {
        let tasks = [task(r#"{"result":{"melody":"C4 D4","notes":[{},{}],"level":0.12345,"count":7}}"#)];
        let lines = Song::new(&song(), &tasks, Vec::new()).unwrap().lines(Style::PLAIN);
        assert_eq!(
            lines,
            "\n♪ Tune  lakefs://songs/song-1\n  audio.transcribe  queued    3 ms  run   47 ms  melody C4 D4  notes ×2  level 0.12  count 7"
        );
    }

    #[test]
    fn a_complete_task_without_result_is_a_failure() {
        assert!(Song::new(&song(), &[task("{}")], Vec::new()).is_err());
    }
}
