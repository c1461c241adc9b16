//! Opening a store: what earlier runs left behind, whole or damaged.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::arena::Arena;
use crate::crash;
use crate::epoch;
use crate::file::{ArenaFile, set_aside};
use crate::ledger::Ledger;
use crate::store::{ArenaStore, EXPORTED, EXTENSION, FOLDED, PARTIAL, StoreEvent};

/// A file that cannot be used, and why.
type Unusable = (PathBuf, Error);

impl ArenaStore {
    /// Reads everything in the directory. What is missing of the totals exported last is added to the folded ones.
    pub(super) fn recover(&mut self) -> Result<(), Error> {
        let mut unusable = Vec::new();
        let folded = usable(Ledger::read(&self.path(FOLDED)), &self.path(FOLDED), &mut unusable)?;
        self.folded = folded.unwrap_or_default();
        self.open_arenas(&mut unusable)?;
        let has_lost_totals = self.refresh_all()? > 0 || !unusable.is_empty();
        let exported = usable(Ledger::read(&self.path(EXPORTED)), &self.path(EXPORTED), &mut unusable)?;
        if has_lost_totals && exported.is_none() {
            // Before the damage is out of sight.
            self.start_unix_nanos = epoch::restart(&self.directory)?;
        }
        for (path, error) in unusable {
            let path = set_aside(&path)?;
            self.events.push(StoreEvent::SetAside { path, error });
        }
        let exported = exported.unwrap_or_default();
        for entry in exported.entries.iter().chain(&self.folded.entries) {
            if entry.key.has_user_labels() {
                self.totals.admission.adopt(&entry.key);
            }
        }
        self.add_missing(&exported)?;
        self.totals.admission.settled();
        self.dropped = exported.dropped;
        self.totals.set_folded(&self.folded);
        self.totals.set_exported(&exported);
        Ok(())
    }

    /// Opens the arenas of the directory, and removes those that are folded and what a kill left half written.
    fn open_arenas(&mut self, unusable: &mut Vec<Unusable>) -> Result<(), Error> {
        for name in file_names(&self.directory)? {
            let path = self.path(&name);
            if name.ends_with(PARTIAL) {
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            } else if let Some(slot) = name.strip_suffix(EXTENSION)
                && let Some(file) = usable(ArenaFile::open(&path).map(Some), &path, unusable)?
            {
                if self.folded.arenas.contains(&file.arena_id()) {
                    crash::point();
                    std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                } else {
                    self.arenas.push(Arena::new(slot, file));
                }
            }
        }
        // None of those named is there any more, and no arena ever gets their names again.
        self.folded.arenas.clear();
        Ok(())
    }

    fn refresh_all(&mut self) -> Result<usize, Error> {
        self.arenas.iter_mut().map(|arena| arena.refresh(&mut self.events)).sum()
    }

    /// Adds to the folded totals what is missing of those `exported` last.
    fn add_missing(&mut self, exported: &Ledger) -> Result<(), Error> {
        let mut present = self.folded.clone();
        for arena in &mut self.arenas {
            arena.add_to_ledger(&mut present, &mut self.totals, &mut self.events)?;
        }
        let mut folded = self.folded.clone();
        for entry in &exported.entries {
            let total = present.total(&entry.key, &entry.bounds);
            if let Some(missing) = total.missing_of(&entry.total) {
                folded.add(&entry.key, &entry.bounds, &missing);
            }
        }
        if folded != self.folded {
            folded.write(&self.path(FOLDED))?;
            self.folded = folded;
        }
        Ok(())
    }
}

/// The value, or none if the file is unusable, which is then noted.
fn usable<T>(
    read: Result<Option<T>, Error>,
    path: &Path,
    unusable: &mut Vec<Unusable>,
) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(value),
        Err(error) if error.is_unusable_file() => {
            unusable.push((path.to_owned(), error));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn file_names(directory: &Path) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .map_err(Error::io("list", directory))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}
