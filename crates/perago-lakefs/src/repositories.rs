//! Calls on repositories.

use reqwest::Method;
use serde::Serialize;

use crate::client::Client;
use crate::error::Error;
use crate::wire::Repository;

/// What to create: the body of `POST /repositories`.
#[derive(Debug, Clone, Serialize)]
pub struct NewRepository {
    /// Name: lower-case letters, digits and dashes, 3 to 63 of them.
    pub name: String,
    /// Where its objects will lie; below the server's `default_namespace_prefix`, and used by no other.
    pub storage_namespace: String,
    /// Branch to start with.
    pub default_branch: String,
}

impl Client {
    /// Creates a repository; lakeFS answers 409 for one that exists.
    ///
    /// `POST /repositories`.
    pub async fn create_repository(&self, repository: &NewRepository) -> Result<Repository, Error> {
        let call = self.call("create a repository", Method::POST, &["repositories"])?;
        self.send_for_json(&call.repeated_when_refused().json(self, repository)?).await
    }

    /// Reads a repository; `None` when there is none of that name.
    ///
    /// `GET /repositories/{repository}`.
    pub async fn get_repository(&self, repository: &str) -> Result<Option<Repository>, Error> {
        let call = self.call("read a repository", Method::GET, &["repositories", repository])?;
        self.send_for_existing(&call).await
    }
}
