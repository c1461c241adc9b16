//! Publications against a repository that fails, and that others write to, at every call.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use perago_contract::FailureCode;
use perago_workspace::{CommitStamp, StoreErrorKind};

use support::gate::GatedRepository;
use support::memory::{Fault, MemoryRepository, Tree};
use support::rig::{Attempt, Control};

const BASE: &[(&str, &str)] =
    &[("in/a", "1"), ("in/b", "2"), ("in2/c", "3"), ("keep", "4"), ("in/d e/ä%2", "5")];

struct Scene {
    repository: Arc<MemoryRepository>,
    input: String,
}

impl Scene {
    fn new() -> Self {
        let (repository, input) = MemoryRepository::new(BASE);
        Self { repository: Arc::new(repository), input }
    }

    fn attempt(&self, retry_count: u64) -> Attempt {
        let tree = self.repository.state().tree(&self.input);
        Attempt::new(&tree, &self.input, "in", retry_count)
    }

    fn edited(&self, retry_count: u64, content: &str) -> Attempt {
        let attempt = self.attempt(retry_count);
        attempt.edit(&[("a", Some(content)), ("b", None), ("new/x y", Some(""))]);
        attempt
    }

    fn only_main_is_left(&self) {
        assert_eq!(self.repository.state().branch_names(), ["main"]);
    }
}

fn wanted(content: &str) -> Tree {
    [("in/a", content), ("in/d e/ä%2", "5"), ("in/new/x y", ""), ("in2/c", "3"), ("keep", "4")]
        .into_iter()
        .map(|(key, content)| (key.to_owned(), Bytes::copy_from_slice(content.as_bytes())))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn only_the_difference_is_published_in_one_stamped_commit() {
    let scene = Scene::new();
    let control = Control::holding();
    let report = scene.edited(0, "one").publish(&scene.repository, &control).await.unwrap();
    assert_eq!((report.uploaded_files, report.uploaded_bytes, report.deleted_files), (2, 3, 1));
    assert!(report.is_new && report.left_staging.is_none());
    assert_eq!(scene.repository.main(), wanted("one"));
    assert_eq!(scene.repository.commits_above(&scene.input), 1);
    let head = scene.repository.state().log("main")[0].clone();
    assert_eq!((&head.id, &head.parents[0]), (&report.commit, &scene.input));
    assert_eq!((control.staged(), control.uploads()), (vec![head.parents[1].clone()], vec![Some(3)]));
    assert_eq!(CommitStamp::of(&head).unwrap().worker_id, "worker");
    assert_eq!(head.metadata["perago.input_ref"], scene.input);
    scene.only_main_is_left();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_changes_nothing_makes_no_upload_no_branch_and_no_commit() {
    let scene = Scene::new();
    let attempt = scene.attempt(0);
    attempt.edit(&[("a", Some("1"))]);
    std::fs::create_dir(attempt.directory.path().join("empty")).unwrap();
    let control = Control::holding();
    let report = attempt.publish(&scene.repository, &control).await.unwrap();
    assert_eq!((&report.commit, report.is_new), (&scene.input, false));
    assert!(control.uploads().is_empty() && control.staged().is_empty());
    let state = scene.repository.state();
    let calls: Vec<&str> = state.calls().iter().map(|call| call.name).collect();
    assert_eq!(calls, ["branches", "history"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_deletes_everything_leaves_the_rest_of_the_repository() {
    let scene = Scene::new();
    let attempt = scene.attempt(0);
    attempt.edit(&[("a", None), ("b", None), ("d e/ä%2", None)]);
    attempt.publish(&scene.repository, &Control::holding()).await.unwrap();
    let keys: Vec<String> = scene.repository.main().into_keys().collect();
    assert_eq!(keys, ["in2/c", "keep"]);
}

#[tokio::test(start_paused = true)]
async fn an_identical_retry_adds_nothing_and_a_differing_one_supersedes() {
    let scene = Scene::new();
    let first = scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await.unwrap();
    let again = scene.edited(1, "one").publish(&scene.repository, &Control::holding()).await.unwrap();
    assert_eq!((&again.commit, again.is_new, again.uploaded_files), (&first.commit, false, 0));
    let other = scene.edited(2, "two").publish(&scene.repository, &Control::holding()).await.unwrap();
    assert!(other.is_new);
    assert_eq!(other.uploaded_files, 1);
    assert_eq!((scene.repository.main(), scene.repository.commits_above(&scene.input)), (wanted("two"), 2));
    let undone = scene.attempt(3).publish(&scene.repository, &Control::holding()).await.unwrap();
    assert!(undone.is_new);
    assert_eq!(scene.repository.main(), scene.repository.state().tree(&scene.input));
    scene.only_main_is_left();
}

#[tokio::test(start_paused = true)]
async fn a_foreign_commit_is_never_lost_and_always_named_whenever_it_comes() {
    let calls = {
        let scene = Scene::new();
        scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await.unwrap();
        scene.repository.state().calls().len()
    };
    for moment in 0..calls {
        for files in [("other", "theirs"), ("in/a", "theirs")] {
            let scene = Scene::new();
            scene.repository.interfere(move |state, call| {
                if call.number == moment {
                    state.foreign_commit("main", &[(files.0, Some(files.1))], "somebody");
                }
                None
            });
            let result = scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await;
            scene.repository.behave();
            assert_eq!(scene.repository.main()[files.0], files.1, "moment {moment}");
            let log = scene.repository.state().log("main");
            let foreign = log.iter().find(|commit| commit.committer == "somebody").unwrap();
            match result {
                Ok(report) => {
                    // It came above ours.
                    let ours = log.iter().position(|commit| commit.id == report.commit).unwrap();
                    assert_eq!(log[ours].parents[0], scene.input);
                }
                Err(error) => {
                    assert_eq!(error.code(), FailureCode::PublishFence, "{error}");
                    let text = error.to_string();
                    assert!(text.contains(&foreign.id) && text.contains("somebody"), "{text}");
                    assert!(error.hint().contains("new head of main"));
                    assert_eq!(scene.repository.main().get("in/new/x y"), None, "ours is undone");
                }
            }
            scene.only_main_is_left();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn merging_keeps_disjoint_changes_and_names_conflicts() {
    for moment in 0..12 {
        for (files, is_disjoint) in [(("other", "theirs"), true), (("in/a", "theirs"), false)] {
            let scene = Scene::new();
            scene.repository.interfere(move |state, call| {
                if call.number == moment {
                    state.foreign_commit("main", &[(files.0, Some(files.1))], "somebody");
                }
                None
            });
            let attempt = scene.edited(0, "one").merging();
            let result = attempt.publish(&scene.repository, &Control::holding()).await;
            if scene.repository.state().calls().len() <= moment {
                continue;
            }
            assert_eq!(
                scene.repository.main().get(files.0).map(|found| &found[..]),
                Some(files.1.as_bytes())
            );
            match result {
                Ok(_) => assert_eq!(scene.repository.main().get("in/new/x y"), Some(&Bytes::new())),
                Err(error) => {
                    assert!(!is_disjoint, "moment {moment}: {error}");
                    assert_eq!(error.code(), FailureCode::PublishConflict);
                    assert!(error.to_string().ends_with("in/a"), "{error}");
                }
            }
            scene.only_main_is_left();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_over_a_foreign_head_replaces_its_own_edits_only() {
    let scene = Scene::new();
    scene.edited(0, "one").merging().publish(&scene.repository, &Control::holding()).await.unwrap();
    scene.repository.state().foreign_commit("main", &[("other", Some("theirs"))], "somebody");
    let again = scene.edited(1, "one").merging();
    assert!(!again.publish(&scene.repository, &Control::holding()).await.unwrap().is_new);
    let other = scene.edited(2, "two").merging();
    assert!(other.publish(&scene.repository, &Control::holding()).await.unwrap().is_new);
    let mut tree = wanted("two");
    tree.insert("other".to_owned(), Bytes::from("theirs"));
    assert_eq!(scene.repository.main(), tree);
}

#[tokio::test(start_paused = true)]
async fn every_call_may_fail_or_lose_its_reply_once() {
    let calls = {
        let scene = Scene::new();
        scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await.unwrap();
        scene.repository.state().calls().len()
    };
    for moment in 0..calls {
        for planned in [
            Fault::ReplyLost,
            Fault::Refused(StoreErrorKind::Busy),
            Fault::Refused(StoreErrorKind::Unreachable),
            Fault::Refused(StoreErrorKind::Lost),
        ] {
            let scene = Scene::new();
            scene.repository.interfere(move |_, call| (call.number == moment).then_some(planned));
            let report = scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await;
            let report = report.unwrap_or_else(|error| panic!("{moment} {planned:?}: {error}"));
            assert_eq!(
                (scene.repository.main(), scene.repository.commits_above(&scene.input)),
                (wanted("one"), 1),
                "{moment} {planned:?}"
            );
            assert_eq!(report.commit, scene.repository.state().head("main"));
            scene.only_main_is_left();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_leaves_all_or_nothing_and_a_retry_mends_it() {
    let calls = 10;
    for moment in 0..calls {
        for kind in [StoreErrorKind::Unreachable, StoreErrorKind::Busy, StoreErrorKind::Other] {
            let scene = Scene::new();
            scene
                .repository
                .interfere(move |_, call| (call.number >= moment).then_some(Fault::Refused(kind)));
            let result = scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await;
            scene.repository.behave();
            if let Err(error) = result {
                assert_eq!(error.code(), FailureCode::Workspace, "{error}");
            }
            let tree = scene.repository.main();
            assert!(tree == wanted("one") || tree == scene.repository.state().tree(&scene.input));
            let retry = scene.edited(1, "two").publish(&scene.repository, &Control::holding()).await;
            assert!(retry.unwrap().is_new);
            assert_eq!(scene.repository.main(), wanted("two"));
            scene.only_main_is_left();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_publishes_nothing() {
    for holds in 0..2 {
        let scene = Scene::new();
        let control = Control::holding_times(holds);
        let error = scene.edited(0, "one").publish(&scene.repository, &control).await.unwrap_err();
        assert_eq!(error.code(), FailureCode::LeaseLost);
        assert_eq!(scene.repository.commits_above(&scene.input), 0);
        scene.only_main_is_left();
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_loses_to_the_newer_attempt_whenever_it_wakes() {
    // The newer attempt runs whole while the older one is about to make its call number `moment`.
    for moment in 0..10 {
        let scene = Scene::new();
        let (reached, wake) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let zombie = scene.edited(0, "zombie");
        let newer = scene.edited(1, "newer");
        let gated = Arc::new(GatedRepository::new(&scene.repository, moment, &reached, &wake));
        let control = Control::holding();
        let (zombie, newer) = tokio::join!(
            async {
                let result = zombie.publish(&gated, &control).await;
                // It may have had fewer calls to make.
                reached.notify_one();
                result
            },
            async {
                reached.notified().await;
                let result = newer.publish(&scene.repository, &Control::holding()).await;
                wake.notify_one();
                result
            }
        );
        let newer = newer.unwrap();
        assert_eq!(scene.repository.main(), wanted("newer"), "moment {moment}: {zombie:?}");
        assert!(scene.repository.state().log("main").iter().any(|commit| commit.id == newer.commit));
        scene.only_main_is_left();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dirty_a_protected_and_a_missing_branch_are_named() {
    let scene = Scene::new();
    scene.repository.state().foreign_upload("main", "loose", "x");
    let dirty = scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await.unwrap_err();
    assert_eq!(dirty.code(), FailureCode::BranchUnusable);
    assert!(dirty.to_string().contains("main holds uncommitted changes"), "{dirty}");
    scene.only_main_is_left();

    let scene = Scene::new();
    scene.repository.state().protect("main");
    let refused = scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await.unwrap_err();
    assert_eq!(refused.code(), FailureCode::BranchUnusable);
    scene.only_main_is_left();

    let scene = Scene::new();
    scene
        .repository
        .interfere(|_, call| (call.name == "history").then_some(Fault::Refused(StoreErrorKind::NotFound)));
    let missing = scene.edited(0, "one").publish(&scene.repository, &Control::holding()).await.unwrap_err();
    assert_eq!(missing.code(), FailureCode::BranchUnusable);
}

#[tokio::test(start_paused = true)]
async fn a_symbolic_link_fails_before_anything_is_staged() {
    let scene = Scene::new();
    let attempt = scene.attempt(0);
    std::os::unix::fs::symlink("a", attempt.directory.path().join("link")).unwrap();
    let error = attempt.publish(&scene.repository, &Control::holding()).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::WorkspacePath);
    assert!(scene.repository.state().calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_while_it_is_uploaded_is_named() {
    let scene = Scene::new();
    let attempt = scene.edited(0, "one");
    let place = attempt.directory.path().join("a");
    scene.repository.interfere(move |_, call| {
        if call.name == "upload" && call.about.ends_with("in/a") {
            std::fs::write(&place, "longer than before").unwrap();
        }
        None
    });
    let error = attempt.publish(&scene.repository, &Control::holding()).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::Workspace);
    assert!(error.to_string().starts_with("a was changed while"), "{error}");
    assert!(error.hint().contains("must end everything it started"));
    assert_eq!(scene.repository.commits_above(&scene.input), 0);
    scene.only_main_is_left();
}

#[test]
fn checkouts_and_publications_can_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let scene = Scene::new();
    let (attempt, control) = (scene.attempt(0), Control::holding());
    is_send(&attempt.publish(&scene.repository, &control));
    let request = perago_workspace::MaterialiseRequest {
        reference: &scene.input,
        prefix: &attempt.prefix,
        directory: &attempt.directory,
        cache: None,
        options: perago_workspace::TransferOptions::default(),
        progress: &Arc::default(),
    };
    is_send(&perago_workspace::materialise(&scene.repository, &request));
}
