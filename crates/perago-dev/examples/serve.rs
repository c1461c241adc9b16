//! Serves the embedded Conductor, store and OTLP receiver until SIGTERM or SIGINT.
//!
//! Arguments: `--listen HOST:PORT` (default 127.0.0.1:0), `--api-key ID:SECRET`, `--token-life SECONDS`,
//! `--data-dir FOLDER`, `--object-store s3|local`.

use std::io::Write;
use std::time::Duration;

use perago_dev::{ApiKey, DevOptions, DevServer, ObjectStore};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = DevOptions::default();
    let (mut key, mut life) = (None, Duration::from_secs(3600));
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--listen" => options.listen = value.parse()?,
            "--api-key" => key = value.split_once(':').map(|(id, secret)| ApiKey::new(id, secret)),
            "--data-dir" => options.data_directory = Some(value.into()),
            "--object-store" if value == "s3" => options.object_store = ObjectStore::S3,
            "--object-store" if value == "local" => options.object_store = ObjectStore::Local,
            "--token-life" => life = Duration::from_secs_f64(value.parse()?),
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    options.api_key = key.map(|key| key.with_token_life(life));
    let server = DevServer::start(options).await?;
    writeln!(std::io::stdout(), "listening: {}", server.base_url())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    server.shutdown().await;
    Ok(())
}
