//! A repository that holds its caller back at one call, while others use the one behind it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perago_workspace::{Branch, Commit, CommitText, ObjectEntry, Page, Repository, StoreError, UploadSource};
use tokio::sync::Notify;

use super::memory::{MemoryRepository, MemoryStream};

/// The repository behind a gate.
pub struct GatedRepository {
    inner: Arc<MemoryRepository>,
    pace: Pace,
}

enum Pace {
    /// One call waits until it is woken.
    ClosedAt { number: usize, calls: AtomicUsize, reached: Arc<Notify>, wake: Arc<Notify> },
    /// Every call waits for a random time, so that callers take turns in a random order.
    Random(Mutex<fastrand::Rng>),
}

impl GatedRepository {
    /// Holds back call number `closed_at`: tells `reached` and waits for `wake`.
    pub fn new(
        inner: &Arc<MemoryRepository>,
        closed_at: usize,
        reached: &Arc<Notify>,
        wake: &Arc<Notify>,
    ) -> Self {
        let (reached, wake) = (Arc::clone(reached), Arc::clone(wake));
        let pace = Pace::ClosedAt { number: closed_at, calls: AtomicUsize::new(0), reached, wake };
        Self { inner: Arc::clone(inner), pace }
    }

    /// Delays every call by a random time.
    pub fn random(inner: &Arc<MemoryRepository>, seed: u64) -> Self {
        let pace = Pace::Random(Mutex::new(fastrand::Rng::with_seed(seed)));
        Self { inner: Arc::clone(inner), pace }
    }

    async fn pass(&self) -> &MemoryRepository {
        match &self.pace {
            Pace::ClosedAt { number, calls, reached, wake } => {
                if calls.fetch_add(1, Ordering::SeqCst) == *number {
                    reached.notify_one();
                    wake.notified().await;
                }
            }
            Pace::Random(random) => {
                let pause = random.lock().unwrap().u64(0..1000);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        &self.inner
    }
}

impl Repository for GatedRepository {
    type Stream = MemoryStream;

    fn identity(&self) -> String {
        self.inner.identity()
    }

    async fn objects(
        &self,
        reference: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page<ObjectEntry>, StoreError> {
        self.pass().await.objects(reference, prefix, after).await
    }

    async fn read(
        &self,
        reference: &str,
        object: &ObjectEntry,
        range: Option<Range<u64>>,
    ) -> Result<MemoryStream, StoreError> {
        self.pass().await.read(reference, object, range).await
    }

    async fn upload(
        &self,
        branch: &str,
        key: &str,
        source: &UploadSource,
    ) -> Result<ObjectEntry, StoreError> {
        self.pass().await.upload(branch, key, source).await
    }

    async fn delete(&self, branch: &str, keys: &[String]) -> Result<(), StoreError> {
        self.pass().await.delete(branch, keys).await
    }

    async fn head(&self, branch: &str) -> Result<String, StoreError> {
        self.pass().await.head(branch).await
    }

    async fn branches(&self, prefix: &str, after: Option<&str>) -> Result<Page<Branch>, StoreError> {
        self.pass().await.branches(prefix, after).await
    }

    async fn create_branch(&self, name: &str, source: &str) -> Result<(), StoreError> {
        self.pass().await.create_branch(name, source).await
    }

    async fn delete_branch(&self, name: &str) -> Result<(), StoreError> {
        self.pass().await.delete_branch(name).await
    }

    async fn commit_of(&self, reference: &str) -> Result<Commit, StoreError> {
        self.pass().await.commit_of(reference).await
    }

    async fn history(&self, reference: &str, after: Option<&str>) -> Result<Page<Commit>, StoreError> {
        self.pass().await.history(reference, after).await
    }

    async fn commit(&self, branch: &str, text: &CommitText) -> Result<String, StoreError> {
        self.pass().await.commit(branch, text).await
    }

    async fn merge(
        &self,
        source: &str,
        destination: &str,
        text: &CommitText,
        limit: Duration,
    ) -> Result<String, StoreError> {
        self.pass().await.merge(source, destination, text, limit).await
    }

    async fn revert_merge(&self, branch: &str, commit: &str, text: &CommitText) -> Result<(), StoreError> {
        self.pass().await.revert_merge(branch, commit, text).await
    }

    async fn conflicts(
        &self,
        destination: &str,
        source: &str,
        prefix: &str,
    ) -> Result<Vec<String>, StoreError> {
        self.pass().await.conflicts(destination, source, prefix).await
    }
}
