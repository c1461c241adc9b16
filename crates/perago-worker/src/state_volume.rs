//! Whether the volume of the state directory can keep what it is given: a warning at the start where it cannot.

use std::path::{Path, PathBuf};

use nix::sys::statfs::statfs;
use perago_contract::Finding;

const CODE: &str = "PERAGO-STATE-VOLUME";

/// File systems in memory, by their magic numbers (`statfs(2)`): tmpfs and ramfs.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// File systems of other machines, by their magic numbers and names.
const OF_THE_NETWORK: [(u32, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
];

/// Folders that systems empty by themselves.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// What is wrong with a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Weakness {
    InMemory,
    Network(&'static str),
    Temporary(PathBuf),
}

/// A warning when what must outlive the worker lies where it may not, at the existing folder `path`.
pub(crate) fn warning(path: &Path) -> Option<Finding> {
    // The type of this number differs between systems; all its magic numbers have 32 bits.
    let magic = statfs(path).ok().map(|volume| volume.filesystem_type().0 as u32);
    let folders = TEMPORARY.iter().map(PathBuf::from).chain([std::env::temp_dir()]);
    weakness(magic, path, folders).map(|weakness| finding(path, &weakness))
}

fn weakness(
    magic: Option<u32>,
    path: &Path,
    temporary: impl IntoIterator<Item = PathBuf>,
) -> Option<Weakness> {
    if magic.is_some_and(|magic| IN_MEMORY.contains(&magic)) {
        return Some(Weakness::InMemory);
    }
    let network = OF_THE_NETWORK.iter().find(|(known, _)| Some(*known) == magic);
    if let Some((_, name)) = network {
        return Some(Weakness::Network(name));
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = temporary.into_iter().find(|folder| real(path).starts_with(real(folder)))?;
    Some(Weakness::Temporary(folder))
}

fn finding(path: &Path, weakness: &Weakness) -> Finding {
    let path = path.display();
    let message = match weakness {
        Weakness::InMemory => format!(
            "the state directory {path} lies in memory (tmpfs): results that wait and the totals of metrics are lost \
             when it is unmounted"
        ),
        Weakness::Network(name) => format!(
            "the state directory {path} lies on a network file system ({name}): a worker on another machine may not \
             see its locks, and what is written may be lost with the connection"
        ),
        Weakness::Temporary(folder) => format!(
            "the state directory {path} lies in the temporary folder {}: results that wait and the totals of metrics \
             are lost when the system empties it",
            folder.display()
        ),
    };
    Finding::warning(CODE, message)
        .with_hint("set PERAGO_STATE_DIR to a folder on a local disk that outlives the worker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_last_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let temporary = || [folder.path().to_owned()];
        let (inside, outside) = (folder.path().join("state"), Path::new("/var/lib/perago"));
        std::fs::create_dir(&inside).unwrap();
        let weak = |magic, path: &Path| weakness(Some(magic), path, temporary());
        let ext4 = 0xef53;
        assert_eq!(weak(ext4, outside), None);
        assert_eq!(weak(ext4, &inside), Some(Weakness::Temporary(folder.path().to_owned())));
        assert_eq!(weak(0x0102_1994, &inside), Some(Weakness::InMemory));
        assert_eq!(weak(0x6969, outside), Some(Weakness::Network("NFS")));
        assert_eq!(weakness(None, outside, temporary()), None);
    }

    #[test]
    fn a_link_into_the_temporary_folder_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let link = tempfile::tempdir().unwrap().keep().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let found = weakness(None, &link, [folder.path().to_owned()]);
        std::fs::remove_dir_all(link.parent().unwrap()).unwrap();
        assert_eq!(found, Some(Weakness::Temporary(folder.path().to_owned())));
    }

    #[test]
    fn the_warning_says_what_to_do() {
        let warning = warning(Path::new("/dev/shm")).unwrap();
        assert!(warning.message.contains("/dev/shm lies in memory"), "{}", warning.message);
        assert!(warning.hint.unwrap().contains("PERAGO_STATE_DIR"));
    }
}
