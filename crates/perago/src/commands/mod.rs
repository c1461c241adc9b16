//! One file a command.

pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod extract;
pub(crate) mod gc;
pub(crate) mod pause;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod status;

use perago_worker::settings::{Settings, SettingsError, process_environment};

/// The settings of a command that is about a worker's surroundings and gets no module.
fn settings_without_module() -> Result<Settings, SettingsError> {
    // Only the worker id's default holds the module's name.
    Settings::load("none", &check::current_directory(), &process_environment(), false)
}
