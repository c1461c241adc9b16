//! The exporter of one worker: options from the settings, events into the log, a bounded end.

use std::path::Path;
use std::time::Duration;

use perago_otlp::{ExportEvent, Exporter, ExporterHandle, ExporterOptions, Resource, Secret, WorkerIdentity};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use crate::logs::{Level, Logger, Record};
use crate::metrics::{Arenas, MetricsError};
use crate::settings::{Compression, MetricsSettings, Settings};

/// How often the log hears of damaged arenas and the like.
const LOOK_AT_ARENAS_EVERY: Duration = Duration::from_secs(5);

/// A running exporter.
#[derive(Debug)]
pub struct Export {
    handle: ExporterHandle,
    exporter: JoinHandle<()>,
    watcher: JoinHandle<()>,
}

impl Export {
    /// Starts pushing what the arenas hold. `None` when nothing is exported.
    ///
    /// # Errors
    /// When the endpoint, a header or the certificate cannot be used.
    pub fn start(
        settings: &Settings,
        state_directory: &Path,
        arenas: &Arenas,
        logger: &Logger,
    ) -> Result<Option<Self>, MetricsError> {
        let (Some(metrics), Some(store)) = (&settings.metrics, arenas.shared_store()) else {
            return Ok(None);
        };
        let resource = resource(settings, metrics, state_directory);
        let for_events = logger.clone();
        let (exporter, handle) =
            Exporter::new(options(metrics, resource), store, move |event| log_event(&for_events, event))?;
        let (arenas, for_arenas) = (arenas.clone(), logger.clone());
        let watcher = spawn_local(async move {
            loop {
                tokio::time::sleep(LOOK_AT_ARENAS_EVERY).await;
                arenas.log_events(&for_arenas);
            }
        });
        Ok(Some(Self { handle, exporter: spawn_local(exporter.run()), watcher }))
    }

    /// Pushes the last values and ends every gauge, within `limit`.
    pub async fn shutdown(self, limit: Duration, logger: &Logger) {
        self.watcher.abort();
        if let Err(failure) = self.handle.shutdown(Instant::now() + limit).await {
            logger.event(Level::Warning, "metrics_last_push_failed", failure.to_string());
        }
        self.exporter.abort();
    }
}

/// What tells this worker's series from those of another: the same after every restart.
pub fn resource(settings: &Settings, metrics: &MetricsSettings, state_directory: &Path) -> Resource {
    let state_directory = state_directory.to_string_lossy();
    let identity = WorkerIdentity {
        instance: metrics.instance_id.as_deref().unwrap_or(&settings.worker_id_prefix),
        host: &settings.host_id,
        state_directory: &state_directory,
    };
    Resource::new(identity, metrics.service_name.as_deref(), &metrics.resource_attributes)
}

fn options(metrics: &MetricsSettings, resource: Resource) -> ExporterOptions {
    let mut options = ExporterOptions::new(metrics.endpoint.expose(), resource);
    options.interval = metrics.export_interval.unwrap_or(options.interval);
    options.timeout = metrics.timeout.or(metrics.export_timeout).unwrap_or(options.timeout);
    options.gzip = metrics.compression == Some(Compression::Gzip);
    options.headers =
        metrics.headers.iter().map(|(name, value)| (name.clone(), Secret::new(value.expose()))).collect();
    options.certificate.clone_from(&metrics.certificate);
    options
}

fn log_event(logger: &Logger, event: ExportEvent) {
    logger.write(match event {
        ExportEvent::Failed { in_a_row, failure } => {
            Record::new(Level::Warning, "metrics_push_failed", failure.to_string())
                .with("consecutive_failures", in_a_row)
        }
        ExportEvent::Recovered { failed } => {
            Record::new(Level::Info, "metrics_push_recovered", "metrics are pushed again; no total was lost")
                .with("failed_pushes", failed)
        }
        ExportEvent::PartialSuccess { rejected, message } => {
            Record::new(Level::Warning, "metrics_partly_rejected", message)
                .with("rejected_data_points", rejected)
        }
    });
}
