//! Whole attempts by the service of a worker, without a worker.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perago_contract::FailureCode;
use perago_contract::envelope::{RefType, WorkspaceRef};
use perago_worker::workspace::{Operation, Published, Transfer, UsedRepositories, WorkspaceService};
use perago_workspace::{Repository, TransferOptions, WorkspaceError};

use crate::publications::BASE;
use crate::scene::{Control, Scene, scenes, stamp};

/// A service over a scene, and a place where it notes its transfers.
fn service(scene: &Scene, spec: &str) -> WorkspaceService {
    WorkspaceService {
        client: scene.client.clone(),
        root: scene.folder.path().join("root"),
        cache: None,
        transfers: TransferOptions::default(),
        spec: serde_json::from_str(spec).unwrap(),
        dialect: perago_workspace::GlobDialect::default(),
        merge_limit: Duration::from_secs(60),
        used: UsedRepositories::open(scene.folder.path()),
    }
}

async fn run(
    scene: &Scene,
    service: &WorkspaceService,
    body: impl FnOnce(&std::path::Path),
) -> (Result<Published, WorkspaceError>, Vec<(Operation, Option<u64>)>) {
    std::fs::create_dir_all(&service.root).unwrap();
    let seen = Mutex::new(Vec::new());
    let record = |transfer: Transfer| seen.lock().unwrap().push((transfer.operation, transfer.bytes));
    let input = WorkspaceRef {
        repository: scene.name.clone(),
        branch: "main".to_owned(),
        ref_type: RefType::Commit,
        reference: scene.input.clone(),
    };
    let result = async {
        let workspace =
            service.prepare(input, stamp(&scene.input, 0), &Arc::default(), &record, pending()).await?;
        body(&workspace.files());
        let published = service.publish(&workspace, "null", &Control::default(), &record).await;
        workspace.discard().await?;
        published
    }
    .await;
    assert_eq!(std::fs::read_dir(&service.root).unwrap().count(), 0, "no directory is left");
    (result, seen.into_inner().unwrap())
}

#[tokio::test]
async fn an_attempt_says_what_it_moved_and_leaves_nothing() {
    use Operation::{Download, Publish, Upload};

    for scene in scenes(BASE).await {
        let none = |_: &std::path::Path| {};
        let (unchanged, moved) = run(&scene, &service(&scene, r#"{"prefix": "in"}"#), none).await;
        assert_eq!(unchanged.unwrap().output.reference, scene.input);
        assert_eq!(moved, [(Download, Some(3)), (Publish, None)]);

        let read_only = service(&scene, r#"{"prefix": "in", "read_only": true}"#);
        let write = |files: &std::path::Path| std::fs::write(files.join("a"), "more").unwrap();
        let (kept, moved) = run(&scene, &read_only, write).await;
        assert_eq!((kept.unwrap().output.reference, moved), (scene.input.clone(), vec![(Download, Some(3))]));

        let guarded = r#"{"prefix": "in", "pre": [{"kind": "require_file", "path": "missing"}]}"#;
        let (refused, moved) = run(&scene, &service(&scene, guarded), none).await;
        assert_eq!(refused.unwrap_err().code(), FailureCode::PreGuardrail);
        assert_eq!(moved, [(Download, Some(3))]);
        let guarded = r#"{"prefix": "in", "post": [{"kind": "forbid_glob", "path": "**/*.tmp"}]}"#;
        let litter = |files: &std::path::Path| std::fs::write(files.join("x.tmp"), "").unwrap();
        let (refused, _) = run(&scene, &service(&scene, guarded), litter).await;
        assert_eq!(refused.unwrap_err().code(), FailureCode::PostGuardrail);

        let (published, moved) = run(&scene, &service(&scene, r#"{"prefix": "in"}"#), write).await;
        let published = published.unwrap();
        assert_eq!(published.output.reference, scene.repository.head("main").await.unwrap());
        assert_eq!(moved, [(Download, Some(3)), (Upload, Some(4)), (Publish, None)]);
        assert_eq!(scene.main().await["in/a"], b"more");
    }
}
