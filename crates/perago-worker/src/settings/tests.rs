//! Settings as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::table::{Role, VARIABLES};
use super::{
    Compression, Environment, ExecutionMode, HistogramAggregation, LeasePolicy, LogTarget, Settings,
};

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Settings, String> {
    let directory = tempfile::tempdir().unwrap();
    Settings::load("app.workers.demo_mix", directory.path(), &variables(pairs), false)
        .map_err(|error| error.to_string())
}

fn error_of(pairs: &[(&str, &str)]) -> String {
    load(pairs).expect_err("these settings must be refused")
}

const METRICS: (&str, &str) =
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:8428/opentelemetry/v1/metrics");

#[test]
fn an_empty_environment_gives_the_defaults() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.workspace_root, std::env::temp_dir().join("perago/workspaces"));
    assert_eq!(settings.log_root, std::env::temp_dir().join("perago/logs"));
    assert_eq!(settings.log_file_max_size, 104_857_600);
    assert_eq!(settings.log_retention, Duration::from_secs(30 * 86_400));
    assert_eq!(settings.worker_id_prefix, "appworkersdemomix");
    assert_eq!(settings.execution_mode, ExecutionMode::Process);
    assert_eq!(settings.lease_policy, LeasePolicy::Lapse);
    assert_eq!(settings.log_target, LogTarget::File);
    assert_eq!(settings.poll_timeout, Duration::from_secs(1));
    assert_eq!(settings.restart_max_delay, Duration::from_secs(30));
    assert_eq!(settings.workspace_gc_ttl, Duration::from_secs(86_400));
    assert_eq!(settings.workspace_gc_interval, Duration::from_secs(3_600));
    assert_eq!(settings.shutdown_force_kill_after, None);
    assert_eq!(settings.failure_reason_max_length, 500);
    assert_eq!(settings.health_listen, None);
    assert!(!settings.host_id.is_empty());
    assert_eq!((settings.conductor, settings.lakefs, settings.metrics), (None, None, None));
    assert!(settings.warnings.is_empty());
}

#[test]
fn each_rule_names_its_variable() {
    for (name, value, keyword) in [
        ("CONDUCTOR_SERVER_URL", "replace-me", "must be replaced with a real value"),
        ("PERAGO_WORKSPACE_ROOT", "", "must not be empty"),
        ("PERAGO_LOG_ROOT", "  ", "must not be empty"),
        ("PERAGO_STATE_DIR", "", "must not be empty"),
        ("PERAGO_LOG_FILE_MAX_SIZE", "100", "must be a size"),
        ("PERAGO_LOG_FILE_MAX_SIZE", "0MB", "greater than zero"),
        ("PERAGO_LOG_RETENTION", "30", "number of days"),
        ("PERAGO_WORKER_ID_PREFIX", " ", "must not be empty"),
        ("PERAGO_WORKER_ID_PREFIX", "a-b", "letters and digits"),
        ("PERAGO_HOST_ID", "a b", "letters, digits"),
        ("PERAGO_EXECUTION_MODE", "fork", "process or thread"),
        ("PERAGO_LEASE_POLICY", "loose", "lapse or strict"),
        ("PERAGO_LAKEFS_PRESIGN", "sometimes", "on or off"),
        ("PERAGO_LAKEFS_STALL_TIMEOUT", "0s", "positive duration"),
        ("PERAGO_LAKEFS_RETRIES", "101", "integer from 0 to 100"),
        ("PERAGO_LAKEFS_RETRIES", "-1", "integer from 0 to 100"),
        ("PERAGO_LOG", "stderr", "file or stdout"),
        ("PERAGO_POLL_TIMEOUT", "6s", "longer than 5s"),
        ("PERAGO_POLL_TIMEOUT", "0ms", "positive duration"),
        ("PERAGO_EXECUTOR_READY_TIMEOUT", "soon", "positive duration"),
        ("PERAGO_RESTART_MAX_DELAY", "0s", "positive duration"),
        ("PERAGO_CANCEL_GRACE", "0s", "positive duration"),
        ("PERAGO_MAX_TASKS_PER_EXECUTOR", "", "positive integer"),
        ("PERAGO_MAX_TASKS_PER_EXECUTOR", "0", "greater than zero"),
        ("PERAGO_WORKSPACE_GC_TTL", "", "positive duration"),
        ("PERAGO_WORKSPACE_GC_INTERVAL", "1.5h", "positive duration"),
        ("PERAGO_SHUTDOWN_FORCE_KILL_AFTER", "30", "positive duration"),
        ("PERAGO_HEALTH_LISTEN", "9464", "address and a port"),
        ("PERAGO_HEALTH_LISTEN", "localhost:9464", "address and a port"),
        ("PERAGO_HEALTH_LISTEN", "::1:9464", "address and a port"),
        ("PERAGO_FAILURE_REASON_MAX_LENGTH", "many", "positive integer"),
        ("PERAGO_FAILURE_REASON_MAX_LENGTH", "0", "greater than zero"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "10s", "positive integer"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "greater than zero"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "positive integer"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "x", "positive integer"),
        ("PERAGO_METRIC_LABEL_SETS", "0", "greater than zero"),
        ("PERAGO_METRIC_LABEL_SETS", "20001", "at most 20000"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "token", "key=value"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=b%0d%0ac: d", "no HTTP header"),
        ("OTEL_RESOURCE_ATTRIBUTES", "env", "key=value"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc", "is not supported"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "is not supported"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "ladder", "explicit_bucket_histogram"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory", "is not supported"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "is not supported"),
        ("PERAGO_WORKER_METRICS", "maybe", "must be 1 or 0"),
        ("PERAGO_INSTANCE_ID", "a b", "letters, digits"),
    ] {
        let error = error_of(&[METRICS, (name, value)]);
        assert!(error.contains(name) && error.contains(keyword), "{name}={value}: {error}");
    }
}

#[test]
fn the_endpoint_of_all_signals_is_left_to_others_with_a_word() {
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:4318");
    let settings = load(&[general]).unwrap();
    assert!(settings.metrics.is_none());
    assert_eq!(settings.warnings[0].message, "OTEL_EXPORTER_OTLP_ENDPOINT is not used");
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://host/v1/metrics");
    assert!(load(&[general, own]).unwrap().warnings.is_empty());
}

#[test]
fn the_form_of_histograms_and_the_cap_on_label_sets_are_settings() {
    let metrics = load(&[METRICS]).unwrap().metrics.unwrap();
    assert_eq!(
        (metrics.histogram_aggregation, metrics.label_sets),
        (HistogramAggregation::ExplicitBucket, 1_000)
    );
    let aggregation = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
    let settings = load(&[
        METRICS,
        (aggregation, "base2_exponential_bucket_histogram"),
        ("PERAGO_METRIC_LABEL_SETS", "20000"),
    ])
    .unwrap();
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    let metrics = settings.metrics.unwrap();
    assert_eq!(
        (metrics.histogram_aggregation, metrics.label_sets),
        (HistogramAggregation::ExponentialBucket, 20_000)
    );
}

#[test]
fn an_endpoint_that_is_none_is_refused_and_never_repeated() {
    for endpoint in
        ["hunter2:8428", "ftp://u:hunter2@host/", "http://", "/hunter2", "http://u:hunter2@host:x/"]
    {
        let error = error_of(&[(METRICS.0, endpoint)]);
        assert!(error.contains(METRICS.0) && error.contains("http://"), "{endpoint}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let settings = load(&[(METRICS.0, "https://u:hunter2@host/v1/metrics?key=hunter2")]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn the_general_variables_fall_back_for_all_but_the_endpoint() {
    let general = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:4318"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
    ];
    assert!(load(&general).unwrap().metrics.is_none());
    let metrics = load(&[&general[..], &[METRICS]].concat()).unwrap().metrics.unwrap();
    assert_eq!(metrics.endpoint.expose(), METRICS.1);
    assert_eq!(metrics.timeout, Some(Duration::from_secs(1)));
    assert_eq!(metrics.compression, Some(Compression::Gzip));
    assert_eq!((metrics.headers[0].0.as_str(), metrics.headers[0].1.expose()), ("a", "1"));
    assert_eq!(metrics.certificate, Some(PathBuf::from("/ca.pem")));
}

#[test]
fn proxies_and_further_authorities_are_those_of_all_servers() {
    let settings = load(&[
        METRICS,
        ("HTTP_PROXY", "http://proxy:3128"),
        ("NO_PROXY", "metrics"),
        ("SSL_CERT_FILE", "/own.pem"),
    ])
    .unwrap();
    let metrics = settings.metrics.unwrap();
    assert_eq!(metrics.proxies.http.as_deref(), Some("http://proxy:3128"));
    assert_eq!(metrics.proxies.no_proxy.as_deref(), Some("metrics"));
    assert_eq!(metrics.extra_ca_files, [PathBuf::from("/own.pem")]);
}

#[test]
fn attributes_that_change_with_every_start_are_warned_about_by_name() {
    let attributes = "deployment.environment.name=prod,k8s.pod.name=audio-7d9f-x2,process.pid=17,\
                      service.instance.id=627cc493-f310-47de-96bd-71410b7dec09";
    let settings = load(&[METRICS, ("OTEL_RESOURCE_ATTRIBUTES", attributes)]).unwrap();
    let messages: Vec<&str> = settings.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    for (message, key) in messages.iter().zip(["k8s.pod.name", "process.pid", "service.instance.id"]) {
        assert!(message.contains(key), "{message}");
    }
    let stable = load(&[METRICS, ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=audio-1")]).unwrap();
    assert!(stable.warnings.is_empty(), "{:?}", stable.warnings);
}

#[test]
fn metrics_of_the_worker_are_a_switch_that_needs_the_endpoint() {
    for (value, expected) in
        [("1", true), ("true", true), (" ON ", true), ("0", false), ("", false), ("No", false)]
    {
        assert_eq!(
            load(&[METRICS, ("PERAGO_WORKER_METRICS", value)]).unwrap().worker_metrics,
            expected,
            "{value}"
        );
    }
    let alone = load(&[("PERAGO_WORKER_METRICS", "1")]).unwrap();
    assert!(alone.warnings[0].message.contains("needs OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"));
    assert!(load(&[("PERAGO_WORKER_METRICS", "0")]).unwrap().warnings.is_empty());
}

#[test]
fn metrics_variables_are_not_looked_at_without_an_endpoint() {
    let settings = load(&[
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "  "),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "never"),
        ("PERAGO_INSTANCE_ID", "a b"),
        ("OTEL_SERVICE_NAME", "other"),
    ])
    .unwrap();
    assert_eq!((settings.metrics, settings.instance_id), (None, None));
}

#[test]
fn metrics_variables_win_over_general_ones() {
    let settings = load(&[
        METRICS,
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", " Authorization = Basic%20abc "),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod,team=a%20b"),
        ("OTEL_SERVICE_NAME", "mixer"),
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "BASE2_exponential_bucket_histogram"),
        ("PERAGO_INSTANCE_ID", "mix-1"),
    ])
    .unwrap();
    let metrics = settings.metrics.unwrap();
    assert_eq!(metrics.timeout, Some(Duration::from_secs(2)));
    assert_eq!(metrics.compression, Some(Compression::Gzip));
    assert_eq!((metrics.headers.len(), metrics.headers[0].0.as_str()), (1, "Authorization"));
    assert_eq!(metrics.headers[0].1.expose(), "Basic abc");
    assert_eq!(metrics.certificate, Some(PathBuf::from("/ca.pem")));
    assert_eq!(metrics.resource_attributes[1], ("team".to_owned(), "a b".to_owned()));
    assert_eq!(metrics.service_name.as_deref(), Some("mixer"));
    assert_eq!(metrics.histogram_aggregation, HistogramAggregation::ExponentialBucket);
    assert!(metrics.is_disabled);
    assert_eq!(
        (metrics.instance_id.as_deref(), settings.instance_id.as_deref()),
        (Some("mix-1"), Some("mix-1"))
    );
}

#[test]
fn lakefs_needs_all_three() {
    let url = ("LAKECTL_SERVER_ENDPOINT_URL", "http://lakefs");
    let key = ("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "AKIA");
    let secret = ("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "hunter2");
    let settings = load(&[url, key, secret]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    let options = settings.lakefs.unwrap().client_options().unwrap();
    assert!(options.presign && !format!("{options:?}").contains("hunter2"));
    let settings = load(&[url, key, secret, ("PERAGO_LAKEFS_PRESIGN", "off")]).unwrap();
    assert!(!settings.lakefs.unwrap().presign);
    let patience = [("PERAGO_LAKEFS_STALL_TIMEOUT", "400ms"), ("PERAGO_LAKEFS_RETRIES", "0")];
    let settings = load(&[url, key, secret, patience[0], patience[1]]).unwrap();
    let lakefs = settings.lakefs.unwrap();
    assert_eq!(lakefs.transfer_options().stall_timeout, Duration::from_millis(400));
    let options = lakefs.client_options().unwrap();
    assert_eq!((options.stall_timeout, options.retry.attempts), (Duration::from_millis(400), 0));
    assert_eq!(
        error_of(&[url, ("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", " ")]),
        "LakeFS config is incomplete; missing LAKECTL_CREDENTIALS_ACCESS_KEY_ID, \
         LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
    );
    let error = error_of(&[url, key, (secret.0, "replace-me")]);
    assert!(error.contains(secret.0) && error.contains("replaced"), "{error}");
}

#[test]
fn credentials_come_in_pairs_and_are_never_shown() {
    let url = ("CONDUCTOR_SERVER_URL", " http://conductor:8080/api ");
    let both = [url, ("CONDUCTOR_AUTH_KEY", "key-1"), ("CONDUCTOR_AUTH_SECRET", "hunter2")];
    let settings = load(&both).unwrap();
    let shown = format!("{settings:?} {:?}", settings.conductor.as_ref().unwrap().client_options().unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("key-1"), "{shown}");
    assert_eq!(settings.conductor.unwrap().server_url, "http://conductor:8080/api");
    assert!(error_of(&both[..2]).contains("missing CONDUCTOR_AUTH_SECRET"));
    assert!(error_of(&[both[0], both[2]]).contains("missing CONDUCTOR_AUTH_KEY"));
}

#[test]
fn an_unusable_server_url_is_a_warning_until_it_is_used() {
    let settings = load(&[("CONDUCTOR_SERVER_URL", "conductor:8080/api")]).unwrap();
    assert!(settings.warnings[0].message.contains("CONDUCTOR_SERVER_URL cannot be used"));
    let error = settings.conductor.unwrap().client_options().unwrap_err();
    assert!(error.hint().unwrap().contains("/api"));
}

#[test]
fn dotenv_is_below_the_process_environment() {
    let directory = tempfile::tempdir().unwrap();
    let text = "PERAGO_WORKER_ID_PREFIX=file\nPERAGO_HOST_ID=file\nPERAGO_WORKSPCE_ROOT=x\n";
    std::fs::write(directory.path().join(".env"), text).unwrap();
    let process = variables(&[("PERAGO_HOST_ID", "process")]);
    let settings = Settings::load("m", directory.path(), &process, false).unwrap();
    assert_eq!((settings.worker_id_prefix.as_str(), settings.host_id.as_str()), ("file", "process"));
    assert_eq!(settings.warnings.len(), 1);
    assert!(settings.warnings[0].hint.as_ref().unwrap().contains("PERAGO_WORKSPACE_ROOT"));
}

#[test]
fn roots_are_made_and_probed() {
    let directory = tempfile::tempdir().unwrap();
    let pairs = variables(&[("PERAGO_WORKSPACE_ROOT", "w/x"), ("PERAGO_LOG_ROOT", "l")]);
    Settings::load("m", directory.path(), &pairs, true).unwrap();
    assert!(directory.path().join("w/x").is_dir() && directory.path().join("l").is_dir());
    std::fs::write(directory.path().join("f"), "").unwrap();
    let pairs =
        variables(&[("PERAGO_WORKSPACE_ROOT", "f"), ("PERAGO_LOG_ROOT", "f"), ("PERAGO_LOG", "nowhere")]);
    let errors = Settings::load_collecting("m", directory.path(), &pairs, true).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert_eq!(texts.iter().filter(|text| text.contains("is not writable")).count(), 2, "{texts:?}");
    assert!(errors[0].hint().unwrap().contains("PERAGO_WORKSPACE_ROOT"));
    let pairs =
        variables(&[("PERAGO_WORKSPACE_ROOT", "w"), ("PERAGO_LOG_ROOT", "f"), ("PERAGO_LOG", "stdout")]);
    Settings::load("m", directory.path(), &pairs, true).unwrap();
}

#[test]
fn check_shows_no_secret() {
    let settings = load(&[("CONDUCTOR_SERVER_URL", "http://u:hunter2@c/api"), METRICS]).unwrap();
    let lines: Vec<_> = settings.summary().iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(
        lines[2..],
        [
            "worker_id_prefix: appworkersdemomix",
            "conductor: configured",
            "lakefs: not configured",
            "metrics: configured"
        ]
    );
}

#[test]
fn what_is_read_and_what_the_table_says_are_the_same() {
    let environment = Environment::new(variables(&[("CONDUCTOR_SERVER_URL", "http://c/api"), METRICS]));
    Settings::from_environment("m", Path::new("/"), &environment, false).unwrap();
    super::identity::worker_id("m", &environment, 1);
    let read = environment.names_read();
    // The slot's variables are handed to bodies and read by nobody here.
    let unread: Vec<_> = VARIABLES.iter().filter(|variable| !read.contains(variable.name)).collect();
    assert!(
        unread.iter().all(|variable| variable.set_by == Role::Provided),
        "in the table but not read: {unread:?}"
    );
    let known = |name: &String| VARIABLES.iter().any(|variable| variable.name == name);
    assert!(read.iter().all(known), "read but not in the table");
}
