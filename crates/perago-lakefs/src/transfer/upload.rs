//! Writing objects.

use std::collections::BTreeMap;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderName};

use super::body::{SourceBody, UploadSource, hexadecimal};
use super::progress::Progress;
use super::read::small_body;
use crate::client::{Call, Client};
use crate::error::{Error, ErrorKind};
use crate::reply::Reply;
use crate::retry::{Repeat, Tries};
use crate::wire::ObjectStats;

pub(super) const OPERATION: &str = "upload an object";

/// One object to write. The last writer of a path wins.
#[derive(Debug, Clone)]
pub struct Upload<'a> {
    /// Repository.
    pub repository: &'a str,
    /// Branch to stage it on.
    pub branch: &'a str,
    /// Path.
    pub path: &'a str,
    /// Content type; part of what makes an object differ from another.
    pub content_type: &'a str,
    /// Metadata, with lower-case keys; part of what makes an object differ from another.
    pub metadata: BTreeMap<String, String>,
    /// Its bytes.
    pub source: UploadSource,
}

/// A written object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// What the server knows about it.
    pub stats: ObjectStats,
    /// Hexadecimal MD5 of the bytes that were sent; none where they went in parts.
    pub md5: Option<String>,
}

impl Client {
    /// Writes an object to a branch, streaming: through the server, or directly to the store where it can be
    /// reached and the object is large, in parts where it is very large. Repeated as a whole when it fails.
    ///
    /// What the server counted as the checksum, or the store gave as the tag, is compared with what was sent.
    ///
    /// # Errors
    /// [`ErrorKind::Source`] when the source cannot be read or became shorter, [`ErrorKind::Stalled`] when the
    /// receiver takes no more.
    pub async fn upload(&self, upload: &Upload<'_>) -> Result<Uploaded, Error> {
        let length = upload.source.length();
        if length >= self.transport.options.direct_upload_minimum && self.transfers_directly().await? {
            let in_parts = length >= self.transport.options.multipart_minimum
                && self.storage_config().await?.pre_sign_multipart_upload;
            let mut tries = self.tries();
            loop {
                let outcome = if in_parts {
                    self.upload_in_parts(upload).await
                } else {
                    self.upload_directly(upload).await
                };
                match outcome {
                    Err(error) if error.is_unreachable() && self.answers().await => {
                        self.give_up_direct_transfers(&error);
                        break;
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::Checksum(_)) => {
                        tries.after(error).await?;
                    }
                    other => return other,
                }
            }
        }
        self.upload_through_server(upload).await
    }

    /// Whether lakeFS itself can be reached, so that an unreachable address is that of its store.
    async fn answers(&self) -> bool {
        let call = self.call("look whether lakeFS answers", Method::GET, &["healthcheck"]);
        match call {
            Ok(call) => self.send(&call).await.is_ok(),
            Err(_) => false,
        }
    }

    /// `POST …/branches/{branch}/objects` with the bytes as the body.
    async fn upload_through_server(&self, upload: &Upload<'_>) -> Result<Uploaded, Error> {
        let segments = ["repositories", upload.repository, "branches", upload.branch, "objects"];
        let mut call = self.call(OPERATION, Method::POST, &segments)?.query("path", upload.path);
        let headers = headers_of(&mut call, upload);
        headers.map_err(|kind| self.fail(&call, kind))?;
        let mut tries = self.tries();
        loop {
            match self.send_through_server(&call, upload).await {
                Err(error) => tries.after(error).await?,
                done => return done,
            }
        }
    }

    async fn send_through_server(&self, call: &Call, upload: &Upload<'_>) -> Result<Uploaded, Error> {
        let length = upload.source.length();
        let fail = |kind| self.fail(call, kind);
        let builder = self.transport.authorised(&call.request);
        let sent = self.send_source(builder, &upload.source, (0, length)).await.map_err(fail)?;
        let stats: ObjectStats = sent.reply.json().map_err(fail)?;
        let md5 = hexadecimal(&sent.digest);
        if stats.checksum != md5 || stats.size_bytes != length {
            let message = format!(
                "{} has {} bytes with MD5 {} where {length} bytes with MD5 {md5} were sent",
                upload.path, stats.size_bytes, stats.checksum
            );
            return Err(fail(ErrorKind::Checksum(message)));
        }
        Ok(Uploaded { stats, md5: Some(md5) })
    }

    /// Tries of something that may be repeated.
    pub(super) fn tries(&self) -> Tries {
        Tries::new(self.transport.options.retry, Repeat::Always)
    }

    /// Sends the bytes from `offset` to `end` of a source as the body of a request that must succeed.
    pub(super) async fn send_source(
        &self,
        builder: reqwest::RequestBuilder,
        source: &UploadSource,
        (offset, end): (u64, u64),
    ) -> Result<Sent, ErrorKind> {
        let options = &self.transport.options;
        let progress = Progress::new();
        let body = SourceBody::new(source, offset, end, progress.clone());
        let exchange = builder.body(reqwest::Body::wrap(body)).send();
        let outcome = progress.watch(exchange, options.stall_timeout, options.request_timeout).await;
        if let Some(reason) = progress.source_error() {
            return Err(ErrorKind::Source(reason));
        }
        let response = outcome?.map_err(|error| ErrorKind::of_exchange(&error, options.request_timeout))?;
        let status = response.status().as_u16();
        let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = small_body(response, options.stall_timeout).await?;
        let reply = Reply { status, body };
        if !reply.is_success() {
            return Err(reply.failure());
        }
        let digest = progress.digest();
        let digest = digest.ok_or_else(|| ErrorKind::Decode("the answer came before the request".into()))?;
        Ok(Sent { reply, etag, digest })
    }
}

/// What came of sending a body.
pub(super) struct Sent {
    /// The successful answer.
    pub(super) reply: Reply,
    /// Its entity tag as received.
    pub(super) etag: Option<String>,
    /// MD5 of what was sent.
    pub(super) digest: [u8; 16],
}

/// Content type and metadata of an object as headers of its upload.
fn headers_of(call: &mut Call, upload: &Upload<'_>) -> Result<(), ErrorKind> {
    call.request.header(CONTENT_TYPE, upload.content_type)?;
    for (key, value) in &upload.metadata {
        let name = HeaderName::from_bytes(format!("x-lakefs-meta-{key}").as_bytes())
            .map_err(|_| ErrorKind::Encode(format!("the metadata key {key:?} cannot be sent in a header")))?;
        call.request.header(name, value)?;
    }
    Ok(())
}
