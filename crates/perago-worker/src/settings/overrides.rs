//! Per-worker variables of the Conductor Python SDK: queue domain and pause.
//!
//! The SDK takes the first of `conductor.worker.<task>.<property>`, `conductor_worker_<task>_<property>`,
//! `CONDUCTOR_WORKER_<TASK>_<PROPERTY>` with the name in upper case and then as it is, and after those the forms for
//! all workers. It leaves dots and dashes in the name alone, so that shells cannot set such a variable; the form
//! with `_` in their place is accepted too.

use std::collections::BTreeMap;

use perago_contract::Finding;

use super::environment::Environment;

const DOMAIN: &str = "domain";
const PAUSED: &str = "paused";

/// Properties that the SDK knows; we honour the first two.
const PROPERTIES: [&str; 10] = [
    DOMAIN,
    PAUSED,
    "poll_interval",
    "polling_interval",
    "poll_timeout",
    "worker_id",
    "thread_count",
    "register_task_def",
    "lease_extend_enabled",
    "non_blocking_async",
];

/// The variables of the family, before the task's name is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerOverrides {
    values: BTreeMap<String, String>,
}

/// What the variables say about one task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerOverride {
    /// Queue domain to poll.
    pub domain: Option<String>,
    /// Whether the worker must not poll.
    pub is_paused: bool,
    /// One warning for each variable of the family that has no effect on this task.
    pub warnings: Vec<Finding>,
}

impl WorkerOverrides {
    pub(crate) fn new(environment: &Environment) -> Self {
        let values = environment
            .iter()
            .filter(|(name, _)| is_of_family(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { values }
    }

    /// What holds for the task called `task_name`.
    pub fn for_task(&self, task_name: &str) -> WorkerOverride {
        let read =
            |property| candidates(task_name, property).into_iter().find_map(|name| self.values.get(&name));
        let is_true = |value: &String| {
            matches!(value.trim().to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
        };
        let honoured: Vec<_> =
            [DOMAIN, PAUSED].iter().flat_map(|property| candidates(task_name, property)).collect();
        WorkerOverride {
            domain: read(DOMAIN).map(|domain| domain.trim().to_owned()).filter(|domain| !domain.is_empty()),
            is_paused: read(PAUSED).is_some_and(is_true),
            warnings: self
                .values
                .keys()
                .filter(|name| !honoured.contains(name))
                .map(|name| ignored(name, task_name))
                .collect(),
        }
    }
}

fn is_of_family(name: &str) -> bool {
    ["conductor.worker.", "conductor_worker_", "CONDUCTOR_WORKER_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Names that set `property` of a task, the strongest first.
fn candidates(task_name: &str, property: &str) -> Vec<String> {
    let upper = property.to_ascii_uppercase();
    let shell: String = task_name
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character.to_ascii_uppercase() } else { '_' })
        .collect();
    vec![
        format!("conductor.worker.{task_name}.{property}"),
        format!("conductor_worker_{task_name}_{property}"),
        format!("CONDUCTOR_WORKER_{}_{upper}", task_name.to_uppercase()),
        format!("CONDUCTOR_WORKER_{task_name}_{upper}"),
        format!("CONDUCTOR_WORKER_{shell}_{upper}"),
        format!("conductor.worker.all.{property}"),
        format!("CONDUCTOR_WORKER_ALL_{upper}"),
        format!("conductor_worker_{property}"),
        format!("CONDUCTOR_WORKER_{upper}"),
    ]
}

fn ignored(name: &str, task_name: &str) -> Finding {
    let lower = name.to_ascii_lowercase();
    let property = PROPERTIES
        .iter()
        .find(|property| lower.strip_suffix(*property).is_some_and(|rest| rest.ends_with(['.', '_'])));
    let (reason, hint) = match property {
        Some(&DOMAIN | &PAUSED) => (
            format!("is not for task {task_name}"),
            "the name of the task goes in upper case between the parts",
        ),
        Some(&"poll_timeout" | &"poll_interval" | &"polling_interval") => {
            ("has no effect".to_owned(), "set PERAGO_POLL_TIMEOUT instead")
        }
        Some(&"thread_count") => ("has no effect".to_owned(), "use perago start -j instead"),
        Some(&"worker_id") => ("has no effect".to_owned(), "set PERAGO_WORKER_ID_PREFIX instead"),
        _ => ("has no effect".to_owned(), "only DOMAIN and PAUSED are honoured"),
    };
    Finding::warning("PERAGO-CONFIG-IGNORED", format!("{name} {reason}; it is ignored")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::environment::Environment;
    use super::{WorkerOverride, WorkerOverrides};

    fn read(task_name: &str, pairs: &[(&str, &str)]) -> WorkerOverride {
        let values: BTreeMap<_, _> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        WorkerOverrides::new(&Environment::new(values)).for_task(task_name)
    }

    #[test]
    fn every_form_of_the_name_sets_the_domain() {
        for name in [
            "CONDUCTOR_WORKER_AUDIO.MIX-1_DOMAIN",
            "CONDUCTOR_WORKER_audio.mix-1_DOMAIN",
            "CONDUCTOR_WORKER_AUDIO_MIX_1_DOMAIN",
            "conductor.worker.audio.mix-1.domain",
            "conductor_worker_audio.mix-1_domain",
            "CONDUCTOR_WORKER_ALL_DOMAIN",
            "conductor.worker.all.domain",
            "CONDUCTOR_WORKER_DOMAIN",
        ] {
            let found = read("audio.mix-1", &[(name, " staging ")]);
            assert_eq!(found.domain.as_deref(), Some("staging"), "{name}");
            assert!(found.warnings.is_empty(), "{name}: {:?}", found.warnings);
        }
    }

    #[test]
    fn the_task_wins_over_all() {
        let found = read(
            "mix",
            &[
                ("CONDUCTOR_WORKER_ALL_DOMAIN", "everyone"),
                ("CONDUCTOR_WORKER_MIX_DOMAIN", "mine"),
                ("CONDUCTOR_WORKER_ALL_PAUSED", "true"),
                ("CONDUCTOR_WORKER_MIX_PAUSED", "false"),
            ],
        );
        assert_eq!(found, WorkerOverride { domain: Some("mine".into()), ..WorkerOverride::default() });
    }

    #[test]
    fn paused_takes_the_words_of_the_sdk() {
        for (value, paused) in
            [("true", true), ("1", true), ("Yes", true), ("on", true), ("0", false), ("", false)]
        {
            assert_eq!(read("mix", &[("CONDUCTOR_WORKER_ALL_PAUSED", value)]).is_paused, paused, "{value}");
        }
    }

    #[test]
    fn each_other_variable_warns_once() {
        let found = read(
            "mix",
            &[
                ("CONDUCTOR_WORKER_MIX_THREAD_COUNT", "4"),
                ("CONDUCTOR_WORKER_ALL_POLL_INTERVAL", "100"),
                ("CONDUCTOR_WORKER_OTHER_DOMAIN", "x"),
                ("CONDUCTOR_SERVER_URL", "http://host/api"),
            ],
        );
        let messages: Vec<_> = found.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "CONDUCTOR_WORKER_ALL_POLL_INTERVAL has no effect; it is ignored",
                "CONDUCTOR_WORKER_MIX_THREAD_COUNT has no effect; it is ignored",
                "CONDUCTOR_WORKER_OTHER_DOMAIN is not for task mix; it is ignored",
            ]
        );
        assert_eq!(found.domain, None);
    }
}
