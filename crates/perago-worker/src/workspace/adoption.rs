//! Adopts, in the name of a retry, what an earlier attempt has left in a repository.

use std::sync::Arc;

use perago_contract::envelope::WorkspaceRef;
use perago_workspace::{AdoptRequest, Prefix, PublishReport, Stamp, WorkspaceError, adopt};
use tokio::sync::{mpsc, oneshot, watch};

use super::keeper::{Control, Labels, stopped, withdraw};
use super::service::WorkspaceService;
use super::{LakeFsRepository, WorkspaceMail, Workspaces};
use crate::logs::Logger;

/// What the outbox has kept of an earlier attempt.
#[derive(Debug, Clone, Default)]
pub struct KeptWork {
    /// The commit that its result names.
    pub published: Option<String>,
    /// What was staged for it and may not be merged.
    pub staged: Option<String>,
    /// The body's result, as JSON.
    pub result: Option<String>,
}

/// What a retry that may have something to adopt works with.
#[derive(Debug)]
pub struct Adopting {
    /// The workspace that the task got.
    pub input: WorkspaceRef,
    /// Who adopts.
    pub stamp: Stamp,
    /// The tasks that ours retries, and ours itself.
    pub predecessors: Vec<String>,
    /// What the outbox has kept.
    pub kept: KeptWork,
    /// Where it writes to its attempt.
    pub mail: mpsc::UnboundedSender<WorkspaceMail>,
    /// Turns true when it must stop.
    pub stop: watch::Receiver<bool>,
    /// Dropped when everything is removed.
    pub alive: mpsc::Sender<()>,
    /// The worker's log.
    pub logger: Logger,
}

/// What was adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedWork {
    /// The body's result as JSON, where it is not the one that the outbox has kept.
    pub result: Option<String>,
    /// The task whose attempt has made it, where it is not the one that the outbox has kept.
    pub task_id: Option<String>,
    /// The workspace as that attempt left it.
    pub output: WorkspaceRef,
    /// What was done for it.
    pub report: PublishReport,
}

impl Workspaces {
    /// Begins to look for what earlier attempts have left; the answer is closed without one when that was stopped.
    pub fn adopt(
        &self,
        adopting: Adopting,
    ) -> oneshot::Receiver<Result<Option<AdoptedWork>, WorkspaceError>> {
        let (answer, answered) = oneshot::channel();
        let service = Arc::clone(&self.service);
        self.spawn(async move {
            let result = tokio::select! {
                biased;
                () = stopped(adopting.stop.clone()) => None,
                result = adopt_in(&service, &adopting) => Some(result),
            };
            if let Some(result) = result {
                let _ = answer.send(result);
            } else {
                let (stamp, repository) = (&adopting.stamp, &adopting.input.repository);
                let about = Labels::of(stamp);
                withdraw(&service, repository, &stamp.staging_branch(), &about, &adopting.logger).await;
            }
            drop(adopting.alive);
        });
        answered
    }
}

async fn adopt_in(
    service: &WorkspaceService,
    adopting: &Adopting,
) -> Result<Option<AdoptedWork>, WorkspaceError> {
    let (input, kept) = (&adopting.input, &adopting.kept);
    let repository = Arc::new(LakeFsRepository::new(service.client.clone(), &input.repository));
    let prefix = Prefix::of_spec(&service.spec)?;
    let request = AdoptRequest {
        target: service.target(&input.branch, &prefix, &adopting.stamp, kept.result.as_deref()),
        predecessors: &adopting.predecessors,
        published: kept.published.as_deref(),
        staged: kept.staged.as_deref(),
    };
    let control = Control { mail: adopting.mail.clone() };
    let adopted = adopt(&repository, &control, &request).await?;
    Ok(adopted.map(|adopted| AdoptedWork {
        result: adopted.result,
        task_id: adopted.task_id,
        output: input.published_output(adopted.report.commit.clone()),
        report: adopted.report,
    }))
}
