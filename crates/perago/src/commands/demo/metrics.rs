//! The series that the embedded receiver holds, in a line a metric.

use std::collections::{BTreeMap, BTreeSet};

use perago_dev::MetricSeries;

use super::internal;
use super::pipeline::STEPS;
use super::style::Style;
use crate::failure::Failure;

/// The built-in metric that every attempt is counted in.
const ATTEMPTS: &str = "runtime.task_attempt_duration_seconds";
/// Sum of the bytes that workspace operations have carried.
const WORKSPACE_BYTES: &str = "runtime.workspace_io_bytes_sum";
const TASK_LABEL: &str = "task_name";
const NAME_LABEL: &str = "__name__";
const INSTANCE_LABEL: &str = "perago_instance_id";
/// Prefix of the resource attributes that the exporter sets.
const RESOURCE_PREFIXES: [&str; 2] = ["service.", "telemetry."];
/// What the names of a histogram's series end in.
const BUCKET: &str = "_bucket";
const COUNT: &str = "_count";
const SUM: &str = "_sum";
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A metric of one task with one set of labels.
#[derive(Debug)]
pub(super) struct Metric {
    task_name: String,
    name: String,
    labels: BTreeMap<String, String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Gauge(f64),
    Histogram {
        count: f64,
        sum: f64,
        /// Upper bounds with the samples up to them.
        buckets: Vec<(f64, f64)>,
    },
}

/// Task, name and labels of a metric.
type Identity = (String, String, BTreeMap<String, String>);

/// What the series of one metric have said so far.
#[derive(Debug, Default)]
struct Parts {
    gauge: Option<f64>,
    count: f64,
    sum: f64,
    buckets: Vec<(f64, f64)>,
}

/// Bytes that workspaces have moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// To the tasks.
    pub down: u64,
    /// From the tasks.
    pub up: u64,
}

impl Moved {
    /// Reads the totals of all tasks.
    pub fn of(series: &[MetricSeries]) -> Self {
        let total = |operation: &str| {
            let of_operation = |series: &&MetricSeries| {
                series.labels.get(NAME_LABEL).is_some_and(|name| name == WORKSPACE_BYTES)
                    && series.labels.get("operation").is_some_and(|found| found == operation)
            };
            series.iter().filter(of_operation).map(|series| series.last_value as u64).sum()
        };
        Self { down: total("download"), up: total("upload") }
    }
}

/// Puts the series of each histogram together again.
pub(super) fn collect(series: &[MetricSeries]) -> Vec<Metric> {
    let histograms: BTreeSet<&str> =
        series.iter().filter_map(|series| series.labels.get(NAME_LABEL)?.strip_suffix(BUCKET)).collect();
    let mut found: BTreeMap<Identity, Parts> = BTreeMap::new();
    for MetricSeries { labels, last_value } in series {
        let mut labels = labels.clone();
        let full_name = labels.remove(NAME_LABEL).unwrap_or_default();
        let task_name = labels.remove(TASK_LABEL).unwrap_or_default();
        let bound = labels.remove("le").and_then(|bound| bound.parse().ok()).unwrap_or(f64::INFINITY);
        labels.retain(|name, _| !of_pusher(name));
        let (name, part) = [BUCKET, COUNT, SUM]
            .into_iter()
            .find_map(|suffix| Some((full_name.strip_suffix(suffix)?, suffix)))
            .filter(|(name, _)| histograms.contains(name))
            .unwrap_or((&full_name, ""));
        let parts = found.entry((task_name, name.to_owned(), labels)).or_default();
        match part {
            BUCKET => parts.buckets.push((bound, *last_value)),
            COUNT => parts.count = *last_value,
            SUM => parts.sum = *last_value,
            _ => parts.gauge = Some(*last_value),
        }
    }
    found.into_iter().map(|(identity, parts)| Metric::new(identity, parts)).collect()
}

/// Whether a label says who pushed rather than what was measured.
fn of_pusher(label: &str) -> bool {
    label == INSTANCE_LABEL || RESOURCE_PREFIXES.iter().any(|prefix| label.starts_with(prefix))
}

/// Fails unless every attempt was counted.
pub(super) fn check(metrics: &[Metric], song_count: u32) -> Result<(), Failure> {
    for step in STEPS {
        let counted: f64 = metrics
            .iter()
            .filter(|metric| metric.task_name == step.task_name && metric.name == ATTEMPTS)
            .map(|metric| if let Kind::Histogram { count, .. } = metric.kind { count } else { 0.0 })
            .sum();
        if counted < f64::from(song_count) {
            return Err(internal(format!(
                "the metrics of {} are incomplete: {counted} of {song_count} attempts",
                step.task_name
            )));
        }
    }
    Ok(())
}

/// A heading a task and a line a metric.
pub(super) fn lines(metrics: &[Metric], style: Style) -> String {
    let titles: Vec<String> = metrics.iter().map(Metric::title).collect();
    let width = titles.iter().map(|title| title.chars().count()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for step in STEPS {
        lines.push(format!("\nmetrics of {}", style.name(step.task_name)));
        let own = metrics.iter().zip(&titles).filter(|(metric, _)| metric.task_name == step.task_name);
        lines.extend(own.map(|(metric, title)| format!("  {title:width$}  {}", metric.kind.text(style))));
    }
    lines.join("\n")
}

impl Metric {
    fn new((task_name, name, labels): Identity, parts: Parts) -> Self {
        let Parts { gauge, count, sum, mut buckets } = parts;
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        let kind = gauge.map_or(Kind::Histogram { count, sum, buckets }, Kind::Gauge);
        Self { task_name, name, labels, kind }
    }

    fn title(&self) -> String {
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        if labels.is_empty() { self.name.clone() } else { format!("{}{{{}}}", self.name, labels.join(",")) }
    }
}

impl Kind {
    fn text(&self, style: Style) -> String {
        match self {
            Self::Gauge(value) => format!("gauge {}", rounded(*value)),
            Self::Histogram { count, sum, buckets } => {
                let mean = if *count > 0.0 { sum / count } else { 0.0 };
                let (bars, range) = shape(buckets);
                format!(
                    "count {count:<5} mean {:<9} sum {:<9} {bars} {}",
                    rounded(mean),
                    rounded(*sum),
                    style.dim(&range)
                )
            }
        }
    }
}

/// The buckets from the first to the last filled one as bars, and the bounds between which they lie.
fn shape(buckets: &[(f64, f64)]) -> (String, String) {
    let mut before = 0.0;
    let mut lower = 0.0;
    let mut cells = Vec::new();
    for (upper, cumulative) in buckets {
        cells.push((lower, *upper, cumulative - before));
        (lower, before) = (*upper, *cumulative);
    }
    let filled = |cell: &(f64, f64, f64)| cell.2 > 0.0;
    let (Some(first), Some(last)) = (cells.iter().position(filled), cells.iter().rposition(filled)) else {
        return (String::new(), String::new());
    };
    let cells = &cells[first..=last];
    let most = cells.iter().map(|cell| cell.2).fold(0.0, f64::max);
    let bars = cells
        .iter()
        .map(|(_, _, samples)| {
            if *samples <= 0.0 {
                return ' ';
            }
            let height = (samples / most * BARS.len() as f64).ceil() as usize;
            BARS[height.clamp(1, BARS.len()) - 1]
        })
        .collect();
    let upper = cells[cells.len() - 1].1;
    let upper = if upper.is_finite() { upper.to_string() } else { "∞".to_owned() };
    (bars, format!("{}…{upper}", cells[0].0))
}

/// Three significant digits, and all digits of whole numbers.
fn rounded(value: f64) -> String {
    if value == 0.0 || value.fract() == 0.0 {
        return value.to_string();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits.max(0));
    ((value * scale).round() / scale).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use perago_dev::MetricSeries;

    use super::{check, collect, lines, rounded};
    use crate::commands::demo::style::Style;

    fn series(name: &str, labels: &[(&str, &str)], last_value: f64) -> MetricSeries {
        let mut all: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.insert("__name__".to_owned(), name.to_owned());
        all.insert("task_name".to_owned(), "features.build".to_owned());
        all.insert("service.name".to_owned(), "perago".to_owned());
        MetricSeries { labels: all, last_value }
    }

    fn histogram(name: &str, counts: [f64; 3]) -> Vec<MetricSeries> {
        let named = |suffix: &str| format!("{name}{suffix}");
        let mut all: Vec<MetricSeries> = [("0.01", counts[0]), ("0.1", counts[1]), ("+Inf", counts[2])]
            .map(|(bound, count)| series(&named("_bucket"), &[("le", bound), ("x", "y")], count))
            .into();
        all.push(series(&named("_count"), &[("x", "y")], counts[2]));
        all.push(series(&named("_sum"), &[("x", "y")], 0.5));
        all
    }

    #[test]
    fn a_histogram_is_one_line_and_a_gauge_another() {
        let mut all = histogram("app.pass", [0.0, 4.0, 5.0]);
        all.push(series("app.depth_count", &[], 2.0));
        let metrics = collect(&all);
        assert_eq!(metrics.len(), 2);
        let text = lines(&metrics, Style::PLAIN);
        assert!(
            text.contains(r#"  app.pass{x="y"}  count 5     mean 0.1       sum 0.5       █▂ 0.01…∞"#),
            "{text}"
        );
        assert!(text.contains("  app.depth_count  gauge 2"), "{text}");
    }

    #[test]
    fn a_missing_attempt_is_a_failure() {
        let metrics = collect(&histogram(super::ATTEMPTS, [1.0, 3.0, 3.0]));
        let failure = check(&metrics, 3).unwrap_err();
        assert!(format!("{failure:?}").contains("metadata.validate"), "{failure:?}");
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (value, text) in
            [(0.0, "0"), (1234.0, "1234"), (1234.56, "1235"), (0.001_234_5, "0.00123"), (2.0, "2")]
        {
            assert_eq!(rounded(value), text);
        }
    }
}
