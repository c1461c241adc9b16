//! Settings of the metrics export, by the standard OpenTelemetry variables.

use std::path::PathBuf;
use std::time::Duration;

use perago_conductor::{ProxyOptions, Secret};
use perago_contract::Finding;

use super::environment::Environment;
use super::error::SettingsError;
use super::{conductor, identity, quantities};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
const WORKER_METRICS: &str = "PERAGO_WORKER_METRICS";
const GENERAL_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL";
const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
const LABEL_SETS: &str = "PERAGO_METRIC_LABEL_SETS";
/// Default of `PERAGO_METRIC_LABEL_SETS`.
pub const DEFAULT_METRIC_LABEL_SETS: u64 = 1_000;
/// A slot's file grows with it: ten times the default takes about 80 MB.
const MOST_LABEL_SETS: usize = 20_000;
const AGGREGATION: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";

/// Compression of what is pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// gzip.
    Gzip,
}

/// Form of exported histograms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HistogramAggregation {
    /// Fixed bounds.
    #[default]
    ExplicitBucket,
    /// Exponential buckets of base 2.
    ExponentialBucket,
}

/// Where metrics go and how they are marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Full URL of the OTLP/HTTP receiver; it may hold a password.
    pub endpoint: Secret,
    /// Name of this instance, the label `perago_instance_id`.
    pub instance_id: Option<String>,
    /// Compression; `None` when no variable names one.
    pub compression: Option<Compression>,
    /// Limit of one request with its repetitions.
    pub timeout: Option<Duration>,
    /// Time between two exports.
    pub export_interval: Option<Duration>,
    /// Limit of one export with all its requests.
    pub export_timeout: Option<Duration>,
    /// Extra request headers.
    pub headers: Vec<(String, Secret)>,
    /// `service.name`, from `OTEL_SERVICE_NAME` alone.
    pub service_name: Option<String>,
    /// Extra resource attributes.
    pub resource_attributes: Vec<(String, String)>,
    /// PEM file with the certificate authorities that are trusted instead of the system's.
    pub certificate: Option<PathBuf>,
    /// PEM files with authorities that are trusted beside the system's.
    pub extra_ca_files: Vec<PathBuf>,
    /// Proxies of the environment.
    pub proxies: ProxyOptions,
    /// Label sets of the task that have series of their own.
    pub label_sets: usize,
    /// Form of histograms.
    pub histogram_aggregation: HistogramAggregation,
    /// `OTEL_SDK_DISABLED`: nothing is exported although an endpoint is set.
    pub is_disabled: bool,
}

/// Reads the settings; `None` without an endpoint, and then the other variables are not looked at.
///
/// # Errors
/// Names the variable whose rule is broken.
pub fn parse(environment: &Environment) -> Result<Option<MetricsSettings>, SettingsError> {
    let Some(endpoint) = environment.filled(ENDPOINT) else {
        return Ok(None);
    };
    if let Err(error) = perago_otlp::check_endpoint(endpoint) {
        // The endpoint itself may hold a password.
        let refused = SettingsError::value(ENDPOINT, "must be the http:// or https:// URL of a receiver");
        return Err(refused.with_hint(error.hint().unwrap_or_default()));
    }
    refuse_unsupported(environment)?;
    Ok(Some(MetricsSettings {
        endpoint: Secret::new(endpoint),
        instance_id: identity::name("PERAGO_INSTANCE_ID", environment)?,
        compression: compression(environment)?,
        timeout: milliseconds(first(environment, TIMEOUTS))?,
        export_interval: milliseconds(first(environment, ["OTEL_METRIC_EXPORT_INTERVAL"]))?,
        export_timeout: milliseconds(first(environment, ["OTEL_METRIC_EXPORT_TIMEOUT"]))?,
        headers: headers(environment)?,
        service_name: environment.filled("OTEL_SERVICE_NAME").map(str::to_owned),
        resource_attributes: match environment.filled(RESOURCE_ATTRIBUTES) {
            Some(value) => pairs(RESOURCE_ATTRIBUTES, value)?,
            None => Vec::new(),
        },
        certificate: first(environment, CERTIFICATES).map(|(_, value)| PathBuf::from(value)),
        extra_ca_files: conductor::extra_ca_files(environment),
        proxies: conductor::proxies(environment),
        label_sets: label_sets(environment)?,
        histogram_aggregation: aggregation(environment)?,
        is_disabled: environment
            .filled("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
    }))
}

/// `PERAGO_WORKER_METRICS`: whether metrics of the worker itself are exported.
///
/// # Errors
/// When it is neither 1 nor 0, nor one of their synonyms.
pub fn worker_metrics(environment: &Environment) -> Result<bool, SettingsError> {
    match environment.filled(WORKER_METRICS).map(str::to_ascii_lowercase).as_deref() {
        None | Some("0" | "false" | "no" | "off") => Ok(false),
        Some("1" | "true" | "yes" | "on") => Ok(true),
        Some(_) => Err(SettingsError::value(WORKER_METRICS, "must be 1 or 0")),
    }
}

/// What is set and has no effect, or another effect than whoever set it may expect.
pub fn warnings(environment: &Environment) -> Vec<Finding> {
    let mut found = Vec::new();
    // The endpoint of all signals is a base for other exporters; metrics have their own full URL.
    if environment.filled(GENERAL_ENDPOINT).is_some() && environment.filled(ENDPOINT).is_none() {
        let finding = Finding::warning("PERAGO-CONFIG-UNUSED", format!("{GENERAL_ENDPOINT} is not used"));
        found.push(
            finding.with_hint(format!("set {ENDPOINT} to the full URL of the receiver to export metrics")),
        );
    }
    if environment.filled(ENDPOINT).is_none() {
        if matches!(worker_metrics(environment), Ok(true)) {
            let finding =
                Finding::warning("PERAGO-CONFIG-UNUSED", format!("{WORKER_METRICS} needs {ENDPOINT}"));
            found.push(finding.with_hint("perago start refuses to start without it"));
        }
        return found;
    }
    let attributes = environment.filled(RESOURCE_ATTRIBUTES).map(|value| pairs(RESOURCE_ATTRIBUTES, value));
    for (key, value) in attributes.and_then(Result::ok).unwrap_or_default() {
        if perago_otlp::changes_with_every_start(&key, &value) {
            found.push(passing_attribute(&key));
        }
    }
    found
}

fn passing_attribute(key: &str) -> Finding {
    let what = if key == "service.instance.id" { "looks random" } else { "changes with every start or pod" };
    let message = format!("{RESOURCE_ATTRIBUTES}: {key} {what}; each new value makes every series anew");
    Finding::warning("PERAGO-CONFIG-ATTRIBUTE", message)
        .with_hint(format!("leave {key} out; service.instance.id is derived from what stays the same"))
}

// The variable of the metrics signal comes first, the one of all signals second.
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const COMPRESSIONS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const CERTIFICATES: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];

/// The first of the variables that is not blank.
fn first<'a, const N: usize>(
    environment: &'a Environment,
    names: [&'static str; N],
) -> Option<(&'static str, &'a str)> {
    names.into_iter().find_map(|name| Some((name, environment.filled(name)?)))
}

fn refuse_unsupported(environment: &Environment) -> Result<(), SettingsError> {
    // The protocol of all signals is left to other exporters of the process.
    if let Some(value) = environment.filled(PROTOCOL)
        && !value.eq_ignore_ascii_case("http/protobuf")
    {
        let message = format!("{PROTOCOL}={value} is not supported; metrics are sent as http/protobuf");
        return Err(SettingsError::unsupported(message));
    }
    if let Some(value) = environment.filled(TEMPORALITY)
        && !value.eq_ignore_ascii_case("cumulative")
    {
        let message = format!("{TEMPORALITY}={value} is not supported; metrics are cumulative");
        return Err(SettingsError::unsupported(message)
            .with_hint("VictoriaMetrics drops delta samples, and restarts would lose counts"));
    }
    Ok(())
}

fn compression(environment: &Environment) -> Result<Option<Compression>, SettingsError> {
    match first(environment, COMPRESSIONS) {
        None => Ok(None),
        Some((_, value)) if value.eq_ignore_ascii_case("gzip") => Ok(Some(Compression::Gzip)),
        Some((_, value)) if value.eq_ignore_ascii_case("none") => Ok(Some(Compression::None)),
        Some((name, _)) => Err(SettingsError::value(name, "must be gzip or none")),
    }
}

fn aggregation(environment: &Environment) -> Result<HistogramAggregation, SettingsError> {
    match environment.filled(AGGREGATION).map(str::to_ascii_lowercase).as_deref() {
        None | Some("explicit_bucket_histogram") => Ok(HistogramAggregation::ExplicitBucket),
        Some("base2_exponential_bucket_histogram") => Ok(HistogramAggregation::ExponentialBucket),
        Some(_) => Err(SettingsError::value(
            AGGREGATION,
            "must be explicit_bucket_histogram or base2_exponential_bucket_histogram",
        )),
    }
}

fn label_sets(environment: &Environment) -> Result<usize, SettingsError> {
    let number = match environment.filled(LABEL_SETS) {
        None => DEFAULT_METRIC_LABEL_SETS,
        Some(value) => quantities::positive_integer(LABEL_SETS, value)?,
    };
    usize::try_from(number)
        .ok()
        .filter(|number| *number <= MOST_LABEL_SETS)
        .ok_or_else(|| SettingsError::value(LABEL_SETS, &format!("must be at most {MOST_LABEL_SETS}")))
}

fn milliseconds(variable: Option<(&str, &str)>) -> Result<Option<Duration>, SettingsError> {
    variable
        .map(|(name, value)| quantities::positive_integer(name, value).map(Duration::from_millis))
        .transpose()
}

fn headers(environment: &Environment) -> Result<Vec<(String, Secret)>, SettingsError> {
    let Some((name, value)) = first(environment, HEADERS) else {
        return Ok(Vec::new());
    };
    let is_token = |key: &str| {
        key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let pairs = pairs(name, value)?;
    if pairs.iter().any(|(key, value)| !is_token(key) || value.chars().any(char::is_control)) {
        return Err(SettingsError::value(name, "holds what is no HTTP header"));
    }
    Ok(pairs.into_iter().map(|(key, value)| (key, Secret::new(value))).collect())
}

/// `key=value` pairs between commas, values percent-encoded; errors do not repeat what may be secret.
fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let refuse =
        || SettingsError::value(name, "must be key=value pairs between commas, values percent-encoded");
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(refuse)?;
            let key = percent_decode(key.trim()).filter(|key| !key.is_empty()).ok_or_else(refuse)?;
            Ok((key, percent_decode(value.trim()).ok_or_else(refuse)?))
        })
        .collect()
}

/// The decoded text; a `%` that starts no code stays, as the OpenTelemetry SDKs have it. `None` if it is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |index: usize| bytes.get(index).and_then(|byte| (*byte as char).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        if *byte == b'%'
            && let (Some(high), Some(low)) = (digit(index + 1), digit(index + 2))
        {
            decoded.push((high * 16 + low) as u8);
            index += 3;
        } else {
            decoded.push(*byte);
            index += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{pairs, percent_decode};

    #[test]
    fn pairs_are_decoded() {
        let read = pairs("X", " a=1 , b = x%20y%3D ,, c=, d=100%").unwrap();
        let expected = [("a", "1"), ("b", "x y="), ("c", ""), ("d", "100%")];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        for text in ["a", "=1", "a=1,b", "a=%ff"] {
            let error = pairs("X", text).unwrap_err().to_string();
            assert!(error.starts_with("X must be key=value pairs"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn encoded_text_comes_back(text in ".*") {
            let encoded = text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
            prop_assert_eq!(percent_decode(&encoded), Some(text));
        }
    }
}
