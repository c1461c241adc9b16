//! Calls that move no objects, and what their answers become.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use perago_lakefs::{
    CommitOutcome, CommitRequest, CreatedBranch, DiffForm, DiffKind, DiffQuery, ListQuery, LogQuery,
    MergeOutcome, MergeRequest, RevertOutcome, RevertRequest, Upload, UploadSource,
};

use crate::support::Lake;

const LIMIT: Duration = Duration::from_secs(20);

impl Lake {
    pub(crate) async fn put(&self, branch: &str, path: &str, text: &'static str) {
        let upload = Upload {
            repository: &self.repository,
            branch,
            path,
            content_type: "application/octet-stream",
            metadata: BTreeMap::new(),
            source: UploadSource::Bytes(Bytes::from_static(text.as_bytes())),
        };
        self.client.upload(&upload).await.unwrap();
    }

    async fn commit(&self, branch: &str, message: &str) -> String {
        let metadata = BTreeMap::from([("stamp".to_owned(), message.to_owned())]);
        let request = CommitRequest { message: message.to_owned(), metadata };
        match self.client.commit(&self.repository, branch, &request).await.unwrap() {
            CommitOutcome::Committed(commit) => commit.id,
            CommitOutcome::NoChanges => panic!("nothing was staged"),
        }
    }

    async fn merge(&self, source: &str) -> MergeOutcome {
        let request = MergeRequest { message: "published".to_owned(), metadata: BTreeMap::new() };
        self.client.merge(&self.repository, source, "main", &request, LIMIT).await.unwrap()
    }
}

#[tokio::test]
async fn a_publish_from_branch_to_revert() {
    for lake in Lake::all().await {
        let (client, repository) = (&lake.client, lake.repository.as_str());
        lake.put("main", "a", "base").await;
        let base = lake.commit("main", "base").await;
        let created = client.create_branch(repository, "work", "main").await.unwrap();
        assert_eq!(created, CreatedBranch::Created(base.clone()));
        let again = client.create_branch(repository, "work", "main").await.unwrap();
        assert_eq!(again, CreatedBranch::Exists);
        assert_eq!(client.get_branch(repository, "nope").await.unwrap(), None);

        lake.put("work", "new", "n").await;
        client.delete_objects(repository, "work", &["a".to_owned(), "absent".to_owned()]).await.unwrap();
        let staged = client.diff_uncommitted(repository, "work", &DiffQuery::default()).await.unwrap();
        let staged: Vec<_> = staged.results.iter().map(|row| (row.path.as_str(), row.kind)).collect();
        assert_eq!(staged, [("a", DiffKind::Removed), ("new", DiffKind::Added)]);
        let work = lake.commit("work", "work").await;
        let nothing = client.commit(repository, "work", &CommitRequest::default()).await.unwrap();
        assert_eq!(nothing, CommitOutcome::NoChanges);

        let MergeOutcome::Merged(merged) = lake.merge("work").await else { panic!("expected a merge") };
        assert_eq!(lake.merge("work").await, MergeOutcome::NoChanges);
        let commit = client.get_commit(repository, &merged).await.unwrap().unwrap();
        assert_eq!(commit.parents, [base.clone(), work.clone()]);
        let query = LogQuery { first_parent: true, stop_at: Some(&base), ..LogQuery::default() };
        let log = client.log(repository, "main", &query).await.unwrap();
        let ids: Vec<_> = log.results.iter().map(|commit| commit.id.as_str()).collect();
        assert_eq!(ids, [merged.as_str(), base.as_str()]);

        let request = RevertRequest { commit: &merged, parent_number: 1, ..RevertRequest::default() };
        let reverted = client.revert(repository, "main", &request).await.unwrap();
        assert_eq!(reverted, RevertOutcome::Reverted);
        let reverted = client.revert(repository, "main", &request).await.unwrap();
        assert_eq!(reverted, RevertOutcome::NoChanges);
        let query = DiffQuery::default();
        let diff = client.diff_refs(repository, (&base, "main"), DiffForm::TwoDot, &query).await.unwrap();
        assert!(diff.results.is_empty() && diff.next().is_none());
        assert!(client.delete_branch(repository, "work").await.unwrap());
        assert!(!client.delete_branch(repository, "work").await.unwrap());
    }
}

#[tokio::test]
async fn conflicts_and_staged_changes_are_told_apart() {
    for lake in Lake::all().await {
        let (client, repository) = (&lake.client, lake.repository.as_str());
        lake.put("main", "a", "base").await;
        lake.commit("main", "base").await;
        client.create_branch(repository, "work", "main").await.unwrap();
        lake.put("work", "a", "ours").await;
        lake.commit("work", "ours").await;
        lake.put("main", "a", "theirs").await;
        assert_eq!(lake.merge("work").await, MergeOutcome::DirtyDestination);
        lake.commit("main", "theirs").await;
        assert_eq!(lake.merge("work").await, MergeOutcome::Conflict);
        let query = DiffQuery::default();
        let diff = client.diff_refs(repository, ("main", "work"), DiffForm::ThreeDot, &query).await.unwrap();
        let rows: Vec<_> = diff.results.iter().map(|row| (row.path.as_str(), row.kind)).collect();
        assert_eq!(rows, [("a", DiffKind::Conflict)]);
        let request = MergeRequest::default();
        let gone = client.merge(repository, "nope", "main", &request, LIMIT).await.unwrap_err();
        assert!(gone.is_missing() && !gone.is_retryable(), "{gone}");
    }
}

#[tokio::test]
async fn lists_are_paged_and_name_what_they_show() {
    for lake in Lake::all().await {
        let (client, repository) = (&lake.client, lake.repository.as_str());
        for path in ["audio/1", "audio2/x", "audio/ü %b"] {
            lake.put("main", path, "x").await;
        }
        let query = ListQuery { prefix: "audio/", with_downloads: true, ..ListQuery::default() };
        let page = client.list_objects(repository, "main", &query).await.unwrap();
        let paths: Vec<_> = page.results.iter().map(|stats| stats.path.as_str()).collect();
        assert_eq!(paths, ["audio/1", "audio/ü %b"]);
        let direct = client.transfers_directly().await.unwrap();
        assert!(page.results.iter().all(|stats| stats.download.is_some() == direct));
        assert!(!format!("{page:?}").contains("X-Amz-Signature"));
        let after = ListQuery { after: Some("audio/1"), ..query.clone() };
        assert_eq!(client.list_objects(repository, "main", &after).await.unwrap().results.len(), 1);
        let unknown = client.list_objects(repository, "nope", &query).await.unwrap_err();
        assert!(unknown.is_missing());
        assert_eq!(client.stat_object(repository, "main", "audio/2", false).await.unwrap(), None);
        for name in ["a", "b"] {
            client.create_branch(repository, &format!("staging-{name}"), "main").await.unwrap();
        }
        let branches = client.list_branches(repository, "staging-", None).await.unwrap();
        let names: Vec<_> = branches.results.iter().map(|branch| branch.id.as_str()).collect();
        assert_eq!(names, ["staging-a", "staging-b"]);
    }
}
