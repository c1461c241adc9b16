//! A request body that is read while it is sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use md5::{Digest, Md5};
use tokio::task::JoinHandle;

use super::progress::Progress;

/// Bytes read at a time; each transfer holds at most two of these blocks.
const BLOCK: u64 = 256 * 1024;

/// What to upload. It is read again when a try failed.
#[derive(Debug, Clone)]
pub enum UploadSource {
    /// The first so many bytes of a file, read by position: other users of the handle do not matter.
    File(Arc<File>, u64),
    /// Bytes in memory.
    Bytes(Bytes),
}

impl UploadSource {
    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        match self {
            Self::File(_, length) => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// The bytes from `offset` to `end` of a source, hashed while they leave.
pub(super) struct SourceBody {
    source: UploadSource,
    offset: u64,
    end: u64,
    state: State,
    progress: Progress,
}

enum State {
    Idle(Md5),
    Reading(JoinHandle<io::Result<(Bytes, Md5)>>),
    Done,
}

impl SourceBody {
    pub(super) fn new(source: &UploadSource, offset: u64, end: u64, progress: Progress) -> Self {
        let mut body = Self { source: source.clone(), offset, end, state: State::Idle(Md5::new()), progress };
        if offset >= end {
            body.finish(Md5::new());
        }
        body
    }

    fn finish(&mut self, digest: Md5) {
        self.state = State::Done;
        self.progress.sent(digest.finalize().into());
    }

    fn took(&mut self, block: &Bytes, digest: Md5) {
        self.offset += block.len() as u64;
        self.progress.moved();
        if self.offset >= self.end {
            self.finish(digest);
        } else {
            self.state = State::Idle(digest);
        }
    }
}

impl Body for SourceBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Idle(mut digest) => {
                    let length = BLOCK.min(self.end - self.offset);
                    match &self.source {
                        UploadSource::Bytes(bytes) => {
                            let start = self.offset as usize;
                            let block = bytes.slice(start..start + length as usize);
                            digest.update(&block);
                            self.took(&block, digest);
                            return Poll::Ready(Some(Ok(Frame::data(block))));
                        }
                        UploadSource::File(file, _) => {
                            let (file, offset) = (Arc::clone(file), self.offset);
                            let read = move || read_block(&file, offset, length as usize, digest);
                            self.state = State::Reading(tokio::task::spawn_blocking(read));
                        }
                    }
                }
                State::Reading(mut reading) => {
                    let Poll::Ready(outcome) = Pin::new(&mut reading).poll(context) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    return match outcome.unwrap_or_else(|error| Err(io::Error::other(error))) {
                        Ok((block, digest)) => {
                            self.took(&block, digest);
                            Poll::Ready(Some(Ok(Frame::data(block))))
                        }
                        Err(error) => {
                            self.progress.source_failed(error.to_string());
                            Poll::Ready(Some(Err(error)))
                        }
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end.saturating_sub(self.offset))
    }
}

fn read_block(file: &File, offset: u64, length: usize, mut digest: Md5) -> io::Result<(Bytes, Md5)> {
    let mut block = vec![0; length];
    file.read_exact_at(&mut block, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "the file became shorter while it was uploaded")
        }
        _ => error,
    })?;
    digest.update(&block);
    Ok((Bytes::from(block), digest))
}

/// A digest as lakeFS and S3 write it.
pub(super) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(digest.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
