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

/// Why `OTEL_RESOURCE_ATTRIBUTES` cannot be read; as its specification says, all of it is ignored then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("OTEL_RESOURCE_ATTRIBUTES is not a list of key=value pairs: {part:?}")]
pub struct AttributesError {
    part: String,
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

/// Parses `OTEL_RESOURCE_ATTRIBUTES`: `key=value` pairs between commas, percent-encoded.
pub fn parse_attributes(text: &str) -> Result<Vec<(String, String)>, AttributesError> {
    let error = |part: &str| AttributesError { part: part.to_owned() };
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').ok_or_else(|| error(part))?;
            let key = percent_decode(key.trim()).filter(|key| !key.is_empty()).ok_or_else(|| error(part))?;
            let value = percent_decode(value.trim()).ok_or_else(|| error(part))?;
            Ok((key, value))
        })
        .collect()
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
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
        let attributes = parse_attributes("service.name=a, deployment.zone=eu%2Cwest ,").unwrap();
        assert_eq!(value(&Resource::new(WORKER, None, &attributes), "service.name"), "a");
        let resource = Resource::new(WORKER, Some("b"), &attributes);
        assert_eq!(value(&resource, "service.name"), "b");
        assert_eq!(value(&resource, "deployment.zone"), "eu,west");
        assert_eq!(resource.keys().count(), 3);
    }

    #[test]
    fn unreadable_attributes_are_an_error_as_a_whole() {
        for text in ["a", "a=1,b", "=1", "a=%4", "a=%ff"] {
            assert!(parse_attributes(text).is_err(), "{text}");
        }
    }
}
