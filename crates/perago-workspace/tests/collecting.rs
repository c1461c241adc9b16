//! What dead attempts have left goes, and nothing else.

mod support;

use std::sync::Arc;
use std::time::Duration;

use perago_workspace::{
    AttemptDirectory, AttemptMarker, Garbage, Repository, Verdict, collect_branches, collect_directories,
};

use support::memory::MemoryRepository;
use support::rig::{Attempt, Control, stamp};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn only_old_directories_that_are_proven_dead_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let make = |retry: u64, started_at: i64| {
        let marker = AttemptMarker::new(&stamp("r", retry), "demo", started_at);
        AttemptDirectory::create(root.path(), &marker).unwrap().files()
    };
    let (dead, alive, young) = (make(0, 0), make(1, 0), make(2, 9_000));
    let judge = |marker: AttemptMarker| async move {
        if marker.task_id == "task-1" { Verdict::Unproven } else { Verdict::Dead }
    };
    let dry = collect_directories(root.path(), HOUR, 10_000, true, judge).await.unwrap();
    assert!(dry.len() == 1 && dead.exists());
    let removed = collect_directories(root.path(), HOUR, 10_000, false, judge).await.unwrap();
    assert_eq!(removed.len(), 1);
    assert!(matches!(&removed[0], (Garbage::Directory { marker, .. }, Ok(())) if marker.task_id == "task-0"));
    assert!(!dead.exists() && alive.exists() && young.exists());
}

#[tokio::test(start_paused = true)]
async fn only_our_staging_branches_that_are_proven_dead_are_removed() {
    let (repository, input) = MemoryRepository::new(&[("a", "1")]);
    let repository = Arc::new(repository);
    let (dead, alive) = (stamp(&input, 0).staging_branch(), stamp(&input, 1).staging_branch());
    let mut other = stamp(&input, 2);
    other.work.conductor = "http://other/api".to_owned();
    let old_version =
        "perago-staging-w-mix-seq-1-iteration-0-task-id-t-retry-0-exec-0123456789abcdef0123456789abcdef";
    for name in [&dead, &alive, &other.staging_branch(), old_version, "perago-staging-mine"] {
        repository.create_branch(name, "main").await.unwrap();
    }
    let mut judged = Vec::new();
    let removed =
        collect_branches(&repository, "http://conductor/api", HOUR, 10_000, false, |attempt, stamp| {
            assert_eq!(stamp, None, "nothing was committed there");
            judged.push(attempt.task_id.clone());
            let is_dead = attempt.task_id == "task-0";
            async move { if is_dead { Verdict::Dead } else { Verdict::Unproven } }
        })
        .await
        .unwrap();
    assert_eq!(judged, ["task-0", "task-1"]);
    assert!(matches!(&removed[..], [(Garbage::Branch { name, .. }, Ok(()))] if *name == dead));
    let mut left = vec![
        alive,
        "main".to_owned(),
        old_version.to_owned(),
        "perago-staging-mine".to_owned(),
        other.staging_branch(),
    ];
    left.sort();
    assert_eq!(repository.state().branch_names(), left);
}

#[tokio::test(start_paused = true)]
async fn a_staged_commit_says_whose_the_branch_is() {
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
        is_staged.then_some(support::memory::Fault::Refused(perago_workspace::StoreErrorKind::Unreachable))
    });
    attempt.publish(&repository, &Control::holding()).await.unwrap_err();
    repository.behave();
    let mut seen = None;
    collect_branches(&repository, "http://conductor/api", HOUR, 10_000, true, |_, stamp| {
        seen = stamp;
        async { Verdict::Unproven }
    })
    .await
    .unwrap();
    assert_eq!(seen.unwrap().worker_id, "worker");
}
