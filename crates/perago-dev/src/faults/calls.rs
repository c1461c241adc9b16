//! The names of the calls at which faults can be scripted.

use axum::http::Method;

/// One of the embedded services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The engine, below `/api`.
    Conductor,
    /// The store, below `/api/v1`.
    LakeFs,
    /// What the store's signed URLs lead to.
    ObjectStore,
    /// The receiver of metrics.
    Otlp,
}

impl Service {
    /// Its name in scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conductor => "conductor",
            Self::LakeFs => "lakefs",
            Self::ObjectStore => "object_store",
            Self::Otlp => "otlp",
        }
    }
}

/// A call of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Whose call it is.
    pub service: Service,
    /// Its name, which no other call of any service has.
    pub name: &'static str,
}

/// A beat goes where updates go; its body tells them apart.
pub(super) const UPDATE_ROUTE: &str = "/api/tasks";
pub(super) const BEAT: Call = Call { service: Service::Conductor, name: "extend_lease" };

/// A call with its method and the route that serves it.
pub(super) type Row = (Call, &'static str, &'static str);

const fn conductor(name: &'static str, method: &'static str, route: &'static str) -> Row {
    (Call { service: Service::Conductor, name }, method, route)
}

const fn lakefs(name: &'static str, method: &'static str, route: &'static str) -> Row {
    (Call { service: Service::LakeFs, name }, method, route)
}

const fn object_store(name: &'static str, method: &'static str, route: &'static str) -> Row {
    (Call { service: Service::ObjectStore, name }, method, route)
}

const fn otlp(name: &'static str, method: &'static str, route: &'static str) -> Row {
    (Call { service: Service::Otlp, name }, method, route)
}

/// Every call; those of one name differ in their routes.
#[rustfmt::skip]
pub(super) const CALLS: &[Row] = &[
    conductor("poll", "GET", "/api/tasks/poll/batch/{type}"),
    conductor("poll", "GET", "/api/tasks/poll/{type}"),
    conductor("update_task", "POST", UPDATE_ROUTE),
    (BEAT, "POST", UPDATE_ROUTE),
    conductor("update_and_poll", "POST", "/api/tasks/update-v2"),
    conductor("update_task_by_reference", "POST", "/api/tasks/{workflow}/{reference}/{status}"),
    conductor("update_task_by_reference", "POST", "/api/tasks/{workflow}/{reference}/{status}/sync"),
    conductor("get_task", "GET", "/api/tasks/{id}"),
    conductor("append_task_log", "POST", "/api/tasks/{id}/log"),
    conductor("get_task_log", "GET", "/api/tasks/{id}/log"),
    conductor("queue_size", "GET", "/api/tasks/queue/size"),
    conductor("queue_sizes", "GET", "/api/tasks/queue/sizes"),
    conductor("list_queues", "GET", "/api/tasks/queue/all"),
    conductor("list_queues", "GET", "/api/tasks/queue/all/verbose"),
    conductor("poll_data", "GET", "/api/tasks/queue/polldata"),
    conductor("poll_data", "GET", "/api/tasks/queue/polldata/all"),
    conductor("requeue_tasks", "POST", "/api/tasks/queue/requeue/{type}"),
    conductor("start_workflow", "POST", "/api/workflow"),
    conductor("start_workflow", "POST", "/api/workflow/{id}"),
    conductor("get_workflow", "GET", "/api/workflow/{id}"),
    conductor("get_workflow_status", "GET", "/api/workflow/{id}/status"),
    conductor("terminate_workflow", "DELETE", "/api/workflow/{id}"),
    conductor("terminate_workflows", "POST", "/api/workflow/bulk/terminate"),
    conductor("search_workflows", "GET", "/api/workflow/search"),
    conductor("running_workflows", "GET", "/api/workflow/running/{name}"),
    conductor("decide_workflow", "PUT", "/api/workflow/decide/{id}"),
    conductor("pause_workflow", "PUT", "/api/workflow/{id}/pause"),
    conductor("resume_workflow", "PUT", "/api/workflow/{id}/resume"),
    conductor("retry_workflow", "POST", "/api/workflow/{id}/retry"),
    conductor("remove_workflow", "DELETE", "/api/workflow/{id}/remove"),
    conductor("register_task_defs", "POST", "/api/metadata/taskdefs"),
    conductor("update_task_def", "PUT", "/api/metadata/taskdefs"),
    conductor("list_task_defs", "GET", "/api/metadata/taskdefs"),
    conductor("get_task_def", "GET", "/api/metadata/taskdefs/{name}"),
    conductor("delete_task_def", "DELETE", "/api/metadata/taskdefs/{name}"),
    conductor("register_workflow", "POST", "/api/metadata/workflow"),
    conductor("put_workflows", "PUT", "/api/metadata/workflow"),
    conductor("list_workflow_defs", "GET", "/api/metadata/workflow"),
    conductor("get_workflow_def", "GET", "/api/metadata/workflow/{name}"),
    conductor("delete_workflow_def", "DELETE", "/api/metadata/workflow/{name}/{version}"),
    conductor("issue_token", "POST", "/api/token"),
    conductor("version", "GET", "/api/version"),
    conductor("health", "GET", "/api/health"),
    conductor("health", "GET", "/health"),

    lakefs("create_repository", "POST", "/api/v1/repositories"),
    lakefs("list_repositories", "GET", "/api/v1/repositories"),
    lakefs("get_repository", "GET", "/api/v1/repositories/{repository}"),
    lakefs("delete_repository", "DELETE", "/api/v1/repositories/{repository}"),
    lakefs("get_branch_protection", "GET", "/api/v1/repositories/{repository}/settings/branch_protection"),
    lakefs("set_branch_protection", "PUT", "/api/v1/repositories/{repository}/settings/branch_protection"),
    lakefs("create_branch", "POST", "/api/v1/repositories/{repository}/branches"),
    lakefs("list_branches", "GET", "/api/v1/repositories/{repository}/branches"),
    lakefs("get_branch", "GET", "/api/v1/repositories/{repository}/branches/{branch}"),
    lakefs("delete_branch", "DELETE", "/api/v1/repositories/{repository}/branches/{branch}"),
    lakefs("reset_branch", "PUT", "/api/v1/repositories/{repository}/branches/{branch}"),
    lakefs("hard_reset_branch", "PUT", "/api/v1/repositories/{repository}/branches/{branch}/hard_reset"),
    lakefs("diff_uncommitted", "GET", "/api/v1/repositories/{repository}/branches/{branch}/diff"),
    lakefs("diff_refs", "GET", "/api/v1/repositories/{repository}/refs/{left}/diff/{right}"),
    lakefs("create_tag", "POST", "/api/v1/repositories/{repository}/tags"),
    lakefs("list_tags", "GET", "/api/v1/repositories/{repository}/tags"),
    lakefs("get_tag", "GET", "/api/v1/repositories/{repository}/tags/{tag}"),
    lakefs("delete_tag", "DELETE", "/api/v1/repositories/{repository}/tags/{tag}"),
    lakefs("commit", "POST", "/api/v1/repositories/{repository}/branches/{branch}/commits"),
    lakefs("get_commit", "GET", "/api/v1/repositories/{repository}/commits/{reference}"),
    lakefs("log", "GET", "/api/v1/repositories/{repository}/refs/{reference}/commits"),
    lakefs("merge", "POST", "/api/v1/repositories/{repository}/refs/{source}/merge/{destination}"),
    lakefs("merge_base", "GET", "/api/v1/repositories/{repository}/refs/{source}/merge/{destination}"),
    lakefs("revert", "POST", "/api/v1/repositories/{repository}/branches/{branch}/revert"),
    lakefs("cherry_pick", "POST", "/api/v1/repositories/{repository}/branches/{branch}/cherry-pick"),
    lakefs("read_object", "GET", "/api/v1/repositories/{repository}/refs/{reference}/objects"),
    lakefs("list_objects", "GET", "/api/v1/repositories/{repository}/refs/{reference}/objects/ls"),
    lakefs("stat_object", "GET", "/api/v1/repositories/{repository}/refs/{reference}/objects/stat"),
    lakefs("upload_object", "POST", "/api/v1/repositories/{repository}/branches/{branch}/objects"),
    lakefs("delete_object", "DELETE", "/api/v1/repositories/{repository}/branches/{branch}/objects"),
    lakefs("delete_objects", "POST", "/api/v1/repositories/{repository}/branches/{branch}/objects/delete"),
    lakefs("copy_object", "POST", "/api/v1/repositories/{repository}/branches/{branch}/objects/copy"),
    lakefs("set_object_metadata", "PUT", "/api/v1/repositories/{repository}/branches/{branch}/objects/stat/user_metadata"),
    lakefs("get_upload_address", "GET", "/api/v1/repositories/{repository}/branches/{branch}/staging/backing"),
    lakefs("link_object", "PUT", "/api/v1/repositories/{repository}/branches/{branch}/staging/backing"),
    lakefs("start_upload", "POST", "/api/v1/repositories/{repository}/branches/{branch}/staging/pmpu"),
    lakefs("complete_upload", "PUT", "/api/v1/repositories/{repository}/branches/{branch}/staging/pmpu/{upload}"),
    lakefs("abort_upload", "DELETE", "/api/v1/repositories/{repository}/branches/{branch}/staging/pmpu/{upload}"),
    lakefs("get_part_address", "PUT", "/api/v1/repositories/{repository}/branches/{branch}/staging/pmpu/{upload}/parts/{number}"),
    lakefs("get_config", "GET", "/api/v1/config"),
    lakefs("get_storage_config", "GET", "/api/v1/config/storage"),
    lakefs("get_garbage_collection_config", "GET", "/api/v1/config/garbage-collection"),
    lakefs("get_version", "GET", "/api/v1/config/version"),
    lakefs("check_health", "GET", "/api/v1/healthcheck"),
    lakefs("get_setup_state", "GET", "/api/v1/setup_lakefs"),
    lakefs("log_in", "POST", "/api/v1/auth/login"),
    lakefs("get_user", "GET", "/api/v1/user"),

    object_store("get_object", "GET", "/object-store/{*key}"),
    object_store("put_object", "PUT", "/object-store/{*key}"),

    otlp("push_metrics", "POST", "/opentelemetry/v1/metrics"),
    otlp("list_series", "GET", "/api/v1/series"),
    otlp("query_metrics", "GET", "/api/v1/query"),
    otlp("export_metrics", "GET", "/api/v1/export"),
    otlp("flush_metrics", "GET", "/internal/force_flush"),
];

impl Call {
    /// Every call once, in the order of the list.
    pub fn all() -> impl Iterator<Item = Self> {
        let mut before = None;
        CALLS.iter().map(|(call, ..)| *call).filter(move |call| before.replace(*call) != Some(*call))
    }

    /// The call behind a route; of updates of tasks the one that is no beat.
    pub(super) fn at(method: &Method, route: &str) -> Option<Self> {
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        CALLS.iter().find(|(_, its, path)| *its == method && *path == route).map(|(call, ..)| *call)
    }
}

/// Which calls a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    One(Call),
    AllOf(Service),
    All,
}

impl Which {
    /// Reads `NAME`, `SERVICE.NAME`, `SERVICE.*` or `*`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let (service, name) =
            text.split_once('.').map_or((None, text), |(service, name)| (Some(service), name));
        let mut calls =
            Call::all().filter(|call| service.is_none_or(|service| call.service.name() == service));
        if name == "*" {
            return calls.next().map(|call| Self::AllOf(call.service));
        }
        calls.find(|call| call.name == name).map(Self::One)
    }

    pub(super) fn covers(self, call: Call) -> bool {
        match self {
            Self::One(wanted) => wanted == call,
            Self::AllOf(service) => call.service == service,
            Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Call, Service, Which};

    #[test]
    fn names_are_unique_over_all_services() {
        let names: Vec<_> = Call::all().map(|call| call.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn calls_are_named_with_and_without_their_service() {
        let merge = Call { service: Service::LakeFs, name: "merge" };
        for text in ["merge", "lakefs.merge"] {
            assert_eq!(Which::parse(text), Some(Which::One(merge)));
        }
        assert_eq!(Which::parse("lakefs.*"), Some(Which::AllOf(Service::LakeFs)));
        assert_eq!(Which::parse("*"), Some(Which::All));
        for text in ["", "conductor.merge", "nowhere.*", "Merge", "merge.lakefs"] {
            assert_eq!(Which::parse(text), None, "{text}");
        }
    }
}
