//! The exporter of one worker: options from the settings, events into the log, a bounded end.

use std::path::Path;
use std::time::Duration;

use perago_otlp::{ExportEvent, Exporter, ExporterHandle, ExporterOptions, Resource, WorkerIdentity};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use crate::exported::ExportedSeries;
use crate::instruments::Instruments;
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
    arenas: Arenas,
}

impl Export {
    /// Starts pushing `series`. `None` when nothing is exported.
    ///
    /// # Errors
    /// When the endpoint, a header, a proxy or the certificate cannot be used.
    pub fn start(
        settings: &Settings,
        state_directory: &Path,
        series: Option<ExportedSeries>,
        arenas: &Arenas,
        instruments: &Instruments,
        logger: &Logger,
    ) -> Result<Option<Self>, MetricsError> {
        let (Some(metrics), Some(series)) = (&settings.metrics, series) else {
            return Ok(None);
        };
        let resource = resource(settings, metrics, state_directory);
        let (for_events, instruments) = (logger.clone(), instruments.clone());
        let (exporter, handle) = Exporter::new(options(metrics, resource), series, move |event| {
            on_event(&for_events, &instruments, event);
        })?;
        let (for_watcher, for_arenas) = (arenas.clone(), logger.clone());
        let watcher = spawn_local(async move {
            loop {
                tokio::time::sleep(LOOK_AT_ARENAS_EVERY).await;
                for_watcher.log_events(&for_arenas);
            }
        });
        let arenas = arenas.clone();
        Ok(Some(Self { handle, exporter: spawn_local(exporter.run()), watcher, arenas }))
    }

    /// Pushes the last values and ends every gauge, within `limit`.
    pub async fn shutdown(self, limit: Duration, logger: &Logger) {
        self.watcher.abort();
        if let Err(failure) = self.handle.shutdown(Instant::now() + limit).await {
            logger.event(Level::Warning, "metrics_last_push_failed", failure.to_string());
        }
        self.exporter.abort();
        // What the last push found.
        self.arenas.log_events(logger);
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
    options.timeout = metrics.timeout.unwrap_or(options.timeout);
    options.export_timeout = metrics.export_timeout.unwrap_or(options.export_timeout);
    options.gzip = metrics.compression == Some(Compression::Gzip);
    options.headers.clone_from(&metrics.headers);
    options.certificate.clone_from(&metrics.certificate);
    options.extra_ca_files.clone_from(&metrics.extra_ca_files);
    options.proxies = metrics.proxies.clone();
    options
}

fn on_event(logger: &Logger, instruments: &Instruments, event: ExportEvent) {
    logger.write(match event {
        ExportEvent::Failed { in_a_row, failure, is_news } => {
            instruments.push_failed();
            if !is_news {
                return;
            }
            Record::new(Level::Warning, "metrics_push_failed", failure.to_string())
                .with("consecutive_failures", in_a_row)
        }
        ExportEvent::Recovered { failed } => {
            Record::new(Level::Info, "metrics_push_recovered", "metrics are pushed again; no total was lost")
                .with("failed_pushes", failed)
        }
        ExportEvent::SeriesRefused { metric_name, labels, failure } => Record::new(
            Level::Warning,
            "metric_rejected",
            "the receiver takes everything but this series, which is left out for ten minutes",
        )
        .with("metric_name", metric_name)
        .with("labels", labels)
        .with("reason", failure.to_string()),
        ExportEvent::PartialSuccess { rejected, message } => {
            Record::new(Level::Warning, "metrics_partly_rejected", message)
                .with("rejected_data_points", rejected)
        }
    });
}
