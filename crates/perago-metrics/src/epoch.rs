//! Since when the totals of a store count.

use std::path::Path;

use crate::Error;
use crate::clock;

const FILE: &str = "start_unix_nanos";

/// The start time that the directory holds, or now, which is then written down.
pub(crate) fn read_or_start(directory: &Path) -> Result<u64, Error> {
    let text = std::fs::read_to_string(directory.join(FILE)).unwrap_or_default();
    // An unreadable start time is replaced: a later one never misleads a reader of cumulative totals.
    let parsed = text.trim().split_once(' ').and_then(|(nanos, checksum)| {
        (checksum == format!("{:08x}", crc32fast::hash(nanos.as_bytes()))).then(|| nanos.parse().ok())?
    });
    parsed.map_or_else(|| restart(directory), Ok)
}

/// A new start time, because totals may have gone backwards.
pub(crate) fn restart(directory: &Path) -> Result<u64, Error> {
    let nanos = clock::unix_nanos();
    let path = directory.join(FILE);
    let partial = directory.join(format!("{FILE}.partial"));
    let digits = nanos.to_string();
    let text = format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()));
    std::fs::write(&partial, text).map_err(Error::io("write", &partial))?;
    std::fs::rename(&partial, &path).map_err(Error::io("rename", &path))?;
    Ok(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_stays_until_it_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let start = read_or_start(directory.path()).unwrap();
        assert_eq!(read_or_start(directory.path()).unwrap(), start);
        std::fs::write(directory.path().join(FILE), format!("{} 00000000", start - 1)).unwrap();
        assert!(read_or_start(directory.path()).unwrap() > start);
    }
}
