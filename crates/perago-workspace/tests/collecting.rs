//! What dead attempts have left goes, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use perago_workspace::{
    AttemptDirectory, AttemptMarker, CollectOptions, Collected, Garbage, Judge, Keep, MARKER_FILE, Outcome,
    Repository, Stamp, StoreErrorKind, Suspect, Verdict, collect_branches, collect_directories,
};

use support::memory::{Fault, MemoryRepository};
use support::rig::{Attempt, Control, stamp};

const HOUR: Duration = Duration::from_secs(3600);
const NOW: i64 = 10_000;
const OLD_VERSION: &str =
    "perago-staging-w-mix-seq-1-iteration-0-task-id-t-retry-0-exec-0123456789abcdef0123456789abcdef";

/// Knows the end of some tasks and keeps what it was asked.
#[derive(Default)]
struct Known {
    dead: Vec<String>,
    asked: Vec<Suspect>,
}

impl Known {
    fn dead(tasks: &[&str]) -> Self {
        Self { dead: tasks.iter().map(|&task| task.to_owned()).collect(), asked: Vec::new() }
    }

    fn asked(&self) -> Vec<&str> {
        self.asked.iter().map(|suspect| suspect.task_id.as_str()).collect()
    }
}

impl Judge for Known {
    async fn judge(&mut self, suspect: &Suspect) -> Verdict {
        self.asked.push(suspect.clone());
        if self.dead.contains(&suspect.task_id) { Verdict::Dead } else { Verdict::Unproven(Keep::Alive) }
    }
}

fn options() -> CollectOptions {
    CollectOptions {
        conductor: "http://conductor/api".to_owned(),
        older_than: HOUR,
        abandoned_older_than: HOUR,
        now: NOW,
        is_dry_run: false,
    }
}

/// How the outcomes are called, by the name of what they are about.
fn outcomes(collected: &[Collected]) -> BTreeMap<String, &'static str> {
    let name = |garbage: &Garbage| match garbage {
        Garbage::Directory { place, .. } => place.file_name().unwrap().to_str().unwrap().to_owned(),
        Garbage::Branch { name, .. } => name.clone(),
    };
    let word = |outcome: &Outcome| match outcome {
        Outcome::Removed => "removed",
        Outcome::Kept(keep) => keep.code(),
        Outcome::Failed(_) => "failed",
    };
    collected.iter().map(|entry| (name(&entry.garbage), word(&entry.outcome))).collect()
}

/// What a dead supervisor has left of an attempt.
fn left(root: &Path, stamp: &Stamp, started_at: i64) -> PathBuf {
    let attempt = AttemptDirectory::create(root, &AttemptMarker::new(stamp, "demo", started_at)).unwrap();
    attempt.files().parent().unwrap().to_owned()
}

/// Lets a directory look as if its lock were held where nobody here can see it.
fn move_elsewhere(place: &Path) {
    let path = place.join(MARKER_FILE);
    let mut marker: AttemptMarker = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    marker.lock_scope = Some("another-boot 1".to_owned());
    std::fs::write(path, serde_json::to_vec(&marker).unwrap()).unwrap();
}

fn of_other_conductor(retry: u64) -> Stamp {
    let mut other = stamp("r", retry);
    "http://other/api".clone_into(&mut other.work.conductor);
    other
}

fn name_of(place: &Path) -> String {
    place.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_directory_whose_processes_are_gone_needs_no_word_of_conductor() {
    let root = tempfile::tempdir().unwrap();
    let (gone, young) = (left(root.path(), &stamp("r", 0), 0), left(root.path(), &stamp("r", 1), NOW - 9));
    let other = left(root.path(), &of_other_conductor(2), 0);
    let marker = AttemptMarker::new(&stamp("r", 3), "demo", 0);
    let running = AttemptDirectory::create(root.path(), &marker).unwrap();
    let mut known = Known::dead(&["task-3"]);
    let dry = CollectOptions { is_dry_run: true, ..options() };
    for options in [dry, options()] {
        assert!(gone.exists() && other.exists());
        let collected = collect_directories(root.path(), &options, &mut known).await.unwrap();
        let seen = outcomes(&collected);
        assert_eq!((seen[&name_of(&gone)], seen[&name_of(&other)]), ("removed", "removed"));
        assert_eq!(seen[&name_of(&young)], "young");
        assert_eq!(seen[&name_of(running.files().parent().unwrap())], "running");
    }
    assert!(!gone.exists() && !other.exists() && young.exists() && running.files().exists());
    assert!(known.asked.is_empty());
    let at_once = CollectOptions { abandoned_older_than: Duration::ZERO, ..options() };
    collect_directories(root.path(), &at_once, &mut known).await.unwrap();
    assert!(!young.exists() && running.files().exists());
}

#[tokio::test]
async fn a_directory_that_another_machine_may_use_is_asked_of_its_conductor() {
    let root = tempfile::tempdir().unwrap();
    let place = |stamp: &Stamp, started_at| {
        let place = left(root.path(), stamp, started_at);
        move_elsewhere(&place);
        place
    };
    let (dead, alive) = (place(&stamp("r", 0), 0), place(&stamp("r", 1), 0));
    let (young, other) = (place(&stamp("r", 2), NOW - 9), place(&of_other_conductor(3), 0));
    let unread = root.path().join("task_id=t-exec=0123");
    std::fs::create_dir(&unread).unwrap();
    std::fs::write(unread.join(MARKER_FILE), r#"{"owner_token": "of version 0.6.1"}"#).unwrap();
    let mut known = Known::dead(&["task-0", "task-2", "task-3"]);
    let at_once = CollectOptions { abandoned_older_than: Duration::ZERO, ..options() };
    let collected = collect_directories(root.path(), &at_once, &mut known).await.unwrap();
    let seen = outcomes(&collected);
    let wanted = [
        (&dead, "removed"),
        (&alive, "alive"),
        (&young, "young"),
        (&other, "other_conductor"),
        (&unread, "marker_unreadable"),
    ];
    for (place, word) in wanted {
        assert_eq!(seen[&name_of(place)], word);
        assert_eq!(place.exists(), word != "removed");
    }
    assert_eq!(known.asked(), ["task-0", "task-1"]);
    assert!(known.asked.iter().all(|suspect| suspect.is_of_work(&stamp("r", 0).work)));
    assert_eq!(known.asked[0].workflow_instance_id.as_deref(), Some("workflow-1"));
}

#[tokio::test]
async fn what_cannot_be_removed_does_not_end_the_search() {
    let root = tempfile::tempdir().unwrap();
    assert!(collect_directories(&root.path().join("none"), &options(), &mut Known::default()).await.is_ok());
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(collect_directories(&file, &options(), &mut Known::default()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn only_our_staging_branches_that_are_proven_dead_are_removed() {
    let (repository, input) = MemoryRepository::new(&[("a", "1")]);
    let repository = Arc::new(repository);
    let own: Vec<Stamp> = (0..3).map(|retry| stamp(&input, retry)).collect();
    let [dead, alive, running] = [0, 1, 2].map(|retry| own[retry].staging_branch());
    let other = of_other_conductor(3).staging_branch();
    for name in [&dead, &alive, &running, &other, OLD_VERSION, "perago-staging-mine"] {
        repository.create_branch(name, "main").await.unwrap();
    }
    let here = BTreeSet::from([own[2].execution.clone()]);
    let mut known = Known::dead(&["task-0", "task-2", "task-3", "t"]);
    let dry = CollectOptions { is_dry_run: true, ..options() };
    for options in [dry, options()] {
        let before = repository.state().branch_names();
        let collected = collect_branches(&repository, &options, &here, &mut known).await.unwrap();
        let wanted = [
            (dead.as_str(), "removed"),
            (&alive, "alive"),
            (&running, "running"),
            (&other, "other_conductor"),
            (OLD_VERSION, "not_ours"),
            ("perago-staging-mine", "not_ours"),
        ];
        let wanted = wanted.into_iter().map(|(name, word)| (name.to_owned(), word)).collect();
        assert_eq!(outcomes(&collected), wanted);
        let removed = usize::from(!options.is_dry_run);
        assert_eq!(repository.state().branch_names().len(), before.len() - removed);
    }
    assert!(!repository.state().branch_names().contains(&dead));
    assert_eq!(known.asked(), ["task-0", "task-1", "task-0", "task-1"]);
    assert!(
        known.asked[0].is_of_work(&own[0].work) && !known.asked[0].is_of_work(&of_other_conductor(0).work)
    );
    assert_eq!(known.asked[0].workflow_instance_id, None, "nothing was committed there");
}

/// A repository with the staging branch of an attempt that ended between its commit and its merge.
async fn staged() -> Arc<MemoryRepository> {
    let (repository, input) = MemoryRepository::new(&[("a", "1")]);
    let repository = Arc::new(repository);
    let tree = repository.state().tree(&input);
    let attempt = Attempt::new(&tree, &input, "/", 0);
    attempt.edit(&[("a", Some("2"))]);
    // The branch outlives the attempt, because the store stops answering after the commit.
    repository.interfere(|state, _| {
        let is_staged = state
            .branch_names()
            .iter()
            .any(|name| name != "main" && state.log(name)[0].message.starts_with("stage"));
        is_staged.then_some(Fault::Refused(StoreErrorKind::Unreachable))
    });
    attempt.publish(&repository, &Control::holding()).await.unwrap_err();
    repository.behave();
    repository
}

#[tokio::test(start_paused = true)]
async fn a_staged_commit_says_whose_the_branch_is_and_how_old() {
    let repository = staged().await;
    let mut known = Known::dead(&["task-0"]);
    let collected = collect_branches(&repository, &options(), &BTreeSet::new(), &mut known).await.unwrap();
    let [Collected { garbage: Garbage::Branch { stamp, committed_at, .. }, .. }] = &collected[..] else {
        panic!("{collected:?}")
    };
    assert_eq!(stamp.as_ref().unwrap().worker_id, "worker");
    let committed_at = committed_at.unwrap();
    assert_eq!(known.asked[0].workflow_instance_id.as_deref(), Some("workflow-1"));
    assert_eq!(repository.state().branch_names(), ["main"]);

    let repository = staged().await;
    let young = CollectOptions { now: committed_at + 3599, ..options() };
    let collected = collect_branches(&repository, &young, &BTreeSet::new(), &mut known).await.unwrap();
    assert_eq!(outcomes(&collected).values().collect::<Vec<_>>(), [&"young"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_loses_nothing() {
    let repository = staged().await;
    let mut known = Known::dead(&["task-0"]);
    repository.interfere(|_, call| {
        (call.name == "commit_of").then_some(Fault::Refused(StoreErrorKind::Unreachable))
    });
    let collected = collect_branches(&repository, &options(), &BTreeSet::new(), &mut known).await.unwrap();
    assert_eq!(outcomes(&collected).values().collect::<Vec<_>>(), [&"unread"]);
    repository.interfere(|_, call| {
        (call.name == "delete_branch").then_some(Fault::Refused(StoreErrorKind::Forbidden))
    });
    let collected = collect_branches(&repository, &options(), &BTreeSet::new(), &mut known).await.unwrap();
    assert_eq!(outcomes(&collected).values().collect::<Vec<_>>(), [&"failed"]);
    repository.interfere(|_, _| Some(Fault::Refused(StoreErrorKind::Unreachable)));
    assert!(collect_branches(&repository, &options(), &BTreeSet::new(), &mut known).await.is_err());
}
