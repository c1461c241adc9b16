//! The store under any history: what is merged, what is kept, what is shown.
#![expect(clippy::unwrap_used, reason = "a plan that fails is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use perago_dev::store::{
    CommitCreation, DiffForm, Merge, PageRequest, Planned, RepositoryCreation, Row, Store, StoreError,
    StoredObject, Upload,
};
use proptest::prelude::*;

const REPOSITORY: &str = "demo";
const EVERYTHING: usize = 1000;

/// A store whose time goes on by a second a change.
struct Lake {
    store: Store,
    now: i64,
}

impl Lake {
    fn new() -> Self {
        let mut lake = Self { store: Store::new([7; 32]), now: 1_700_000_000 };
        lake.make(|store, now| {
            let new = RepositoryCreation {
                name: REPOSITORY.to_owned(),
                namespace: "s3://bucket/demo".to_owned(),
                default_branch: "main".to_owned(),
                read_only: false,
            };
            store.create_repository(&new, "s3://", now)
        })
        .unwrap();
        lake
    }

    fn make<T>(&mut self, plan: impl FnOnce(&Store, i64) -> Planned<T>) -> Result<T, StoreError> {
        self.now += 1;
        let (answer, changes) = plan(&self.store, self.now)?;
        self.store.apply(changes);
        Ok(answer)
    }

    fn write(&mut self, branch: &str, path: &str, content: Option<u8>) {
        let Some(content) = content else {
            self.make(|store, _| store.delete_object(REPOSITORY, branch, path)).unwrap();
            return;
        };
        let object = StoredObject {
            blob: format!("blob-{content}"),
            size: u64::from(content),
            tag: format!("tag-{content}"),
            parts: Vec::new(),
        };
        self.make(|store, now| {
            let upload = Upload {
                address: format!("s3://bucket/demo/data/{now}"),
                object,
                content_type: "text/plain".to_owned(),
                metadata: BTreeMap::new(),
                only_if_absent: false,
            };
            store.upload(REPOSITORY, branch, path, upload, now)
        })
        .unwrap();
    }

    fn commit(&mut self, branch: &str) -> Result<String, StoreError> {
        let creation = CommitCreation { message: "m".to_owned(), ..CommitCreation::default() };
        self.make(|store, now| store.commit(REPOSITORY, branch, creation, now, "run")).map(|commit| commit.id)
    }

    fn merge(&mut self, source: &str) -> Result<String, StoreError> {
        self.make(|store, now| store.merge(REPOSITORY, source, "main", &Merge::default(), now))
    }

    fn tree(&self, reference: &str) -> BTreeMap<String, String> {
        let page = self.store.list(REPOSITORY, reference, &PageRequest::of("", "", EVERYTHING)).unwrap();
        let rows = page.rows.into_iter().filter_map(|row| match row {
            Row::Item((path, entry)) => Some((path, entry.checksum.clone())),
            Row::Prefix(_) => None,
        });
        rows.collect()
    }

    fn diff(&self, left: &str, right: &str, form: DiffForm) -> BTreeMap<String, &'static str> {
        let request = PageRequest::of("", "", EVERYTHING);
        let page = self.store.diff(REPOSITORY, (left, right), form, &request).unwrap();
        let rows = page.rows.into_iter().filter_map(|row| match row {
            Row::Item(row) => Some((row.path, row.kind)),
            Row::Prefix(_) => None,
        });
        rows.collect()
    }
}

/// Edits of a few paths: new content, or removal.
fn edits() -> impl Strategy<Value = BTreeMap<u8, Option<u8>>> {
    proptest::collection::btree_map(0u8..8, proptest::option::weighted(0.7, 1u8..5), 0..8)
}

fn edit(lake: &mut Lake, branch: &str, edits: &BTreeMap<u8, Option<u8>>) {
    for (path, content) in edits {
        lake.write(branch, &format!("p{path}"), *content);
    }
    let _ = lake.commit(branch);
}

fn edited(tree: &BTreeMap<String, String>, edits: &BTreeMap<u8, Option<u8>>) -> BTreeMap<String, String> {
    let mut tree = tree.clone();
    for (path, content) in edits {
        match content {
            Some(content) => tree.insert(format!("p{path}"), format!("tag-{content}")),
            None => tree.remove(&format!("p{path}")),
        };
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_merge_brings_both_sides_or_names_the_conflict(base in edits(), ours in edits(), theirs in edits()) {
        let mut lake = Lake::new();
        edit(&mut lake, "main", &base);
        let before = lake.tree("main");
        lake.make(|store, _| store.create_branch(REPOSITORY, "work", "main", false)).unwrap();
        edit(&mut lake, "main", &ours);
        edit(&mut lake, "work", &theirs);
        let (left, right) = (lake.tree("main"), lake.tree("work"));
        prop_assert_eq!(&left, &edited(&before, &ours));
        prop_assert_eq!(&right, &edited(&before, &theirs));
        let conflicts: Vec<_> = (0..8)
            .map(|path| format!("p{path}"))
            .filter(|path| {
                let (old, left, right) = (before.get(path), left.get(path), right.get(path));
                left != right && left != old && right != old
            })
            .collect();
        let shown = lake.diff("main", "work", DiffForm::ThreeDot);
        let named: Vec<_> = shown.iter().filter(|(_, kind)| **kind == "conflict").map(|(path, _)| path.clone()).collect();
        prop_assert_eq!(&named, &conflicts);
        match lake.merge("work") {
            Ok(merged) => {
                prop_assert!(conflicts.is_empty());
                let mut expected = left.clone();
                for path in (0..8).map(|path| format!("p{path}")) {
                    if right.get(&path) != before.get(&path) {
                        match right.get(&path) {
                            Some(tag) => expected.insert(path, tag.clone()),
                            None => expected.remove(&path),
                        };
                    }
                }
                prop_assert_eq!(lake.tree("main"), expected);
                let commit = lake.store.commit_at(REPOSITORY, &merged).unwrap();
                prop_assert_eq!(commit.parents.len(), 2);
                prop_assert_eq!(lake.merge("work").unwrap_err().status, 400);
            }
            Err(error) if error.status == 409 => {
                prop_assert!(!conflicts.is_empty());
                prop_assert_eq!(lake.tree("main"), left);
            }
            Err(error) => {
                prop_assert_eq!(error.status, 400);
                prop_assert_eq!(right, before);
            }
        }
    }

    #[test]
    fn a_snapshot_leads_to_the_same_store(first in edits(), second in edits(), staged in edits()) {
        let mut lake = Lake::new();
        edit(&mut lake, "main", &first);
        lake.make(|store, _| store.create_branch(REPOSITORY, "work", "main", true)).unwrap();
        edit(&mut lake, "work", &second);
        let _ = lake.merge("work");
        for (path, content) in &staged {
            lake.write("main", &format!("p{path}"), *content);
        }
        let mut again = Store::new([0; 32]);
        again.apply(lake.store.snapshot());
        let again = Lake { store: again, now: lake.now };
        for reference in ["main", "main@", "work", "main~1"] {
            let known = lake.store.commit_at(REPOSITORY, reference);
            prop_assert_eq!(&known, &again.store.commit_at(REPOSITORY, reference));
            if known.is_ok() {
                prop_assert_eq!(lake.tree(reference), again.tree(reference));
            }
        }
        prop_assert_eq!(lake.store.sign("text"), again.store.sign("text"));
        prop_assert_eq!(lake.store.object("s3://bucket/demo/data/1700000002"), again.store.object("s3://bucket/demo/data/1700000002"));
        let mut names = BTreeMap::new();
        for (kind, lake) in [("before", &lake), ("after", &again)] {
            let page = lake.store.branches(REPOSITORY, &PageRequest::of("", "", EVERYTHING), false).unwrap();
            names.insert(kind, page.rows.into_iter().map(|row| row.id).collect::<Vec<_>>());
        }
        prop_assert_eq!(&names["before"], &names["after"]);
        prop_assert_eq!(&names["before"], &["main".to_owned()]);
    }

    #[test]
    fn trees_are_equal_when_their_ids_are(first in edits(), second in edits()) {
        let mut lake = Lake::new();
        edit(&mut lake, "main", &first);
        let one = lake.store.commit_at(REPOSITORY, "main").unwrap();
        edit(&mut lake, "main", &second);
        let two: Arc<_> = lake.store.commit_at(REPOSITORY, "main").unwrap();
        if one.meta_range_id == two.meta_range_id {
            prop_assert!(lake.diff(&one.id, &two.id, DiffForm::TwoDot).is_empty());
        }
        let forth = lake.diff(&one.id, &two.id, DiffForm::TwoDot);
        let back = lake.diff(&two.id, &one.id, DiffForm::TwoDot);
        let turned: BTreeMap<_, _> = back.into_iter().map(|(path, kind)| {
            (path, match kind { "added" => "removed", "removed" => "added", kind => kind })
        }).collect();
        prop_assert_eq!(forth, turned);
    }
}
