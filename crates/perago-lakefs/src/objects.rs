//! Calls on objects that move none of their bytes.

use reqwest::Method;
use serde_json::json;

use crate::PAGE_LIMIT;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::signed_url::SignedUrl;
use crate::wire::{DeletionReport, ObjectStats, Page};

/// Which part of a listing to read.
#[derive(Debug, Clone, Default)]
pub struct ListQuery<'a> {
    /// Only paths that start so; end it with a slash to name a folder.
    pub prefix: &'a str,
    /// Last path of the page before.
    pub after: Option<&'a str>,
    /// Whether to ask for the means to read each object directly, where the store offers it.
    pub with_downloads: bool,
}

/// Where an object is: which commit or branch, which path, and how to read it directly.
#[derive(Debug, Clone, Copy)]
pub struct ObjectAt<'a> {
    /// Repository.
    pub repository: &'a str,
    /// Commit id, branch or other ref.
    pub reference: &'a str,
    /// Path.
    pub path: &'a str,
    /// The URL of a listing with downloads, if there is one.
    pub download: Option<&'a SignedUrl>,
}

impl Client {
    /// Lists one page of at most 1,000 objects, by path in byte order.
    ///
    /// `GET …/refs/{reference}/objects/ls`.
    pub async fn list_objects(
        &self,
        repository: &str,
        reference: &str,
        query: &ListQuery<'_>,
    ) -> Result<Page<ObjectStats>, Error> {
        let segments = ["repositories", repository, "refs", reference, "objects", "ls"];
        let presign = query.with_downloads && self.transfers_directly().await?;
        let call = self
            .call("list objects", Method::GET, &segments)?
            .query("amount", "1000")
            .optional_query("prefix", Some(query.prefix).filter(|prefix| !prefix.is_empty()))
            .optional_query("after", query.after)
            .flag("presign", presign);
        self.send_for_json(&call).await
    }

    /// Reads what the server knows about an object, with the means to read it directly where the store offers it;
    /// `None` when there is none at that path, or no such ref.
    ///
    /// `GET …/refs/{reference}/objects/stat`.
    pub async fn stat_object(
        &self,
        repository: &str,
        reference: &str,
        path: &str,
        with_download: bool,
    ) -> Result<Option<ObjectStats>, Error> {
        let segments = ["repositories", repository, "refs", reference, "objects", "stat"];
        let presign = with_download && self.transfers_directly().await?;
        let call = self
            .call("look at an object", Method::GET, &segments)?
            .query("path", path)
            .flag("presign", presign);
        self.send_for_existing(&call).await
    }

    /// Deletes objects of a branch, 1,000 a call; paths without an object are no error.
    ///
    /// `POST …/branches/{branch}/objects/delete`, 200 with the failures of single paths.
    ///
    /// # Errors
    /// [`ErrorKind::Deletion`] when single paths could not be deleted; all others are.
    pub async fn delete_objects(
        &self,
        repository: &str,
        branch: &str,
        paths: &[String],
    ) -> Result<(), Error> {
        let segments = ["repositories", repository, "branches", branch, "objects", "delete"];
        let mut failures = Vec::new();
        let mut failed_call = None;
        for some in paths.chunks(PAGE_LIMIT) {
            let call =
                self.call("delete objects", Method::POST, &segments)?.json(self, &json!({"paths": some}))?;
            let report: DeletionReport = self.send_for_json(&call).await?;
            if !report.errors.is_empty() {
                failures.extend(report.errors);
                failed_call.get_or_insert(call);
            }
        }
        let failed = failures.len();
        match (failed_call, failures.into_iter().next()) {
            (Some(call), Some(first)) => {
                let message = perago_http::excerpt(&first.message);
                let kind =
                    ErrorKind::Deletion { failed, path: first.path, status: first.status_code, message };
                Err(self.fail(&call, kind))
            }
            _ => Ok(()),
        }
    }
}
