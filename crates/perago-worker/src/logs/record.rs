//! One line of the log.

use std::time::SystemTime;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How serious a record is; the names of Python's `logging`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// The normal course.
    Info,
    /// Something that an operator should look at in time.
    Warning,
    /// Something that failed.
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// A record under construction. Fields keep the order in which they are added.
#[derive(Debug)]
pub struct Record {
    time: SystemTime,
    level: String,
    event: &'static str,
    message: String,
    fields: Map<String, Value>,
}

impl Record {
    /// A record of now. `event` is the stable name that a log query filters by.
    pub fn new(level: Level, event: &'static str, message: impl Into<String>) -> Self {
        Self {
            time: SystemTime::now(),
            level: level.as_str().to_owned(),
            event,
            message: message.into(),
            fields: Map::new(),
        }
    }

    /// A line that a body logged, with its own time and level.
    pub fn of_body(seconds_since_epoch: f64, level: String, message: String) -> Self {
        let time = std::time::Duration::try_from_secs_f64(seconds_since_epoch)
            .map_or_else(|_| SystemTime::now(), |since| SystemTime::UNIX_EPOCH + since);
        Self { time, level, event: "body_log", message, fields: Map::new() }
    }

    /// Adds a field; one that is there already stays as it is.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.entry(name).or_insert_with(|| value.into());
        self
    }

    /// Adds a field if there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The record as one JSON object.
    pub(super) fn into_json(self, worker_id: &str) -> Value {
        let time = OffsetDateTime::from(self.time);
        // Milliseconds are what readers of a log compare by.
        let time = time.replace_nanosecond(time.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(time);
        let mut object = Map::with_capacity(self.fields.len() + 5);
        object.insert("time".into(), time.format(&Rfc3339).unwrap_or_default().into());
        object.insert("level".into(), self.level.into());
        object.insert("event".into(), self.event.into());
        object.insert("message".into(), self.message.into());
        object.insert("worker_id".into(), worker_id.into());
        for (name, value) in self.fields {
            object.entry(name).or_insert(value);
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cannot_overwrite_our_fields() {
        let record = Record::of_body(1.5, "INFO".into(), "hello".into())
            .with("task_id", "t1")
            .with("task_id", "forged")
            .with("worker_id", "forged");
        assert_eq!(
            record.into_json("w").to_string(),
            r#"{"time":"1970-01-01T00:00:01.5Z","level":"INFO","event":"body_log","message":"hello","worker_id":"w","task_id":"t1"}"#
        );
    }

    #[test]
    fn an_impossible_time_becomes_now() {
        let text = Record::of_body(f64::NAN, "INFO".into(), String::new()).into_json("w").to_string();
        assert!(text.starts_with(r#"{"time":"2"#), "{text}");
    }
}
