//! A snapshot as the bytes of an OTLP export request.

use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, DataPointFlags};
use perago_metrics::{EXPONENTIAL_SCALE, Kind, RUNTIME_PREFIX, SeriesKey, Snapshot, Value, WORKER_PREFIX};

use crate::Resource;
use crate::wire::{
    FIXED64_LENGTH, Writer, attribute_length, delimited_length, signed_length, varints_length,
};

const SCOPE: &str = "perago";
const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The fields of a metric for its data.
const GAUGE: u32 = 5;
const SUM: u32 = 7;
const HISTOGRAM: u32 = 9;
const EXPONENTIAL_HISTOGRAM: u32 = 10;
/// A field whose value is a number below 128.
const SMALL_LENGTH: usize = 2;

/// Encodes `snapshot`, and "no recorded value" for each gauge of `ended`: the store then drops it at once.
pub fn encode<'a>(
    snapshot: &'a Snapshot,
    ended: impl IntoIterator<Item = &'a SeriesKey>,
    resource: &Resource,
) -> Vec<u8> {
    let values = snapshot.points.iter().map(|point| DataPoint::new(&point.key, Some(&point.value)));
    let points: Vec<DataPoint<'a>> =
        values.chain(ended.into_iter().map(|key| DataPoint::new(key, None))).collect();
    let metrics: Vec<Metric<'_>> = points.chunk_by(DataPoint::is_of_metric).map(Metric::new).collect();

    let scope = delimited_length(SCOPE.len()) + delimited_length(SCOPE_VERSION.len());
    let all_metrics: usize = metrics.iter().map(|metric| delimited_length(metric.length)).sum();
    let scope_metrics = delimited_length(scope) + all_metrics;
    let attributes: usize =
        resource.attributes().iter().map(|(key, value)| attribute_length(key, value)).sum();
    let resource_metrics = delimited_length(attributes) + delimited_length(scope_metrics);

    let mut writer = Writer::with_capacity(delimited_length(resource_metrics));
    writer.begin(1, resource_metrics);
    writer.begin(1, attributes);
    for (key, value) in resource.attributes() {
        writer.attribute(1, key, value);
    }
    writer.begin(2, scope_metrics);
    writer.begin(1, scope);
    writer.string(1, SCOPE);
    writer.string(2, SCOPE_VERSION);
    for metric in &metrics {
        metric.write(&mut writer, snapshot);
    }
    writer.into_bytes()
}

/// One series' value; none means that its gauge has ended.
struct DataPoint<'a> {
    key: &'a SeriesKey,
    value: Option<&'a Value>,
    length: usize,
}

impl<'a> DataPoint<'a> {
    fn new(key: &'a SeriesKey, value: Option<&'a Value>) -> Self {
        let labels: usize = key.labels().iter().map(|(label, value)| attribute_length(label, value)).sum();
        let value_length = match value {
            None => FIXED64_LENGTH + SMALL_LENGTH,
            Some(Value::Gauge(_)) => 2 * FIXED64_LENGTH,
            Some(Value::Counter(_)) => 3 * FIXED64_LENGTH,
            Some(Value::Histogram { bounds, counts, .. }) => {
                4 * FIXED64_LENGTH + delimited_length(counts.len() * 8) + delimited_length(bounds.len() * 8)
            }
            Some(Value::Exponential { offset, counts, .. }) => {
                6 * FIXED64_LENGTH
                    + signed_length(EXPONENTIAL_SCALE)
                    + delimited_length(buckets_length(*offset, counts))
            }
        };
        Self { key, value, length: labels + value_length }
    }

    fn is_of_metric(&self, other: &Self) -> bool {
        self.data_field() == other.data_field() && self.key.name() == other.key.name()
    }

    /// The field of the metric that holds data points of this form.
    fn data_field(&self) -> u32 {
        match (self.key.kind(), self.value) {
            (Kind::Gauge, _) => GAUGE,
            (Kind::Counter, _) => SUM,
            (Kind::Histogram, Some(Value::Exponential { .. })) => EXPONENTIAL_HISTOGRAM,
            (Kind::Histogram, _) => HISTOGRAM,
        }
    }

    fn write(&self, writer: &mut Writer, snapshot: &Snapshot) {
        writer.begin(1, self.length);
        let attributes_field = match self.value {
            Some(Value::Histogram { bounds, counts, sum }) => {
                writer.fixed64(2, snapshot.start_unix_nanos);
                writer.fixed64(3, snapshot.time_unix_nanos);
                writer.fixed64(4, total(counts));
                writer.double(5, *sum);
                writer.packed(6, counts.iter().copied());
                writer.packed(7, bounds.iter().map(|bound| bound.to_bits()));
                9
            }
            Some(Value::Exponential { zero_threshold, zero_count, offset, counts, sum }) => {
                writer.fixed64(2, snapshot.start_unix_nanos);
                writer.fixed64(3, snapshot.time_unix_nanos);
                writer.fixed64(4, total(counts).wrapping_add(*zero_count));
                writer.double(5, *sum);
                writer.signed(6, EXPONENTIAL_SCALE);
                writer.fixed64(7, *zero_count);
                writer.begin(8, buckets_length(*offset, counts));
                writer.signed(1, *offset);
                writer.varints(2, counts);
                writer.double(14, *zero_threshold);
                1
            }
            Some(Value::Gauge(value)) => {
                writer.fixed64(3, snapshot.time_unix_nanos);
                writer.double(4, *value);
                7
            }
            Some(Value::Counter(total)) => {
                writer.fixed64(2, snapshot.start_unix_nanos);
                writer.fixed64(3, snapshot.time_unix_nanos);
                writer.double(4, *total);
                7
            }
            None => {
                writer.fixed64(3, snapshot.time_unix_nanos);
                writer.small(8, DataPointFlags::NoRecordedValueMask as u8);
                7
            }
        };
        for (label, value) in self.key.labels() {
            writer.attribute(attributes_field, label, value);
        }
    }
}

/// The sum of all counts. A damaged one may be any number.
fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
}

fn buckets_length(offset: i32, counts: &[u64]) -> usize {
    signed_length(offset) + delimited_length(varints_length(counts))
}

/// Data points of one name, which are of one form.
struct Metric<'a> {
    data_field: u32,
    name: &'a str,
    points: &'a [DataPoint<'a>],
    data: usize,
    length: usize,
}

impl<'a> Metric<'a> {
    fn new(points: &'a [DataPoint<'a>]) -> Self {
        let (data_field, name) = (points[0].data_field(), points[0].key.name());
        let all_points: usize = points.iter().map(|point| delimited_length(point.length)).sum();
        let data = all_points
            + match data_field {
                GAUGE => 0,
                SUM => 2 * SMALL_LENGTH,
                _ => SMALL_LENGTH,
            };
        let unit =
            Some(unit(name)).filter(|unit| !unit.is_empty()).map_or(0, |unit| delimited_length(unit.len()));
        let length = delimited_length(name.len()) + unit + delimited_length(data);
        Self { data_field, name, points, data, length }
    }

    fn write(&self, writer: &mut Writer, snapshot: &Snapshot) {
        writer.begin(2, self.length);
        writer.string(1, self.name);
        let unit = unit(self.name);
        if !unit.is_empty() {
            writer.string(3, unit);
        }
        writer.begin(self.data_field, self.data);
        for point in self.points {
            point.write(writer, snapshot);
        }
        if self.data_field != GAUGE {
            writer.small(2, AggregationTemporality::Cumulative as u8);
        }
        if self.data_field == SUM {
            // It is monotonic.
            writer.small(3, 1);
        }
    }
}

/// Units stand only where the name says them already, so that no naming mode of a store renames a series.
fn unit(name: &str) -> &'static str {
    match name.strip_prefix(RUNTIME_PREFIX).or_else(|| name.strip_prefix(WORKER_PREFIX)) {
        Some(name) if name.ends_with("_seconds") => "s",
        Some(name) if name.ends_with("_bytes") => "By",
        _ => "",
    }
}
