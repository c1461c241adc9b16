//! Switches of the built-in metrics, and bucket bounds of an author's own choice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::controls::TimeoutPolicy;
use crate::error::ContractError;
use crate::finding::Finding;

const CODE: &str = "PERAGO-METRIC-BUCKETS";
/// The built-in histograms, which may have bounds of their own.
const BUILT_IN: [&str; 3] =
    [ATTEMPT_DURATION, "runtime.workspace_io_duration_seconds", "runtime.workspace_io_bytes"];
const ATTEMPT_DURATION: &str = "runtime.task_attempt_duration_seconds";
/// The longest name of a body's metric: 255 bytes with `app.` before it.
const LONGEST_NAME: usize = 251;
/// The most bounds of one histogram that the recorder can hold.
pub const MOST_BUCKET_BOUNDS: usize = 200;
/// The last bound of histograms whose names end in `_seconds`, unless the author has others.
pub const LAST_BOUND_OF_SECONDS: f64 = 21_600.0;

/// Which built-in metrics a task with metrics records; the body's own metrics are not affected by the switches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricSpec {
    /// Records `runtime.task_attempt_duration_seconds`.
    pub attempts: bool,
    /// Records `runtime.workspace_io_duration_seconds` and `runtime.workspace_io_bytes`.
    pub workspace_io: bool,
    /// Records `runtime.busy_slots`.
    pub worker_capacity: bool,
    /// Upper bounds of buckets by the histogram's name: the one that the body writes, or a built-in one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub buckets: BTreeMap<String, Vec<f64>>,
}

impl Default for MetricSpec {
    fn default() -> Self {
        Self { attempts: true, workspace_io: true, worker_capacity: true, buckets: BTreeMap::new() }
    }
}

impl MetricSpec {
    /// Every violated rule of the bucket bounds.
    pub fn violations(&self) -> Vec<ContractError> {
        let rules = self.buckets.iter();
        rules
            .flat_map(|(name, bounds)| [name_violation(name), bounds_violation(name, bounds)])
            .flatten()
            .collect()
    }

    /// Warnings about timeouts that no bucket of the attempts' duration reaches.
    pub(crate) fn timeout_warnings(&self, timeout: &TimeoutPolicy) -> Vec<Finding> {
        let own = self.buckets.get(ATTEMPT_DURATION).and_then(|bounds| bounds.last().copied());
        let last = own.unwrap_or(LAST_BOUND_OF_SECONDS);
        let fields = [("seconds", timeout.seconds), ("response_seconds", timeout.response_seconds)];
        fields
            .into_iter()
            .filter(|(_, seconds)| self.attempts && *seconds as f64 > last)
            .map(|(field, seconds)| {
                let message = format!(
                    "TimeoutPolicy.{field}={seconds} lies beyond the last bucket of {ATTEMPT_DURATION}, \
                     which ends at {last}: longer attempts are not told apart"
                );
                let hint = format!(
                    "give it bounds up to the timeout: MetricSpec(buckets={{\"{ATTEMPT_DURATION}\": [..., {seconds}]}})"
                );
                Finding::warning("PERAGO-TIMEOUT-BEYOND-BUCKETS", message).with_hint(hint)
            })
            .collect()
    }
}

fn name_violation(name: &str) -> Option<ContractError> {
    let refuse = |what: String, hint: &'static str| {
        Some(ContractError::new(CODE, format!("MetricSpec.buckets: {what}")).with_hint(hint))
    };
    if name.starts_with("runtime.") && !BUILT_IN.contains(&name) {
        return refuse(
            format!("{name} is not a built-in histogram"),
            "built-in histograms are runtime.task_attempt_duration_seconds, \
             runtime.workspace_io_duration_seconds and runtime.workspace_io_bytes",
        );
    }
    if name.starts_with("app.") {
        return refuse(
            format!("{name} begins with app."),
            "write the name as the body does; app. is added when it is exported",
        );
    }
    let is_well_formed = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
    if is_well_formed {
        return None;
    }
    let hint = "names hold ASCII letters, digits and _ . - /, at most 251 of them";
    refuse(format!("{name:?} is not a metric name"), hint)
}

fn bounds_violation(name: &str, bounds: &[f64]) -> Option<ContractError> {
    let refuse =
        |what: String| Some(ContractError::new(CODE, format!("MetricSpec.buckets: bounds of {name} {what}")));
    if bounds.is_empty() || bounds.len() > MOST_BUCKET_BOUNDS {
        let number = bounds.len();
        return refuse(format!("must be 1 to {MOST_BUCKET_BOUNDS} in number, not {number}"));
    }
    if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite() || **bound < 0.0) {
        return refuse(format!("must be finite and not negative, not {bound}"));
    }
    let descent = bounds.windows(2).find(|pair| pair[0] >= pair[1])?;
    refuse(format!("must increase strictly, but {} is followed by {}", descent[0], descent[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, bounds: &[f64]) -> MetricSpec {
        MetricSpec { buckets: [(name.to_owned(), bounds.to_vec())].into(), ..MetricSpec::default() }
    }

    #[test]
    fn a_spec_without_buckets_is_written_as_ever() {
        let text = serde_json::to_string(&MetricSpec::default()).unwrap();
        assert_eq!(text, r#"{"attempts":true,"workspace_io":true,"worker_capacity":true}"#);
        assert_eq!(serde_json::from_str::<MetricSpec>(&text).unwrap(), MetricSpec::default());
        assert_eq!(MetricSpec::default().violations(), Vec::new());
        let own = spec("calls", &[1.0, 2.5]);
        assert_eq!(serde_json::from_str::<MetricSpec>(&serde_json::to_string(&own).unwrap()).unwrap(), own);
    }

    #[test]
    fn names_are_those_of_the_body_or_of_built_in_histograms() {
        for name in ["calls", "a/b-c.d_e", "runtime.task_attempt_duration_seconds", &"x".repeat(251)] {
            assert_eq!(spec(name, &[1.0]).violations(), Vec::new(), "{name}");
        }
        for (name, keyword) in [
            ("", "not a metric name"),
            ("no spaces", "not a metric name"),
            ("app.calls", "begins with app."),
            ("runtime.busy_slots", "not a built-in histogram"),
            (&*"x".repeat(252), "not a metric name"),
        ] {
            let violations = spec(name, &[1.0]).violations();
            assert!(violations[0].message().contains(keyword), "{violations:?}");
            assert_eq!((violations.len(), violations[0].code()), (1, CODE));
        }
    }

    #[test]
    fn bounds_are_finite_ascending_and_few_enough() {
        let many: Vec<f64> = (0..=MOST_BUCKET_BOUNDS).map(|bound| bound as f64).collect();
        assert_eq!(spec("calls", &many[1..]).violations(), Vec::new());
        for (bounds, keyword) in [
            (&[][..], "1 to 200 in number, not 0"),
            (&many, "1 to 200 in number, not 201"),
            (&[1.0, f64::INFINITY], "must be finite and not negative, not inf"),
            (&[f64::NAN], "not NaN"),
            (&[-1.0, 2.0], "not -1"),
            (&[1.0, 2.0, 2.0], "2 is followed by 2"),
            (&[3.0, 2.0], "3 is followed by 2"),
        ] {
            let violations = spec("calls", bounds).violations();
            assert!(violations[0].message().contains(keyword), "{violations:?}");
            assert_eq!(violations.len(), 1);
        }
    }

    #[test]
    fn timeouts_beyond_the_last_bucket_are_warned_about() {
        let timeout = |seconds, response_seconds| TimeoutPolicy {
            seconds,
            response_seconds,
            ..TimeoutPolicy::default()
        };
        let warned = |spec: &MetricSpec, timeout| {
            let findings = spec.timeout_warnings(&timeout);
            findings.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>()
        };
        let plain = MetricSpec::default();
        assert_eq!(warned(&plain, timeout(21_600, 21_600)), Vec::<String>::new());
        assert!(
            warned(&plain, timeout(86_400, 600))[0].starts_with("TimeoutPolicy.seconds=86400 lies beyond")
        );
        assert!(warned(&plain, timeout(0, 21_601))[0].starts_with("TimeoutPolicy.response_seconds=21601"));
        assert_eq!(warned(&plain, timeout(86_400, 86_400)).len(), 2);
        assert_eq!(warned(&spec(ATTEMPT_DURATION, &[60.0, 86_400.0]), timeout(86_400, 600)).len(), 0);
        assert_eq!(warned(&spec(ATTEMPT_DURATION, &[60.0]), timeout(61, 60)).len(), 1);
        let off = MetricSpec { attempts: false, ..MetricSpec::default() };
        assert_eq!(warned(&off, timeout(86_400, 600)).len(), 0);
    }
}
