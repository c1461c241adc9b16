//! All arenas of a worker: one directory, one snapshot.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::admission::Admission;
use crate::catalogue::check_name;
use crate::clock;
use crate::epoch;
use crate::file::ArenaFile;
use crate::ladder::LadderRules;
use crate::layout::ArenaOptions;
use crate::reader::ArenaReader;
use crate::recorder::DEFAULT_LABEL_SETS;
use crate::rules::Rules;
use crate::series::{Kind, SeriesKey};
use crate::snapshot::{HistogramTotal, Point, Snapshot, Value};
use crate::warning::{REASONS, Reason};

const EXTENSION: &str = "arena";

/// How the arenas of a worker are kept.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The size of a new arena.
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
    /// A damaged or foreign file was renamed and a new one made; totals start anew.
    SetAside {
        /// Where it is now.
        path: PathBuf,
        /// What was wrong with it.
        error: Error,
    },
    /// Entries of an arena's directory do not match their checksums; their series are not exported from it.
    DamagedEntries {
        /// The arena.
        path: PathBuf,
        /// How many entries.
        count: usize,
    },
    /// An arena could not be read; its totals are missing from this snapshot's time on until it can be.
    Unreadable {
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
    /// The order of admission could not be written down; a restart may admit other label sets.
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
    totals: Totals,
    events: Vec<StoreEvent>,
}

#[derive(Debug)]
struct Arena {
    name: String,
    reader: ArenaReader,
    /// For each series of the reader, its place in the totals.
    places: Vec<Option<Place>>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    total: usize,
    same_bounds: bool,
}

/// The merged series. Places are handed out once, so that a snapshot compares no names.
#[derive(Debug)]
struct Totals {
    places: HashMap<Arc<SeriesKey>, usize>,
    kinds: HashMap<Box<str>, Kind>,
    series: Vec<Total>,
    admission: Admission,
}

#[derive(Debug)]
struct Total {
    key: Arc<SeriesKey>,
    bounds: Arc<[f64]>,
    histogram: HistogramTotal,
    /// The largest sum exported: rounding must not make a total fall by its last bit.
    exported_sum: f64,
    gauge: Option<(f64, u64)>,
}

impl ArenaStore {
    /// Opens all arenas in `directory`, which is made if it is missing. Unusable files are set aside.
    pub fn open(directory: &Path, options: StoreOptions) -> Result<Self, Error> {
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let mut store = Self {
            directory: directory.to_owned(),
            start_unix_nanos: epoch::read_or_start(directory)?,
            totals: Totals::new(Admission::open(directory, options.label_sets)?),
            options,
            arenas: Vec::new(),
            events: Vec::new(),
        };
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .map_err(Error::io("list", directory))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(&format!(".{EXTENSION}")).map(str::to_owned))
            .collect();
        names.sort();
        for name in names {
            store.slot(&name)?;
        }
        Ok(store)
    }

    /// The path of the arena of slot `name`, which is made if it is missing. `name` is a file name without extension.
    pub fn slot(&mut self, name: &str) -> Result<PathBuf, Error> {
        if let Some(arena) = self.arena(name) {
            return Ok(arena.reader.path());
        }
        let path = self.directory.join(format!("{name}.{EXTENSION}"));
        let opened = ArenaFile::open_or_create(&path, self.options.arena)?;
        if let Some((aside, error)) = opened.set_aside {
            self.start_unix_nanos = epoch::restart(&self.directory)?;
            self.events.push(StoreEvent::SetAside { path: aside, error });
        }
        self.arenas.push(Arena {
            name: name.to_owned(),
            reader: ArenaReader::new(opened.arena),
            places: Vec::new(),
        });
        Ok(path)
    }

    /// Opens a generation of slot `name` before its executor starts: gauges written until now are dead.
    pub fn begin_generation(&mut self, name: &str) -> Result<u64, Error> {
        self.slot(name)?;
        self.arena(name).map_or(Ok(0), |arena| arena.reader.file().begin_generation())
    }

    /// Closes the generation of slot `name` after its executor died: none of its gauges is exported any more.
    pub fn end_generation(&mut self, name: &str) -> Result<(), Error> {
        self.arena(name).map_or(Ok(()), |arena| arena.reader.file().end_generation())
    }

    /// Closes every generation: what a supervisor does when it starts, before any executor does.
    pub fn end_all_generations(&mut self) -> Result<(), Error> {
        self.arenas.iter().try_for_each(|arena| arena.reader.file().end_generation())
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<StoreEvent> {
        std::mem::take(&mut self.events)
    }

    /// All series, merged: histograms summed, gauges by their latest write.
    pub fn snapshot(&mut self) -> Snapshot {
        self.totals.clear();
        let mut dropped = [0; REASONS];
        for arena in &mut self.arenas {
            let read = arena.add_to(&mut self.totals, &self.options.ladders, &mut self.events);
            if let Err(error) = read.and_then(|()| arena.reader.add_dropped(&mut dropped)) {
                self.events.push(StoreEvent::Unreadable { path: arena.reader.path(), error });
            }
        }
        if let Err(error) = self.totals.admission.persist() {
            self.events.push(StoreEvent::NotPersisted { error });
        }
        Snapshot {
            start_unix_nanos: self.start_unix_nanos,
            time_unix_nanos: clock::unix_nanos(),
            points: self.totals.points(),
            dropped,
        }
    }

    fn arena(&self, name: &str) -> Option<&Arena> {
        self.arenas.iter().find(|arena| arena.name == name)
    }
}

impl Arena {
    fn add_to(
        &mut self,
        totals: &mut Totals,
        ladders: &LadderRules,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), Error> {
        let damaged = self.reader.refresh()?;
        if damaged > 0 {
            events.push(StoreEvent::DamagedEntries { path: self.reader.path(), count: damaged });
        }
        for series in &self.reader.series()[self.places.len()..] {
            let total = totals.place(&series.key, ladders, events);
            let place = total
                .map(|total| Place { total, same_bounds: *totals.series[total].bounds == *series.bounds });
            self.places.push(place);
        }
        // A damaged stamp hides the gauges; the totals do not depend on it.
        let gauges_since = self.reader.gauges_since().unwrap_or(u64::MAX);
        let known: Vec<(Option<Place>, Kind)> = self
            .places
            .iter()
            .zip(self.reader.series())
            .map(|(place, series)| (*place, series.key.kind()))
            .collect();
        let mut gauges = Vec::new();
        let mut rebucketed: HashMap<usize, HistogramTotal> = HashMap::new();
        self.reader.cells(|index, cell| match known[index] {
            (Some(place), Kind::Histogram) if place.same_bounds => {
                totals.series[place.total].histogram.absorb(cell);
            }
            (Some(_), Kind::Histogram) => {
                rebucketed.entry(index).or_insert_with(|| HistogramTotal::new(cell.len() - 2)).absorb(cell);
            }
            (Some(place), Kind::Gauge) => gauges.push((place.total, index, [cell[0], cell[1], cell[2]])),
            (None, _) => {}
        })?;
        for (total, index, cell) in gauges {
            let written = self.reader.series()[index].gauge(&cell);
            totals.series[total].set(written.filter(|(_, time)| *time >= gauges_since));
        }
        for (index, histogram) in rebucketed {
            if let Some(place) = self.places[index] {
                let total = &mut totals.series[place.total];
                total.histogram.merge_rebucketed(
                    &total.bounds,
                    &histogram,
                    &self.reader.series()[index].bounds,
                );
            }
        }
        Ok(())
    }
}

impl Totals {
    fn new(admission: Admission) -> Self {
        Self { places: HashMap::new(), kinds: HashMap::new(), series: Vec::new(), admission }
    }

    fn clear(&mut self) {
        for total in &mut self.series {
            total.histogram.clear();
            total.gauge = None;
        }
    }

    /// The place of `key`, or of its metric's overflow series. None if it cannot be exported.
    fn place(
        &mut self,
        key: &Arc<SeriesKey>,
        ladders: &LadderRules,
        events: &mut Vec<StoreEvent>,
    ) -> Option<usize> {
        if let Some(place) = self.places.get(key) {
            return Some(*place);
        }
        if let Err(reason) = check_name(&self.kinds, key.kind(), key.name()) {
            events.push(StoreEvent::Refused { metric_name: key.name().to_owned(), reason });
            return None;
        }
        if key.has_user_labels() && !self.admission.admits(key) {
            return self.place(&Arc::new(Rules::overflow_key(key)), ladders, events);
        }
        self.kinds.insert(key.name().into(), key.kind());
        let bounds: Arc<[f64]> = match key.kind() {
            Kind::Histogram => ladders.ladder(key.name()).bounds().into(),
            Kind::Gauge => Arc::new([]),
        };
        let histogram = HistogramTotal::new(bounds.len() + 1);
        self.series.push(Total { key: Arc::clone(key), bounds, histogram, exported_sum: 0.0, gauge: None });
        self.places.insert(Arc::clone(key), self.series.len() - 1);
        Some(self.series.len() - 1)
    }

    fn points(&mut self) -> Vec<Point> {
        let mut points: Vec<Point> = self.series.iter_mut().filter_map(Total::point).collect();
        points.sort_by(|left, right| left.key.name().cmp(right.key.name()));
        points
    }
}

impl Total {
    fn set(&mut self, written: Option<(f64, u64)>) {
        if let Some((value, time)) = written
            && self.gauge.is_none_or(|(_, latest)| latest < time)
        {
            self.gauge = Some((value, time));
        }
    }

    fn point(&mut self) -> Option<Point> {
        let value = match self.key.kind() {
            Kind::Histogram if self.histogram.count() == 0 => return None,
            Kind::Histogram => {
                self.exported_sum = self.exported_sum.max(self.histogram.exact_sum());
                Value::Histogram {
                    bounds: Arc::clone(&self.bounds),
                    counts: self.histogram.counts.clone(),
                    sum: self.exported_sum,
                }
            }
            Kind::Gauge => Value::Gauge(self.gauge?.0),
        };
        Some(Point { key: Arc::clone(&self.key), value })
    }
}
