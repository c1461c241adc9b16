//! The resource: which worker the series are of, the same after every restart and in no two live workers.

/// What tells one worker from another.
#[derive(Debug, Clone, Copy)]
pub struct WorkerIdentity<'a> {
    /// `PERAGO_INSTANCE_ID`, or the prefix of the worker ids.
    pub instance: &'a str,
    /// `PERAGO_HOST_ID`, or the host's name.
    pub host: &'a str,
    /// The state directory, which only one live worker of a host can hold.
    pub state_directory: &'a str,
}

/// The attributes attached to every series. VictoriaMetrics shows each as a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    attributes: Vec<(String, String)>,
}

impl Resource {
    /// The resource of `worker`. `service_name` (`OTEL_SERVICE_NAME`) goes before a `service.name` in `attributes`
    /// (`OTEL_RESOURCE_ATTRIBUTES`, parsed); without either it is `perago`.
    pub fn new(
        worker: WorkerIdentity<'_>,
        service_name: Option<&str>,
        attributes: &[(String, String)],
    ) -> Self {
        let mut all: Vec<(String, String)> = attributes.to_vec();
        let mut set =
            |key: &str, value: String, replaces: bool| match all.iter_mut().find(|(own, _)| own == key) {
                Some(own) if replaces => own.1 = value,
                Some(_) => {}
                None => all.push((key.to_owned(), value)),
            };
        let name = service_name.filter(|name| !name.is_empty());
        set("service.name", name.unwrap_or("perago").to_owned(), name.is_some());
        set("service.instance.id", instance_id(worker), false);
        Self { attributes: all }
    }

    /// Key and value of every attribute.
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    /// The keys, which a task body's labels must not have.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.attributes.iter().map(|(key, _)| key.clone())
    }
}

/// Keys of the semantic conventions whose values are other ones after a restart, or in each pod or container.
const PASSING_KEYS: &[&str] = &[
    "aws.ecs.task.arn",
    "aws.ecs.task.id",
    "aws.log.stream.names",
    "container.id",
    "container.name",
    "faas.instance",
    "host.id",
    "host.ip",
    "host.mac",
    "k8s.container.restart_count",
    "k8s.pod.ip",
    "k8s.pod.name",
    "k8s.pod.start_time",
    "k8s.pod.uid",
    "process.creation.time",
    "process.parent_pid",
    "process.pid",
    "process.session_leader.pid",
    "process.group_leader.pid",
    "process.vpid",
];

/// The fewest hexadecimal digits in a row that no person gives as a name.
const RANDOM_DIGITS: usize = 12;

/// Whether a resource attribute is likely to have another value after the next start, so that every start makes each
/// series anew.
pub fn changes_with_every_start(key: &str, value: &str) -> bool {
    PASSING_KEYS.contains(&key) || (key == "service.instance.id" && looks_random(value))
}

/// UUIDs, hashes and the like.
fn looks_random(value: &str) -> bool {
    let plain: String = value.chars().filter(|character| *character != '-').collect();
    plain
        .split(|character: char| !character.is_ascii_hexdigit())
        .any(|digits| digits.len() >= RANDOM_DIGITS && digits.bytes().any(|digit| digit.is_ascii_digit()))
}

/// A UUID made of the worker's identity by FNV-1a (version 8: made by a rule of one's own).
fn instance_id(worker: WorkerIdentity<'_>) -> String {
    let text = [worker.instance, worker.host, worker.state_directory].join("\0");
    let hash = text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    let digits = format!("{hash:032x}");
    format!("{}-{}-8{}-a{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerIdentity<'_> =
        WorkerIdentity { instance: "audio-1", host: "node", state_directory: "/s" };

    fn value(resource: &Resource, key: &str) -> String {
        resource.attributes().iter().find(|(own, _)| own == key).unwrap().1.clone()
    }

    #[test]
    fn the_instance_id_is_the_same_after_a_restart_and_another_for_another_state_directory() {
        let first = Resource::new(WORKER, None, &[]);
        assert_eq!(first, Resource::new(WORKER, None, &[]));
        let other = Resource::new(WorkerIdentity { state_directory: "/t", ..WORKER }, None, &[]);
        assert_ne!(value(&first, "service.instance.id"), value(&other, "service.instance.id"));
        assert_eq!(value(&first, "service.instance.id").len(), 36);
        assert_eq!(value(&first, "service.name"), "perago");
    }

    #[test]
    fn the_service_name_variable_goes_before_the_attributes() {
        let attributes = [("service.name", "a"), ("deployment.zone", "eu,west")]
            .map(|(key, value)| (key.into(), value.into()));
        assert_eq!(value(&Resource::new(WORKER, None, &attributes), "service.name"), "a");
        let resource = Resource::new(WORKER, Some("b"), &attributes);
        assert_eq!(value(&resource, "service.name"), "b");
        assert_eq!(value(&resource, "deployment.zone"), "eu,west");
        assert_eq!(resource.keys().count(), 3);
    }

    #[test]
    fn an_explicit_instance_id_wins() {
        let attributes = [("service.instance.id".to_owned(), "audio-a".to_owned())];
        let resource = Resource::new(WORKER, None, &attributes);
        assert_eq!(value(&resource, "service.instance.id"), "audio-a");
    }

    #[test]
    fn attributes_of_one_start_are_known() {
        for (key, value, expected) in [
            ("k8s.pod.name", "audio-7d9f-x2", true),
            ("process.pid", "17", true),
            ("container.id", "", true),
            ("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09", true),
            ("service.instance.id", "0123456789ab", true),
            ("service.instance.id", "audio-7f3a9c0d2b1e44", true),
            ("service.instance.id", "audio-1", false),
            ("service.instance.id", "rack-12-node-2026", false),
            ("deployment.environment.name", "627cc493-f310-47de-96bd-71410b7dec09", false),
            ("k8s.namespace.name", "audio", false),
        ] {
            assert_eq!(changes_with_every_start(key, value), expected, "{key}={value}");
        }
    }
}
