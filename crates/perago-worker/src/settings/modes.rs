//! Settings that are one of a few words.

use super::environment::Environment;
use super::error::SettingsError;
use crate::kill_point::{KILL_POINTS, KillAt, NoSuchPoint};

/// How bodies run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecutionMode {
    /// One process a slot.
    #[default]
    Process,
    /// One process whose threads are the slots.
    Thread,
}

impl ExecutionMode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Thread => "thread",
        }
    }
}

/// What happens to a body whose lease passed while the server could not be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LeasePolicy {
    /// It runs on; its result waits until the server confirms the claim.
    #[default]
    Lapse,
    /// It is stopped.
    Strict,
}

/// Where workers write their log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Files below the log root.
    #[default]
    File,
    /// Standard output.
    Stdout,
}

/// Reads a word of `PERAGO_EXECUTION_MODE`, whatever its case.
///
/// # Errors
/// For any other word.
pub fn parse_execution_mode(text: &str) -> Result<ExecutionMode, SettingsError> {
    let modes = [("process", ExecutionMode::Process), ("thread", ExecutionMode::Thread)];
    word("PERAGO_EXECUTION_MODE", Some(text), modes)
}

pub(crate) fn execution_mode(environment: &Environment) -> Result<ExecutionMode, SettingsError> {
    environment.get("PERAGO_EXECUTION_MODE").map_or(Ok(ExecutionMode::Process), parse_execution_mode)
}

pub(crate) fn lease_policy(environment: &Environment) -> Result<LeasePolicy, SettingsError> {
    const NAME: &str = "PERAGO_LEASE_POLICY";
    word(NAME, environment.get(NAME), [("lapse", LeasePolicy::Lapse), ("strict", LeasePolicy::Strict)])
}

pub(crate) fn log_target(environment: &Environment) -> Result<LogTarget, SettingsError> {
    const NAME: &str = "PERAGO_LOG";
    word(NAME, environment.get(NAME), [("file", LogTarget::File), ("stdout", LogTarget::Stdout)])
}

pub(crate) fn journal_is_synced(environment: &Environment) -> Result<bool, SettingsError> {
    const NAME: &str = "PERAGO_JOURNAL_SYNC";
    word(NAME, environment.get(NAME), [("system", false), ("always", true)])
}

pub(crate) fn kill_at(environment: &Environment) -> Result<Option<KillAt>, SettingsError> {
    const NAME: &str = "PERAGO_FAULT_KILL_AT";
    let read = environment.filled(NAME).map(str::parse).transpose();
    read.map_err(|error: NoSuchPoint| {
        let names: Vec<_> = KILL_POINTS.iter().map(|(name, _)| *name).collect();
        SettingsError::value(NAME, &error.to_string()).with_hint(format!("points: {}", names.join(", ")))
    })
}

/// Reads a switch that is on unless it says `off`.
pub(crate) fn on_or_off(name: &str, environment: &Environment) -> Result<bool, SettingsError> {
    let words = [("on", true), ("off", false)];
    environment.get(name).map_or(Ok(true), |text| word(name, Some(text), words))
}

fn word<T: Copy + Default>(
    name: &str,
    text: Option<&str>,
    words: [(&str, T); 2],
) -> Result<T, SettingsError> {
    let Some(text) = text else {
        return Ok(T::default());
    };
    words
        .iter()
        .find(|(word, _)| text.trim().eq_ignore_ascii_case(word))
        .map(|(_, value)| *value)
        .ok_or_else(|| SettingsError::value(name, &format!("must be {} or {}", words[0].0, words[1].0)))
}
