//! Bytes by their own hash, in memory or in a folder.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use md5::{Digest, Md5};
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;

use crate::store::{StoredObject, hexadecimal};

/// Bytes read from a file at a time.
const BLOCK: u64 = 256 * 1024;

/// Folder of what is still arriving.
const ARRIVING: &str = "arriving";

/// Where the bytes are.
pub(crate) enum Blobs {
    Memory(Mutex<HashMap<String, Bytes>>),
    Folder(PathBuf),
}

/// Bytes on their way in.
pub(crate) struct BlobWriter {
    sink: Sink,
    size: u64,
    md5: Md5,
    hash: blake3::Hasher,
}

enum Sink {
    Memory(Vec<u8>),
    File(NamedTempFile),
}

/// Bytes that are there.
#[derive(Clone)]
pub(crate) enum Blob {
    Memory(Bytes),
    File(Arc<File>),
}

impl Blobs {
    pub(crate) fn in_memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// Opens or creates a folder of blobs; what an earlier process left unfinished goes.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let arriving = folder.join(ARRIVING);
        if arriving.exists() {
            fs::remove_dir_all(&arriving)?;
        }
        fs::create_dir_all(&arriving)?;
        Ok(Self::Folder(folder.to_owned()))
    }

    /// Begins a blob.
    pub(crate) fn writer(&self) -> io::Result<BlobWriter> {
        let sink = match self {
            Self::Memory(_) => Sink::Memory(Vec::new()),
            Self::Folder(folder) => Sink::File(NamedTempFile::new_in(folder.join(ARRIVING))?),
        };
        Ok(BlobWriter { sink, size: 0, md5: Md5::new(), hash: blake3::Hasher::new() })
    }

    /// Puts a written blob in its place; equal bytes are kept once.
    pub(crate) fn finish(&self, writer: BlobWriter) -> io::Result<StoredObject> {
        let name = hexadecimal(writer.hash.finalize().as_bytes());
        let tag = hexadecimal(&writer.md5.finalize());
        match (self, writer.sink) {
            (Self::Memory(blobs), Sink::Memory(bytes)) => {
                let mut blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
                blobs.entry(name.clone()).or_insert_with(|| bytes.into());
            }
            (Self::Folder(folder), Sink::File(file)) => {
                let place = place(folder, &name);
                if !place.exists() {
                    if let Some(parent) = place.parent() {
                        fs::create_dir_all(parent)?;
                    }
                    file.persist(&place).map_err(|error| error.error)?;
                }
            }
            _ => return Err(io::Error::other("a writer of another place")),
        }
        Ok(StoredObject { blob: name, size: writer.size, tag, parts: Vec::new() })
    }

    /// Removes all blobs but these.
    pub(crate) fn keep_only(&self, used: &HashSet<&str>) -> io::Result<()> {
        match self {
            Self::Memory(blobs) => {
                let mut blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
                blobs.retain(|name, _| used.contains(name.as_str()));
                // A map does not give its room back by itself.
                blobs.shrink_to_fit();
                Ok(())
            }
            Self::Folder(folder) => {
                for fan in fs::read_dir(folder)? {
                    let fan = fan?.file_name().to_string_lossy().into_owned();
                    if fan == ARRIVING {
                        continue;
                    }
                    for rest in fs::read_dir(folder.join(&fan))? {
                        let rest = rest?;
                        let name = format!("{fan}{}", rest.file_name().to_string_lossy());
                        if !used.contains(name.as_str()) {
                            fs::remove_file(rest.path())?;
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// The blobs that make up an object, with their sizes; `None` where one is gone.
    pub(crate) fn open_object(&self, object: &StoredObject) -> Option<Vec<(Blob, u64)>> {
        let whole = [(object.blob.clone(), object.size)];
        let parts = if object.parts.is_empty() { &whole[..] } else { &object.parts };
        parts.iter().map(|(name, size)| Some((self.get(name)?, *size))).collect()
    }

    fn get(&self, name: &str) -> Option<Blob> {
        match self {
            Self::Memory(blobs) => {
                let blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
                blobs.get(name).cloned().map(Blob::Memory)
            }
            Self::Folder(folder) => {
                File::open(place(folder, name)).ok().map(|file| Blob::File(Arc::new(file)))
            }
        }
    }
}

fn place(folder: &Path, name: &str) -> PathBuf {
    let (fan, rest) = name.split_at(2.min(name.len()));
    folder.join(fan).join(rest)
}

impl BlobWriter {
    /// Takes more bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        self.md5.update(bytes);
        self.hash.update(bytes);
        match &mut self.sink {
            Sink::Memory(held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            Sink::File(file) => file.write_all(bytes),
        }
    }
}

/// A response body that reads a range of an object while it is sent.
pub(crate) struct ReadBlob {
    /// Blobs with the ranges that are still to be sent, the next one last.
    left: Vec<(Blob, Range<u64>)>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl ReadBlob {
    /// The bytes of `range` of an object made of `blobs`.
    pub(crate) fn new(blobs: Vec<(Blob, u64)>, range: &Range<u64>) -> Self {
        let mut left = Vec::new();
        let mut start = 0;
        for (blob, size) in blobs {
            let from = range.start.clamp(start, start + size) - start;
            let to = range.end.clamp(start, start + size) - start;
            if from < to {
                left.push((blob, from..to));
            }
            start += size;
        }
        left.reverse();
        Self { left, reading: None }
    }

    fn remaining(&self) -> u64 {
        self.left.iter().map(|(_, range)| range.end - range.start).sum()
    }

    fn took(&mut self, length: u64) {
        if let Some((_, range)) = self.left.last_mut() {
            range.start += length;
            if range.is_empty() {
                self.left.pop();
            }
        }
    }
}

impl Body for ReadBlob {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let Poll::Ready(outcome) = Pin::new(reading).poll(context) else { return Poll::Pending };
                self.reading = None;
                let block = outcome.unwrap_or_else(|error| Err(io::Error::other(error)))?;
                self.took(block.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(block))));
            }
            let Some((blob, range)) = self.left.last() else { return Poll::Ready(None) };
            match blob {
                Blob::Memory(bytes) => {
                    let block = bytes.slice(range.start as usize..range.end as usize);
                    self.took(block.len() as u64);
                    return Poll::Ready(Some(Ok(Frame::data(block))));
                }
                Blob::File(file) => {
                    let (file, start) = (Arc::clone(file), range.start);
                    let length = BLOCK.min(range.end - start) as usize;
                    let read = move || {
                        let mut block = vec![0; length];
                        file.read_exact_at(&mut block, start)?;
                        Ok(Bytes::from(block))
                    };
                    self.reading = Some(tokio::task::spawn_blocking(read));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}
