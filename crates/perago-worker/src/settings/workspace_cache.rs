//! Settings of the cache of workspace contents.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::SettingsError;
use super::{modes, quantities, roots};

/// Default of `PERAGO_WORKSPACE_CACHE_MAX_SIZE` in bytes.
pub const DEFAULT_WORKSPACE_CACHE_MAX_SIZE: u64 = 10 << 30;

/// Where contents are kept and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceCacheSettings {
    /// The directory, as written; by default below the workspace root, one for each user id.
    pub directory: PathBuf,
    /// Most bytes of content.
    pub most_bytes: u64,
}

/// Reads the settings; `None` when the cache is off.
///
/// # Errors
/// When `PERAGO_WORKSPACE_CACHE` is neither `on` nor `off`, the directory is blank, or the size is none.
pub(crate) fn parse(
    environment: &Environment,
    workspace_root: &Path,
) -> Result<Option<WorkspaceCacheSettings>, SettingsError> {
    const SIZE: &str = "PERAGO_WORKSPACE_CACHE_MAX_SIZE";
    let directory = roots::root("PERAGO_WORKSPACE_CACHE_DIR", environment, || {
        let user = nix::unistd::geteuid();
        workspace_root.join(format!(".perago-cache-{user}"))
    })?;
    let size = environment.get(SIZE).map(|text| quantities::size(SIZE, text));
    let most_bytes = size.unwrap_or(Ok(DEFAULT_WORKSPACE_CACHE_MAX_SIZE))?;
    let is_on = modes::on_or_off("PERAGO_WORKSPACE_CACHE", environment)?;
    Ok(is_on.then_some(WorkspaceCacheSettings { directory, most_bytes }))
}
