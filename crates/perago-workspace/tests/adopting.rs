//! A retry that finds what its predecessor has staged or published, wherever the predecessor stopped.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use perago_contract::{FailureCode, OnMovedHead};
use perago_workspace::Adopted;
use tokio::sync::Notify;

use support::gate::GatedRepository;
use support::memory::{MemoryRepository, Tree};
use support::rig::{Attempt, Control};

const BASE: &[(&str, &str)] = &[("in/a", "1"), ("in/b", "2"), ("in2/c", "3")];
const RESULT: &str = "{\"n\":1.0}";

struct Scene {
    repository: Arc<MemoryRepository>,
    input: String,
    on_moved_head: OnMovedHead,
}

impl Scene {
    fn new(on_moved_head: OnMovedHead) -> Self {
        let (repository, input) = MemoryRepository::new(BASE);
        Self { repository: Arc::new(repository), input, on_moved_head }
    }

    fn attempt(&self, retry_count: u64) -> Attempt {
        let tree = self.repository.state().tree(&self.input);
        let mut attempt = Attempt::new(&tree, &self.input, "in", retry_count).returning(RESULT);
        attempt.on_moved_head = self.on_moved_head;
        attempt
    }

    /// The first attempt, whose body has written `content`.
    fn first(&self, content: &str) -> Attempt {
        let attempt = self.attempt(0);
        attempt.edit(&[("a", Some(content)), ("b", None)]);
        attempt
    }

    /// Lets the first attempt publish until its call number `stops_at`, and kills it there.
    /// Returns whether it got so far.
    async fn kill_first(&self, stops_at: usize) -> bool {
        let (reached, wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let gated = Arc::new(GatedRepository::new(&self.repository, stops_at, &reached, &wake));
        let (first, control) = (self.first("one"), Control::holding());
        tokio::select! {
            _ = first.publish(&gated, &control) => false,
            () = reached.notified() => true,
        }
    }
}

fn wanted(content: &str) -> Tree {
    [("in/a", content), ("in2/c", "3")]
        .into_iter()
        .map(|(key, content)| (key.to_owned(), Bytes::copy_from_slice(content.as_bytes())))
        .collect()
}

async fn adopted(scene: &Scene, attempt: &Attempt) -> Option<Adopted> {
    attempt.adopt(&scene.repository, &Control::holding()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn wherever_the_first_attempt_is_killed_its_work_is_published_once_or_done_again() {
    for on_moved_head in [OnMovedHead::Fail, OnMovedHead::Merge] {
        let (mut stops_at, mut adoptions) = (0, 0);
        loop {
            let scene = Scene::new(on_moved_head);
            let was_killed = scene.kill_first(stops_at).await;
            let second = scene.attempt(1);
            if let Some(adopted) = adopted(&scene, &second).await {
                adoptions += 1;
                assert_eq!(adopted.result.as_deref(), Some(RESULT));
                assert_eq!(adopted.task_id.as_deref(), Some("task-0"));
                assert_eq!(adopted.report.commit, scene.repository.state().head("main"));
                assert_eq!(adopted.report.uploaded_files, 0);
            } else {
                assert_eq!(scene.repository.commits_above(&scene.input), 0, "killed at call {stops_at}");
                second.edit(&[("a", Some("one")), ("b", None)]);
                second.publish(&scene.repository, &Control::holding()).await.unwrap();
            }
            assert_eq!(
                (scene.repository.main(), scene.repository.commits_above(&scene.input)),
                (wanted("one"), 1),
                "call {stops_at}"
            );
            assert_eq!(scene.repository.state().branch_names(), ["main"]);
            if !was_killed {
                break;
            }
            stops_at += 1;
        }
        // From the commit on its staging branch on: before the merge, after it, and when all was done.
        assert!(adoptions >= 4 && adoptions < stops_at, "{adoptions} of {stops_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_that_wakes_after_the_adoption_changes_nothing() {
    let mut stops_at = 0;
    loop {
        let scene = Scene::new(OnMovedHead::Fail);
        let (reached, wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let gated = Arc::new(GatedRepository::new(&scene.repository, stops_at, &reached, &wake));
        // The fence held before the retry was handed out and is not asked again.
        let (first, control) = (scene.first("one"), Control::holding());
        let mut zombie = Box::pin(first.publish(&gated, &control));
        tokio::select! {
            _ = &mut zombie => break,
            () = reached.notified() => {}
        }
        let second = scene.attempt(1);
        let adopted = adopted(&scene, &second).await;
        let after = scene.repository.state().log("main");
        wake.notify_one();
        let outcome = zombie.await;
        if adopted.is_some() {
            assert_eq!(scene.repository.state().log("main"), after, "call {stops_at}: {outcome:?}");
            assert_eq!(
                (scene.repository.main(), scene.repository.commits_above(&scene.input)),
                (wanted("one"), 1)
            );
        }
        stops_at += 1;
    }
    assert!(stops_at > 6, "{stops_at}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_adopted_without_the_same_input_and_code_or_over_a_newer_attempt() {
    let scene = Scene::new(OnMovedHead::Fail);
    scene.first("one").publish(&scene.repository, &Control::holding()).await.unwrap();
    let mut other = scene.attempt(1);
    other.stamp.basis.code_hash = Some("changed".to_owned());
    assert_eq!(adopted(&scene, &other).await, None);
    other.edit(&[("a", Some("two"))]);
    other.publish(&scene.repository, &Control::holding()).await.unwrap();
    // Its own publication covers the first one, whoever asks.
    assert_eq!(adopted(&scene, &scene.attempt(2)).await, None);
    let mut same = scene.attempt(3);
    same.stamp.basis.code_hash = Some("changed".to_owned());
    assert!(adopted(&scene, &same).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn staged_work_over_a_head_that_others_have_moved_is_judged_like_any_publication() {
    let scene = staged(OnMovedHead::Fail).await;
    let foreign = scene.repository.state().foreign_commit("main", &[("in/x", Some("theirs"))], "somebody");
    let error = scene.attempt(1).adopt(&scene.repository, &Control::holding()).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::PublishFence);
    assert!(error.to_string().contains(&foreign), "{error}");
    assert_eq!(scene.repository.state().branch_names(), ["main"]);

    let scene = staged(OnMovedHead::Merge).await;
    scene.repository.state().foreign_commit("main", &[("in/x", Some("theirs"))], "somebody");
    assert!(adopted(&scene, &scene.attempt(1)).await.is_some());
    let mut both = wanted("one");
    both.insert("in/x".to_owned(), Bytes::from("theirs"));
    assert_eq!(scene.repository.main(), both);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_not_ours_any_more_touches_nothing() {
    let scene = staged(OnMovedHead::Fail).await;
    let branches = scene.repository.state().branch_names();
    let error = scene.attempt(1).adopt(&scene.repository, &Control::holding_times(0)).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::LeaseLost);
    assert_eq!(scene.repository.state().branch_names(), branches);
    // Lost between the look and the merge.
    let error = scene.attempt(1).adopt(&scene.repository, &Control::holding_times(2)).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::LeaseLost);
    assert_eq!(scene.repository.commits_above(&scene.input), 0);
}

/// A scene whose first attempt was killed when its work was staged and not merged.
async fn staged(on_moved_head: OnMovedHead) -> Scene {
    for stops_at in 0.. {
        let scene = Scene::new(on_moved_head);
        assert!(scene.kill_first(stops_at).await, "it has ended and never committed");
        let is_staged = scene.repository.state().calls().last().is_some_and(|call| call.name == "commit");
        if is_staged {
            return scene;
        }
    }
    unreachable!("numbers do not end")
}
