//! A snapshot as the bytes of an OTLP export request.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource;
use perago_metrics::{Point, RUNTIME_PREFIX, SeriesKey, Snapshot, Value};
use prost::Message as _;

use crate::Resource;

const SCOPE: &str = "perago";

/// Encodes `snapshot`, and "no recorded value" for each gauge of `ended`: the store then drops it at once.
pub fn encode<'a>(
    snapshot: Snapshot,
    ended: impl IntoIterator<Item = &'a SeriesKey>,
    resource: &Resource,
) -> Vec<u8> {
    let Snapshot { start_unix_nanos, time_unix_nanos, points, .. } = snapshot;
    let mut metrics: Vec<Metric> = Vec::new();
    for point in points {
        add_point(&mut metrics, point, start_unix_nanos, time_unix_nanos);
    }
    for key in ended {
        add_gauge(&mut metrics, key, None, time_unix_nanos);
    }
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = resource::v1::Resource {
        attributes: resource.attributes().iter().map(|(key, value)| attribute(key, value)).collect(),
        ..resource::v1::Resource::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    };
    request.encode_to_vec()
}

fn add_point(metrics: &mut Vec<Metric>, point: Point, start: u64, time: u64) {
    let (bounds, counts, sum) = match point.value {
        Value::Gauge(value) => return add_gauge(metrics, &point.key, Some(value), time),
        Value::Histogram { bounds, counts, sum } => (bounds, counts, sum),
    };
    let data_point = HistogramDataPoint {
        attributes: attributes(&point.key),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: counts.iter().sum(),
        sum: Some(sum),
        bucket_counts: counts,
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    };
    if let Some(Metric { name, data: Some(metric::Data::Histogram(histogram)), .. }) = metrics.last_mut()
        && *name == *point.key.name()
    {
        histogram.data_points.push(data_point);
        return;
    }
    let histogram = Histogram {
        data_points: vec![data_point],
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
    };
    metrics.push(new_metric(point.key.name(), metric::Data::Histogram(histogram)));
}

fn add_gauge(metrics: &mut Vec<Metric>, key: &SeriesKey, value: Option<f64>, time: u64) {
    let data_point = NumberDataPoint {
        attributes: attributes(key),
        time_unix_nano: time,
        flags: if value.is_none() { DataPointFlags::NoRecordedValueMask as u32 } else { 0 },
        value: value.map(number_data_point::Value::AsDouble),
        ..NumberDataPoint::default()
    };
    if let Some(Metric { name, data: Some(metric::Data::Gauge(gauge)), .. }) = metrics.last_mut()
        && *name == *key.name()
    {
        gauge.data_points.push(data_point);
        return;
    }
    metrics.push(new_metric(key.name(), metric::Data::Gauge(Gauge { data_points: vec![data_point] })));
}

fn new_metric(name: &str, data: metric::Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit(name).to_owned(), data: Some(data), ..Metric::default() }
}

/// Units stand only where the name says them already, so that no naming mode of a store renames a series.
fn unit(name: &str) -> &'static str {
    match name.strip_prefix(RUNTIME_PREFIX) {
        Some(name) if name.ends_with("_seconds") => "s",
        Some(name) if name.ends_with("_bytes") => "By",
        _ => "",
    }
}

fn attributes(key: &SeriesKey) -> Vec<KeyValue> {
    key.labels().iter().map(|(key, value)| attribute(key, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}
