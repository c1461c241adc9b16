//! Calls on branches.

use reqwest::Method;
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::wire::{Branch, Page};

/// What came of creating a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreatedBranch {
    /// It points at this commit.
    Created(String),
    /// A branch of that name is there, perhaps made by a try whose answer was lost.
    Exists,
}

impl Client {
    /// Creates a branch at a commit; what is staged on the source is not carried over.
    ///
    /// `POST …/branches`, 201 with a bare commit id, 409 where the name is taken; atomic.
    pub async fn create_branch(
        &self,
        repository: &str,
        name: &str,
        source: &str,
    ) -> Result<CreatedBranch, Error> {
        let call = self
            .call("create a branch", Method::POST, &["repositories", repository, "branches"])?
            .json(self, &json!({"name": name, "source": source}))?;
        match self.send(&call).await {
            Ok(reply) => reply.text().map(CreatedBranch::Created).map_err(|kind| self.fail(&call, kind)),
            Err(error) if error.status() == Some(409) => Ok(CreatedBranch::Exists),
            Err(error) => Err(error),
        }
    }

    /// Reads a branch; `None` when there is none of that name.
    ///
    /// `GET …/branches/{branch}`.
    pub async fn get_branch(&self, repository: &str, branch: &str) -> Result<Option<Branch>, Error> {
        let segments = ["repositories", repository, "branches", branch];
        self.send_for_existing(&self.call("read a branch", Method::GET, &segments)?).await
    }

    /// Deletes a branch with everything staged on it; false when there was none.
    ///
    /// `DELETE …/branches/{branch}`.
    pub async fn delete_branch(&self, repository: &str, branch: &str) -> Result<bool, Error> {
        let segments = ["repositories", repository, "branches", branch];
        match self.send(&self.call("delete a branch", Method::DELETE, &segments)?).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lists one page of the branches whose names start with `prefix`, in byte order, after the name `after`.
    ///
    /// `GET …/branches`.
    pub async fn list_branches(
        &self,
        repository: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page<Branch>, Error> {
        let call = self
            .call("list branches", Method::GET, &["repositories", repository, "branches"])?
            .query("amount", "1000")
            .optional_query("prefix", Some(prefix).filter(|prefix| !prefix.is_empty()))
            .optional_query("after", after);
        self.send_for_json(&call).await
    }
}
