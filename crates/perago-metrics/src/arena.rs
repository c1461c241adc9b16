//! One arena of a store: what it adds to the totals.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::Error;
use crate::file::ArenaFile;
use crate::ledger::Ledger;
use crate::reader::ArenaReader;
use crate::series::Kind;
use crate::snapshot::HistogramTotal;
use crate::store::StoreEvent;
use crate::totals::Totals;

/// An arena and the places of its series in the totals.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) name: String,
    pub(crate) reader: ArenaReader,
    /// No slot uses it any more; it is folded as soon as its writer is dead.
    pub(crate) retired: bool,
    /// Folding failed and that was said.
    pub(crate) not_folded: bool,
    /// For each series of the reader, its place in the totals.
    places: Vec<Option<Place>>,
}

#[derive(Debug)]
struct Place {
    total: usize,
    /// Where the words of that total are.
    words: Range<usize>,
    kind: Kind,
    has_same_bounds: bool,
}

impl Arena {
    pub(crate) fn new(name: &str, file: ArenaFile) -> Self {
        let reader = ArenaReader::new(file);
        Self { name: name.to_owned(), reader, retired: false, not_folded: false, places: Vec::new() }
    }

    /// The totals have other places.
    pub(crate) fn forget_places(&mut self) {
        self.places.clear();
    }

    /// Adds what the arena holds now to `totals`.
    pub(crate) fn add_to(&mut self, totals: &mut Totals, events: &mut Vec<StoreEvent>) -> Result<(), Error> {
        self.refresh(events)?;
        for series in &self.reader.series()[self.places.len()..] {
            let place = totals.place(&series.key).map_err(|refusal| {
                let (metric_name, reason) = (refusal.metric_name, refusal.reason);
                events.push(StoreEvent::Refused { metric_name, reason });
            });
            self.places.push(place.ok().map(|total| Place {
                total,
                words: totals.words(total),
                kind: series.key.kind(),
                has_same_bounds: totals.has_bounds(total, &series.bounds),
            }));
        }
        // A damaged stamp hides the gauges; the totals do not depend on it.
        let gauges_since = self.reader.gauges_since().unwrap_or(u64::MAX);
        let places = &self.places;
        let mut gauges = Vec::new();
        let mut rebucketed: HashMap<usize, HistogramTotal> = HashMap::new();
        self.reader.cells(|index, cell| match &places[index] {
            Some(place) if place.kind == Kind::Gauge => {
                gauges.push((place.total, index, [cell[0], cell[1], cell[2]]));
            }
            Some(place) if place.has_same_bounds => totals.absorb(place.words.clone(), cell),
            Some(_) => {
                rebucketed.entry(index).or_insert_with(|| HistogramTotal::new(cell.len() - 2)).absorb(cell);
            }
            None => {}
        })?;
        for (total, index, cell) in gauges {
            let written = self.reader.series()[index].gauge(&cell);
            totals.set(total, written.filter(|(_, time)| *time >= gauges_since));
        }
        for (index, histogram) in rebucketed {
            if let Some(place) = &self.places[index] {
                totals.add_rebucketed(place.total, &histogram, &self.reader.series()[index].bounds);
            }
        }
        Ok(())
    }

    /// Adds the arena's histograms and counters to `ledger`, under the keys that they are exported by, and its drops.
    pub(crate) fn add_to_ledger(
        &mut self,
        ledger: &mut Ledger,
        totals: &mut Totals,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), Error> {
        self.refresh(events)?;
        let series = self.reader.series();
        let mut own: Vec<Option<HistogramTotal>> = series
            .iter()
            .map(|series| {
                (series.key.kind() != Kind::Gauge).then(|| HistogramTotal::new(series.bounds.len() + 1))
            })
            .collect();
        self.reader.cells(|index, cell| {
            if let Some(total) = &mut own[index] {
                total.absorb(cell);
            }
        })?;
        for (series, total) in self.reader.series().iter().zip(own) {
            if let Some(total) = total.filter(|total| total.count() > 0) {
                let key = totals.overflow(&series.key).unwrap_or_else(|| Arc::clone(&series.key));
                ledger.add(&key, &series.bounds, &total);
            }
        }
        self.reader.add_dropped(&mut ledger.dropped)
    }

    /// Reads the directory's new entries. Returns how many are damaged.
    pub(crate) fn refresh(&mut self, events: &mut Vec<StoreEvent>) -> Result<usize, Error> {
        let damaged = self.reader.refresh()?;
        if damaged > 0 {
            events.push(StoreEvent::DamagedEntries { path: self.reader.path(), count: damaged });
        }
        Ok(damaged)
    }
}
