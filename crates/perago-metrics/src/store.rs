//! All arenas of a worker: one directory, one snapshot.
//!
//! Beside the arenas the directory holds `folded`, the totals of arenas that are gone, and `exported`, the totals of
//! the last snapshot. Whatever is missing when the store is opened again, because a file was damaged or lost, is
//! taken from the latter, so that no total goes back.

mod folding;
mod recovery;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Error;
use crate::admission::Admission;
use crate::arena::Arena;
use crate::catalogue::growing_label;
use crate::clock;
use crate::epoch;
use crate::file::ArenaFile;
use crate::ladder::LadderRules;
use crate::layout::ArenaOptions;
use crate::ledger::{self, Durability, Ledger};
use crate::recorder::DEFAULT_LABEL_SETS;
use crate::snapshot::Snapshot;
use crate::totals::Totals;
use crate::warning::{REASONS, Reason};

const EXTENSION: &str = ".arena";
const PARTIAL: &str = ".partial";
const FOLDED: &str = "folded";
const EXPORTED: &str = "exported";
/// The shortest time between two reports of label sets beyond the cap.
const OVERFLOW_PERIOD: Duration = Duration::from_secs(60);

/// How the arenas of a worker are kept.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The size of a new arena. A smaller one is folded and made anew before its next writer starts.
    pub arena: ArenaOptions,
    /// The bucket bounds by name.
    pub ladders: LadderRules,
    /// Label sets of the whole worker beyond this number are exported as their metric's overflow series.
    pub label_sets: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            arena: ArenaOptions::default(),
            ladders: LadderRules::default(),
            label_sets: DEFAULT_LABEL_SETS,
        }
    }
}

/// Something about the arenas that an operator should read in the log.
#[derive(Debug)]
pub enum StoreEvent {
    /// A damaged or foreign file was renamed. Totals go on from those exported last, or start anew without them.
    SetAside {
        /// Where it is now.
        path: PathBuf,
        /// What was wrong with it.
        error: Error,
    },
    /// Entries of an arena's directory do not match their checksums. Their series go on from the totals exported
    /// last, or start anew without them.
    DamagedEntries {
        /// The arena.
        path: PathBuf,
        /// How many entries.
        count: usize,
    },
    /// An arena could not be read; its totals stand still until it can be.
    Unreadable {
        /// The arena.
        path: PathBuf,
        /// Why.
        error: Error,
    },
    /// The totals of an arena that has no writer any more could not be put with those of others; it is kept.
    NotFolded {
        /// The arena.
        path: PathBuf,
        /// Why.
        error: Error,
    },
    /// Two executors used a name for metrics that cannot stand beside each other; this one is not exported.
    Refused {
        /// The exported name.
        metric_name: String,
        /// Why.
        reason: Reason,
    },
    /// Samples went to overflow series, because there are more label sets than the cap. Given at most once a minute.
    Overflow {
        /// The metric that grew most, by its exported name.
        metric_name: String,
        /// Its label with the most values.
        label_key: String,
        /// Samples of that metric since the last report.
        samples: u64,
        /// Further metrics with samples beyond the cap.
        other_metrics: usize,
        /// The cap.
        limit: usize,
    },
    /// The order of admission or the exported totals could not be written down; a restart after damage may admit other
    /// label sets or begin with older totals.
    NotPersisted {
        /// Why.
        error: Error,
    },
}

/// The arenas of a worker: makes them, stamps their generations, and merges them into snapshots.
#[derive(Debug)]
pub struct ArenaStore {
    directory: PathBuf,
    options: StoreOptions,
    start_unix_nanos: u64,
    arenas: Vec<Arena>,
    folded: Ledger,
    totals: Totals,
    dropped: [u64; REASONS],
    events: Vec<StoreEvent>,
    overflow_reported: Option<Instant>,
    cannot_persist: bool,
    /// Lends its memory to each checkpoint.
    buffer: Vec<u8>,
}

impl ArenaStore {
    /// Opens all arenas in `directory`, which is made if it is missing. Unusable files are set aside.
    pub fn open(directory: &Path, options: StoreOptions) -> Result<Self, Error> {
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let admission = Admission::open(directory, options.label_sets)?;
        let mut store = Self {
            directory: directory.to_owned(),
            start_unix_nanos: epoch::read_or_start(directory)?,
            totals: Totals::new(admission, options.ladders.clone()),
            options,
            arenas: Vec::new(),
            folded: Ledger::default(),
            dropped: [0; REASONS],
            events: Vec::new(),
            overflow_reported: None,
            cannot_persist: false,
            buffer: Vec::new(),
        };
        store.recover()?;
        Ok(store)
    }

    /// The path of the arena of slot `name`, which is made if it is missing. `name` is a file name without extension.
    pub fn slot(&mut self, name: &str) -> Result<PathBuf, Error> {
        if let Some(arena) = self.arenas.iter_mut().find(|arena| arena.name == name) {
            arena.retired = false;
            return Ok(arena.reader.path());
        }
        let path = self.directory.join(format!("{name}{EXTENSION}"));
        let file = ArenaFile::create(&path, self.options.arena)?;
        self.arenas.push(Arena::new(name, file));
        Ok(path)
    }

    /// Opens a generation of slot `name` before its executor starts: gauges written until now are dead.
    pub fn begin_generation(&mut self, name: &str) -> Result<u64, Error> {
        self.slot(name)?;
        let (form, wanted) = (self.options.ladders.form(), self.options.arena);
        let is_small = |arena: &Arena| arena.name == name && !arena.reader.file().options().holds(&wanted);
        if let Some(index) = self.arenas.iter().position(is_small)
            && self.fold(index)?
        {
            self.slot(name)?;
        }
        let Some(arena) = self.arenas.iter().find(|arena| arena.name == name) else { return Ok(0) };
        let file = arena.reader.file();
        if file.take_from_the_dead()? {
            let repaired = file.repair_counters();
            file.give_back();
            repaired?;
        }
        file.begin_generation(self.options.label_sets, form)
    }

    /// Closes the generation of slot `name` after its executor died: none of its gauges is exported any more.
    pub fn end_generation(&mut self, name: &str) -> Result<(), Error> {
        let arena = self.arenas.iter().find(|arena| arena.name == name);
        arena.map_or(Ok(()), |arena| arena.reader.file().end_generation())
    }

    /// Closes every generation: what a supervisor does when it starts, before any executor does.
    pub fn end_all_generations(&mut self) -> Result<(), Error> {
        self.arenas.iter().try_for_each(|arena| arena.reader.file().end_generation())
    }

    /// Folds the arenas of all slots that are not `in_use`: now if their writers are dead, else at a later snapshot.
    pub fn retire_others(&mut self, in_use: &[String]) {
        for arena in &mut self.arenas {
            arena.retired = !in_use.contains(&arena.name);
        }
        self.fold_retired();
    }

    /// Lays out histograms by `ladders` and new arenas as `arena` from now on; totals go on.
    pub fn set_layout(&mut self, ladders: LadderRules, arena: ArenaOptions) {
        self.options.ladders = ladders.clone();
        self.options.arena = arena;
        self.totals.set_ladders(ladders, &self.folded);
        self.arenas.iter_mut().for_each(Arena::forget_places);
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<StoreEvent> {
        std::mem::take(&mut self.events)
    }

    /// All series, merged: histograms summed, gauges by their latest write. Written down before it is returned.
    pub fn snapshot(&mut self) -> Snapshot {
        self.fold_retired();
        self.totals.clear();
        let mut dropped = self.folded.dropped;
        for arena in &mut self.arenas {
            let read = arena.add_to(&mut self.totals, &mut self.events);
            if let Err(error) = read.and_then(|()| arena.reader.add_dropped(&mut dropped)) {
                self.events.push(StoreEvent::Unreadable { path: arena.reader.path(), error });
            }
        }
        let (points, mut grew) = self.totals.points();
        for (last, now) in self.dropped.iter_mut().zip(dropped) {
            grew |= now > *last;
            *last = (*last).max(now);
        }
        self.report_overflow();
        self.persist(grew);
        Snapshot {
            start_unix_nanos: self.start_unix_nanos,
            time_unix_nanos: clock::unix_nanos(),
            points,
            dropped: self.dropped,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn report_overflow(&mut self) {
        if self.overflow_reported.is_some_and(|reported| reported.elapsed() < OVERFLOW_PERIOD) {
            return;
        }
        let grown = self.totals.grown_overflows();
        let Some((key, samples)) = grown.iter().max_by_key(|(_, samples)| *samples) else { return };
        self.overflow_reported = Some(Instant::now());
        let all_series = self.arenas.iter().flat_map(|arena| arena.reader.series());
        let of_metric = all_series.map(|series| &*series.key).filter(|other| other.name() == key.name());
        self.events.push(StoreEvent::Overflow {
            metric_name: key.name().to_owned(),
            label_key: growing_label(of_metric),
            samples: *samples,
            other_metrics: grown.len() - 1,
            limit: self.options.label_sets,
        });
    }

    /// Writes down what is about to be exported, and the decisions that it depends on.
    fn persist(&mut self, grew: bool) {
        let admitted = self.totals.admission.persist();
        let exported = if grew || self.cannot_persist {
            let parts = self.totals.exported(self.dropped, std::mem::take(&mut self.buffer));
            let written = ledger::replace(&self.path(EXPORTED), &parts, Durability::OverKills);
            let [_, buffer, _] = parts;
            self.buffer = buffer;
            written
        } else {
            Ok(())
        };
        let failed_before = self.cannot_persist;
        self.cannot_persist = false;
        for error in [admitted, exported].into_iter().filter_map(Result::err) {
            if !failed_before && !self.cannot_persist {
                self.events.push(StoreEvent::NotPersisted { error });
            }
            self.cannot_persist = true;
        }
    }
}
