//! `perago dev`: the embedded services in the foreground.

use std::time::Duration;

use perago_dev::{ApiKey, DevError, DevOptions, DevServer, ObjectStore, StoreKey};
use tokio::signal::unix::{SignalKind, signal};

use crate::ExitStatus;
use crate::arguments::{DevOptions as Options, ObjectStoreKind};
use crate::failure::Failure;
use crate::printer::Printer;

/// The key's name when only its secret is given.
const KEY_NAME: &str = "perago-dev";

/// Serves until it is told to stop.
pub(crate) fn run(options: &Options, printer: &Printer) -> Result<ExitStatus, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(error.to_string()).with_status(ExitStatus::Internal))?;
    runtime.block_on(serve(options, printer))
}

async fn serve(options: &Options, printer: &Printer) -> Result<ExitStatus, Failure> {
    let key = options.api_key.as_deref().map(id_and_secret);
    let system = |error: std::io::Error| Failure::new(error.to_string()).with_status(ExitStatus::Internal);
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let is_kept = options.data_dir.is_some();
    let options = DevOptions {
        listen: options.listen,
        api_key: api_key(options)?,
        data_directory: options.data_dir.clone(),
        object_store: options.object_store.into(),
        faults: options.faults,
        ..DevOptions::default()
    };
    let server = DevServer::start(options).await?;
    printer.output(&format!("listening: {}", server.base_url()));
    printer.output(&format!("conductor: CONDUCTOR_SERVER_URL={}", server.conductor_url()));
    printer.output(&format!("metrics: OTEL_EXPORTER_OTLP_METRICS_ENDPOINT={}", server.otlp_url()));
    let (id, secret) = key.map_or((StoreKey::DEFAULT, StoreKey::DEFAULT), |(id, _)| (id, "…"));
    printer.output(&format!(
        "lakeFS: LAKECTL_SERVER_ENDPOINT_URL={} LAKECTL_CREDENTIALS_ACCESS_KEY_ID={id} \
         LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY={secret}",
        server.lakefs_url()
    ));
    if let Some((id, _)) = key {
        printer.output(&format!(
            "key: CONDUCTOR_AUTH_KEY={id} CONDUCTOR_AUTH_SECRET=… and, for metrics, the header x-authorization"
        ));
    }
    if let Some(url) = server.faults_url() {
        printer.output(&format!("faults: {url}"));
    }
    printer.output(if is_kept {
        "repositories are kept in the data directory; all other state ends with this process; Ctrl-C stops it"
    } else {
        "state is kept in memory and ends with this process; Ctrl-C stops it"
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.shutdown().await;
    Ok(ExitStatus::Success)
}

fn api_key(options: &Options) -> Result<Option<ApiKey>, Failure> {
    let Some(text) = &options.api_key else { return Ok(None) };
    let life = Duration::try_from_secs_f64(options.token_life)
        .map_err(|_| Failure::new("--token-life must be a number of seconds that is not negative"))?;
    let (id, secret) = id_and_secret(text);
    Ok(Some(ApiKey::new(id, secret).with_token_life(life)))
}

fn id_and_secret(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((KEY_NAME, text))
}

impl From<ObjectStoreKind> for ObjectStore {
    fn from(kind: ObjectStoreKind) -> Self {
        match kind {
            ObjectStoreKind::S3 => Self::S3,
            ObjectStoreKind::Local => Self::Local,
        }
    }
}

impl From<DevError> for Failure {
    fn from(error: DevError) -> Self {
        Self::with_hint(error.to_string(), Some(error.hint().to_owned()))
    }
}
