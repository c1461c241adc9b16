//! One range of an object, resumed as often as it breaks.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use perago_contract::FailureCode;

use super::Transfers;
use crate::backoff::pause;
use crate::error::WorkspaceError;
use crate::store::{ByteStream, ObjectEntry, Repository, StoreError, StoreErrorKind};

/// Breaks in a row without a single byte between them.
const MOST_BREAKS: u32 = 5;
/// Breaks of one range in all.
const MOST_RESUMES: u32 = 50;

/// Takes the bytes of a range in order.
pub(super) trait Sink: Send {
    /// Takes the next bytes, which start at `position` of the object.
    fn take(
        &mut self,
        position: u64,
        bytes: Bytes,
    ) -> impl Future<Output = Result<(), WorkspaceError>> + Send;
}

impl<R: Repository> Transfers<R> {
    /// Reads a range into a sink.
    pub(super) async fn read_range(
        &self,
        object: &ObjectEntry,
        range: Range<u64>,
        sink: &mut impl Sink,
    ) -> Result<(), WorkspaceError> {
        let mut position = range.start;
        let (mut breaks, mut refusals, mut resumes) = (0, 0, 0);
        loop {
            let before = position;
            let broken = match self.read_on(object, &mut position, range.end, sink).await? {
                Reading::Complete => return Ok(()),
                Reading::Refused(error) => {
                    refusals += 1;
                    error
                }
                Reading::Broken(error) => {
                    refusals = 0;
                    error
                }
            };
            resumes += 1;
            breaks = if position > before { 1 } else { breaks + 1 };
            let is_final = !broken.is_transient()
                || breaks >= MOST_BREAKS
                || refusals >= self.repository.tries()
                || resumes >= MOST_RESUMES;
            if is_final {
                return Err(failed(object, position, &broken));
            }
            tokio::time::sleep(pause(breaks)).await;
        }
    }

    // One connection.
    async fn read_on(
        &self,
        object: &ObjectEntry,
        position: &mut u64,
        end: u64,
        sink: &mut impl Sink,
    ) -> Result<Reading, WorkspaceError> {
        let is_whole = *position == 0 && end == object.size;
        let range = (!is_whole).then_some(*position..end);
        let stall = self.options.stall_timeout;
        let opening = self.repository.read(&self.reference, object, range);
        let mut stream = match within(stall, opening).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Reading::Refused(error)),
        };
        loop {
            match within(stall, stream.next()).await {
                Ok(Some(bytes)) if bytes.len() as u64 > end - *position => {
                    let error =
                        StoreError::new(StoreErrorKind::Damaged, "more bytes arrived than were listed");
                    return Ok(Reading::Broken(error));
                }
                Ok(Some(bytes)) => {
                    let length = bytes.len() as u64;
                    sink.take(*position, bytes).await?;
                    *position += length;
                    self.progress.done_bytes.fetch_add(length, std::sync::atomic::Ordering::Relaxed);
                }
                Ok(None) if *position == end => return Ok(Reading::Complete),
                Ok(None) => {
                    let error = StoreError::new(StoreErrorKind::Lost, "the content ended too early");
                    return Ok(Reading::Broken(error));
                }
                Err(error) => return Ok(Reading::Broken(error)),
            }
        }
    }
}

/// What came of one connection.
enum Reading {
    /// The whole range is here.
    Complete,
    /// It was not opened.
    Refused(StoreError),
    /// It ended too early.
    Broken(StoreError),
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
        let message = format!("no byte arrived for {} s", limit.as_secs());
        Err(StoreError::new(StoreErrorKind::Lost, message))
    })
}

fn failed(object: &ObjectEntry, position: u64, error: &StoreError) -> WorkspaceError {
    let code = match error.kind() {
        StoreErrorKind::Damaged => FailureCode::WorkspaceCorrupt,
        _ => FailureCode::Workspace,
    };
    let message = format!(
        "cannot read {}: {error} (after {position} of {} bytes, at the last of several tries)",
        object.key, object.size
    );
    WorkspaceError::new(code, message).with_source(error.clone())
}
