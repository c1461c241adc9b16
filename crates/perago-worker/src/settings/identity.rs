//! Names of workers, instances and hosts.

use super::environment::Environment;
use super::error::SettingsError;

const WORKER_ID: &str = "PERAGO_WORKER_ID";
const WORKER_ID_PREFIX: &str = "PERAGO_WORKER_ID_PREFIX";

/// Prefix of worker ids: `PERAGO_WORKER_ID_PREFIX`, else the letters and digits of the module target.
///
/// # Errors
/// When the prefix is empty or holds anything but ASCII letters and digits.
pub fn worker_id_prefix(module_target: &str, environment: &Environment) -> Result<String, SettingsError> {
    let prefix = match environment.get(WORKER_ID_PREFIX) {
        Some(value) => value.trim().to_owned(),
        None => module_target.chars().filter(char::is_ascii_alphanumeric).collect(),
    };
    if prefix.is_empty() {
        return Err(SettingsError::value(WORKER_ID_PREFIX, "must not be empty"));
    }
    if !prefix.chars().all(|character| character.is_ascii_alphanumeric()) {
        return Err(SettingsError::value(WORKER_ID_PREFIX, "must hold ASCII letters and digits only"));
    }
    Ok(prefix)
}

/// The id of a worker process: `PERAGO_WORKER_ID`, else one made of the module target and `pid`.
pub fn worker_id(module_target: &str, environment: &Environment, pid: u32) -> String {
    environment.filled(WORKER_ID).map_or_else(
        || {
            let prefix: String = module_target.chars().filter(char::is_ascii_alphanumeric).collect();
            format!("{prefix}-pid-{pid}")
        },
        str::to_owned,
    )
}

/// The worker id of a slot, counted from 1.
pub fn slot_worker_id(prefix: &str, slot: usize) -> String {
    format!("{prefix}{slot:04}")
}

/// A name of ASCII letters, digits, `.`, `_` and `-` from a variable; blank counts as unset.
pub(crate) fn name(variable: &str, environment: &Environment) -> Result<Option<String>, SettingsError> {
    let Some(value) = environment.filled(variable) else {
        return Ok(None);
    };
    let is_allowed =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    if value.chars().all(is_allowed) {
        Ok(Some(value.to_owned()))
    } else {
        Err(SettingsError::value(variable, "must hold ASCII letters, digits, '.', '_' and '-' only"))
    }
}

/// The name of this host: `PERAGO_HOST_ID`, else what the system calls it.
pub(crate) fn host_id(environment: &Environment) -> Result<String, SettingsError> {
    if let Some(given) = name("PERAGO_HOST_ID", environment)? {
        return Ok(given);
    }
    let system = nix::unistd::gethostname().map(|host| host.to_string_lossy().into_owned());
    Ok(system.ok().filter(|host| !host.is_empty()).unwrap_or_else(|| "localhost".to_owned()))
}
