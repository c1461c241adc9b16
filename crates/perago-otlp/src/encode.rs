//! A snapshot as the bytes of an OTLP export request.

use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, DataPointFlags};
use perago_metrics::{Kind, Point, RUNTIME_PREFIX, SeriesKey, Snapshot, Value};

use crate::Resource;
use crate::wire::Message;

const SCOPE: &str = "perago";

/// Encodes `snapshot`, and "no recorded value" for each gauge of `ended`: the store then drops it at once.
pub fn encode<'a>(
    snapshot: &Snapshot,
    ended: impl IntoIterator<Item = &'a SeriesKey>,
    resource: &Resource,
) -> Vec<u8> {
    let mut metrics = Metrics::new(snapshot);
    for point in &snapshot.points {
        metrics.add(point);
    }
    for key in ended {
        metrics.gauge(key, None);
    }
    metrics.close();

    let mut scope = Message::default();
    scope.string(1, SCOPE);
    scope.string(2, env!("CARGO_PKG_VERSION"));
    let mut scope_metrics = metrics.scope_metrics;
    scope_metrics.message(1, &scope);
    let mut attributes = Message::default();
    for (key, value) in resource.attributes() {
        attributes.attribute(1, key, value);
    }
    let mut resource_metrics = Message::default();
    resource_metrics.message(1, &attributes);
    resource_metrics.message(2, &scope_metrics);
    let mut request = Message::default();
    request.message(1, &resource_metrics);
    request.into_bytes()
}

/// The metrics of one scope; data points of one metric that come one after another are one message.
struct Metrics<'a> {
    start: u64,
    time: u64,
    scope_metrics: Message,
    open: Option<(Kind, &'a str)>,
    /// The data points of the open metric.
    data: Message,
    point: Message,
    metric: Message,
}

impl<'a> Metrics<'a> {
    fn new(snapshot: &Snapshot) -> Self {
        Self {
            start: snapshot.start_unix_nanos,
            time: snapshot.time_unix_nanos,
            scope_metrics: Message::default(),
            open: None,
            data: Message::default(),
            point: Message::default(),
            metric: Message::default(),
        }
    }

    fn add(&mut self, point: &'a Point) {
        match &point.value {
            Value::Gauge(value) => self.gauge(&point.key, Some(*value)),
            Value::Histogram { bounds, counts, sum } => self.histogram(&point.key, bounds, counts, *sum),
        }
    }

    fn histogram(&mut self, key: &'a SeriesKey, bounds: &[f64], counts: &[u64], sum: f64) {
        self.begin(key);
        self.point.fixed64(2, self.start);
        self.point.fixed64(3, self.time);
        self.point.fixed64(4, counts.iter().sum());
        self.point.double(5, sum);
        self.point.packed(6, counts.iter().copied());
        self.point.packed(7, bounds.iter().map(|bound| bound.to_bits()));
        for (label, value) in key.labels() {
            self.point.attribute(9, label, value);
        }
        self.data.message(1, &self.point);
    }

    fn gauge(&mut self, key: &'a SeriesKey, value: Option<f64>) {
        self.begin(key);
        self.point.fixed64(3, self.time);
        match value {
            Some(value) => self.point.double(4, value),
            None => self.point.varint(8, DataPointFlags::NoRecordedValueMask as u64),
        }
        for (label, value) in key.labels() {
            self.point.attribute(7, label, value);
        }
        self.data.message(1, &self.point);
    }

    fn begin(&mut self, key: &'a SeriesKey) {
        if self.open != Some((key.kind(), key.name())) {
            self.close();
            self.open = Some((key.kind(), key.name()));
        }
        self.point.clear();
    }

    /// Ends the open metric.
    fn close(&mut self) {
        let Some((kind, name)) = self.open.take() else { return };
        self.metric.clear();
        self.metric.string(1, name);
        let unit = unit(name);
        if !unit.is_empty() {
            self.metric.string(3, unit);
        }
        match kind {
            Kind::Gauge => self.metric.message(5, &self.data),
            Kind::Histogram => {
                self.data.varint(2, AggregationTemporality::Cumulative as u64);
                self.metric.message(9, &self.data);
            }
        }
        self.scope_metrics.message(2, &self.metric);
        self.data.clear();
    }
}

/// Units stand only where the name says them already, so that no naming mode of a store renames a series.
fn unit(name: &str) -> &'static str {
    match name.strip_prefix(RUNTIME_PREFIX) {
        Some(name) if name.ends_with("_seconds") => "s",
        Some(name) if name.ends_with("_bytes") => "By",
        _ => "",
    }
}
