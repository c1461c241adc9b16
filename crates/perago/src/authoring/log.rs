//! Events of `tracing`, sent to the worker's log with the attempt that they belong to.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::SystemTime;

use perago_metrics::{MetricWarning, Reason};
use perago_worker::executor::channel::ExecutorChannel;
use perago_worker::executor::message::{FromExecutor, LogLine};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::attempts;

/// The variable that says what is logged, in the form of `tracing-subscriber`: `warn,app::render=debug`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Where lines go.
#[derive(Debug, Clone)]
pub(super) enum BodyLog {
    /// To the supervisor.
    Channel(Arc<ExecutorChannel>),
    /// To standard error, where no supervisor is.
    StandardError,
}

impl BodyLog {
    /// Takes what is logged with `tracing`. An author's own subscriber, set before, stays.
    pub(super) fn install(&self) {
        let given = std::env::var(FILTER_VARIABLE).ok();
        let filter = given.and_then(|text| Targets::from_str(&text).ok());
        let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
        let layer = SendingLayer { log: self.clone() };
        let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    }

    /// Logs a warning of the metrics recorder with its structured fields.
    pub(super) fn metric_warning(&self, warning: MetricWarning) {
        if warning.reason == Reason::LabelSets {
            // Said by the supervisor, once for all slots.
            return;
        }
        let fields = [
            ("metric_name", warning.metric_name),
            ("label_key", warning.label_key),
            ("perago_label_value", warning.perago_label_value),
            ("ignored_user_label_value", warning.ignored_user_label_value),
            ("reason", warning.reason.code().to_owned()),
        ];
        let text: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        self.send("WARNING", "perago.metrics", text.join(" "), fields);
    }

    /// Sends one line. A supervisor that is gone is noticed elsewhere; a body never fails for its log.
    fn send(&self, level: &str, source: &str, message: String, fields: Map<String, Value>) {
        match self {
            Self::Channel(channel) => {
                let since_epoch =
                    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let line = LogLine {
                    attempt: attempts::current().map(|running| running.attempt),
                    level: level.to_owned(),
                    source: source.to_owned(),
                    message,
                    time: since_epoch.as_secs_f64(),
                    exception: None,
                    fields,
                };
                let _ = channel.send(&FromExecutor::Log(Box::new(line)));
            }
            Self::StandardError => {
                let mut text = format!("{level} {source}: {message}");
                for (name, value) in &fields {
                    let _ = write!(text, " {name}={value}");
                }
                crate::printer::Printer::default().message(&text);
            }
        }
    }
}

/// Sends each event with its own fields and those of the spans around it.
struct SendingLayer {
    log: BodyLog,
}

/// The fields of a span, kept with it.
struct SpanFields(Map<String, Value>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SendingLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut collected = Collected::default();
        attributes.record(&mut collected);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(collected.fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut collected = Collected::default();
        values.record(&mut collected);
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            fields.extend(collected.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut collected = Collected::default();
        event.record(&mut collected);
        let mut fields = Map::new();
        let mut names = Vec::new();
        for span in
            context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            names.push(span.name());
            if let Some(SpanFields(of_span)) = span.extensions().get() {
                fields.extend(of_span.clone());
            }
        }
        fields.extend(collected.fields);
        if !names.is_empty() {
            fields.insert("span".to_owned(), names.join(":").into());
        }
        let metadata = event.metadata();
        self.log.send(level_name(*metadata.level()), metadata.target(), collected.message, fields);
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

/// What an event or a span carries.
#[derive(Default)]
struct Collected {
    message: String,
    fields: Map<String, Value>,
}

impl Collected {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Collected {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.put(field, text) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" { value.clone_into(&mut self.message) } else { self.put(field, value) }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.put(field, text);
    }
}
