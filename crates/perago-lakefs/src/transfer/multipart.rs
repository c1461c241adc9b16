//! Uploads to the object store in parts.

use md5::{Digest, Md5};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::UploadSource;
use super::body::hexadecimal;
use super::upload::{OPERATION, Upload, Uploaded};
use crate::client::{Call, Client};
use crate::error::{Error, ErrorKind};
use crate::signed_url::SignedUrl;
use crate::wire::{MultipartStart, ObjectStats};

/// Parts of one object that are sent at the same time.
const CONCURRENT_PARTS: usize = 4;
/// Most parts of one object.
const MOST_PARTS: u64 = 10_000;

/// One sent part.
struct Part {
    number: usize,
    etag: String,
    digest: [u8; 16],
}

impl Client {
    /// `POST …/staging/pmpu`, a `PUT` a part, `PUT …/staging/pmpu/{upload}` to complete, `DELETE` to abort.
    pub(super) async fn upload_in_parts(&self, upload: &Upload<'_>) -> Result<Uploaded, Error> {
        let length = upload.source.length();
        let part_size = self.transport.options.part_size.max(length.div_ceil(MOST_PARTS)).max(1);
        let parts = length.div_ceil(part_size).max(1);
        let segments = ["repositories", upload.repository, "branches", upload.branch, "staging", "pmpu"];
        let start = self
            .call(OPERATION, Method::POST, &segments)?
            .query("path", upload.path)
            .query("parts", &parts.to_string());
        let started: MultipartStart = self.send_for_json(&start).await?;
        let segments = [&segments[..], &[started.upload_id.as_str()]].concat();
        let outcome = self.send_parts(&start, &started, upload, part_size).await;
        let sent = match outcome {
            Ok(sent) => sent,
            Err(error) => {
                // The store keeps parts until somebody ends the upload; the failure to tell is the one above.
                let abort = self.call(OPERATION, Method::DELETE, &segments)?.query("path", upload.path);
                let body = json!({"physical_address": started.physical_address});
                let _ = self.send(&abort.repeated_when_refused().json(self, &body)?).await;
                return Err(error);
            }
        };
        let body = json!({
            "physical_address": started.physical_address,
            "parts": sent
                .iter()
                .map(|part| json!({"part_number": part.number, "etag": part.etag}))
                .collect::<Vec<_>>(),
            "content_type": upload.content_type,
            "user_metadata": upload.metadata,
        });
        let complete = self.call(OPERATION, Method::PUT, &segments)?.query("path", upload.path);
        let complete = complete.repeated_when_refused().json(self, &body)?;
        let stats = match self.send_for_json::<ObjectStats>(&complete).await {
            Ok(stats) => stats,
            Err(error) if error.may_have_been_received() => {
                self.completed_object(upload, &sent).await?.ok_or(error)?
            }
            Err(error) => return Err(error),
        };
        if stats.size_bytes != length {
            let message = format!("{} has {} bytes where {length} were sent", upload.path, stats.size_bytes);
            return Err(self.fail(&complete, ErrorKind::Checksum(message)));
        }
        self.check_tag(upload, &stats.checksum, &combined_tag(&sent)).await?;
        Ok(Uploaded { stats, md5: None })
    }

    async fn send_parts(
        &self,
        start: &Call,
        started: &MultipartStart,
        upload: &Upload<'_>,
        part_size: u64,
    ) -> Result<Vec<Part>, Error> {
        let length = upload.source.length();
        let parts = length.div_ceil(part_size).max(1) as usize;
        let urls: Option<Vec<_>> = started.presigned_urls.iter().map(|url| SignedUrl::parse(url)).collect();
        let urls = urls.filter(|urls| urls.len() == parts).ok_or_else(|| {
            let message = format!("{} signed URLs came for {parts} parts", started.presigned_urls.len());
            self.fail(start, ErrorKind::Decode(message))
        })?;
        let mut sending = JoinSet::new();
        let mut sent = Vec::with_capacity(parts);
        for (index, url) in urls.into_iter().enumerate() {
            if sending.len() >= CONCURRENT_PARTS {
                sent.extend(joined(sending.join_next().await)?);
            }
            let offset = index as u64 * part_size;
            let bounds = (offset, length.min(offset + part_size));
            let (client, source) = (self.clone(), upload.source.clone());
            sending.spawn(async move { client.send_part(url, index + 1, &source, bounds).await });
        }
        while let Some(outcome) = sending.join_next().await {
            sent.extend(joined(Some(outcome))?);
        }
        sent.sort_unstable_by_key(|part: &Part| part.number);
        Ok(sent)
    }

    async fn send_part(
        &self,
        url: SignedUrl,
        number: usize,
        source: &UploadSource,
        bounds: (u64, u64),
    ) -> Result<Part, Error> {
        let mut tries = self.tries();
        let sent = loop {
            match self.put(&url, source, bounds).await {
                Ok(sent) => break sent,
                // A store that cannot be connected to is left for the server at once.
                Err(error) if error.is_unreachable() => return Err(error),
                Err(error) => tries.after(error).await?,
            }
        };
        let etag = sent.etag.ok_or_else(|| {
            let message = format!("the store gave no tag for part {number}");
            Error::new(OPERATION, url.without_signature(), ErrorKind::Decode(message))
        })?;
        Ok(Part { number, etag: etag.trim_matches('"').to_owned(), digest: sent.digest })
    }

    /// After the lost answer of a completion: the object, if it is there as it was sent.
    async fn completed_object(
        &self,
        upload: &Upload<'_>,
        sent: &[Part],
    ) -> Result<Option<ObjectStats>, Error> {
        let stats = self.stat_object(upload.repository, upload.branch, upload.path, false).await?;
        let expected = combined_tag(sent);
        Ok(stats.filter(|stats| {
            stats.size_bytes == upload.source.length() && stats.checksum.eq_ignore_ascii_case(&expected)
        }))
    }
}

/// The tag that S3 gives an object of these parts: the MD5 of their MD5s and their number.
fn combined_tag(parts: &[Part]) -> String {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(part.digest);
    }
    format!("{}-{}", hexadecimal(&digest.finalize()), parts.len())
}

fn joined(
    outcome: Option<Result<Result<Part, Error>, tokio::task::JoinError>>,
) -> Result<Option<Part>, Error> {
    match outcome {
        None => Ok(None),
        Some(Ok(part)) => part.map(Some),
        Some(Err(error)) => {
            Err(Error::new(OPERATION, String::new(), ErrorKind::Interrupted(error.to_string())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, combined_tag};

    #[test]
    fn the_tag_of_parts_is_that_of_s3() {
        use md5::{Digest, Md5};
        let part =
            |number, bytes: &[u8]| Part { number, etag: String::new(), digest: Md5::digest(bytes).into() };
        // As recorded from a server: 5 MiB of "A" and 1,000 bytes of "B"; and "small" alone.
        let parts = [part(1, &vec![b'A'; 5_242_880]), part(2, &[b'B'; 1_000])];
        assert_eq!(combined_tag(&parts), "4b6d33fe448ab13e30c721ebec088267-2");
        assert_eq!(combined_tag(&[part(1, b"small")]), "a07b3b905264c4f7a78bd531afee70b6-1");
    }
}
