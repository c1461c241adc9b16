//! What a task needs from the settings before a worker for it may poll, and the names that follow from them.

use perago_contract::TaskDescription;

use crate::logs::Destination;
use crate::settings::{LogTarget, Settings};
use crate::worker_error::WorkerError;

/// Refuses a task whose needs the settings do not meet.
///
/// # Errors
/// [`WorkerError::Missing`] naming the first variable that is missing.
pub(crate) fn check(settings: &Settings, task: &TaskDescription) -> Result<(), WorkerError> {
    let missing = |text: &str| Err(WorkerError::Missing(text.to_owned()));
    if task.has_workspace() && settings.lakefs.is_none() {
        return missing("LakeFS config is required for workspace tasks");
    }
    if settings.worker_metrics && settings.metrics.is_none() {
        return missing("PERAGO_WORKER_METRICS=1 needs OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
    }
    let Some(metric_spec) = &task.metrics else { return Ok(()) };
    if settings.metrics.is_none() {
        return missing("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is required");
    }
    if metric_spec.worker_capacity && settings.instance_id.is_none() {
        return missing("PERAGO_INSTANCE_ID is required");
    }
    Ok(())
}

/// The id that Conductor shows for every slot of this worker: prefix and instance, else prefix and host.
pub(crate) fn conductor_worker_id(settings: &Settings) -> String {
    let place = settings.instance_id.as_deref().unwrap_or(&settings.host_id);
    format!("{}@{place}", settings.worker_id_prefix)
}

/// Where the log goes.
pub(crate) fn log_destination(settings: &Settings) -> Destination {
    match settings.log_target {
        LogTarget::Stdout => Destination::Stdout,
        LogTarget::File => Destination::Files {
            root: settings.log_root.clone(),
            max_bytes: settings.log_file_max_size,
            retention: settings.log_retention,
        },
    }
}
