//! Random trees, edits, attempts at once, foreign writers and lost replies: never lost, never doubled, and what is
//! published is the directory, byte for byte.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use perago_contract::{FailureCode, OnMovedHead};
use perago_workspace::{CommitStamp, PublishReport, StoreErrorKind, WorkspaceError};
use proptest::prelude::*;

use support::gate::GatedRepository;
use support::memory::{Fault, MemoryRepository, Tree};
use support::rig::{Attempt, Control};

type Files = BTreeMap<String, Option<String>>;

#[derive(Debug, Clone)]
struct Plan {
    base: BTreeMap<String, String>,
    /// The edits of each attempt, oldest attempt first.
    edits: Vec<Files>,
    on_moved_head: OnMovedHead,
    /// Before which calls somebody else commits a file of their own.
    foreign: Vec<usize>,
    /// What happens to which calls.
    faults: BTreeMap<usize, Fault>,
    seed: u64,
}

fn name() -> impl Strategy<Value = String> {
    // Directories and files have different names, so that any set of them is a tree.
    prop::collection::vec("[de]{1,2}", 0..3).prop_flat_map(|directories| {
        "[ab ä%]{1,3}x".prop_map(move |file| [directories.clone(), vec![file]].concat().join("/"))
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::ReplyLost),
        Just(Fault::Refused(StoreErrorKind::Busy)),
        Just(Fault::Refused(StoreErrorKind::Unreachable)),
    ]
}

fn plan(attempts: std::ops::Range<usize>) -> impl Strategy<Value = Plan> {
    let edits = prop::collection::btree_map(name(), prop::option::weighted(0.7, "[0-9]{0,3}"), 0..6);
    (
        prop::collection::btree_map(name(), "[0-9]{0,3}", 0..6),
        prop::collection::vec(edits, attempts),
        prop_oneof![Just(OnMovedHead::Fail), Just(OnMovedHead::Merge)],
        prop::collection::vec(0..60_usize, 0..3),
        prop::collection::btree_map(0..80_usize, fault(), 0..8),
        any::<u64>(),
    )
        .prop_map(|(base, edits, on_moved_head, foreign, faults, seed)| Plan {
            base,
            edits,
            on_moved_head,
            foreign,
            faults,
            seed,
        })
}

struct Played {
    repository: Arc<MemoryRepository>,
    input: String,
    attempts: Vec<Attempt>,
    results: Vec<Result<PublishReport, WorkspaceError>>,
}

impl Played {
    /// The files of other writers that were committed while the attempts ran.
    fn foreign(&self) -> Tree {
        let log = self.repository.state().log("main");
        let theirs = log.iter().filter(|commit| commit.committer == "somebody");
        theirs
            .flat_map(|commit| {
                let state = self.repository.state();
                let (before, after) = (state.tree(&commit.parents[0]), state.tree(&commit.id));
                after.into_iter().filter(move |(key, _)| !before.contains_key(key))
            })
            .collect()
    }
}

fn play(plan: &Plan) -> Played {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let files: Vec<(String, String)> =
            plan.base.iter().map(|(path, content)| (format!("in/{path}"), content.clone())).collect();
        let mut files: Vec<(&str, &str)> =
            files.iter().map(|(key, content)| (key.as_str(), content.as_str())).collect();
        files.push(("in2/kept", "1"));
        let (repository, input) = MemoryRepository::new(&files);
        let repository = Arc::new(repository);
        let tree = repository.state().tree(&input);
        let attempts: Vec<Attempt> = (0..)
            .zip(&plan.edits)
            .map(|(retry, edits)| {
                let mut attempt = Attempt::new(&tree, &input, "in", retry);
                attempt.on_moved_head = plan.on_moved_head;
                for (path, content) in edits {
                    let is_there = attempt.directory.path().join(path).exists();
                    if content.is_some() || is_there {
                        attempt.edit(&[(path, content.as_deref())]);
                    }
                }
                attempt
            })
            .collect();
        let (foreign, faults) = (plan.foreign.clone(), plan.faults.clone());
        repository.interfere(move |state, call| {
            if foreign.contains(&call.number) {
                state.foreign_commit(
                    "main",
                    &[(&format!("in/foreign {}", call.number), Some("theirs"))],
                    "somebody",
                );
            }
            faults.get(&call.number).copied()
        });
        let newest = Arc::new(AtomicUsize::new(0));
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let runs: Vec<_> = attempts
            .iter()
            .enumerate()
            .map(|(number, attempt)| {
                let gated = Arc::new(GatedRepository::random(&repository, random.u64(..)));
                let start = Duration::from_millis(1500 * number as u64 + random.u64(0..6000));
                let (control, newest) = (Control::of_attempt(number, &newest), Arc::clone(&newest));
                async move {
                    tokio::time::sleep(start).await;
                    newest.fetch_max(number, Ordering::SeqCst);
                    attempt.publish(&gated, &control).await
                }
            })
            .collect();
        let results = futures_util::future::join_all(runs).await;
        repository.behave();
        Played { repository, input, attempts, results }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_published_is_the_directory(mut plan in plan(1..2)) {
        plan.foreign.clear();
        let played = play(&plan);
        let report = played.results[0].as_ref().unwrap();
        let input = played.repository.state().tree(&played.input);
        prop_assert_eq!(played.repository.main(), played.attempts[0].wanted(&input));
        let added = played.repository.state().log("main").len() - 2;
        prop_assert_eq!(added, usize::from(report.is_new), "one commit or none");
        prop_assert_eq!(played.repository.state().branch_names(), ["main"]);
    }

    #[test]
    fn nothing_foreign_is_lost_and_the_newest_attempt_wins(plan in plan(1..4)) {
        let played = play(&plan);
        let (main, foreign) = (played.repository.main(), played.foreign());
        for (key, content) in &foreign {
            prop_assert_eq!(main.get(key), Some(content), "{}", key);
        }
        prop_assert_eq!(main.get("in2/kept"), Some(&Bytes::from("1")));
        let (newest, last) = (played.attempts.last().unwrap(), played.results.last().unwrap());
        match last {
            Ok(report) => {
                let mut wanted = newest.wanted(&played.repository.state().tree(&played.input));
                wanted.extend(foreign);
                prop_assert_eq!(main, wanted);
                let log = played.repository.state().log("main");
                prop_assert!(log.iter().any(|commit| commit.id == report.commit));
            }
            Err(error) => {
                prop_assert_eq!(plan.on_moved_head, OnMovedHead::Fail, "disjoint changes merge: {}", error);
                prop_assert_eq!(error.code(), FailureCode::PublishFence, "{}", error);
                prop_assert!(!foreign.is_empty());
            }
        }
        for (attempt, result) in played.attempts.iter().zip(&played.results) {
            let log = played.repository.state().log("main");
            let own = log.iter().filter(|commit| {
                CommitStamp::of(commit).is_some_and(|stamp| stamp.execution == attempt.stamp.execution)
            });
            let own: Vec<&str> = own.map(|commit| commit.id.as_str()).collect();
            if let Ok(report) = result {
                prop_assert!(!report.is_new || own.contains(&report.commit.as_str()));
            }
        }
        prop_assert_eq!(played.repository.state().branch_names(), ["main"]);
    }
}
