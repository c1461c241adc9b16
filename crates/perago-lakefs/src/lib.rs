//! lakeFS's wire types and HTTP client.
//!
//! Owns how a request reaches the server or its object store and what an answer means: credentials, presigned
//! transfers, streaming with bounded memory, timeouts, the classes of failure, and the repetition of calls that
//! cannot do harm by it. It refuses to own policy: what to stage, when to merge, and what a lost reply of a merge
//! means for an attempt are decided by its caller, who reads the state again.
//!
//! A branch is never moved by a reset: the client has no such call.

mod branches;
mod client;
mod commits;
mod diffs;
mod error;
mod merges;
mod objects;
mod options;
mod reply;
mod repositories;
mod retry;
mod signed_url;
mod transfer;
mod transport;
mod wire;

pub use branches::CreatedBranch;
pub use client::Client;
pub use commits::{CommitOutcome, CommitRequest, LogQuery};
pub use diffs::{DiffForm, DiffQuery};
pub use error::{Error, ErrorKind};
pub use merges::{MergeOutcome, MergeRequest, RevertOutcome, RevertRequest};
pub use objects::{ListQuery, ObjectAt};
pub use options::{ClientOptions, Credentials};
pub use perago_http::{Address, AddressError, Backoff, ProxyOptions, Secret, WarningSink};
pub use repositories::NewRepository;
pub use retry::RetryOptions;
pub use signed_url::SignedUrl;
pub use transfer::{ObjectReader, Upload, UploadSource, Uploaded};
pub use wire::{
    Branch, Commit, DiffEntry, DiffKind, ObjectStats, Page, Pagination, PathType, Repository, StorageConfig,
};

/// Most paths that one bulk deletion takes, and most rows of a page.
pub const PAGE_LIMIT: usize = 1_000;
