//! The bounded part of a body's log that goes into Conductor's task log.

use std::collections::VecDeque;

use perago_conductor::TaskLog;

/// Lines kept from the beginning, and as many from the end.
const KEPT_AT_EACH_END: usize = 100;

/// Longer lines are cut to this many characters.
const MAX_LINE_CHARACTERS: usize = 2_000;

/// As many entries of a task log does a Conductor server return with its default settings
/// (`conductor.app.taskExecLogSizeLimit`).
const SHOWN_ENTRIES: usize = 10;

/// What one body logged, bounded: its first and its last lines.
#[derive(Debug, Default)]
pub struct TaskLogBuffer {
    first: Vec<TaskLog>,
    last: VecDeque<TaskLog>,
    dropped: u64,
}

impl TaskLogBuffer {
    /// Adds a line that was logged `milliseconds` after the epoch.
    pub fn push(&mut self, text: &str, milliseconds: i64) {
        let line = TaskLog { log: cut(text, MAX_LINE_CHARACTERS), created_time: milliseconds };
        if self.first.len() < KEPT_AT_EACH_END {
            self.first.push(line);
            return;
        }
        if self.last.len() == KEPT_AT_EACH_END {
            self.last.pop_front();
            self.dropped += 1;
        }
        self.last.push_back(line);
    }

    /// The kept lines in as many entries as a server shows: one a line while that is enough, else several lines in
    /// each, with the time of its first.
    pub fn into_entries(self) -> Vec<TaskLog> {
        let lines = self.into_lines();
        let per_entry = lines.len().div_ceil(SHOWN_ENTRIES).max(1);
        let texts =
            |lines: &[TaskLog]| lines.iter().map(|line| line.log.as_str()).collect::<Vec<_>>().join("\n");
        lines
            .chunks(per_entry)
            .map(|lines| TaskLog { log: texts(lines), created_time: lines[0].created_time })
            .collect()
    }

    /// The lines in order, with a line that says how many were left out.
    fn into_lines(mut self) -> Vec<TaskLog> {
        if self.dropped > 0 {
            let created_time = self.first.last().map_or(0, |line| line.created_time);
            let log = format!("… {} lines left out; the worker's log has them all", self.dropped);
            self.first.push(TaskLog { log, created_time });
        }
        self.first.extend(self.last);
        self.first
    }
}

/// The first `characters` characters, with an ellipsis in place of the last where something was cut.
pub fn cut(text: &str, characters: usize) -> String {
    if text.char_indices().nth(characters).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(characters.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_both_ends_and_says_what_is_missing() {
        let mut buffer = TaskLogBuffer::default();
        for number in 0..1000 {
            buffer.push(&format!("line {number}"), number);
        }
        let lines = buffer.into_lines();
        assert_eq!(lines.len(), 201);
        assert_eq!((lines[0].log.as_str(), lines[99].log.as_str()), ("line 0", "line 99"));
        assert!(lines[100].log.contains("800 lines left out"));
        assert_eq!((lines[101].log.as_str(), lines[200].log.as_str()), ("line 900", "line 999"));
    }

    #[test]
    fn a_short_log_is_an_entry_a_line_and_a_long_one_still_shown_whole() {
        for (count, entries) in [(0, 0), (1, 1), (10, 10), (11, 6), (100, 10), (1000, 10)] {
            let mut buffer = TaskLogBuffer::default();
            for number in 0..count {
                buffer.push(&number.to_string(), number);
            }
            let shown = buffer.into_entries();
            assert_eq!(shown.len(), entries, "{count} lines");
            let lines: Vec<&str> = shown.iter().flat_map(|entry| entry.log.lines()).collect();
            assert_eq!(lines.len(), usize::try_from(count.min(201)).unwrap());
            if let Some(last) = lines.last() {
                assert_eq!(*last, (count - 1).to_string());
            }
            assert!(shown.iter().all(|entry| entry.log.starts_with(&entry.created_time.to_string())));
        }
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("héllo", 5), "héllo");
        assert_eq!(cut("héllo", 3), "hé…");
        assert_eq!(cut("日本語", 2), "日…");
    }
}
