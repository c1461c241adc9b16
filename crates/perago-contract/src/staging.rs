//! Names of the staging branches that attempts publish from.

/// What identifies one run of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagingAttempt<'a> {
    /// Conductor's workflow id.
    pub workflow_instance_id: &'a str,
    /// The task's reference name in that workflow.
    pub reference_task_name: &'a str,
    /// Position of the task in the workflow.
    pub seq: &'a str,
    /// Iteration of an enclosing loop.
    pub iteration: &'a str,
    /// Conductor's task id.
    pub task_id: &'a str,
    /// Which retry this is.
    pub retry_count: &'a str,
    /// Our own id of this run.
    pub execution_id: &'a str,
}

/// The name of the branch on which an attempt stages its files.
///
/// Each value is reduced to letters, digits, `_` and `-`, so that the name is a valid ref whatever the ids hold.
pub fn staging_branch_name(attempt: &StagingAttempt<'_>) -> String {
    format!(
        "perago-staging-{}-{}-seq-{}-iteration-{}-task-id-{}-retry-{}-exec-{}",
        segment(attempt.workflow_instance_id),
        segment(attempt.reference_task_name),
        segment(attempt.seq),
        segment(attempt.iteration),
        segment(attempt.task_id),
        segment(attempt.retry_count),
        segment(attempt.execution_id),
    )
}

fn segment(value: &str) -> String {
    let mut reduced = String::with_capacity(value.len());
    let mut in_gap = false;
    for character in value.chars() {
        let kept = character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        if kept {
            reduced.push(character);
        } else if !in_gap {
            reduced.push('-');
        }
        in_gap = !kept;
    }
    match reduced.trim_matches(['-', '_']) {
        "" => "unknown".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_becomes_a_safe_segment() {
        let attempt = StagingAttempt {
            workflow_instance_id: "wf/1",
            reference_task_name: "mix ä+b",
            seq: "2",
            iteration: "0",
            task_id: "_t-1_",
            retry_count: "3",
            execution_id: "///",
        };
        assert_eq!(
            staging_branch_name(&attempt),
            "perago-staging-wf-1-mix-b-seq-2-iteration-0-task-id-t-1-retry-3-exec-unknown"
        );
    }
}
