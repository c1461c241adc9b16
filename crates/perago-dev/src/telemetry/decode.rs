//! From OTLP's messages to series, by the rules of VictoriaMetrics 1.112.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    number_data_point,
};

use super::{Labels, Sample};

/// Bit of a data point's flags: it has no value, its series ends.
const NO_RECORDED_VALUE: u32 = 1;

/// Samples of a push, and what could not be taken.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// The samples.
    pub(crate) samples: Vec<Sample>,
    /// Number of data points that were refused.
    pub(crate) refused: usize,
    /// Why.
    pub(crate) reason: Option<String>,
}

impl Decoded {
    fn refuse(&mut self, points: usize, reason: String) {
        self.refused += points;
        self.reason.get_or_insert(reason);
    }

    fn add(&mut self, labels: &Labels, name: String, time: i64, value: Option<f64>) -> &mut Sample {
        let mut labels = labels.clone();
        labels.insert("__name__".to_owned(), name);
        self.samples.push(Sample { labels, time, value });
        self.samples.last_mut().expect("pushed just now")
    }
}

/// Turns a push into samples; points without a time of their own get `now`.
pub(crate) fn decode(request: ExportMetricsServiceRequest, now: i64) -> Decoded {
    let mut decoded = Decoded::default();
    for resource_metrics in request.resource_metrics {
        let mut labels = Labels::new();
        add_labels(
            &mut labels,
            resource_metrics.resource.map(|resource| resource.attributes).unwrap_or_default(),
        );
        for metric in resource_metrics.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            decode_metric(metric, &labels, now, &mut decoded);
        }
    }
    decoded
}

fn decode_metric(metric: Metric, resource: &Labels, now: i64, decoded: &mut Decoded) {
    let name = metric.name;
    let is_cumulative = |temporality: i32| temporality == AggregationTemporality::Cumulative as i32;
    match metric.data {
        None => {}
        Some(Data::Gauge(gauge)) => numbers(&name, gauge.data_points, resource, now, decoded),
        Some(Data::Sum(sum)) if is_cumulative(sum.aggregation_temporality) => {
            numbers(&name, sum.data_points, resource, now, decoded);
        }
        Some(Data::Histogram(histogram)) if is_cumulative(histogram.aggregation_temporality) => {
            for point in histogram.data_points {
                decode_histogram(&name, point, resource, now, decoded);
            }
        }
        Some(Data::Sum(sum)) => {
            decoded.refuse(sum.data_points.len(), format!("{name}: only cumulative sums are taken"));
        }
        Some(Data::Histogram(histogram)) => {
            decoded
                .refuse(histogram.data_points.len(), format!("{name}: only cumulative histograms are taken"));
        }
        Some(Data::ExponentialHistogram(histogram)) if is_cumulative(histogram.aggregation_temporality) => {
            for point in histogram.data_points {
                decode_exponential(&name, point, resource, now, decoded);
            }
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            decoded
                .refuse(histogram.data_points.len(), format!("{name}: only cumulative histograms are taken"));
        }
        Some(Data::Summary(summary)) => {
            let reason = format!("{name}: summaries are not supported by the embedded receiver");
            decoded.refuse(summary.data_points.len(), reason);
        }
    }
}

fn numbers(name: &str, points: Vec<NumberDataPoint>, resource: &Labels, now: i64, decoded: &mut Decoded) {
    for point in points {
        let labels = point_labels(resource, point.attributes);
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(value)) => Some(value),
            Some(number_data_point::Value::AsInt(value)) => Some(value as f64),
            None => None,
        };
        let value = value.filter(|_| point.flags & NO_RECORDED_VALUE == 0);
        decoded.add(&labels, name.to_owned(), milliseconds(point.time_unix_nano, now), value);
    }
}

fn decode_histogram(
    name: &str,
    point: HistogramDataPoint,
    resource: &Labels,
    now: i64,
    decoded: &mut Decoded,
) {
    // Such a point carries no buckets, and one without buckets has nothing to show.
    if point.bucket_counts.is_empty() {
        return;
    }
    if point.bucket_counts.len() != point.explicit_bounds.len() + 1 {
        decoded.refuse(1, format!("{name}: a histogram needs one bucket more than bounds"));
        return;
    }
    let labels = point_labels(resource, point.attributes);
    let time = milliseconds(point.time_unix_nano, now);
    let ended = point.flags & NO_RECORDED_VALUE != 0;
    let value = |value: f64| (!ended).then_some(value);
    decoded.add(&labels, format!("{name}_count"), time, value(point.count as f64));
    if let Some(sum) = point.sum {
        decoded.add(&labels, format!("{name}_sum"), time, value(sum));
    }
    let mut cumulated = 0;
    let bounds = point.explicit_bounds.iter().map(|bound| format_number(*bound));
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(point.bucket_counts) {
        cumulated += count;
        let sample = decoded.add(&labels, format!("{name}_bucket"), time, value(cumulated as f64));
        sample.labels.insert("le".to_owned(), bound);
    }
}

fn decode_exponential(
    name: &str,
    point: ExponentialHistogramDataPoint,
    resource: &Labels,
    now: i64,
    decoded: &mut Decoded,
) {
    let labels = point_labels(resource, point.attributes);
    let time = milliseconds(point.time_unix_nano, now);
    let ended = point.flags & NO_RECORDED_VALUE != 0;
    let value = |value: f64| (!ended).then_some(value);
    decoded.add(&labels, format!("{name}_count"), time, value(point.count as f64));
    // The store shows buckets only of values that are not negative, which are those that have a sum.
    let Some(sum) = point.sum else { return };
    decoded.add(&labels, format!("{name}_sum"), time, value(sum));
    let mut bucket = |from: f64, to: f64, count: u64| {
        if count > 0 {
            let sample = decoded.add(&labels, format!("{name}_bucket"), time, value(count as f64));
            let range = format!("{}...{}", format_bound(from), format_bound(to));
            sample.labels.insert("vmrange".to_owned(), range);
        }
    };
    bucket(0.0, point.zero_threshold, point.zero_count);
    let exponent = (-f64::from(point.scale)).exp2();
    let positive = point.positive.unwrap_or_default();
    for (index, count) in (positive.offset..).zip(positive.bucket_counts) {
        bucket((f64::from(index) * exponent).exp2(), (f64::from(index + 1) * exponent).exp2(), count);
    }
}

/// A bound of a `vmrange`: four digits and an exponent of at least two.
fn format_bound(bound: f64) -> String {
    let text = format!("{bound:.3e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn point_labels(resource: &Labels, attributes: Vec<KeyValue>) -> Labels {
    let mut labels = resource.clone();
    add_labels(&mut labels, attributes);
    labels
}

fn add_labels(labels: &mut Labels, attributes: Vec<KeyValue>) {
    for attribute in attributes {
        let value = attribute.value.map(label_value).unwrap_or_default();
        // For the store a label without value does not exist.
        if value.is_empty() {
            labels.remove(&attribute.key);
        } else {
            labels.insert(attribute.key, value);
        }
    }
}

fn label_value(value: AnyValue) -> String {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::DoubleValue(number)) => format_number(number),
        Some(any_value::Value::ArrayValue(array)) => {
            let texts = array.values.into_iter().map(label_value).collect::<Vec<_>>();
            serde_json::to_string(&texts).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// Formats a number as VictoriaMetrics does: shortest form, exponent from 1e21 on and below 1e-4.
pub(crate) fn format_number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let (mantissa, exponent) = {
            let text = format!("{value:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            (mantissa.to_owned(), exponent.parse::<i32>().unwrap_or(0))
        };
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

fn milliseconds(nanoseconds: u64, now: i64) -> i64 {
    if nanoseconds == 0 { now } else { (nanoseconds / 1_000_000) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_the_store() {
        let shown = [0.005, 1.0, 1_000_000.0, 1e21, 0.000_01, 2.5, f64::INFINITY, 1024.0].map(format_number);
        assert_eq!(shown, ["0.005", "1", "1000000", "1e+21", "1e-05", "2.5", "+Inf", "1024"]);
    }

    #[test]
    fn exponential_histograms_become_ranges() {
        use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

        let point = ExponentialHistogramDataPoint {
            count: 6,
            sum: Some(7.5),
            scale: 1,
            zero_count: 1,
            zero_threshold: 0.001,
            positive: Some(Buckets { offset: -2, bucket_counts: vec![2, 0, 3] }),
            ..Default::default()
        };
        let mut decoded = Decoded::default();
        decode_exponential("h", point, &Labels::new(), 0, &mut decoded);
        let shown: Vec<_> = decoded
            .samples
            .iter()
            .map(|sample| (sample.labels.get("vmrange").map(String::as_str), sample.value))
            .collect();
        assert_eq!(
            shown,
            [
                (None, Some(6.0)),
                (None, Some(7.5)),
                (Some("0.000e+00...1.000e-03"), Some(1.0)),
                (Some("5.000e-01...7.071e-01"), Some(2.0)),
                (Some("1.000e+00...1.414e+00"), Some(3.0)),
            ]
        );
    }

    #[test]
    fn histograms_become_cumulative_buckets() {
        let point = HistogramDataPoint {
            time_unix_nano: 5_000_000,
            count: 6,
            sum: Some(7.5),
            bucket_counts: vec![1, 2, 3],
            explicit_bounds: vec![0.5, 1.0],
            ..Default::default()
        };
        let mut decoded = Decoded::default();
        decode_histogram("h", point, &Labels::new(), 0, &mut decoded);
        let shown: Vec<_> = decoded
            .samples
            .iter()
            .map(|sample| {
                (
                    sample.labels["__name__"].as_str(),
                    sample.labels.get("le").map(String::as_str),
                    sample.value,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("h_count", None, Some(6.0)),
                ("h_sum", None, Some(7.5)),
                ("h_bucket", Some("0.5"), Some(1.0)),
                ("h_bucket", Some("1"), Some(3.0)),
                ("h_bucket", Some("+Inf"), Some(6.0)),
            ]
        );
        assert!(decoded.samples.iter().all(|sample| sample.time == 5));
    }
}
