//! The client: calls, their repetition and their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Serialize;
use tokio::sync::OnceCell;

use crate::error::{Error, ErrorKind};
use crate::options::ClientOptions;
use crate::reply::Reply;
use crate::retry::Repeat;
use crate::transport::{Request, Transport};
use crate::wire::StorageConfig;

/// A client of one lakeFS server. Clones share connections.
///
/// A call that failed in a way that can pass is repeated with growing pauses: always where repeating it is harmless,
/// else only where the failed try certainly had no effect. What comes back as an error after that may have been
/// done nevertheless where [`Error::may_have_been_received`] says so.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) transport: Transport,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    storage: OnceCell<StorageConfig>,
    /// The object store cannot be reached from here, although the server signs URLs for it.
    store_is_out_of_reach: AtomicBool,
    /// The tags of the object store look like MD5s and are none.
    has_opaque_tags: AtomicBool,
}

/// A call in the making.
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) repeat: Repeat,
}

impl Client {
    /// Builds a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Options`] for an unusable proxy, certificate file or key.
    pub fn new(options: &ClientOptions) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(options)?, shared: Arc::default() })
    }

    /// The server's address, without secrets.
    pub fn server(&self) -> String {
        self.transport.address.to_string()
    }

    /// What the server's object store can do; asked once.
    ///
    /// `GET /config/storage`.
    pub async fn storage_config(&self) -> Result<&StorageConfig, Error> {
        let ask = || async {
            let call = self.call("read the storage configuration", Method::GET, &["config", "storage"])?;
            self.send_for_json(&call).await
        };
        self.shared.storage.get_or_try_init(ask).await
    }

    /// Whether objects are read directly from the object store: the server offers it, nobody switched it off, and
    /// the store was never out of reach.
    pub async fn transfers_directly(&self) -> Result<bool, Error> {
        if !self.transport.options.presign || self.shared.store_is_out_of_reach.load(Ordering::Relaxed) {
            return Ok(false);
        }
        Ok(self.storage_config().await?.pre_sign_support)
    }

    /// Notes that the object store cannot be reached; the first time it says so.
    pub(crate) fn give_up_direct_transfers(&self, error: &Error) {
        if !self.shared.store_is_out_of_reach.swap(true, Ordering::Relaxed) {
            (self.transport.options.on_warning)(&format!(
                "the object store of {} cannot be reached from here, so all transfers go through lakeFS: {error}",
                self.server()
            ));
        }
    }

    /// Whether the tags of the object store were seen to be no MD5s.
    pub(crate) fn has_opaque_tags(&self) -> bool {
        self.shared.has_opaque_tags.load(Ordering::Relaxed)
    }

    /// Notes that the tags of the object store are no MD5s.
    pub(crate) fn note_opaque_tags(&self) {
        self.shared.has_opaque_tags.store(true, Ordering::Relaxed);
    }

    /// Starts a call of `method` on the path `segments` below the API; harmless to repeat unless said otherwise.
    pub(crate) fn call(
        &self,
        operation: &'static str,
        method: Method,
        segments: &[&str],
    ) -> Result<Call, Error> {
        let url = self
            .transport
            .url(segments)
            .map_err(|kind| Error::new(operation, self.transport.address.to_string(), kind))?;
        let request = Request { operation, method, url, headers: HeaderMap::new(), body: None, limit: None };
        Ok(Call { request, repeat: Repeat::Always })
    }

    /// Sends the call and returns its successful answer.
    ///
    /// A limit of the call bounds all tries together.
    pub(crate) async fn send(&self, call: &Call) -> Result<Reply, Error> {
        let started = Instant::now();
        let mut request = call.request.clone();
        let mut done = 0;
        loop {
            let error = match self.transport.send(&request).await {
                Ok(reply) if reply.is_success() => return Ok(reply),
                Ok(reply) => self.transport.fail(&request, reply.failure()),
                Err(error) => error,
            };
            let Some(pause) = self.transport.options.retry.pause(done, &error, call.repeat) else {
                return Err(error);
            };
            if let Some(limit) = call.request.limit {
                let left = limit.saturating_sub(started.elapsed() + pause);
                if left.is_zero() {
                    return Err(error);
                }
                request.limit = Some(left);
            }
            done += 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends the call and reads its answer as JSON.
    pub(crate) async fn send_for_json<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
    ) -> Result<T, Error> {
        let reply = self.send(call).await?;
        reply.json().map_err(|kind| self.fail(call, kind))
    }

    /// Sends the call and reads its answer as JSON; `None` when lakeFS says that the thing does not exist.
    pub(crate) async fn send_for_existing<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
    ) -> Result<Option<T>, Error> {
        match self.send_for_json(call).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Attaches the call to a failure.
    pub(crate) fn fail(&self, call: &Call, kind: ErrorKind) -> Error {
        self.transport.fail(&call.request, kind)
    }
}

impl Call {
    /// Adds a query parameter.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.request.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Adds a query parameter if there is a value.
    pub(crate) fn optional_query(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a query parameter that is true, or nothing.
    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        if value { self.query(name, "true") } else { self }
    }

    /// Sets the limit of all tries together.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.request.limit = Some(limit);
        self
    }

    /// Repeats the call only where it certainly had no effect.
    pub(crate) fn repeated_when_refused(mut self) -> Self {
        self.repeat = Repeat::WhenRefused;
        self
    }

    /// Sets a JSON body.
    pub(crate) fn json(mut self, client: &Client, body: &impl Serialize) -> Result<Self, Error> {
        match serde_json::to_vec(body) {
            Ok(bytes) => {
                self.request.body = Some(bytes);
                Ok(self)
            }
            Err(error) => Err(client.fail(&self, ErrorKind::Encode(error.to_string()))),
        }
    }
}
