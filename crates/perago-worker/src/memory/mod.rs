//! How much memory executors and the container use, and what a supervisor that is killed for it leaves to its successor.
//!
//! [`cgroup`] and [`processes`] read the system; the executors' pool decides whom to stop. [`evidence`] is the file by
//! which the next worker knows what became of this one.

pub(crate) mod cgroup;
pub(crate) mod evidence;
pub(crate) mod processes;

/// A number of bytes as people read it, in powers of 1024 as settings are written.
pub(crate) fn text(bytes: u64) -> String {
    let units = [("GB", 1_u64 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_written_like_settings() {
        for (bytes, text) in [(0, "0 bytes"), (1536, "1.5KB"), (200 << 20, "200.0MB"), (3 << 29, "1.5GB")] {
            assert_eq!(super::text(bytes), text);
        }
    }
}
