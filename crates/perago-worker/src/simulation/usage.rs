//! What this process uses, and by how much that has grown.

use std::path::Path;

use super::allocated::allocated_bytes;

/// One look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Simulated hours since the beginning.
    pub hours: f64,
    /// Bytes that are allocated, those of the engine included.
    pub allocated: i64,
    /// What is resident, in bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Files of the state directory.
    pub files: u64,
    /// Bytes of the journal.
    pub journal: u64,
    /// Runs that the engine holds.
    pub held: u64,
    /// Runs that have not ended.
    pub open: u64,
}

/// A figure of a look, with its name.
type Column = (&'static str, fn(&Usage) -> f64);

/// The figures, sizes in KiB.
pub(super) const COLUMNS: [Column; 7] = [
    ("allocated, KiB", |usage| usage.allocated as f64 / 1024.0),
    ("resident, KiB", |usage| usage.resident as f64 / 1024.0),
    ("descriptors", |usage| usage.descriptors as f64),
    ("files of the state directory", |usage| usage.files as f64),
    ("journal, KiB", |usage| usage.journal as f64 / 1024.0),
    ("runs held by the engine", |usage| usage.held as f64),
    ("open runs", |usage| usage.open as f64),
];

impl Usage {
    /// Looks at this process and at a state directory.
    pub fn look(hours: f64, state_directory: &Path, held: usize, open: usize) -> Self {
        Self {
            hours,
            allocated: allocated_bytes(),
            resident: resident(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64,
            files: files_below(state_directory),
            journal: std::fs::metadata(state_directory.join("journal")).map_or(0, |file| file.len()),
            held: held as u64,
            open: open as u64,
        }
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn files_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            _ => 1,
        })
        .sum()
}

/// The median of a figure over the looks between two hours, and the greatest.
pub(super) fn between(looks: &[Usage], from: f64, to: f64, figure: fn(&Usage) -> f64) -> (f64, f64) {
    let chosen = looks.iter().filter(|look| look.hours >= from && look.hours <= to);
    let mut values: Vec<f64> = chosen.map(figure).collect();
    values.sort_by(f64::total_cmp);
    (values.get(values.len() / 2).copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0))
}
