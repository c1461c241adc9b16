//! The timer of a worker that removes what dead attempts have left.
//!
//! Runs beside the poller on the supervisor's thread; file work is done elsewhere. What fails is logged and tried again
//! the next time.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use perago_conductor::Client;
use tokio::task::{AbortHandle, spawn_blocking, spawn_local};

use super::sweep::{Fate, Kind, Leftover, Sweep, SweepOptions, now, sweep};
use super::used_repositories::{UsedRepositories, WRITTEN_AGAIN_AFTER};
use crate::logs::{Level, Logger, Record};

/// Part of the interval by which two searches of one worker lie further apart or closer together.
const JITTER: f64 = 0.1;

/// What a worker's housekeeping works with.
#[derive(Debug)]
pub struct Housekeeping {
    /// The workspace root.
    pub root: PathBuf,
    /// The Conductor of its attempts.
    pub conductor: Client,
    /// The lakeFS server.
    pub lakefs: perago_lakefs::Client,
    /// Where its attempts have been.
    pub used: UsedRepositories,
    /// Age at which what dead attempts have left is removed.
    pub ttl: Duration,
    /// Time between two searches.
    pub interval: Duration,
    /// The worker's log.
    pub logger: Logger,
}

/// Ends the housekeeping when dropped.
#[derive(Debug)]
pub struct Housekeeper(AbortHandle);

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Housekeeping {
    /// Removes the directories that an earlier supervisor of this root has left, and then searches at intervals until
    /// the housekeeper is dropped. Needs a `LocalSet`.
    pub fn start(self) -> Housekeeper {
        Housekeeper(spawn_local(self.run()).abort_handle())
    }

    async fn run(self) {
        let mut told = HashSet::new();
        let first = SweepOptions {
            // Their processes are gone, and the disk may be what this worker needs.
            abandoned_older_than: Duration::ZERO,
            repositories: Vec::new(),
            ..self.options()
        };
        self.tell(&sweep(&first).await, &mut told);
        tokio::time::sleep(first_pause(self.interval, fastrand::f64())).await;
        loop {
            let (options, begun) = (self.options(), now());
            let swept = sweep(&options).await;
            self.tell(&swept, &mut told);
            let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
            self.forget(swept.idle_repositories, begun.saturating_sub(ttl)).await;
            // One of that name that was made since then may have been used already.
            self.forget(swept.missing_repositories, begun - WRITTEN_AGAIN_AFTER).await;
            tokio::time::sleep(pause(self.interval, fastrand::f64())).await;
        }
    }

    fn options(&self) -> SweepOptions {
        SweepOptions {
            root: self.root.clone(),
            conductor: self.conductor.clone(),
            lakefs: Some(self.lakefs.clone()),
            repositories: self.used.of_server(&self.lakefs.server()),
            older_than: self.ttl,
            abandoned_older_than: self.ttl,
            is_dry_run: false,
        }
    }

    /// Forgets repositories in which nothing can be left any more, unless an attempt has begun there since `since`.
    async fn forget(&self, repositories: Vec<String>, since: i64) {
        if repositories.is_empty() {
            return;
        }
        let (used, server) = (self.used.clone(), self.lakefs.server());
        let forget = move || -> std::io::Result<()> {
            repositories.iter().try_for_each(|repository| used.forget(&server, repository, since))
        };
        if let Ok(Err(error)) = spawn_blocking(forget).await {
            self.log_failure(&format!("the record of used repositories cannot be written: {error}"));
        }
    }

    fn tell(&self, swept: &Sweep, told: &mut HashSet<String>) {
        for leftover in &swept.leftovers {
            let record = match leftover.fate {
                Fate::Removed => {
                    Record::new(Level::Info, "garbage_removed", "removed what a dead attempt had left")
                }
                Fate::Failed => {
                    let message = "what a dead attempt has left could not be removed; it is tried again";
                    Record::new(Level::Warning, "garbage_failed", message)
                }
                // Said once: nothing but a person will change it.
                Fate::Kept if leftover.is_for_a_person && told.insert(leftover.name.clone()) => {
                    let message =
                        "kept what an attempt has left; perago gc shows it, and a person may remove it";
                    Record::new(Level::Warning, "garbage_kept", message)
                }
                Fate::Kept => continue,
            };
            self.logger.write(with_fields(record, leftover));
        }
        for failure in &swept.failures {
            self.log_failure(failure);
        }
    }

    fn log_failure(&self, failure: &str) {
        let message = "the search for what dead attempts have left was not complete; it is tried again";
        self.logger.write(Record::new(Level::Warning, "garbage_failed", message).with("error", failure));
    }
}

fn with_fields(record: Record, leftover: &Leftover) -> Record {
    let name = match leftover.kind {
        Kind::Directory => "path",
        Kind::Branch => "staging_branch",
    };
    record
        .with(name, leftover.name.as_str())
        .with_some("repository", leftover.repository.as_deref())
        .with_some("task_id", leftover.task_id.as_deref())
        .with_some("workflow_instance_id", leftover.workflow_instance_id.as_deref())
        .with_some("reason", leftover.reason)
        .with_some("error", leftover.explanation.as_deref().filter(|_| leftover.fate == Fate::Failed))
}

/// The pause before the first search: anywhere within the interval, because many workers may have started together.
fn first_pause(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(random)
}

/// The pause between two searches: not the same for all, because many workers may look at one repository.
fn pause(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
}

#[cfg(test)]
mod tests {
    use perago_dev::{DevOptions, DevServer, StoreKey};
    use perago_lakefs::{Credentials, NewRepository, Secret};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_repository_that_was_deleted_is_forgotten_without_a_word() {
        let server = DevServer::start(DevOptions::default()).await.unwrap();
        let credentials = Credentials {
            access_key_id: Secret::new(StoreKey::DEFAULT),
            secret_access_key: Secret::new(StoreKey::DEFAULT),
        };
        let address = perago_lakefs::Address::parse(&server.lakefs_url()).unwrap();
        let lakefs =
            perago_lakefs::Client::new(&perago_lakefs::ClientOptions::new(address, credentials)).unwrap();
        let there = NewRepository {
            name: "there".to_owned(),
            storage_namespace: "s3://bucket/there".to_owned(),
            default_branch: "main".to_owned(),
        };
        lakefs.create_repository(&there).await.unwrap();
        let address = perago_conductor::Address::parse(&server.conductor_url()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let used = UsedRepositories::open(folder.path());
        // All younger than the age at which a repository that is there is forgotten.
        for (name, age) in [("there", 1800), ("gone", 1800), ("just-used", 0)] {
            used.note(&lakefs.server(), name, now() - age).unwrap();
        }
        let logger = Logger::memory();
        let housekeeping = Housekeeping {
            root: folder.path().to_owned(),
            conductor: Client::new(&perago_conductor::ClientOptions::new(address)).unwrap(),
            lakefs: lakefs.clone(),
            used: used.clone(),
            ttl: HOUR,
            interval: Duration::from_millis(20),
            logger: logger.clone(),
        };
        let until_forgotten = async {
            let _housekeeper = housekeeping.start();
            while used.of_server(&lakefs.server()).iter().any(|name| name == "gone") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let local = tokio::task::LocalSet::new();
        let forgotten = local.run_until(until_forgotten);
        tokio::time::timeout(Duration::from_secs(60), forgotten).await.unwrap();
        assert_eq!(used.of_server(&lakefs.server()), ["just-used", "there"]);
        assert!(logger.records().is_empty(), "{:?}", logger.records());
    }

    #[test]
    fn workers_that_start_together_search_at_different_times() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut minutes = HashSet::new();
        for _ in 0..1000 {
            let (first, next) = (first_pause(HOUR, random.f64()), pause(HOUR, random.f64()));
            assert!(first < HOUR && next >= HOUR.mul_f64(0.9) && next <= HOUR.mul_f64(1.1));
            minutes.insert(first.as_secs() / 60);
        }
        assert_eq!(minutes.len(), 60, "every minute of the hour is some worker's");
    }

    #[test]
    fn the_mean_pause_is_the_interval() {
        assert_eq!(pause(HOUR, 0.5), HOUR);
    }
}
