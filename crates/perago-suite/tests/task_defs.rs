//! The example tasks in Rust have each the TaskDef of its Python twin, byte for byte.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

const EXAMPLES: &str = env!("CARGO_BIN_EXE_contract");

fn same(task: &str) {
    let folder = tempfile::tempdir().unwrap();
    let extracted = Command::new(EXAMPLES)
        .args(["extract", task, "-o", "task.json"])
        .current_dir(folder.path())
        .env("PERAGO_WORKSPACE_ROOT", folder.path())
        .output()
        .unwrap();
    assert!(extracted.status.success(), "{extracted:?}");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/examples");
    let wanted = fs::read_to_string(fixtures.join(format!("{task}.taskdef.json"))).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("task.json")).unwrap(), wanted);
}

#[test]
fn demo_mix() {
    same("demo.mix");
}

#[test]
fn demo_render() {
    same("demo.render");
}
