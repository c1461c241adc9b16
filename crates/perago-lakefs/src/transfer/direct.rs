//! Uploads to the object store by one signed URL: address, bytes, link.

use reqwest::Method;
use serde_json::json;

use super::UploadSource;
use super::body::hexadecimal;
use super::upload::{OPERATION, Sent, Upload, Uploaded};
use crate::client::{Call, Client};
use crate::error::{Error, ErrorKind};
use crate::signed_url::SignedUrl;
use crate::wire::{ObjectStats, StagingLocation};

impl Client {
    /// `GET …/staging/backing?presign=true`, `PUT` to the signed URL, `PUT …/staging/backing` to link.
    ///
    /// Nothing is visible before the link, and the same link may be made again.
    pub(super) async fn upload_directly(&self, upload: &Upload<'_>) -> Result<Uploaded, Error> {
        let length = upload.source.length();
        let segments = ["repositories", upload.repository, "branches", upload.branch, "staging", "backing"];
        let ask = self.call(OPERATION, Method::GET, &segments)?.query("path", upload.path);
        let ask = ask.query("presign", "true");
        let mut tries = self.tries();
        let (location, sent) = loop {
            match self.place(&ask, upload).await {
                Ok(placed) => break placed,
                // A store that cannot be connected to is left for the server at once.
                Err(error) if error.is_unreachable() => return Err(error),
                Err(error) => tries.after(error).await?,
            }
        };
        let md5 = hexadecimal(&sent.digest);
        let body = json!({
            "staging": {"physical_address": location.physical_address},
            // The store's tag is an MD5 only where the store does not encrypt; ours always is.
            "checksum": md5,
            "size_bytes": length,
            "content_type": upload.content_type,
            "user_metadata": upload.metadata,
        });
        let link = self.call(OPERATION, Method::PUT, &segments)?.query("path", upload.path);
        let stats: ObjectStats = self.send_for_json(&link.json(self, &body)?).await?;
        self.check_tag(upload, sent.etag.as_deref().unwrap_or_default(), &md5).await?;
        Ok(Uploaded { stats, md5: Some(md5) })
    }

    /// Asks for an address and puts the bytes there.
    async fn place(&self, ask: &Call, upload: &Upload<'_>) -> Result<(StagingLocation, Sent), Error> {
        let location: StagingLocation = self.send_for_json(ask).await?;
        let signed = location.presigned_url.as_deref().and_then(SignedUrl::parse);
        let url = signed.ok_or_else(|| {
            self.fail(ask, ErrorKind::Decode("the server signed no URL to upload to".to_owned()))
        })?;
        let sent = self.put(&url, &upload.source, (0, upload.source.length())).await?;
        Ok((location, sent))
    }

    /// Sends bytes of the source to a signed URL.
    pub(super) async fn put(
        &self,
        url: &SignedUrl,
        source: &UploadSource,
        (offset, end): (u64, u64),
    ) -> Result<Sent, Error> {
        let builder = self.transport.to_store(OPERATION, Method::PUT, url)?;
        self.send_source(builder, source, (offset, end))
            .await
            .map_err(|kind| Error::new(OPERATION, url.without_signature(), kind))
    }
}
