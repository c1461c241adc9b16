//! Settings that bound what one attempt may take.

use std::time::Duration;

use perago_contract::Finding;

use super::environment::Environment;
use super::error::SettingsError;
use super::quantities;

const TIME: &str = "PERAGO_ATTEMPT_TIMEOUT";
const MEMORY: &str = "PERAGO_ATTEMPT_MEMORY_LIMIT";
const CONTAINER: &str = "PERAGO_CONTAINER_MEMORY_THRESHOLD";

/// Default of `PERAGO_CONTAINER_MEMORY_THRESHOLD` in percent.
pub const DEFAULT_CONTAINER_MEMORY_THRESHOLD: u8 = 95;

const PERCENTAGES: std::ops::RangeInclusive<u32> = 50..=99;

/// What one attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Longest time from the assignment of a body to its end.
    pub time: Option<Duration>,
    /// Most bytes of memory of the executor and of everything that it has started.
    pub memory: Option<u64>,
    /// Percentage of the container's memory at which the slot that uses most is stopped.
    pub container_memory_percent: Option<u8>,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        Self { time: None, memory: None, container_memory_percent: Some(DEFAULT_CONTAINER_MEMORY_THRESHOLD) }
    }
}

impl AttemptLimits {
    /// Warnings about the limits that are set, for a worker whose bodies share a process.
    pub(crate) fn without_effect(&self) -> Vec<Finding> {
        let set = [(TIME, self.time.is_some()), (MEMORY, self.memory.is_some())];
        set.into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(name, _)| {
                let message =
                    format!("{name} has no effect in thread mode, where no body can be stopped alone");
                Finding::warning("PERAGO-CONFIG-UNUSED", message)
            })
            .collect()
    }
}

/// Reads the limits.
///
/// # Errors
/// The first variable that cannot be used.
pub(crate) fn parse(environment: &Environment) -> Result<AttemptLimits, SettingsError> {
    let time = environment.filled(TIME).map(|text| quantities::short_duration(TIME, text)).transpose()?;
    let memory = environment.filled(MEMORY).map(|text| quantities::size(MEMORY, text)).transpose()?;
    let container_memory_percent = match environment.get(CONTAINER) {
        None => AttemptLimits::default().container_memory_percent,
        Some(text) => percentage(CONTAINER, text)?,
    };
    Ok(AttemptLimits { time, memory, container_memory_percent })
}

/// A percentage such as `95%`, or `off`.
fn percentage(name: &str, text: &str) -> Result<Option<u8>, SettingsError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let refused = || SettingsError::value(name, "must be a percentage from 50% to 99%, or off");
    let number = text.strip_suffix('%').ok_or_else(refused)?.trim_end();
    let percent = quantities::integer(name, number, PERCENTAGES).map_err(|_| refused())?;
    u8::try_from(percent).map(Some).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<AttemptLimits, String> {
        let values: BTreeMap<_, _> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        parse(&Environment::new(values)).map_err(|error| error.to_string())
    }

    #[test]
    fn by_default_only_the_container_is_watched() {
        assert_eq!(read(&[]), Ok(AttemptLimits::default()));
        let blank = read(&[("PERAGO_ATTEMPT_TIMEOUT", " "), ("PERAGO_ATTEMPT_MEMORY_LIMIT", "")]);
        assert_eq!(blank, Ok(AttemptLimits::default()));
    }

    #[test]
    fn limits_are_read() {
        let limits = read(&[
            ("PERAGO_ATTEMPT_TIMEOUT", "1500ms"),
            ("PERAGO_ATTEMPT_MEMORY_LIMIT", "1.5GB"),
            ("PERAGO_CONTAINER_MEMORY_THRESHOLD", " 80 %"),
        ])
        .unwrap();
        assert_eq!(limits.time, Some(Duration::from_millis(1500)));
        assert_eq!(limits.memory, Some(3 << 29));
        assert_eq!(limits.container_memory_percent, Some(80));
        assert_eq!(
            read(&[("PERAGO_CONTAINER_MEMORY_THRESHOLD", "OFF")]).unwrap().container_memory_percent,
            None
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for (name, text) in [
            ("PERAGO_ATTEMPT_TIMEOUT", "10"),
            ("PERAGO_ATTEMPT_TIMEOUT", "0s"),
            ("PERAGO_ATTEMPT_MEMORY_LIMIT", "1000"),
            ("PERAGO_CONTAINER_MEMORY_THRESHOLD", "95"),
            ("PERAGO_CONTAINER_MEMORY_THRESHOLD", "49%"),
            ("PERAGO_CONTAINER_MEMORY_THRESHOLD", "100%"),
            ("PERAGO_CONTAINER_MEMORY_THRESHOLD", ""),
        ] {
            let error = read(&[(name, text)]).unwrap_err();
            assert!(error.starts_with(&format!("{name} must be ")), "{error}");
        }
    }
}
