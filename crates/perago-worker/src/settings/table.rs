//! Every variable that is read: the one source of reading, help and documentation.

use perago_contract::Finding;

use super::environment::Environment;

/// One variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Name.
    pub name: &'static str,
    /// Default as documentation shows it; empty when there is none.
    pub default: &'static str,
    /// Which values it takes.
    pub rule: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// Who sets it.
    pub set_by: Role,
}

/// Who sets a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Operators, in the environment or `.env`.
    Setting,
    /// Operators; the value is never shown.
    Secret,
    /// The system or its conventions.
    System,
    /// We, for the processes that run bodies.
    Provided,
}

const fn variable(
    name: &'static str,
    default: &'static str,
    rule: &'static str,
    doc: &'static str,
    set_by: Role,
) -> Variable {
    Variable { name, default, rule, doc, set_by }
}

use Role::{Provided, Secret, Setting, System};

const NAME_RULE: &str = "ASCII letters, digits, '.', '_' and '-'";
const DURATION_RULE: &str = "positive integer and s, m, h or d";
const MILLISECONDS_RULE: &str = "milliseconds, greater than zero";
const PAIRS_RULE: &str = "key=value pairs between commas, values percent-encoded";

/// All variables, grouped as documentation shows them.
#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    variable("CONDUCTOR_SERVER_URL", "", "API base URL", "Conductor server, such as http://localhost:8080/api.", Setting),
    variable("CONDUCTOR_AUTH_KEY", "", "with CONDUCTOR_AUTH_SECRET", "Key id for servers with authentication.", Secret),
    variable("CONDUCTOR_AUTH_SECRET", "", "with CONDUCTOR_AUTH_KEY", "Secret of the key.", Secret),
    variable("LAKECTL_SERVER_ENDPOINT_URL", "", "all three LAKECTL variables or none", "lakeFS server.", Setting),
    variable("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "", "all three LAKECTL variables or none", "lakeFS access key id.", Setting),
    variable("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "", "all three LAKECTL variables or none", "lakeFS secret access key.", Secret),
    variable("PERAGO_LAKEFS_PRESIGN", "on", "on or off", "Whether objects move directly between worker and object store where lakeFS signs URLs for that.", Setting),
    variable("PERAGO_LAKEFS_STALL_TIMEOUT", "30s", "positive duration, ms allowed", "Longest time in which a transfer may move no byte; then it goes on over another connection.", Setting),
    variable("PERAGO_LAKEFS_RETRIES", "8", "integer from 0 to 100", "How often a failed call of lakeFS or its object store is repeated, after growing pauses.", Setting),

    variable("PERAGO_WORKSPACE_ROOT", "<temporary directory>/perago/workspaces", "path, not empty", "Directory for the files of attempts.", Setting),
    variable("PERAGO_LOG_ROOT", "<temporary directory>/perago/logs", "path, not empty", "Directory for log files.", Setting),
    variable("PERAGO_STATE_DIR", "$XDG_STATE_HOME/perago/<hash of the workspace root>", "path, not empty", "Directory for durable state: results, metrics totals, lock.", Setting),
    variable("PERAGO_LOG", "file", "file or stdout", "Where workers write their log.", Setting),
    variable("PERAGO_LOG_FILE_MAX_SIZE", "100MB", "number and KB, MB or GB", "Size at which a log file is rotated.", Setting),
    variable("PERAGO_LOG_RETENTION", "30d", "positive integer and d", "Age at which log files are deleted.", Setting),
    variable("PERAGO_WORKER_ID_PREFIX", "<letters and digits of the module>", "ASCII letters and digits", "Start of every worker id.", Setting),
    variable("PERAGO_HOST_ID", "<host name>", NAME_RULE, "Name of this host in worker ids and metrics.", Setting),
    variable("PERAGO_INSTANCE_ID", "", NAME_RULE, "Name of this worker instance, the label perago_instance_id.", Setting),
    variable("PERAGO_WORKER_METRICS", "0", "1 or 0", "Whether metrics of the worker itself are exported too; they need the endpoint.", Setting),
    variable("PERAGO_EXECUTION_MODE", "process", "process or thread", "Whether bodies run in processes or in threads of one process.", Setting),
    variable("PERAGO_POLL_TIMEOUT", "1s", "duration of at most 5s, ms allowed", "How long the server holds an idle worker's poll.", Setting),
    variable("PERAGO_LEASE_POLICY", "lapse", "lapse or strict", "What happens to a body whose lease passed without contact: it runs on, or it is stopped.", Setting),
    variable("PERAGO_EXECUTOR_READY_TIMEOUT", "5m", DURATION_RULE, "Limit for an executor to import the module.", Setting),
    variable("PERAGO_CANCEL_GRACE", "3s", "positive duration, ms allowed", "How long a body that is told to stop has before it is killed.", Setting),
    variable("PERAGO_ATTEMPT_TIMEOUT", "", "positive duration, ms allowed", "Longest time that a body may run; then it is stopped and the attempt fails.", Setting),
    variable("PERAGO_ATTEMPT_MEMORY_LIMIT", "", "number and KB, MB or GB", "Most memory that an executor and what it has started may use while a body runs; above it the attempt fails.", Setting),
    variable("PERAGO_CONTAINER_MEMORY_THRESHOLD", "95%", "percentage from 50% to 99%, or off", "Share of the container's memory at which the slot that uses most is stopped.", Setting),
    variable("PERAGO_MAX_TASKS_PER_EXECUTOR", "", "positive integer", "Tasks after which an executor is replaced; without it, it is kept.", Setting),
    variable("PERAGO_RESTART_MAX_DELAY", "30s", "positive duration, ms allowed", "Longest wait before an executor that dies again and again is replaced.", Setting),
    variable("PERAGO_JOURNAL_SYNC", "system", "system or always", "When steps of attempts reach the disk: when the system writes them, or each before the next one.", Setting),
    variable("PERAGO_OUTBOX_RETENTION", "30d", "positive integer and d", "Age at which results are forgotten that can never be delivered.", Setting),
    variable("PERAGO_WORKSPACE_CACHE", "on", "on or off", "Whether contents of workspaces are kept on this host for later attempts.", Setting),
    variable("PERAGO_WORKSPACE_CACHE_DIR", "<workspace root>/.perago-cache-<user id>", "path, not empty", "Directory of these contents; it must belong to this user alone.", Setting),
    variable("PERAGO_WORKSPACE_CACHE_MAX_SIZE", "10GB", "number and KB, MB or GB", "Most space that they take; what was not used for longest goes first.", Setting),
    variable("PERAGO_WORKSPACE_GC_TTL", "24h", DURATION_RULE, "Age at which abandoned workspaces are removed.", Setting),
    variable("PERAGO_WORKSPACE_GC_INTERVAL", "1h", DURATION_RULE, "Time between two searches for abandoned workspaces.", Setting),
    variable("PERAGO_SHUTDOWN_FORCE_KILL_AFTER", "", DURATION_RULE, "Deadline for running bodies at shutdown; without it they are waited for.", Setting),
    variable("PERAGO_HEALTH_LISTEN", "", "address and port, such as 0.0.0.0:9464 or [::1]:9464", "Where the worker answers probes of its health; without it, nowhere.", Setting),
    variable("PERAGO_FAILURE_REASON_MAX_LENGTH", "500", "positive integer", "Longest failure reason sent to Conductor, in characters.", Setting),
    variable("PERAGO_FAULT_KILL_AT", "", "name of a point, or POINT:N", "For tests: where the worker or an executor kills itself.", Setting),

    variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "", "full URL", "OTLP/HTTP receiver of the metrics.", Setting),
    variable("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "", PAIRS_RULE, "Headers of each push.", Secret),
    variable("OTEL_EXPORTER_OTLP_HEADERS", "", PAIRS_RULE, "The same for all signals; the metrics variable wins.", Secret),
    variable("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none", "gzip or none", "Compression of each push.", Setting),
    variable("OTEL_EXPORTER_OTLP_COMPRESSION", "none", "gzip or none", "The same for all signals; the metrics variable wins.", Setting),
    variable("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "10000", MILLISECONDS_RULE, "Limit of one request with its repetitions.", Setting),
    variable("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", MILLISECONDS_RULE, "The same for all signals; the metrics variable wins.", Setting),
    variable("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "", "PEM file", "Certificate authorities of the receiver, instead of the system's.", Setting),
    variable("OTEL_EXPORTER_OTLP_CERTIFICATE", "", "PEM file", "The same for all signals; the metrics variable wins.", Setting),
    variable("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf", "http/protobuf", "Protocol; the only one is http/protobuf.", Setting),
    variable("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative", "cumulative", "Temporality; the only one is cumulative.", Setting),
    variable("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram", "explicit_bucket_histogram or base2_exponential_bucket_histogram", "Form of histograms.", Setting),
    variable("OTEL_EXPORTER_OTLP_ENDPOINT", "", "any text", "Not used; a warning says so where the metrics endpoint is not set.", Setting),
    variable("PERAGO_METRIC_LABEL_SETS", "1000", "positive integer, at most 20000", "Label sets of the task that have series of their own; further ones share one series a metric.", Setting),
    variable("OTEL_METRIC_EXPORT_INTERVAL", "60000", MILLISECONDS_RULE, "Time between two exports.", Setting),
    variable("OTEL_METRIC_EXPORT_TIMEOUT", "30000", MILLISECONDS_RULE, "Limit of one export with all its requests.", Setting),
    variable("OTEL_SERVICE_NAME", "perago", "text", "Resource attribute service.name.", Setting),
    variable("OTEL_RESOURCE_ATTRIBUTES", "", PAIRS_RULE, "Further resource attributes.", Setting),
    variable("OTEL_SDK_DISABLED", "false", "true or false", "Switches the export off.", Setting),

    variable("SSL_CERT_FILE", "", "PEM file", "Certificate authorities trusted beside the system's.", System),
    variable("REQUESTS_CA_BUNDLE", "", "PEM file or directory", "Certificate authorities trusted beside the system's.", System),
    variable("HTTP_PROXY", "", "URL", "Proxy for http addresses, never for this machine's own.", System),
    variable("HTTPS_PROXY", "", "URL", "Proxy for https addresses, never for this machine's own.", System),
    variable("ALL_PROXY", "", "URL", "Proxy where no other is set.", System),
    variable("NO_PROXY", "", "hosts, domains and networks", "What is reached without proxy.", System),
    variable("http_proxy", "", "URL", "As HTTP_PROXY, and wins.", System),
    variable("https_proxy", "", "URL", "As HTTPS_PROXY, and wins.", System),
    variable("all_proxy", "", "URL", "As ALL_PROXY, and wins.", System),
    variable("no_proxy", "", "hosts, domains and networks", "As NO_PROXY, and wins.", System),
    variable("XDG_STATE_HOME", "~/.local/state", "absolute path", "Where users' state lives.", System),
    variable("HOME", "", "absolute path", "The user's home.", System),

    variable("PERAGO_WORKER_ID", "", "text", "Id of the worker that runs a body.", Provided),
    variable("PERAGO_SLOT", "", "integer from 1", "Slot that runs a body, stable over restarts.", Provided),
    variable("PERAGO_SLOTS", "", "integer from 1", "Number of slots.", Provided),
];

/// The variable called `name`.
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

/// One warning for each `PERAGO_*` variable that nobody reads, with the nearest name that somebody does.
pub(crate) fn unknown(environment: &Environment) -> Vec<Finding> {
    environment
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("PERAGO_") && find(name).is_none() && !is_foreign(name))
        .map(|name| {
            let finding = Finding::warning(
                "PERAGO-CONFIG-UNKNOWN",
                format!("{name} is not a variable of Perago; it is ignored"),
            );
            match nearest(name) {
                Some(known) => finding.with_hint(format!("did you mean {known}?")),
                None => finding,
            }
        })
        .collect()
}

/// Variables of our prefix that others set: Kubernetes for a service called `perago`, tests, our own executors.
fn is_foreign(name: &str) -> bool {
    name.starts_with("PERAGO_PORT")
        || name.starts_with("PERAGO_TEST_")
        || name.starts_with("PERAGO_EXECUTOR_") && name != "PERAGO_EXECUTOR_READY_TIMEOUT"
        || name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
}

fn nearest(name: &str) -> Option<&'static str> {
    let limit = 1 + name.len() / 6;
    VARIABLES
        .iter()
        .filter(|variable| variable.name.starts_with("PERAGO_"))
        .map(|variable| (distance(name, variable.name), variable.name))
        .min()
        .filter(|(distance, _)| *distance <= limit)
        .map(|(_, known)| known)
}

/// Levenshtein distance in bytes; names are ASCII.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, a) in left.bytes().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (index, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(row[index] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::environment::Environment;
    use super::{VARIABLES, distance, unknown};

    fn warn(names: &[&str]) -> Vec<(String, Option<String>)> {
        let values: BTreeMap<_, _> = names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        unknown(&Environment::new(values))
            .into_iter()
            .map(|finding| (finding.message, finding.hint))
            .collect()
    }

    #[test]
    fn names_are_unique_and_described() {
        let names: BTreeSet<_> = VARIABLES.iter().map(|variable| variable.name).collect();
        assert_eq!(names.len(), VARIABLES.len());
        for variable in VARIABLES {
            assert!(variable.doc.ends_with('.') && !variable.rule.is_empty(), "{}", variable.name);
        }
    }

    #[test]
    fn a_typo_is_met_with_the_nearest_name() {
        let found = warn(&["PERAGO_WORKSPCE_ROOT", "PERAGO_LOG_ROOT", "PATH"]);
        assert_eq!(
            found,
            [(
                "PERAGO_WORKSPCE_ROOT is not a variable of Perago; it is ignored".to_owned(),
                Some("did you mean PERAGO_WORKSPACE_ROOT?".to_owned())
            )]
        );
        assert_eq!(warn(&["PERAGO_SOMETHING_ELSE_ENTIRELY"])[0].1, None);
    }

    #[test]
    fn what_others_set_is_no_typo() {
        let names = ["PERAGO_SERVICE_HOST", "PERAGO_SERVICE_PORT", "PERAGO_PORT", "PERAGO_PORT_80_TCP_ADDR"];
        assert!(warn(&names).is_empty());
    }

    #[test]
    fn distances() {
        for (left, right, expected) in
            [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }
}
