//! What a name, a value and a label set must be, for every recorder alike.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::series::{Kind, SeriesKey};
use crate::warning::{MetricWarning, Reason};

/// Stands before every name that a task body records.
pub const APPLICATION_PREFIX: &str = "app.";
/// Stands before every name that Perago itself records for a task.
pub const RUNTIME_PREFIX: &str = "runtime.";
/// Stands before every name that Perago records about the worker itself.
pub const WORKER_PREFIX: &str = "perago.";
/// The longest exported name, in bytes, prefix included.
pub const MAX_NAME: usize = 255;
/// The longest name and labels together, in bytes.
pub const MAX_KEY: usize = 16 * 1024;
/// The label of a metric's series that takes the samples of label sets beyond the cap.
pub const OVERFLOW_LABEL: &str = "otel.metric.overflow";

/// Keys that identify one attempt and would make a series for each.
const ATTEMPT_KEYS: [&str; 4] = ["task_id", "workflow_instance_id", "execution_id", "worker_id"];
/// Keys that damage the store: its own names for buckets and metrics, resource attributes, and Perago's own labels.
const STORE_KEYS: [&str; 7] = [
    "le",
    "vmrange",
    "__name__",
    "service.name",
    "service.instance.id",
    "perago_instance_id",
    OVERFLOW_LABEL,
];
const RESERVED: &str = "<reserved>";

/// The rules for one task's recorder.
#[derive(Debug, Clone)]
pub struct Rules {
    task_name: String,
    /// As [`prometheus_key`] writes them.
    reserved: BTreeSet<String>,
}

/// A label as the author gave it, already text; `converted` tells that it was something else before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// The value.
    pub value: Cow<'a, str>,
    /// Whether the key or the value was not a string.
    pub converted: bool,
}

impl<'a> From<(&'a str, &'a str)> for Label<'a> {
    fn from((key, value): (&'a str, &'a str)) -> Self {
        Self { key: Cow::Borrowed(key), value: Cow::Borrowed(value), converted: false }
    }
}

impl Rules {
    /// Rules for `task_name`; `resource_attributes` are the further keys that the exporter attaches to everything.
    pub fn new(task_name: &str, resource_attributes: impl IntoIterator<Item = String>) -> Self {
        let reserved = STORE_KEYS.iter().map(|key| prometheus_key(key));
        let reserved = reserved.chain(resource_attributes.into_iter().map(|key| prometheus_key(&key)));
        Self { task_name: task_name.to_owned(), reserved: reserved.collect() }
    }

    /// The value of the label `task_name`.
    pub fn task_name(&self) -> &str {
        &self.task_name
    }

    /// The exported name of what a body calls `name`, or why there is none.
    pub fn application_name(name: &str) -> Result<String, Reason> {
        let well_formed = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
        if well_formed && APPLICATION_PREFIX.len() + name.len() <= MAX_NAME {
            Ok(format!("{APPLICATION_PREFIX}{name}"))
        } else {
            Err(Reason::InvalidName)
        }
    }

    /// Why a value cannot be recorded as `kind`, if so.
    #[inline]
    pub fn value_fault(kind: Kind, value: f64) -> Option<Reason> {
        if !value.is_finite() {
            Some(Reason::NotFinite)
        } else if kind != Kind::Gauge && value < 0.0 {
            Some(Reason::Negative)
        } else {
            None
        }
    }

    /// The series that a body's call means. Everything ignored or changed on the way is appended to `warnings`.
    pub fn application_key<'a>(
        &self,
        kind: Kind,
        name: &str,
        labels: impl IntoIterator<Item = Label<'a>>,
        warnings: &mut Vec<MetricWarning>,
    ) -> Result<SeriesKey, Reason> {
        let exported = Self::application_name(name)?;
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            warnings.push(MetricWarning {
                metric_name: exported.clone(),
                label_key: String::new(),
                perago_label_value: exported.clone(),
                ignored_user_label_value: exported.to_ascii_lowercase(),
                reason: Reason::NameCase,
            });
        }
        let mut kept: Vec<(Box<str>, Box<str>)> = vec![("task_name".into(), self.task_name.as_str().into())];
        for label in labels {
            if self.admits(&exported, &label, warnings) {
                // The last of two keys that became equal by conversion wins, as in a mapping.
                kept.retain(|(key, _)| **key != *label.key);
                kept.push((label.key.into(), label.value.into()));
            }
        }
        Self::key(kind, &exported, kept)
    }

    /// The series of a built-in metric of the task: `runtime.<name>` with `task_name` and `labels`.
    pub fn runtime_key(&self, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Result<SeriesKey, Reason> {
        self.own_key(kind, &format!("{RUNTIME_PREFIX}{name}"), labels)
    }

    /// The series of a metric of the worker: `perago.<name>` with `task_name` and `labels`.
    pub fn worker_key(&self, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Result<SeriesKey, Reason> {
        self.own_key(kind, &format!("{WORKER_PREFIX}{name}"), labels)
    }

    fn own_key(&self, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Result<SeriesKey, Reason> {
        let mut kept: Vec<(Box<str>, Box<str>)> = vec![("task_name".into(), self.task_name.as_str().into())];
        kept.extend(
            labels
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| ((*key).into(), (*value).into())),
        );
        Self::key(kind, name, kept)
    }

    /// The series that takes the samples of `key`'s metric beyond the cap on label sets.
    pub fn overflow_key(key: &SeriesKey) -> SeriesKey {
        let task_name = key.labels().iter().filter(|(name, _)| **name == *"task_name").cloned();
        let labels = task_name.chain([(OVERFLOW_LABEL.into(), "true".into())]).collect();
        SeriesKey::new(key.kind(), key.name(), labels)
    }

    fn key(kind: Kind, name: &str, labels: Vec<(Box<str>, Box<str>)>) -> Result<SeriesKey, Reason> {
        let length = name.len() + labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if length > MAX_KEY {
            return Err(Reason::LabelsTooLong);
        }
        Ok(SeriesKey::new(kind, name, labels))
    }

    fn admits(&self, metric_name: &str, label: &Label<'_>, warnings: &mut Vec<MetricWarning>) -> bool {
        let mut warn = |perago_label_value: &str, reason| {
            warnings.push(MetricWarning {
                metric_name: metric_name.to_owned(),
                label_key: label.key.clone().into_owned(),
                perago_label_value: perago_label_value.to_owned(),
                ignored_user_label_value: label.value.clone().into_owned(),
                reason,
            });
        };
        if label.key.is_empty() {
            warn("", Reason::EmptyLabelKey);
            return false;
        }
        let shown = prometheus_key(&label.key);
        if shown == "task_name" {
            warn(&self.task_name, Reason::ReservedLabel);
            return false;
        }
        if ATTEMPT_KEYS.contains(&&*label.key) || self.reserved.contains(&shown) {
            warn(RESERVED, Reason::ReservedLabel);
            return false;
        }
        if label.converted {
            warn(&label.value, Reason::LabelConverted);
        }
        // For the store a label with an empty value does not exist.
        !label.value.is_empty()
    }
}

/// The key as VictoriaMetrics writes it with `-opentelemetry.usePrometheusNaming`: two keys that are one there may not
/// stand beside each other.
fn prometheus_key(key: &str) -> String {
    key.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::new("audio.transcribe", ["deployment.zone".to_owned()])
    }

    fn key(labels: &[(&str, &str)]) -> (SeriesKey, Vec<MetricWarning>) {
        let mut warnings = Vec::new();
        let labels = labels.iter().map(|label| Label::from(*label));
        let key = rules().application_key(Kind::Histogram, "audio_chunks", labels, &mut warnings).unwrap();
        (key, warnings)
    }

    #[test]
    fn names_are_prefixed_and_limited() {
        assert_eq!(Rules::application_name("a/b.c-d_E9").unwrap(), "app.a/b.c-d_E9");
        assert!(Rules::application_name(&"x".repeat(251)).is_ok());
        for name in ["", "a b", "é", "a\n", "a{", &"x".repeat(252)] {
            assert_eq!(Rules::application_name(name), Err(Reason::InvalidName), "{name:?}");
        }
    }

    #[test]
    fn values_that_would_poison_an_export_are_refused() {
        assert_eq!(Rules::value_fault(Kind::Gauge, f64::NAN), Some(Reason::NotFinite));
        assert_eq!(Rules::value_fault(Kind::Gauge, f64::NEG_INFINITY), Some(Reason::NotFinite));
        assert_eq!(Rules::value_fault(Kind::Histogram, -1e-9), Some(Reason::Negative));
        assert_eq!(Rules::value_fault(Kind::Gauge, -1.0), None);
        assert_eq!(Rules::value_fault(Kind::Histogram, -0.0), None);
    }

    #[test]
    fn the_order_of_labels_does_not_matter() {
        assert_eq!(key(&[("a", "1"), ("b", "2")]), key(&[("b", "2"), ("a", "1")]));
    }

    #[test]
    fn a_label_with_an_empty_value_does_not_exist() {
        assert_eq!(key(&[("a", "")]), key(&[]));
    }

    #[test]
    fn reserved_labels_are_dropped_with_the_four_fields() {
        for (name, perago_value) in [
            ("task_name", "audio.transcribe"),
            ("task_id", "<reserved>"),
            ("workflow_instance_id", "<reserved>"),
            ("execution_id", "<reserved>"),
            ("worker_id", "<reserved>"),
            ("le", "<reserved>"),
            ("vmrange", "<reserved>"),
            ("__name__", "<reserved>"),
            ("deployment.zone", "<reserved>"),
            ("deployment_zone", "<reserved>"),
            ("task.name", "audio.transcribe"),
            ("service_name", "<reserved>"),
        ] {
            let (kept, warnings) = key(&[(name, "mine"), ("stage", "decode")]);
            assert_eq!(kept, key(&[("stage", "decode")]).0);
            let expected = MetricWarning {
                metric_name: "app.audio_chunks".to_owned(),
                label_key: name.to_owned(),
                perago_label_value: perago_value.to_owned(),
                ignored_user_label_value: "mine".to_owned(),
                reason: Reason::ReservedLabel,
            };
            assert_eq!(warnings, [expected]);
        }
    }

    #[test]
    fn a_name_with_capitals_is_kept_and_both_spellings_are_named() {
        let mut warnings = Vec::new();
        let key = rules().application_key(Kind::Gauge, "QueueDepth", [], &mut warnings).unwrap();
        assert_eq!(key.name(), "app.QueueDepth");
        assert_eq!(warnings[0].perago_label_value, "app.QueueDepth");
        assert_eq!(warnings[0].ignored_user_label_value, "app.queuedepth");
    }
}
