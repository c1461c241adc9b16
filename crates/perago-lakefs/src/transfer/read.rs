//! Reading objects.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, ETAG, RANGE};
use reqwest::{Method, Response};

use crate::client::{Call, Client};
use crate::error::{Error, ErrorKind};
use crate::objects::ObjectAt;
use crate::reply::Reply;
use crate::signed_url::SignedUrl;

const OPERATION: &str = "read an object";
/// Most bytes that are read of an answer that moves no object.
const SMALL_BODY: usize = 64 * 1024;

/// An object that is being read. What was received is never more than one network block ahead of the caller.
#[derive(Debug)]
pub struct ObjectReader {
    response: Response,
    server: String,
    stall: Duration,
    length: Option<u64>,
    received: u64,
    total: Option<u64>,
}

impl ObjectReader {
    /// Bytes that will come, if the server said it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes of the whole object, if the server said it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The object's checksum or tag, without quotes, if the server said it.
    pub fn etag(&self) -> Option<&str> {
        let value = self.response.headers().get(ETAG)?.to_str().ok()?;
        Some(value.trim_matches('"'))
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ErrorKind::Stalled`] when nothing came for the stall timeout, [`ErrorKind::Interrupted`] when the
    /// connection broke before the announced length. A caller that counts can go on from there by a range.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let fail = |kind| Error::new(OPERATION, self.server.clone(), kind);
        let chunk = match tokio::time::timeout(self.stall, self.response.chunk()).await {
            Err(_) => return Err(fail(ErrorKind::Stalled(self.stall))),
            Ok(Err(error)) => return Err(fail(ErrorKind::of_exchange(&error, self.stall))),
            Ok(Ok(chunk)) => chunk,
        };
        match &chunk {
            Some(bytes) => self.received += bytes.len() as u64,
            None if self.length.is_some_and(|length| length != self.received) => {
                let message = format!("{} of {} bytes came", self.received, self.length.unwrap_or(0));
                return Err(fail(ErrorKind::Interrupted(message)));
            }
            None => {}
        }
        Ok(chunk)
    }
}

/// Where a read goes.
enum Route<'a> {
    Store(&'a SignedUrl),
    Server,
}

impl Client {
    /// Opens an object for reading, whole or a range of its bytes.
    ///
    /// Directly where `at` has a URL and the store can be reached, through the server otherwise; a URL that is no
    /// longer valid is replaced. Opening is repeated; a body that breaks is not.
    ///
    /// `GET …/refs/{reference}/objects`.
    ///
    /// # Errors
    /// Status 404 for a missing ref or path, 410 when the bytes are gone, 416 for a range outside of the object.
    pub async fn read_object(
        &self,
        at: &ObjectAt<'_>,
        range: Option<Range<u64>>,
    ) -> Result<ObjectReader, Error> {
        let range = range.as_ref();
        if let Some(url) = at.download
            && self.transfers_directly().await?
        {
            match self.open(at, &Route::Store(url), range).await {
                Err(error) if error.is_unreachable() => self.give_up_direct_transfers(&error),
                Err(error) if error.status() == Some(403) => return self.read_with_new_url(at, range).await,
                other => return other,
            }
        }
        self.open(at, &Route::Server, range).await
    }

    /// Signed URLs live some minutes, listings are read ahead of the objects.
    async fn read_with_new_url(
        &self,
        at: &ObjectAt<'_>,
        range: Option<&Range<u64>>,
    ) -> Result<ObjectReader, Error> {
        let stats = self.stat_object(at.repository, at.reference, at.path, true).await?;
        if let Some(url) = stats.and_then(|stats| stats.download) {
            match self.open(at, &Route::Store(&url), range).await {
                Err(error) if error.status() == Some(403) => self.give_up_direct_transfers(&error),
                other => return other,
            }
        }
        self.open(at, &Route::Server, range).await
    }

    async fn open(
        &self,
        at: &ObjectAt<'_>,
        route: &Route<'_>,
        range: Option<&Range<u64>>,
    ) -> Result<ObjectReader, Error> {
        let segments = ["repositories", at.repository, "refs", at.reference, "objects"];
        let call = self.call(OPERATION, Method::GET, &segments)?.query("path", at.path);
        let mut tries = self.tries();
        loop {
            match self.open_once(&call, route, range).await {
                // A store that cannot be connected to is left for the server at once.
                Err(error) if matches!(route, Route::Store(_)) && error.is_unreachable() => {
                    return Err(error);
                }
                Err(error) => tries.after(error).await?,
                done => return done,
            }
        }
    }

    async fn open_once(
        &self,
        call: &Call,
        route: &Route<'_>,
        range: Option<&Range<u64>>,
    ) -> Result<ObjectReader, Error> {
        let options = &self.transport.options;
        let (mut builder, server) = match route {
            Route::Server => (self.transport.authorised(&call.request), self.server()),
            Route::Store(url) => {
                (self.transport.to_store(OPERATION, Method::GET, url)?, url.without_signature())
            }
        };
        if let Some(range) = range {
            builder = builder.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        let fail = |kind| Error::new(OPERATION, server.clone(), kind);
        let limit = options.stall_timeout;
        let response = tokio::time::timeout(limit, builder.send())
            .await
            .map_err(|_| fail(ErrorKind::Timeout(limit)))?
            .map_err(|error| fail(ErrorKind::of_exchange(&error, limit)))?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let body = small_body(response, limit).await.map_err(fail)?;
            return Err(fail(Reply { status, body }.failure()));
        }
        if range.is_some() && status != 206 {
            return Err(fail(ErrorKind::Decode(format!("a range was asked for and status {status} came"))));
        }
        let length = response.content_length();
        let total = total_of(&response).or(if range.is_none() { length } else { None });
        Ok(ObjectReader { response, server, stall: limit, length, received: 0, total })
    }
}

/// The size after the slash of `Content-Range`.
fn total_of(response: &Response) -> Option<u64> {
    let value = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    value.rsplit_once('/')?.1.parse().ok()
}

/// The body of an answer that moves no object; cut where it is too long for one.
pub(super) async fn small_body(mut response: Response, limit: Duration) -> Result<Vec<u8>, ErrorKind> {
    let mut body = Vec::new();
    while body.len() < SMALL_BODY {
        match tokio::time::timeout(limit, response.chunk()).await {
            Ok(Ok(Some(bytes))) => body.extend_from_slice(&bytes),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(ErrorKind::of_exchange(&error, limit)),
            Err(_) => return Err(ErrorKind::Stalled(limit)),
        }
    }
    Ok(body)
}
