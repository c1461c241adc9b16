//! Directories: workspaces, logs and state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::environment::Environment;
use super::error::SettingsError;

/// Default of `PERAGO_WORKSPACE_ROOT`.
pub fn default_workspace_root() -> PathBuf {
    std::env::temp_dir().join("perago").join("workspaces")
}

/// Default of `PERAGO_LOG_ROOT`.
pub fn default_log_root() -> PathBuf {
    std::env::temp_dir().join("perago").join("logs")
}

/// A root as written, without expansion of `~`; a blank one is refused, as it would mean the current directory.
pub(crate) fn root(
    name: &str,
    environment: &Environment,
    default: impl FnOnce() -> PathBuf,
) -> Result<PathBuf, SettingsError> {
    match environment.get(name) {
        Some(value) if value.trim().is_empty() => Err(SettingsError::value(name, "must not be empty")
            .with_hint("unset it to use the default directory")),
        Some(value) => Ok(PathBuf::from(value)),
        None => Ok(default()),
    }
}

/// Makes `root` and proves that files can be written in a new directory below it.
///
/// # Errors
/// `<path> is not writable: <reason>`.
pub fn check_writable(root: &Path) -> Result<(), SettingsError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let probe = root.join(format!(".perago-check-{}-{number}", std::process::id()));
    let attempt = || {
        std::fs::create_dir_all(root)?;
        std::fs::create_dir(&probe)?;
        let written = std::fs::write(probe.join("probe"), b"perago");
        let removed = std::fs::remove_dir_all(&probe);
        written.and(removed)
    };
    attempt().map_err(|error: std::io::Error| {
        SettingsError::directory(format!("{} is not writable: {error}", root.display()))
    })
}

/// Where durable state lives: `PERAGO_STATE_DIR`, else a directory of this workspace root in the user's state home,
/// else below the workspace root where there is no home.
pub(crate) fn state_dir(
    environment: &Environment,
    cwd: &Path,
    workspace_root: &Path,
) -> Result<PathBuf, SettingsError> {
    let given = root("PERAGO_STATE_DIR", environment, PathBuf::new)?;
    if !given.as_os_str().is_empty() {
        return Ok(cwd.join(given));
    }
    let absolute = |path: &str| {
        let path = Path::new(path);
        path.is_absolute().then(|| path.to_owned())
    };
    let home = || {
        let home = absolute(environment.filled("HOME")?)?;
        home.is_dir().then(|| home.join(".local").join("state"))
    };
    let state_home = environment.filled("XDG_STATE_HOME").and_then(absolute).or_else(home);
    Ok(match state_home {
        Some(state_home) => state_home.join("perago").join(fingerprint(&cwd.join(workspace_root))),
        None => cwd.join(workspace_root).join(".perago-state"),
    })
}

/// A short stable name of a path; two spellings of one existing directory have the same.
fn fingerprint(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    // FNV-1a: the name must outlive versions of any hash library, and collisions need not resist an attacker.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let hash = path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The variables of a child process of a slot: `base` with the slot's worker id.
///
/// # Errors
/// As for the prefix of worker ids.
pub fn child_environment(
    base: &BTreeMap<String, String>,
    module_target: &str,
    slot: usize,
) -> Result<BTreeMap<String, String>, SettingsError> {
    let environment = Environment::new(base.clone());
    let prefix = super::identity::worker_id_prefix(module_target, &environment)?;
    let mut values = environment.into_values();
    values.insert("PERAGO_WORKER_ID".to_owned(), super::identity::slot_worker_id(&prefix, slot));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::environment::Environment;
    use super::{check_writable, fingerprint, state_dir};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::new(
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    }

    #[test]
    fn the_state_directory_by_its_rule() {
        let home = tempfile::tempdir().unwrap();
        let home_text = home.path().to_str().unwrap();
        let cwd = Path::new("/cwd");
        let find =
            |pairs: &[(&str, &str)]| state_dir(&environment(pairs), cwd, Path::new("/work-root")).unwrap();
        let name = fingerprint(Path::new("/work-root"));
        assert_eq!(find(&[("PERAGO_STATE_DIR", "state")]), PathBuf::from("/cwd/state"));
        assert_eq!(
            find(&[("XDG_STATE_HOME", "/xdg"), ("HOME", home_text)]),
            Path::new("/xdg/perago").join(&name)
        );
        assert_eq!(
            find(&[("XDG_STATE_HOME", "relative"), ("HOME", home_text)]),
            home.path().join(".local/state/perago").join(&name)
        );
        for homeless in [&[][..], &[("HOME", "")], &[("HOME", "/nonexistent-home")]] {
            assert_eq!(find(homeless), PathBuf::from("/work-root/.perago-state"));
        }
        let error = state_dir(&environment(&[("PERAGO_STATE_DIR", " ")]), cwd, Path::new("/w")).unwrap_err();
        assert!(error.to_string().contains("PERAGO_STATE_DIR must not be empty"), "{error}");
    }

    #[test]
    fn two_spellings_of_a_root_share_their_state() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(&root, directory.path().join("link")).unwrap();
        assert_eq!(fingerprint(&root), fingerprint(&directory.path().join("link")));
        assert_ne!(fingerprint(&root), fingerprint(directory.path()));
    }

    #[test]
    fn a_probe_leaves_nothing_and_names_what_it_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a").join("b");
        check_writable(&root).unwrap();
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = check_writable(&file).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is not writable: ", file.display())), "{error}");
    }
}
