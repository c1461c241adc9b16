//! Whether an attempt that has left something is dead, by what its Conductor shows.

use perago_conductor::{Client, Error, Task, WorkflowStatus};
use perago_workspace::{Judge, Keep, Suspect, Verdict, Work};

/// Asks one Conductor about attempts.
#[derive(Debug)]
pub struct ConductorJudge {
    client: Client,
    /// Why the server did not answer; it is not asked again then.
    silence: Option<String>,
}

impl ConductorJudge {
    /// A judge that asks the client's server.
    pub fn new(client: Client) -> Self {
        Self { client, silence: None }
    }

    /// Why the server could not be asked, if that happened.
    pub fn silence(&self) -> Option<&str> {
        self.silence.as_deref()
    }

    async fn ask(&self, suspect: &Suspect) -> Result<Verdict, Error> {
        if let Some(task) = self.client.get_task(&suspect.task_id).await? {
            return Ok(judge_task(suspect, &self.client.server(), &task));
        }
        let Some(workflow_id) = &suspect.workflow_instance_id else {
            return Ok(Verdict::Unproven(Keep::TaskUnknown));
        };
        let run = self.client.get_workflow_alone(workflow_id).await?;
        Ok(judge_run(run.map(|run| run.status)))
    }
}

impl Judge for ConductorJudge {
    async fn judge(&mut self, suspect: &Suspect) -> Verdict {
        if let Some(reason) = &self.silence {
            return Verdict::Unproven(Keep::NoAnswer(reason.clone()));
        }
        self.ask(suspect).await.unwrap_or_else(|error| {
            let reason = error.to_string();
            // An answer that is a refusal may be about this task alone.
            if error.status().is_none_or(|status| matches!(status, 401 | 403)) {
                self.silence = Some(reason.clone());
            }
            Verdict::Unproven(Keep::NoAnswer(reason))
        })
    }
}

/// Judges an attempt by its task, as `conductor` shows it.
///
/// It is dead once the task has ended, or was claimed again or retried: only the newest claim can still be answered.
pub fn judge_task(suspect: &Suspect, conductor: &str, task: &Task) -> Verdict {
    let work = Work {
        conductor: conductor.to_owned(),
        workflow_instance_id: task.workflow_instance_id.clone(),
        reference_task_name: task.reference_task_name.clone(),
        iteration: number(task.iteration),
    };
    if !suspect.is_of_work(&work) {
        return Verdict::Unproven(Keep::TaskUnknown);
    }
    let is_claimed_again = number(task.poll_count) > suspect.epoch.poll_count;
    let is_retried = number(task.retry_count) > suspect.epoch.retry_count;
    if task.status.is_terminal() || is_claimed_again || is_retried {
        Verdict::Dead
    } else {
        Verdict::Unproven(Keep::Alive)
    }
}

/// Judges an attempt whose task is gone by its run: one that has ended, and was archived with its tasks, has no live
/// attempt. A server that does not know the run either may have dropped it, or be another one at the same address.
fn judge_run(status: Option<WorkflowStatus>) -> Verdict {
    match status {
        Some(status) if status.is_terminal() => Verdict::Dead,
        _ => Verdict::Unproven(Keep::TaskUnknown),
    }
}

fn number(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use perago_conductor::TaskStatus;
    use perago_workspace::{AttemptMarker, Basis, Epoch, Stamp};

    use super::*;

    const CONDUCTOR: &str = "http://conductor/api";

    fn suspect() -> Suspect {
        let work = Work {
            conductor: CONDUCTOR.to_owned(),
            workflow_instance_id: "w1".to_owned(),
            reference_task_name: "mix".to_owned(),
            iteration: 0,
        };
        let stamp = Stamp {
            work,
            epoch: Epoch { retry_count: 1, poll_count: 2 },
            task_id: "t1".to_owned(),
            task_name: "audio.mix".to_owned(),
            seq: 1,
            execution: "0".repeat(32),
            worker_id: "w".to_owned(),
            input_ref: "r".to_owned(),
            link: "l".to_owned(),
            basis: Basis::default(),
        };
        Suspect::of_marker(&AttemptMarker::new(&stamp, "demo", 0))
    }

    fn task(status: TaskStatus, retry_count: i64, poll_count: i64) -> Task {
        let (workflow_instance_id, reference_task_name) = ("w1".to_owned(), "mix".to_owned());
        Task { status, retry_count, poll_count, workflow_instance_id, reference_task_name, ..Task::default() }
    }

    #[test]
    fn only_the_end_or_a_later_claim_proves_death() {
        let alive = Verdict::Unproven(Keep::Alive);
        for (task, wanted) in [
            (task(TaskStatus::InProgress, 1, 2), &alive),
            (task(TaskStatus::Scheduled, 1, 2), &alive),
            (task(TaskStatus::Unknown, 1, 2), &alive),
            (task(TaskStatus::Completed, 1, 2), &Verdict::Dead),
            (task(TaskStatus::TimedOut, 1, 2), &Verdict::Dead),
            (task(TaskStatus::InProgress, 1, 3), &Verdict::Dead),
            (task(TaskStatus::InProgress, 2, 0), &Verdict::Dead),
        ] {
            assert_eq!(judge_task(&suspect(), CONDUCTOR, &task), *wanted, "{task:?}");
        }
    }

    #[test]
    fn a_task_of_other_work_says_nothing() {
        let ended = task(TaskStatus::Completed, 1, 2);
        let unknown = Verdict::Unproven(Keep::TaskUnknown);
        assert_eq!(judge_task(&suspect(), "http://other/api", &ended), unknown);
        let other = Task { workflow_instance_id: "w2".to_owned(), ..ended };
        assert_eq!(judge_task(&suspect(), CONDUCTOR, &other), unknown);
    }

    #[test]
    fn the_end_of_a_run_proves_the_death_of_a_task_that_is_gone() {
        let unknown = Verdict::Unproven(Keep::TaskUnknown);
        assert_eq!(judge_run(Some(WorkflowStatus::Completed)), Verdict::Dead);
        assert_eq!(judge_run(Some(WorkflowStatus::Running)), unknown);
        assert_eq!(judge_run(None), unknown);
    }
}
