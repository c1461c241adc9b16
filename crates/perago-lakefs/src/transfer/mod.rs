//! Moving the bytes of objects, in both directions, with bounded memory.
//!
//! Directly from and to the object store where the server signs URLs for it, through the server otherwise. A store
//! that cannot be reached from here is given up once and for all, with one warning.

mod body;
mod check;
mod direct;
mod multipart;
mod progress;
mod read;
mod upload;

pub use body::UploadSource;
pub use read::ObjectReader;
pub use upload::{Upload, Uploaded};
