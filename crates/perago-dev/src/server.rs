//! Starts and stops the services.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::access::ApiKey;
use crate::engine::{Engine, Retention};
use crate::faults::{FaultError, FaultListener, Faults, Line};
use crate::http;
use crate::shared::Shared;
use crate::storage::{ObjectStore, Storage, StorageError};
use crate::telemetry::{MetricSeries, Telemetry};

/// How long a shutdown waits for requests in flight: a little more than the longest poll.
const SHUTDOWN_WAIT: Duration = Duration::from_millis(5_500);

/// What to start.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Where to listen; port 0 takes a free one. Default: a free port on 127.0.0.1.
    pub listen: SocketAddr,
    /// Key that every request must present; needed beyond loopback.
    pub api_key: Option<ApiKey>,
    /// Bounds of what is kept about finished runs.
    pub retention: Retention,
    /// Folder that keeps the store's repositories; they end with the process where there is none.
    pub data_directory: Option<PathBuf>,
    /// What kind of object store the embedded store plays.
    pub object_store: ObjectStore,
    /// Whether faults can be scripted and time can be moved, from this process and over HTTP. For tests alone.
    pub faults: bool,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            api_key: None,
            retention: Retention::default(),
            data_directory: None,
            object_store: ObjectStore::default(),
            faults: false,
        }
    }
}

/// Why the services cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// Everybody on the network could run tasks.
    #[error("{listen} is reachable from other machines, and no API key is set")]
    KeyRequired {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The address cannot be used.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder of the store cannot be used, perhaps because another process uses it.
    #[error(transparent)]
    Data(#[from] StorageError),
}

impl DevError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyRequired { .. } => "PERAGO-DEV-KEY-REQUIRED",
            Self::Listen { .. } => "PERAGO-DEV-LISTEN",
            Self::Data(_) => "PERAGO-DEV-DATA",
        }
    }

    /// What helps.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::KeyRequired { .. } => "set an API key, or listen on 127.0.0.1",
            Self::Listen { .. } => "use another port, or port 0 for a free one",
            Self::Data(_) => "use another folder, or stop the process that uses this one",
        }
    }
}

/// The embedded services.
#[derive(Debug)]
pub struct DevServer;

/// Running services; dropping it lets them go on until the runtime ends.
#[derive(Debug)]
pub struct DevHandle {
    address: SocketAddr,
    shared: Shared,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    timers: JoinHandle<()>,
}

impl DevServer {
    /// Binds the port and serves on the current tokio runtime; returns once connections are accepted.
    pub async fn start(options: DevOptions) -> Result<DevHandle, DevError> {
        let faults = options.faults.then(Faults::default);
        Self::launch(options, faults).await
    }

    /// The same with a script of faults that is already there.
    pub(crate) async fn launch(options: DevOptions, faults: Option<Faults>) -> Result<DevHandle, DevError> {
        let listen = options.listen;
        if !listen.ip().is_loopback() && options.api_key.is_none() {
            return Err(DevError::KeyRequired { listen });
        }
        let storage = match &options.data_directory {
            Some(folder) => Storage::open(folder, options.object_store)?,
            None => Storage::in_memory(options.object_store),
        };
        let refused = |source| DevError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (seed, _) = Uuid::new_v4().as_u64_pair();
        let engine = Engine::new(options.retention, seed);
        let has_faults = faults.is_some();
        let shared = Shared::new(engine, Telemetry::default(), storage, options.api_key, faults);
        let timers = tokio::spawn(shared.clone().run_timers());
        let (stop, stopped) = oneshot::channel::<()>();
        let service = http::router(shared.clone());
        let until = async {
            // An error means that the handle is gone: serve on.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let serving = if has_faults {
            let service = service.into_make_service_with_connect_info::<Line>();
            let served = axum::serve(FaultListener(listener), service).with_graceful_shutdown(until);
            tokio::spawn(async move { drop(served.await) })
        } else {
            let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
                // Small replies must not wait for the delayed acknowledgement of the ones before.
                let _ = stream.set_nodelay(true);
            });
            let served = axum::serve(listener, service).with_graceful_shutdown(until);
            tokio::spawn(async move { drop(served.await) })
        };
        Ok(DevHandle { address, shared, stop, serving, timers })
    }
}

impl DevHandle {
    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://HOST:PORT`.
    pub fn base_url(&self) -> String {
        let mut reachable = self.address;
        if reachable.ip().is_unspecified() {
            reachable.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{reachable}")
    }

    /// Base of the Conductor API.
    pub fn conductor_url(&self) -> String {
        format!("{}/api", self.base_url())
    }

    /// Base of the store's API for lakeFS clients, which add `/api/v1` themselves.
    pub fn lakefs_url(&self) -> String {
        self.base_url()
    }

    /// Where OTLP exporters push metrics.
    pub fn otlp_url(&self) -> String {
        format!("{}/opentelemetry/v1/metrics", self.base_url())
    }

    /// Where faults are scripted over HTTP, if they can be.
    pub fn faults_url(&self) -> Option<String> {
        self.shared.faults().ok().map(|_| format!("{}{}", self.base_url(), http::CONTROL_PREFIX))
    }

    /// The script of faults.
    ///
    /// # Errors
    /// The services were started without.
    pub fn faults(&self) -> Result<&Faults, FaultError> {
        self.shared.faults()
    }

    /// Lets time pass for the engine at once: response timeouts, retry delays, leases and time limits that fall due
    /// are due. No client's clock moves, nor the store's. What becomes due only through what happens afterwards, such
    /// as the retry of a task that a worker fails later, needs another step.
    ///
    /// # Errors
    /// The services were started without faults, or it is more than 1000 days.
    pub fn advance(&self, by: Duration) -> Result<(), FaultError> {
        self.shared.advance(by).map(|_| ())
    }

    /// Every series that was ever pushed with its last value; a series that has ended keeps it.
    pub fn metric_series(&self) -> Vec<MetricSeries> {
        self.shared.telemetry().last_values()
    }

    /// Stops accepting, lets requests in flight end (at most 5.5 s), then stops.
    pub async fn shutdown(self) {
        let _ = self.stop.send(());
        let abort = self.serving.abort_handle();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.serving).await.is_err() {
            abort.abort();
        }
        self.timers.abort();
    }
}
