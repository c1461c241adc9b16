//! Calls that compare.

use reqwest::Method;

use crate::client::Client;
use crate::error::Error;
use crate::wire::{DiffEntry, Page};

/// What a diff of two refs compares. Both look at commits; nothing staged shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffForm {
    /// Left with right, straight.
    TwoDot,
    /// Their common ancestor with right: what merging right into left would bring, conflicts included.
    ThreeDot,
}

/// Which part of a diff to read.
#[derive(Debug, Clone, Default)]
pub struct DiffQuery<'a> {
    /// Only paths that start so.
    pub prefix: &'a str,
    /// Last path of the page before.
    pub after: Option<&'a str>,
}

impl Client {
    /// Lists one page of the differences between two refs, by path in byte order.
    ///
    /// `GET …/refs/{left}/diff/{right}`.
    pub async fn diff_refs(
        &self,
        repository: &str,
        (left, right): (&str, &str),
        form: DiffForm,
        query: &DiffQuery<'_>,
    ) -> Result<Page<DiffEntry>, Error> {
        let segments = ["repositories", repository, "refs", left, "diff", right];
        let form = match form {
            DiffForm::TwoDot => "two_dot",
            DiffForm::ThreeDot => "three_dot",
        };
        let call = self
            .call("compare two refs", Method::GET, &segments)?
            .query("type", form)
            .query("amount", "1000")
            .optional_query("prefix", Some(query.prefix).filter(|prefix| !prefix.is_empty()))
            .optional_query("after", query.after);
        self.send_for_json(&call).await
    }

    /// Lists one page of what is staged on a branch and not committed, by path in byte order.
    ///
    /// `GET …/branches/{branch}/diff`.
    pub async fn diff_uncommitted(
        &self,
        repository: &str,
        branch: &str,
        query: &DiffQuery<'_>,
    ) -> Result<Page<DiffEntry>, Error> {
        let segments = ["repositories", repository, "branches", branch, "diff"];
        let call = self
            .call("read the uncommitted changes", Method::GET, &segments)?
            .query("amount", "1000")
            .optional_query("prefix", Some(query.prefix).filter(|prefix| !prefix.is_empty()))
            .optional_query("after", query.after);
        self.send_for_json(&call).await
    }
}
