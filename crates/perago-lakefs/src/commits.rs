//! Calls on commits.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Serialize;

use crate::client::Client;
use crate::error::Error;
use crate::wire::{Commit, Page};

/// What to commit: the body of `POST …/commits`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CommitRequest {
    /// Message.
    pub message: String,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
}

/// What came of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is made.
    Committed(Commit),
    /// Nothing is staged: there was nothing, or an earlier try whose answer was lost has committed it. The head of
    /// the branch and its metadata tell which.
    NoChanges,
}

/// Which part of a log to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery<'a> {
    /// Whether to follow first parents only.
    pub first_parent: bool,
    /// Most commits of the page, at most 1,000; the server's default is 100.
    pub amount: Option<u32>,
    /// Id of the last commit of the page before.
    pub after: Option<&'a str>,
    /// Id of the commit to end with; it is shown.
    pub stop_at: Option<&'a str>,
}

impl Client {
    /// Commits everything that is staged on a branch, by whomever. Meant for branches with one writer: there it
    /// may be repeated without making a second commit.
    ///
    /// `POST …/branches/{branch}/commits`; 400 "no changes", 500 "predicate failed" under contention.
    pub async fn commit(
        &self,
        repository: &str,
        branch: &str,
        request: &CommitRequest,
    ) -> Result<CommitOutcome, Error> {
        let segments = ["repositories", repository, "branches", branch, "commits"];
        let call = self.call("commit", Method::POST, &segments)?.json(self, request)?;
        match self.send_for_json(&call).await {
            Ok(commit) => Ok(CommitOutcome::Committed(commit)),
            Err(error) if error.is_no_changes() => Ok(CommitOutcome::NoChanges),
            Err(error) => Err(error),
        }
    }

    /// Reads the commit that a branch, tag, id or expression names; `None` when it names none.
    ///
    /// `GET …/commits/{reference}`.
    pub async fn get_commit(&self, repository: &str, reference: &str) -> Result<Option<Commit>, Error> {
        let segments = ["repositories", repository, "commits", reference];
        self.send_for_existing(&self.call("read a commit", Method::GET, &segments)?).await
    }

    /// Lists one page of the commits that lead to a ref, newest first.
    ///
    /// `GET …/refs/{reference}/commits`.
    pub async fn log(
        &self,
        repository: &str,
        reference: &str,
        query: &LogQuery<'_>,
    ) -> Result<Page<Commit>, Error> {
        let segments = ["repositories", repository, "refs", reference, "commits"];
        let amount = query.amount.map(|amount| amount.to_string());
        let call = self
            .call("read a log", Method::GET, &segments)?
            .flag("first_parent", query.first_parent)
            .optional_query("amount", amount.as_deref())
            .optional_query("after", query.after)
            .optional_query("stop_at", query.stop_at);
        self.send_for_json(&call).await
    }
}
