//! Whatever a body records, what is exported is well formed and exact.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::collections::HashMap;

use perago_metrics::{Kind, MAX_KEY, MAX_NAME, Reason, RecorderOptions, Rules, SeriesKey, Value};
use proptest::prelude::*;
use support::Bench;

/// One call of a body.
#[derive(Debug, Clone)]
struct Call {
    kind: Kind,
    name: String,
    value: f64,
    labels: Vec<(String, String)>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "",
            "a",
            "stage",
            "task_name",
            "task.name",
            "task_id",
            "le",
            "__name__"
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
        (0_usize..MAX_KEY + 2).prop_map(|length| "x".repeat(length)),
    ]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        0.0..1e6_f64,
        any::<f64>(),
        proptest::sample::select(vec![f64::NAN, f64::INFINITY, f64::MAX, -0.0, f64::MIN_POSITIVE, -1.0]),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let name = prop_oneof![
        proptest::sample::select(vec!["items", "depth", "items_sum", "items_bucket", "B", ""])
            .prop_map(str::to_owned),
        ".{0,8}",
        (0_usize..MAX_NAME + 2).prop_map(|length| "n".repeat(length)),
    ];
    let kind = proptest::sample::select(vec![Kind::Histogram, Kind::Gauge]);
    (kind, name, value(), proptest::collection::vec((text(), text()), 0..4))
        .prop_map(|(kind, name, value, labels)| Call { kind, name, value, labels })
}

/// What the rules make of the calls, worked out without an arena.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    counts: HashMap<SeriesKey, u64>,
    gauges: HashMap<SeriesKey, f64>,
}

fn is_well_formed(key: &SeriesKey) -> bool {
    let name = key.name().strip_prefix("app.").unwrap_or_default();
    let name_is_good = (1..=MAX_NAME - 4).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
    let labels = key.labels();
    let in_order = labels.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let tasks = labels.iter().filter(|(key, _)| **key == *"task_name").map(|(_, value)| &**value);
    let labels_are_good = labels.iter().all(|(key, value)| {
        !key.is_empty() && !value.is_empty() && !["le", "__name__", "task_id", "task.name"].contains(&&**key)
    });
    name_is_good && in_order && labels_are_good && tasks.eq(["audio.transcribe"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_calls_make_a_well_formed_and_exact_export(calls in proptest::collection::vec(call(), 1..40)) {
        let mut bench = Bench::new();
        let recorder = bench.recorder_with("0", RecorderOptions::new("audio.transcribe", |_| {}));
        let mut expected = Expected::default();
        for Call { kind, name, value, labels } in &calls {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (&**key, &**value)).collect();
            if *kind == Kind::Gauge {
                recorder.gauge(name, *value, &labels);
            } else {
                recorder.histogram(name, *value, &labels);
            }
            let rules = Rules::new("audio.transcribe", []);
            let key = rules.application_key(*kind, name, labels.into_iter().map(Into::into), &mut Vec::new());
            let resolved = recorder.find(*kind, name, &[]);
            if let Ok(key) = key
                && Rules::value_fault(*kind, *value).is_none()
                && resolved.series.is_some()
            {
                if *kind == Kind::Gauge {
                    expected.gauges.insert(key, *value);
                } else {
                    *expected.counts.entry(key).or_default() += 1;
                }
            }
        }
        let snapshot = bench.snapshot();
        let mut found = Expected::default();
        for point in &snapshot.points {
            prop_assert!(is_well_formed(&point.key), "{:?}", point.key);
            if let Value::Histogram { counts, sum, .. } = &point.value {
                prop_assert!(sum.is_finite() && *sum >= 0.0, "{sum}");
                found.counts.insert((*point.key).clone(), counts.iter().sum());
            } else if let Value::Gauge(value) = &point.value {
                prop_assert!(value.is_finite());
                found.gauges.insert((*point.key).clone(), *value);
            }
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(snapshot.dropped[Reason::ShardBusy as usize], 0);
    }
}
