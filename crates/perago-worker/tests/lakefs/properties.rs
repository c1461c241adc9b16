//! Any tree and any edit script over the embedded stores: what is published is the directory, byte for byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use perago_dev::ObjectStore;
use perago_workspace::PublishReport;
use proptest::prelude::*;

use crate::scene::{Attempt, Control, Files, Scene, Store, files_in};

/// One thing that a body does. What cannot be done to the directory as it is, is left out.
#[derive(Debug, Clone)]
enum Edit {
    Write(String, Vec<u8>),
    Append(String, Vec<u8>),
    Cut(String),
    Remove(String),
    RemoveTree(String),
    Rename(String, String),
    Directory(String),
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        4 => prop::collection::vec(any::<u8>(), 1..40),
        1 => (any::<u8>(), 4_000..300_000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab ä%+é?#&=~]{1,3}", 1..4)
        .prop_map(|parts| parts.join("/"))
        .prop_filter("a file system has no such name", |name| name.split('/').all(|part| part != "."))
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (name(), content()).prop_map(|(name, content)| Edit::Write(name, content)),
        (name(), content()).prop_map(|(name, content)| Edit::Append(name, content)),
        name().prop_map(Edit::Cut),
        name().prop_map(Edit::Remove),
        name().prop_map(Edit::RemoveTree),
        (name(), name()).prop_map(|(from, to)| Edit::Rename(from, to)),
        name().prop_map(Edit::Directory),
    ]
}

/// A set of files of which none is the directory of another.
fn tree() -> impl Strategy<Value = Files> {
    prop::collection::btree_map(name(), content(), 0..8).prop_map(|files| {
        let names: Vec<String> = files.keys().cloned().collect();
        let is_above = |name: &str| names.iter().any(|other| other.starts_with(&format!("{name}/")));
        files.into_iter().filter(|(name, _)| !is_above(name)).collect()
    })
}

fn apply(root: &Path, edits: &[Edit]) {
    for edit in edits {
        // An impossible edit is none: the directory says afterwards what there is.
        let _ = match edit {
            Edit::Write(name, content) => {
                made(root, name).and_then(|()| std::fs::write(root.join(name), content))
            }
            Edit::Append(name, content) => std::fs::OpenOptions::new()
                .append(true)
                .open(root.join(name))
                .and_then(|mut file| std::io::Write::write_all(&mut file, content)),
            Edit::Cut(name) => std::fs::OpenOptions::new()
                .write(true)
                .open(root.join(name))
                .and_then(|file| file.set_len(file.metadata()?.len() / 2)),
            Edit::Remove(name) => std::fs::remove_file(root.join(name)),
            Edit::RemoveTree(name) => std::fs::remove_dir_all(root.join(name)),
            Edit::Rename(from, to) => std::fs::rename(root.join(from), root.join(to)),
            Edit::Directory(name) => std::fs::create_dir_all(root.join(name)),
        };
    }
}

fn made(root: &Path, name: &str) -> std::io::Result<()> {
    root.join(name).parent().map_or(Ok(()), std::fs::create_dir_all)
}

fn below(prefix: &str, files: &Files) -> Files {
    files.iter().map(|(name, content)| (format!("{prefix}{name}"), content.clone())).collect()
}

struct Case {
    base: Files,
    scripts: Vec<Vec<Edit>>,
}

/// Publishes the scripts one after another, each as a retry that starts from the same input.
async fn play(store: &Arc<Store>, case: &Case) -> Result<(), TestCaseError> {
    let mut base = below("in/", &case.base);
    base.insert("in2/beside".to_owned(), b"kept".to_vec());
    let scene = Scene::new(store, &base).await;
    let mut head = scene.input.clone();
    let mut tree = base;
    for (retry, script) in (0..).zip(&case.scripts) {
        let attempt = Attempt::new(&scene, retry).await;
        apply(attempt.path(), script);
        let report: PublishReport = attempt.publish(&Control::default()).await.unwrap();
        let mut wanted: Files = below("in/", &files_in(&attempt.directory));
        wanted.insert("in2/beside".to_owned(), b"kept".to_vec());
        let main = scene.main().await;
        prop_assert!(main == wanted, "{:?} instead of {:?}", summary(&main), summary(&wanted));
        prop_assert_eq!(scene.branch_names().await, ["main"]);
        prop_assert_eq!(report.is_new, wanted != tree, "a commit exactly where something differs");
        prop_assert_eq!(report.commit == head, !report.is_new);
        prop_assert_eq!(scene.head().await, report.commit.clone());
        (head, tree) = (report.commit, wanted);
    }
    Ok(())
}

fn summary(files: &Files) -> BTreeMap<&str, usize> {
    files.iter().map(|(name, content)| (name.as_str(), content.len())).collect()
}

#[test]
fn what_is_published_is_the_directory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let embedded = |kind| Arc::new(runtime.block_on(Store::embedded(kind)));
    let stores = [embedded(ObjectStore::S3), embedded(ObjectStore::Local)];
    let scripts = prop::collection::vec(prop::collection::vec(edit(), 0..8), 1..4);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(base in tree(), scripts in scripts, kind in 0..2_usize)| {
        runtime.block_on(play(&stores[kind], &Case { base, scripts }))?;
    });
}
