//! Encoded requests decode to the values that went in.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use perago_metrics::{EXPONENTIAL_SCALE, Kind, Point, SeriesKey, Snapshot, Value};
use perago_otlp::{Resource, WorkerIdentity, encode};
use proptest::prelude::*;
use prost::Message as _;

const WORKER: WorkerIdentity<'_> = WorkerIdentity { instance: "i", host: "h", state_directory: "/s" };

fn point() -> impl Strategy<Value = Point> {
    let labels = proptest::collection::btree_map("[a-z]{1,4}", ".{1,8}", 0..4);
    let histogram = (proptest::collection::vec(any::<u32>(), 3), 0.0..1e300_f64).prop_map(|(counts, sum)| {
        Value::Histogram {
            bounds: Arc::new([0.5, 2.0]),
            counts: counts.into_iter().map(u64::from).collect(),
            sum,
        }
    });
    let exponential =
        (proptest::collection::vec(any::<u64>(), 0..6), -200..200_i32, any::<u32>(), 0.0..1e300_f64)
            .prop_map(|(counts, offset, zero_count, sum)| Value::Exponential {
                zero_threshold: 0.001,
                zero_count: u64::from(zero_count),
                offset,
                counts,
                sum,
            });
    let gauge = any::<i64>().prop_map(|value| Value::Gauge(value as f64 / 3.0));
    let counter = (0.0..1e300_f64).prop_map(Value::Counter);
    let value = prop_oneof![histogram, exponential, gauge, counter];
    ("(app|runtime|perago)\\.[a-z_]{1,6}(_seconds|_bytes)?", labels, value).prop_map(
        |(name, labels, value)| {
            let kind = match value {
                Value::Gauge(_) => Kind::Gauge,
                Value::Counter(_) => Kind::Counter,
                Value::Histogram { .. } | Value::Exponential { .. } => Kind::Histogram,
            };
            let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            Point { key: Arc::new(SeriesKey::new(kind, &name, labels)), value }
        },
    )
}

fn key(kind: Kind, name: &str, attributes: &[KeyValue]) -> Arc<SeriesKey> {
    let label = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(value)) => (attribute.key.as_str().into(), value.as_str().into()),
        other => panic!("{other:?}"),
    };
    Arc::new(SeriesKey::new(kind, name, attributes.iter().map(label).collect()))
}

fn decode(bytes: &[u8], time: u64, start: u64) -> Vec<Point> {
    let request = ExportMetricsServiceRequest::decode(bytes).unwrap();
    let scope = &request.resource_metrics[0].scope_metrics[0];
    let mut points = Vec::new();
    for metric in &scope.metrics {
        let unit = match &*metric.name {
            name if name.starts_with("app.") => "",
            name if name.ends_with("_seconds") => "s",
            name if name.ends_with("_bytes") => "By",
            _ => "",
        };
        assert_eq!(metric.unit, unit);
        match metric.data.as_ref().unwrap() {
            metric::Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2, "cumulative");
                for point in &histogram.data_points {
                    assert_eq!((point.time_unix_nano, point.start_time_unix_nano), (time, start));
                    assert_eq!(point.count, point.bucket_counts.iter().sum::<u64>());
                    points.push(Point {
                        key: key(Kind::Histogram, &metric.name, &point.attributes),
                        value: Value::Histogram {
                            bounds: point.explicit_bounds.as_slice().into(),
                            counts: point.bucket_counts.clone(),
                            sum: point.sum.unwrap(),
                        },
                    });
                }
            }
            metric::Data::ExponentialHistogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2, "cumulative");
                for point in &histogram.data_points {
                    assert_eq!((point.time_unix_nano, point.start_time_unix_nano), (time, start));
                    assert_eq!((point.scale, &point.negative), (EXPONENTIAL_SCALE, &None));
                    let buckets = point.positive.clone().unwrap();
                    let count = buckets
                        .bucket_counts
                        .iter()
                        .fold(point.zero_count, |sum, count| sum.wrapping_add(*count));
                    assert_eq!(point.count, count);
                    points.push(Point {
                        key: key(Kind::Histogram, &metric.name, &point.attributes),
                        value: Value::Exponential {
                            zero_threshold: point.zero_threshold,
                            zero_count: point.zero_count,
                            offset: buckets.offset,
                            counts: buckets.bucket_counts,
                            sum: point.sum.unwrap(),
                        },
                    });
                }
            }
            metric::Data::Gauge(gauge) => {
                for point in &gauge.data_points {
                    assert_eq!(point.time_unix_nano, time);
                    let Some(number_data_point::Value::AsDouble(value)) = point.value else {
                        panic!("{point:?}")
                    };
                    points.push(Point {
                        key: key(Kind::Gauge, &metric.name, &point.attributes),
                        value: Value::Gauge(value),
                    });
                }
            }
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic);
                assert_eq!(sum.aggregation_temporality, 2, "cumulative");
                for point in &sum.data_points {
                    assert_eq!((point.time_unix_nano, point.start_time_unix_nano), (time, start));
                    let Some(number_data_point::Value::AsDouble(value)) = point.value else {
                        panic!("{point:?}")
                    };
                    points.push(Point {
                        key: key(Kind::Counter, &metric.name, &point.attributes),
                        value: Value::Counter(value),
                    });
                }
            }
            metric::Data::Summary(summary) => panic!("{summary:?}"),
        }
    }
    points
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(points in proptest::collection::vec(point(), 0..20)) {
        let snapshot = Snapshot { start_unix_nanos: 5, time_unix_nanos: 9, points: points.clone(), ..Snapshot::default() };
        let bytes = encode(&snapshot, [], &Resource::new(WORKER, None, &[]));
        prop_assert_eq!(decode(&bytes, 9, 5), points);
    }
}
