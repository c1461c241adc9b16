//! Whether what an object store has received is what was sent to it.

use std::io;
use std::os::unix::fs::FileExt;

use md5::{Digest, Md5};

use super::UploadSource;
use super::upload::{OPERATION, Upload};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::objects::ObjectAt;

const BLOCK: usize = 256 * 1024;

impl Client {
    /// Compares the store's tag of an uploaded object with the tag that the sent bytes would have.
    ///
    /// Where they differ, the bytes were damaged on their way, or the store encrypts and its tags only look like MD5s.
    /// The object itself tells which. Once a store was found to be of the second kind, it is not asked again.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] when the object has other bytes than were sent.
    pub(super) async fn check_tag(
        &self,
        upload: &Upload<'_>,
        tag: &str,
        expected: &str,
    ) -> Result<(), Error> {
        if !contradicts(tag.trim_matches('"'), expected) || self.has_opaque_tags() {
            return Ok(());
        }
        if self.content_of(upload).await? == hash(&upload.source).await.map_err(|kind| self.about(kind))? {
            self.note_opaque_tags();
            return Ok(());
        }
        let message = format!("{} has other bytes in the store than were sent", upload.path);
        Err(self.about(ErrorKind::Checksum(message)))
    }

    fn about(&self, kind: ErrorKind) -> Error {
        Error::new(OPERATION, self.server(), kind)
    }

    /// The MD5 of what the store has.
    async fn content_of(&self, upload: &Upload<'_>) -> Result<[u8; 16], Error> {
        let (repository, reference, path) = (upload.repository, upload.branch, upload.path);
        let stats = self.stat_object(repository, reference, path, true).await?;
        let download = stats.as_ref().and_then(|stats| stats.download.as_ref());
        let mut reader = self.read_object(&ObjectAt { repository, reference, path, download }, None).await?;
        let mut digest = Md5::new();
        while let Some(bytes) = reader.chunk().await? {
            digest.update(&bytes);
        }
        Ok(digest.finalize().into())
    }
}

/// Whether a tag has the form of the expected one, an MD5 or the MD5 of MD5s with their number, and another value.
fn contradicts(tag: &str, expected: &str) -> bool {
    let parts = |tag: &str| match tag.split_once('-') {
        Some((digest, count)) => (digest.to_ascii_lowercase(), Some(count.to_owned())),
        None => (tag.to_ascii_lowercase(), None),
    };
    let ((digest, count), (wanted, wanted_count)) = (parts(tag), parts(expected));
    let is_digest = digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest && count == wanted_count && digest != wanted
}

/// The MD5 of a source.
async fn hash(source: &UploadSource) -> Result<[u8; 16], ErrorKind> {
    let source = source.clone();
    let hashing = tokio::task::spawn_blocking(move || match source {
        UploadSource::Bytes(bytes) => Ok(Md5::digest(&bytes).into()),
        UploadSource::File(file, length) => {
            let (mut digest, mut block, mut position) = (Md5::new(), vec![0; BLOCK], 0);
            while position < length {
                let wanted = BLOCK.min((length - position) as usize);
                file.read_exact_at(&mut block[..wanted], position)?;
                digest.update(&block[..wanted]);
                position += wanted as u64;
            }
            Ok(digest.finalize().into())
        }
    });
    let hashed: io::Result<[u8; 16]> = hashing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    hashed.map_err(|error| ErrorKind::Source(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::contradicts;

    #[test]
    fn only_tags_of_the_same_form_contradict() {
        let (md5, other) = ("5d41402abc4b2a76b9719d911017c592", "0d41402abc4b2a76b9719d911017c592");
        let in_parts = |digest: &str, count: u32| format!("{digest}-{count}");
        assert!(contradicts(other, md5));
        assert!(contradicts(&in_parts(other, 2), &in_parts(md5, 2)));
        for (tag, expected) in [
            (md5.to_owned(), md5.to_owned()),
            (md5.to_ascii_uppercase(), md5.to_owned()),
            (in_parts(other, 2), md5.to_owned()),
            (in_parts(other, 3), in_parts(md5, 2)),
            ("0x8D4BCC2E4835CD0".to_owned(), md5.to_owned()),
            (String::new(), md5.to_owned()),
        ] {
            assert!(!contradicts(&tag, &expected), "{tag} {expected}");
        }
    }
}
