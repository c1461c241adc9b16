//! What `perago check` would say, at the literal itself.

#[path = "../support/mod.rs"]
mod support;

use perago::{Metrics, TaskError, Workspace};
use support::{Output, Params};

#[perago::task(name = "../songs", owner_email = "ops@example.com")]
fn names(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "", owner_email = "")]
fn empty_names(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    workspace(
        prefix = "../other",
        pre = [
            require_file("/etc/passwd"),
            require_glob("*.txt", min_count = 5, max_count = 2),
            require_dir("in", min_count = 1),
        ],
    )
)]
fn paths(_: Workspace, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    metrics(buckets("rows" = [3, 1, 2], "Not a name" = [1], "empty" = [], "texts" = ["one"]))
)]
fn bounds(_: Params, _: Metrics) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    controls(
        retry(count = -1, delay_seconds = -5),
        timeout(response_seconds = -60),
        publish_budget(
            observed_merge_p99_seconds = 20,
            safety_margin_seconds = 10,
            lakefs_merge_timeout_seconds = 45,
            conductor_completion_timeout_seconds = 15,
            worker_shutdown_grace_seconds = 30,
            heartbeat_interval_seconds = 10,
        ),
    )
)]
fn controls(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
