//! Repositories and their protection rules.

use serde::Serialize;

use super::commits::{Made, new_commit};
use super::error::StoreError;
use super::listing::{PageOf, PageRequest, Row};
use super::model::{Metadata, Repository};
use super::tree::Tree;
use super::{Change, Planned, Store};

/// What to create.
#[derive(Clone, Debug)]
pub struct RepositoryCreation {
    /// Name, checked by its caller.
    pub name: String,
    /// Where its objects lie, such as `s3://bucket/name`.
    pub namespace: String,
    /// Default branch.
    pub default_branch: String,
    /// Whether it refuses writes.
    pub read_only: bool,
}

/// A repository as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepositoryView {
    id: String,
    storage_namespace: String,
    default_branch: String,
    creation_date: i64,
    read_only: bool,
    storage_id: &'static str,
}

fn view(name: &str, repository: &Repository) -> RepositoryView {
    RepositoryView {
        id: name.to_owned(),
        storage_namespace: repository.namespace.clone(),
        default_branch: repository.default_branch.clone(),
        creation_date: repository.creation_date,
        read_only: repository.read_only,
        storage_id: "",
    }
}

impl Store {
    /// Creates a repository with one empty commit; `scheme` is that of the object store, such as `s3://`.
    pub fn create_repository(
        &self,
        new: &RepositoryCreation,
        scheme: &str,
        now: i64,
    ) -> Planned<RepositoryView> {
        if !new.namespace.starts_with(scheme) {
            let message = format!("failed to match required regex ^{scheme}: invalid namespace");
            return Err(StoreError::invalid(message));
        }
        if self.state.repositories.contains_key(&new.name) {
            return Err(StoreError::new(409, "error creating repository: not unique"));
        }
        let namespace = new.namespace.trim_end_matches('/');
        if self.state.namespaces.contains(namespace) {
            return Err(StoreError::invalid(format!(
                "failed to create repository: found lakeFS objects in the storage (:{namespace}) \
                 key(_lakefs/dummy): storage namespace already in use"
            )));
        }
        let made =
            Made { message: "Repository created", metadata: Metadata::new(), date: now, generation: 1 };
        let mut first = new_commit(&[], made, &Tree::default(), &new.name);
        first.committer = String::new();
        first.meta_range_id = String::new();
        let created = RepositoryView {
            id: new.name.clone(),
            storage_namespace: namespace.to_owned(),
            default_branch: new.default_branch.clone(),
            creation_date: now,
            read_only: new.read_only,
            storage_id: "",
        };
        let repository = new.name.clone();
        let changes = vec![
            Change::RepositoryCreated {
                repository: repository.clone(),
                namespace: namespace.to_owned(),
                default_branch: new.default_branch.clone(),
                creation_date: now,
                read_only: new.read_only,
            },
            Change::BranchSet {
                repository: repository.clone(),
                branch: new.default_branch.clone(),
                head: first.id.clone(),
                hidden: false,
            },
            Change::Committed { repository, commit: first.into(), delta: Vec::new() },
        ];
        Ok((created, changes))
    }

    /// Shows a repository.
    pub fn repository(&self, name: &str) -> Result<RepositoryView, StoreError> {
        self.state.repository(name).map(|repository| view(name, repository))
    }

    /// Where a repository's objects lie.
    pub fn namespace(&self, name: &str) -> Result<String, StoreError> {
        self.state.repository(name).map(|repository| repository.namespace.clone())
    }

    /// Lists repositories.
    pub fn repositories(&self, request: &PageRequest) -> PageOf<RepositoryView> {
        let all = self.state.repositories.iter();
        items(request.cut(all.map(|(name, repository)| (name, view(name, repository)))))
    }

    /// Deletes a repository; a read-only one only by force.
    pub fn delete_repository(&self, name: &str, by_force: bool) -> Planned<()> {
        if by_force {
            self.state.repository(name)?
        } else {
            self.state.writable(name)?
        };
        Ok(((), vec![Change::RepositoryDeleted { repository: name.to_owned() }]))
    }

    /// The patterns of branches that take no direct writes.
    pub fn protection(&self, repository: &str) -> Result<&[String], StoreError> {
        self.state.repository(repository).map(|repository| repository.protected.as_slice())
    }

    /// Replaces the patterns of branches that take no direct writes.
    pub fn protect(&self, repository: &str, patterns: Vec<String>) -> Planned<()> {
        self.state.writable(repository)?;
        Ok(((), vec![Change::Protected { repository: repository.to_owned(), patterns }]))
    }
}

/// The items of a page that was cut without a delimiter.
pub(super) fn items<T>(page: PageOf<Row<T>>) -> PageOf<T> {
    let rows = page.rows.into_iter().filter_map(|row| match row {
        Row::Item(item) => Some(item),
        Row::Prefix(_) => None,
    });
    PageOf { rows: rows.collect(), next: page.next }
}
