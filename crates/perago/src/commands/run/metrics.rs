//! What a body records, in an arena as in a worker, read once when it has ended.

use std::path::{Path, PathBuf};

use perago_contract::TaskDescription;
use perago_metrics::{ArenaOptions, ArenaStore, LadderRules, Point, StoreOptions, Value};
use perago_workspace::RunDirectory;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::ExitStatus;
use crate::failure::Failure;

const SLOT: &str = "slot-0001";

/// The arena of one attempt, in a folder that goes with it.
#[derive(Debug)]
pub(super) struct Scratch {
    store: ArenaStore,
    arena: PathBuf,
    _folder: RunDirectory,
}

impl Scratch {
    /// Makes the arena.
    pub fn create() -> Result<Self, Failure> {
        let folder = RunDirectory::create(&std::env::temp_dir(), super::now()).map_err(|error| {
            Failure::with_hint(
                format!("no temporary folder can be made: {error}"),
                Some("set TMPDIR to a directory that can be written".to_owned()),
            )
        })?;
        let arena_of = || {
            let mut store = ArenaStore::open(folder.path(), StoreOptions::default())?;
            let arena = store.slot(SLOT)?;
            store.begin_generation(SLOT)?;
            Ok((store, arena))
        };
        let (store, arena) = arena_of().map_err(|error: perago_metrics::Error| {
            Failure::with_hint(
                format!("metrics cannot be recorded: {error}"),
                error.hint().map(str::to_owned),
            )
            .with_status(ExitStatus::Internal)
        })?;
        Ok(Self { store, arena, _folder: folder })
    }

    /// The file to record into.
    pub fn arena(&self) -> &Path {
        &self.arena
    }

    /// The series that a body has recorded.
    pub fn series(&mut self, task: &TaskDescription) -> Vec<Series> {
        let buckets = task.metrics.iter().flat_map(|spec| &spec.buckets);
        if let Ok(ladders) = LadderRules::new(buckets.map(|(name, bounds)| (&**name, &**bounds))) {
            self.store.set_layout(ladders, ArenaOptions::default());
        }
        self.store.snapshot().points.iter().map(Series::of).collect()
    }
}

/// One series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Series {
    /// The exported name.
    pub name: String,
    /// All labels, `task_name` included.
    #[serde(serialize_with = "as_object")]
    pub labels: Vec<(String, String)>,
    /// What was recorded.
    #[serde(flatten)]
    pub value: Recorded,
}

/// What was recorded into a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Recorded {
    /// Into a histogram.
    Histogram {
        /// Values.
        count: u64,
        /// Their sum.
        sum: f64,
    },
    /// Into a gauge.
    Gauge {
        /// The latest value.
        value: f64,
    },
    /// Into a total.
    Counter {
        /// The total.
        value: f64,
    },
}

impl Series {
    fn of(point: &Point) -> Self {
        let text = |(key, value): &(Box<str>, Box<str>)| (key.to_string(), value.to_string());
        let count = |counts: &[u64]| counts.iter().fold(0_u64, |all, count| all.saturating_add(*count));
        let value = match &point.value {
            Value::Histogram { counts, sum, .. } => Recorded::Histogram { count: count(counts), sum: *sum },
            Value::Exponential { zero_count, counts, sum, .. } => {
                Recorded::Histogram { count: zero_count.saturating_add(count(counts)), sum: *sum }
            }
            Value::Gauge(value) => Recorded::Gauge { value: *value },
            Value::Counter(value) => Recorded::Counter { value: *value },
        };
        Self {
            name: point.key.name().to_owned(),
            labels: point.key.labels().iter().map(text).collect(),
            value,
        }
    }

    /// The series as a line: its name with the labels of the author, and what was recorded.
    pub fn line(&self) -> String {
        let own: Vec<String> = self
            .labels
            .iter()
            .filter(|(key, _)| key != "task_name")
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect();
        let labels = if own.is_empty() { String::new() } else { format!("{{{}}}", own.join(",")) };
        match self.value {
            Recorded::Histogram { count, sum } => format!("{}{labels}: count {count}, sum {sum}", self.name),
            Recorded::Gauge { value } | Recorded::Counter { value } => {
                format!("{}{labels}: {value}", self.name)
            }
        }
    }
}

fn as_object<S: Serializer>(labels: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(labels.len()))?;
    for (key, value) in labels {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_a_line_and_an_object() {
        let labels = [("stage", "x"), ("task_name", "t")].map(|(key, value)| (key.into(), value.into()));
        let series = Series {
            name: "app.words".into(),
            labels: labels.to_vec(),
            value: Recorded::Histogram { count: 2, sum: 3.5 },
        };
        assert_eq!(series.line(), "app.words{stage=\"x\"}: count 2, sum 3.5");
        let wanted = serde_json::json!({
            "name": "app.words", "labels": {"stage": "x", "task_name": "t"},
            "kind": "histogram", "count": 2, "sum": 3.5,
        });
        assert_eq!(serde_json::to_value(&series).unwrap(), wanted);
        let gauge = Series { labels: Vec::new(), value: Recorded::Gauge { value: 1.0 }, ..series };
        assert_eq!(gauge.line(), "app.words: 1");
    }
}
