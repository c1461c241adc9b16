//! The catalogue of failures: why an attempt did not complete, and whether another one can help.

use serde::{Deserialize, Serialize};

macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $terminal:literal, $hint:literal;)+) => {
        /// Why an attempt failed. Codes are stable: logs, metrics and dashboards may rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum FailureCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)+
        }

        impl FailureCode {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// Whether Conductor is told not to retry (`FAILED_WITH_TERMINAL_ERROR`).
            pub fn is_terminal(self) -> bool {
                match self { $(Self::$variant => $terminal,)+ }
            }

            /// What an operator or author can do about it.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)+ }
            }
        }
    };
}

catalogue! {
    /// The body raised something that is not one of the contract's own errors.
    BodyRaised = "body_raised", false,
        "the worker's log has the whole exception of the body";
    /// The body raised `TaskFailed`.
    TaskFailed = "task_failed", false,
        "the body refused this attempt; Conductor retries it as the task's RetryPolicy says";
    /// The body raised `TaskTerminalError`.
    TaskTerminal = "task_terminal", true,
        "the body refused this input for good; start the workflow with another one";
    /// The envelope of the input is incomplete or malformed.
    InputInvalid = "input_invalid", false,
        "map `params` (and `workspace` for a workspace task) in the workflow's inputParameters";
    /// The parameters do not match the task's model.
    ParamsInvalid = "params_invalid", false,
        "compare the workflow's inputParameters with the inputSchema of the TaskDef";
    /// The body's result does not match the task's model.
    ResultInvalid = "result_invalid", false,
        "return an instance of the annotated result model";
    /// The body's result has no JSON form, for example NaN.
    ResultNotJson = "result_not_json", false,
        "return only values that JSON can hold: no NaN, no infinity, no arbitrary objects";
    /// The result is larger than Conductor can keep.
    ResultTooLarge = "result_too_large", true,
        "return less than 3 MiB of JSON: store large data elsewhere and return where it is";
    /// The task has metrics and the caller passed no recorder.
    MetricsMissing = "metrics_missing", false,
        "pass a MetricRecorder, in tests an InMemoryMetricRecorder";
    /// Conductor moved the input to external storage, which a worker cannot read.
    ExternalPayload = "external_payload", true,
        "pass less than 3 MiB of input: store large data elsewhere and pass where it is";
    /// A guardrail before the body failed.
    PreGuardrail = "pre_guardrail", true,
        "the workspace given to the task lacks what its WorkspaceSpec(pre=...) asks for";
    /// A guardrail after the body failed.
    PostGuardrail = "post_guardrail", false,
        "the body left a workspace that its WorkspaceSpec(post=...) does not allow";
    /// The attempt is no longer ours.
    LeaseLost = "lease_lost", false,
        "the server gave the task to another worker or ended it; raise TimeoutPolicy.response_seconds if it was slow";
    /// The head of the target branch moved.
    PublishFence = "publish_fence", false,
        "another writer committed to the branch while the task ran";
    /// The body and another writer changed the same files.
    PublishConflict = "publish_conflict", false,
        "two writers changed the same files of the branch: give them separate files, or run them one after another";
    /// The target branch does not take a publication.
    BranchUnusable = "branch_unusable", false,
        "the branch is missing, protected, or holds uncommitted changes that somebody has to commit or reset";
    /// The store could not be read or written.
    Workspace = "workspace_failed", false,
        "the store did not answer, refused, or lost data; the reason says which call it was";
    /// A file cannot go between directory and store.
    WorkspacePath = "workspace_path", false,
        "rename or remove the path that the reason names: regular files under portable names can be published";
    /// What the store delivered is not what it promised.
    WorkspaceCorrupt = "workspace_corrupt", false,
        "size or checksum of an object differ from its entry: look at the object in the store";
    /// The disk cannot hold the files.
    WorkspaceNoSpace = "workspace_no_space", false,
        "free space under PERAGO_WORKSPACE_ROOT, move it to a larger disk, or narrow WorkspaceSpec(prefix=...)";
    /// The executor process ended by itself while it ran the body.
    ExecutorExited = "executor_exited", false,
        "the body, or a library it uses, ended the process; the worker's log has its last lines";
    /// The executor process was killed by a signal.
    ExecutorKilled = "executor_killed", false,
        "look for a crash of a native library or for somebody who sent the signal";
    /// The executor process was killed because memory ran out or was about to.
    ExecutorOutOfMemory = "executor_out_of_memory", false,
        "give the worker more memory, or start it with fewer slots";
    /// The body ran longer than the worker lets bodies run.
    AttemptTimeout = "attempt_timeout", false,
        "the body ran into PERAGO_ATTEMPT_TIMEOUT: raise it, or look for what the body waits for";
    /// The executor and what it started used more memory than one attempt may.
    AttemptMemoryLimit = "attempt_memory_limit", false,
        "the body ran into PERAGO_ATTEMPT_MEMORY_LIMIT: raise it, or let the body take less at once";
    /// The author's module cannot be imported.
    ModuleImport = "module_import", false,
        "run `perago check` with the same module, environment and directory";
    /// The worker stopped before the attempt could end.
    WorkerStopped = "worker_stopped", false,
        "the worker was stopped; another one takes the retry";
    /// The worker itself failed.
    Internal = "internal", false,
        "this is a defect of Perago; please report it with the worker's log";
}

impl FailureCode {
    /// The code with this text.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|failure| failure.code() == code)
    }
}

impl std::fmt::Display for FailureCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.code())
    }
}

/// Cuts a reason to at most `most_characters` characters.
///
/// Returns the reason and, if it was cut, its original length in characters for the log.
pub fn cut_reason(reason: &str, most_characters: usize) -> (&str, Option<usize>) {
    match reason.char_indices().nth(most_characters) {
        Some((end, _)) => (&reason[..end], Some(reason.chars().count())),
        None => (reason, None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_found_again() {
        let codes: BTreeSet<&str> = FailureCode::ALL.iter().map(|failure| failure.code()).collect();
        assert_eq!(codes.len(), FailureCode::ALL.len());
        for failure in FailureCode::ALL {
            assert_eq!(FailureCode::from_code(failure.code()), Some(*failure));
            assert_eq!(serde_json::to_value(failure).unwrap(), failure.code());
            assert!(!failure.hint().is_empty());
        }
        assert_eq!(FailureCode::from_code("nope"), None);
    }

    #[test]
    fn only_what_no_retry_can_mend_is_terminal() {
        let terminal: Vec<&str> = FailureCode::ALL
            .iter()
            .filter(|failure| failure.is_terminal())
            .map(|failure| failure.code())
            .collect();
        assert_eq!(terminal, ["task_terminal", "result_too_large", "external_payload", "pre_guardrail"]);
    }

    #[test]
    fn reasons_are_cut_by_characters() {
        assert_eq!(cut_reason("äöü", 2), ("äö", Some(3)));
        assert_eq!(cut_reason("äöü", 3), ("äöü", None));
        assert_eq!(cut_reason("", 1), ("", None));
    }
}
