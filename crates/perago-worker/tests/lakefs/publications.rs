//! Publications of one piece of work, alone and beside other writers.

use std::sync::Arc;

use perago_contract::{FailureCode, OnMovedHead};
use perago_workspace::Repository;

use crate::scene::{Attempt, Control, Files, Interlude, Scene, files, scenes};

pub(crate) const BASE: &[(&str, &str)] =
    &[("in/a", "1"), ("in/b", "2"), ("in2/c", "3"), ("in/d e/ä%2", "5"), ("in/marked/", "")];
const EDITS: &[(&str, Option<&str>)] = &[("a", Some("one")), ("b", None), ("new/x y", Some("larger"))];

fn wanted(more: &[(&str, &str)]) -> Files {
    let mut wanted = files(&[
        ("in/a", "one"),
        ("in/d e/ä%2", "5"),
        ("in/marked/", ""),
        ("in/new/x y", "larger"),
        ("in2/c", "3"),
    ]);
    wanted.extend(files(more));
    wanted
}

fn committing(scene: &Arc<Scene>, pairs: &'static [(&str, &str)]) -> Interlude {
    let scene = Arc::clone(scene);
    Box::new(move || {
        let scene = Arc::clone(&scene);
        Box::pin(async move {
            scene.commit(pairs).await;
        })
    })
}

#[tokio::test]
async fn a_publication_its_retries_and_its_undoing() {
    for scene in scenes(BASE).await {
        let attempt = async |retry: u64, edits: &[(&str, Option<&str>)]| {
            Attempt::new(&scene, retry).await.edit(edits).publish(&Control::default()).await.unwrap()
        };
        let first = attempt(0, EDITS).await;
        assert_eq!((first.uploaded_files, first.deleted_files, first.is_new), (2, 1, true));
        assert_eq!(scene.main().await, wanted(&[]));
        let head = scene.repository.commit_of("main").await.unwrap();
        assert_eq!((&head.id, &head.parents[0]), (&first.commit, &scene.input));
        assert_eq!(head.metadata["perago.worker_id"], "worker");

        let again = attempt(1, EDITS).await;
        assert_eq!((again.commit, again.is_new, again.uploaded_files), (first.commit.clone(), false, 0));
        let other = attempt(2, &[("a", Some("two"))]).await;
        assert_eq!(scene.main().await["in/a"], b"two");
        assert_eq!(scene.main().await["in/b"], b"2", "the first attempt's deletion is undone");
        let undone = attempt(3, &[]).await;
        assert!(undone.is_new && undone.commit != other.commit);
        assert_eq!(scene.main().await, files(BASE));
        assert_eq!(scene.branch_names().await, ["main"]);
    }
}

#[tokio::test]
async fn a_foreign_commit_is_kept_whenever_it_comes() {
    for (moment, on_moved_head) in
        [(0, OnMovedHead::Fail), (0, OnMovedHead::Merge), (1, OnMovedHead::Fail), (1, OnMovedHead::Merge)]
    {
        for scene in scenes(BASE).await {
            let mut attempt = Attempt::new(&scene, 0).await.edit(EDITS);
            attempt.on_moved_head = on_moved_head;
            let interlude = committing(&scene, &[("in/theirs", "t")]);
            let control = if moment == 0 {
                interlude().await;
                Control::default()
            } else {
                Control::before_merge(interlude)
            };
            let result = attempt.publish(&control).await;
            let main = scene.main().await;
            match on_moved_head {
                OnMovedHead::Merge => {
                    assert!(result.unwrap().is_new);
                    assert_eq!(main, wanted(&[("in/theirs", "t")]));
                }
                OnMovedHead::Fail => {
                    let error = result.unwrap_err();
                    assert_eq!(error.code(), FailureCode::PublishFence, "{error}");
                    assert_eq!(error.to_string().contains("was reverted"), moment == 1, "{error}");
                    let mut kept = files(BASE);
                    kept.extend(files(&[("in/theirs", "t")]));
                    assert_eq!(main, kept);
                }
            }
            assert_eq!(scene.branch_names().await, ["main"]);
        }
    }
}

#[tokio::test]
async fn conflicts_and_a_dirty_branch_are_named() {
    for scene in scenes(BASE).await {
        let mut attempt = Attempt::new(&scene, 0).await.edit(EDITS);
        attempt.on_moved_head = OnMovedHead::Merge;
        scene.commit(&[("in/a", "theirs")]).await;
        let error = attempt.publish(&Control::default()).await.unwrap_err();
        assert_eq!(error.code(), FailureCode::PublishConflict, "{error}");
        assert!(error.to_string().ends_with("in/a"), "{error}");

        scene.upload("loose", b"x").await;
        let mut attempt = Attempt::new(&scene, 0).await.edit(&[("new", Some("1"))]);
        attempt.on_moved_head = OnMovedHead::Merge;
        let error = attempt.publish(&Control::default()).await.unwrap_err();
        assert_eq!(error.code(), FailureCode::BranchUnusable, "{error}");
        assert_eq!(scene.branch_names().await, ["main"]);
    }
}

#[tokio::test]
async fn the_server_refuses_a_zombies_late_merge() {
    for scene in scenes(BASE).await {
        let zombie = Attempt::new(&scene, 0).await.edit(&[("a", Some("zombie"))]);
        let newer = Arc::new(Attempt::new(&scene, 1).await.edit(EDITS));
        let takes_over: Interlude = Box::new(move || {
            let newer = Arc::clone(&newer);
            Box::pin(async move {
                newer.publish(&Control::default()).await.unwrap();
            })
        });
        let control = Control::before_merge(takes_over);
        let error = zombie.publish(&control).await.unwrap_err();
        assert_eq!(error.code(), FailureCode::LeaseLost, "{error}");
        assert_eq!(scene.main().await, wanted(&[]));
        assert_eq!(scene.branch_names().await, ["main"]);
    }
}

#[tokio::test]
async fn two_attempts_at_once_leave_the_newer_one() {
    for scene in scenes(BASE).await {
        let older = Attempt::new(&scene, 0).await.edit(&[("a", Some("older")), ("older", Some("file"))]);
        let newer = Attempt::new(&scene, 1).await.edit(EDITS);
        let (first, second) = (Control::default(), Control::default());
        let (older, newer) = tokio::join!(older.publish(&first), newer.publish(&second));
        assert!(newer.is_ok(), "{newer:?}");
        assert_eq!(scene.main().await, wanted(&[]), "the older one: {older:?}");
        assert_eq!(scene.branch_names().await, ["main"]);
    }
}
