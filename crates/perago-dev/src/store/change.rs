//! Changes: what an accepted request does to the state, in a form that can be written down and replayed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::{Branch, Commit, Entry, MultipartUpload, Repository, Staged, State, StoredObject};
use super::tree::Tree;

/// One step from one state to the next. Each holds all that is needed to apply it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// The key of all signatures.
    Key {
        /// The key.
        key: [u8; 32],
    },
    /// A new repository.
    RepositoryCreated {
        /// Its name.
        repository: String,
        /// Where its objects lie.
        namespace: String,
        /// Its default branch.
        default_branch: String,
        /// When.
        creation_date: i64,
        /// Whether it refuses writes.
        read_only: bool,
    },
    /// A repository is gone; its namespace stays used.
    RepositoryDeleted {
        /// Its name.
        repository: String,
    },
    /// Patterns of branches that take no direct writes.
    Protected {
        /// Repository.
        repository: String,
        /// All of them.
        patterns: Vec<String>,
    },
    /// A new commit.
    Committed {
        /// Repository.
        repository: String,
        /// The commit.
        commit: Arc<Commit>,
        /// How its tree differs from its first parent's.
        delta: Vec<(Arc<str>, Staged)>,
    },
    /// A branch is there and points at a commit.
    BranchSet {
        /// Repository.
        repository: String,
        /// Branch.
        branch: String,
        /// Its head.
        head: String,
        /// Whether lists leave it out; of a new branch.
        hidden: bool,
    },
    /// A branch is gone, with everything staged on it.
    BranchDeleted {
        /// Repository.
        repository: String,
        /// Branch.
        branch: String,
    },
    /// A tag is there.
    TagSet {
        /// Repository.
        repository: String,
        /// Tag.
        tag: String,
        /// Its commit.
        commit: String,
    },
    /// A tag is gone.
    TagDeleted {
        /// Repository.
        repository: String,
        /// Tag.
        tag: String,
    },
    /// Versions and removals are staged on a branch.
    Staged {
        /// Repository.
        repository: String,
        /// Branch.
        branch: String,
        /// Paths with what is staged for them.
        entries: Vec<(Arc<str>, Staged)>,
    },
    /// Nothing is staged any more for these paths.
    Unstaged {
        /// Repository.
        repository: String,
        /// Branch.
        branch: String,
        /// The paths; all of the branch if absent.
        paths: Option<Vec<Arc<str>>>,
    },
    /// Bytes have arrived.
    ObjectStored {
        /// Their address.
        address: String,
        /// What they are.
        object: StoredObject,
    },
    /// An upload in parts has begun.
    UploadStarted {
        /// Its id.
        upload: String,
        /// Address of the object to be.
        address: String,
    },
    /// A part has arrived.
    PartStored {
        /// The upload's id.
        upload: String,
        /// Number of the part.
        number: u32,
        /// What it is.
        part: StoredObject,
    },
    /// An upload in parts is completed or aborted.
    UploadEnded {
        /// Its id.
        upload: String,
    },
}

impl State {
    /// Makes a change. What it refers to was checked when it was planned.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Key { key } => self.key = key,
            Change::RepositoryCreated { repository, namespace, default_branch, creation_date, read_only } => {
                self.namespaces.insert(namespace.clone());
                let created = Repository {
                    namespace,
                    default_branch,
                    creation_date,
                    read_only,
                    branches: BTreeMap::new(),
                    tags: BTreeMap::new(),
                    commits: BTreeMap::new(),
                    protected: Vec::new(),
                };
                self.repositories.insert(repository, created);
            }
            Change::RepositoryDeleted { repository } => self.delete_repository(&repository),
            Change::ObjectStored { address, object } => {
                self.objects.insert(address, object);
            }
            Change::UploadStarted { upload, address } => {
                self.uploads.insert(upload, MultipartUpload { address, parts: BTreeMap::new() });
            }
            Change::PartStored { upload, number, part } => {
                if let Some(upload) = self.uploads.get_mut(&upload) {
                    upload.parts.insert(number, part);
                }
            }
            Change::UploadEnded { upload } => {
                self.uploads.remove(&upload);
            }
            Change::Protected { ref repository, .. }
            | Change::Committed { ref repository, .. }
            | Change::BranchSet { ref repository, .. }
            | Change::BranchDeleted { ref repository, .. }
            | Change::TagSet { ref repository, .. }
            | Change::TagDeleted { ref repository, .. }
            | Change::Staged { ref repository, .. }
            | Change::Unstaged { ref repository, .. } => {
                if let Some(repository) = self.repositories.get_mut(repository) {
                    repository.apply(change);
                }
            }
        }
    }

    /// Removes a repository with its objects, but for those below the namespace of another one.
    fn delete_repository(&mut self, name: &str) {
        let Some(deleted) = self.repositories.remove(name) else { return };
        let lies_in = |namespace: &str, address: &str| {
            address.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('/'))
        };
        let inner: Vec<&str> = self.repositories.values().map(|other| other.namespace.as_str()).collect();
        let inner: Vec<&str> = inner.into_iter().filter(|other| lies_in(&deleted.namespace, other)).collect();
        let stays = |address: &str| {
            !lies_in(&deleted.namespace, address) || inner.iter().any(|other| lies_in(other, address))
        };
        self.objects.retain(|address, _| stays(address));
        self.uploads.retain(|_, upload| stays(&upload.address));
    }

    /// The names of all blobs that an object or an upload in parts consists of.
    pub(crate) fn blobs(&self) -> HashSet<&str> {
        let parts = self.uploads.values().flat_map(|upload| upload.parts.values());
        let objects = self.objects.values().chain(parts);
        let names = objects.flat_map(|object| {
            let parts = object.parts.iter().map(|(name, _)| name);
            parts.chain([&object.blob]).map(String::as_str)
        });
        names.collect()
    }

    /// The shortest list of changes that leads here from nothing.
    pub(crate) fn snapshot(&self) -> Vec<Change> {
        let mut changes = vec![Change::Key { key: self.key }];
        for (address, object) in &self.objects {
            changes.push(Change::ObjectStored { address: address.clone(), object: object.clone() });
        }
        for (id, upload) in &self.uploads {
            changes.push(Change::UploadStarted { upload: id.clone(), address: upload.address.clone() });
            for (number, part) in &upload.parts {
                changes.push(Change::PartStored { upload: id.clone(), number: *number, part: part.clone() });
            }
        }
        let live: Vec<_> = self.repositories.values().map(|repository| &repository.namespace).collect();
        for namespace in self.namespaces.iter().filter(|namespace| !live.contains(namespace)) {
            // A repository that came and went leaves its namespace used.
            let repository = String::new();
            changes.push(Change::RepositoryCreated {
                repository: repository.clone(),
                namespace: namespace.clone(),
                default_branch: String::new(),
                creation_date: 0,
                read_only: false,
            });
            changes.push(Change::RepositoryDeleted { repository });
        }
        for (name, repository) in &self.repositories {
            repository.snapshot(name, &mut changes);
        }
        changes
    }
}

impl Repository {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Protected { patterns, .. } => self.protected = patterns,
            Change::Committed { commit, delta, .. } => {
                let parent = commit.parents.first().and_then(|parent| self.commits.get(parent));
                let mut tree = parent.map_or_else(Tree::default, |(_, tree)| tree.clone());
                for (path, staged) in &delta {
                    tree.set(path, staged);
                }
                self.commits.insert(commit.id.clone(), (commit, tree));
            }
            Change::BranchSet { branch, head, hidden, .. } => {
                let entry = self.branches.entry(branch);
                entry.or_insert_with(|| Branch { hidden, ..Branch::default() }).head = head;
            }
            Change::BranchDeleted { branch, .. } => {
                self.branches.remove(&branch);
            }
            Change::TagSet { tag, commit, .. } => {
                self.tags.insert(tag, commit);
            }
            Change::TagDeleted { tag, .. } => {
                self.tags.remove(&tag);
            }
            Change::Staged { branch, entries, .. } => {
                if let Some(branch) = self.branches.get_mut(&branch) {
                    branch.staged.extend(entries);
                }
            }
            Change::Unstaged { branch, paths, .. } => {
                if let Some(branch) = self.branches.get_mut(&branch) {
                    match paths {
                        None => branch.staged.clear(),
                        Some(paths) => paths.iter().for_each(|path| {
                            branch.staged.remove(path);
                        }),
                    }
                }
            }
            _ => {}
        }
    }

    fn snapshot(&self, name: &str, changes: &mut Vec<Change>) {
        let repository = name.to_owned();
        changes.push(Change::RepositoryCreated {
            repository: repository.clone(),
            namespace: self.namespace.clone(),
            default_branch: self.default_branch.clone(),
            creation_date: self.creation_date,
            read_only: self.read_only,
        });
        let mut commits: Vec<_> = self.commits.values().collect();
        // Parents before children.
        commits.sort_by_key(|(commit, _)| commit.generation);
        for (commit, tree) in commits {
            let delta = self.delta_to(commit.parents.first(), tree);
            changes.push(Change::Committed {
                repository: repository.clone(),
                commit: Arc::clone(commit),
                delta,
            });
        }
        for (name, branch) in &self.branches {
            changes.push(Change::BranchSet {
                repository: repository.clone(),
                branch: name.clone(),
                head: branch.head.clone(),
                hidden: branch.hidden,
            });
            if !branch.staged.is_empty() {
                let entries = branch.staged.iter().map(|(path, staged)| (Arc::clone(path), staged.clone()));
                changes.push(Change::Staged {
                    repository: repository.clone(),
                    branch: name.clone(),
                    entries: entries.collect(),
                });
            }
        }
        for (tag, commit) in &self.tags {
            let (tag, commit) = (tag.clone(), commit.clone());
            changes.push(Change::TagSet { repository: repository.clone(), tag, commit });
        }
        if !self.protected.is_empty() {
            changes.push(Change::Protected { repository, patterns: self.protected.clone() });
        }
    }

    /// What leads from a parent's tree to `tree`, places and times of versions included.
    fn delta_to(&self, parent: Option<&String>, tree: &Tree) -> Vec<(Arc<str>, Staged)> {
        let empty = Tree::default();
        let parent = parent.and_then(|parent| self.commits.get(parent)).map_or(&empty, |(_, tree)| tree);
        super::tree::walk(parent, tree)
            .filter(|pair| pair.left != pair.right)
            .map(|pair| (Arc::clone(pair.path), pair.right.map(Arc::clone as fn(&Arc<Entry>) -> Arc<Entry>)))
            .collect()
    }
}
