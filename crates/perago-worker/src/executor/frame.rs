//! Frames on an executor's channel: a length of four bytes (little endian), then that many bytes of JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The largest frame that either side accepts, in bytes. Conductor keeps inputs below 10 MiB, and a result above
/// 3 MiB is refused before it is sent, so a longer frame is a broken peer.
pub const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

const LENGTH_BYTES: usize = 4;

/// Encodes `message` as one frame.
///
/// # Errors
/// `InvalidData` when the message cannot be serialised or is longer than [`MAX_FRAME_BYTES`].
pub fn encode<M: Serialize>(message: &M) -> io::Result<Vec<u8>> {
    let mut frame = vec![0_u8; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - LENGTH_BYTES;
    if length > MAX_FRAME_BYTES {
        return Err(too_long(length));
    }
    frame[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Writes one frame to a blocking stream.
pub fn write<M: Serialize>(stream: &mut impl Write, message: &M) -> io::Result<()> {
    stream.write_all(&encode(message)?)
}

/// Reads one frame from a blocking stream; `None` at a clean end of file.
pub fn read<M: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<M>> {
    let mut prefix = [0_u8; LENGTH_BYTES];
    match stream.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if is_end(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0_u8; checked_length(prefix)?];
    stream.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Writes an encoded frame to an asynchronous stream.
pub async fn write_async<M: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &M,
) -> io::Result<()> {
    stream.write_all(&encode(message)?).await
}

/// Reads one frame from an asynchronous stream; `None` when the peer is gone.
///
/// A peer that was killed between two bytes ends the stream just as one that closed it.
pub async fn read_async<M: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<M>> {
    let mut prefix = [0_u8; LENGTH_BYTES];
    match stream.read_exact(&mut prefix).await {
        Ok(_) => {}
        Err(error) if is_end(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0_u8; checked_length(prefix)?];
    match stream.read_exact(&mut body).await {
        Ok(_) => Ok(Some(serde_json::from_slice(&body)?)),
        Err(error) if is_end(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

fn checked_length(prefix: [u8; LENGTH_BYTES]) -> io::Result<usize> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MAX_FRAME_BYTES { Err(too_long(length)) } else { Ok(length) }
}

fn too_long(length: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a frame of {length} bytes is longer than the limit of {MAX_FRAME_BYTES}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_round_trip(texts in proptest::collection::vec(".*", 0..8)) {
            let mut wire = Vec::new();
            for text in &texts {
                write(&mut wire, text).unwrap();
            }
            let mut reader = wire.as_slice();
            let mut seen = Vec::new();
            while let Some(text) = read::<String>(&mut reader).unwrap() {
                seen.push(text);
            }
            prop_assert_eq!(texts, seen);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read::<String>(&mut bytes.as_slice());
        }
    }

    #[test]
    fn an_absurd_length_is_refused_before_it_is_allocated() {
        let wire = u32::MAX.to_le_bytes();
        assert_eq!(read::<String>(&mut wire.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
