//! Folding: the totals of an arena that has no writer any more go into one file, and the arena goes.
//!
//! The file of the folded totals names the arenas that are in it. It is replaced whole before an arena is removed, and
//! an arena that it names is not counted, so a kill at any time loses and doubles nothing.

use crate::Error;
use crate::crash;
use crate::store::{ArenaStore, FOLDED, StoreEvent};

impl ArenaStore {
    /// Folds the retired arenas whose writers are dead.
    pub(super) fn fold_retired(&mut self) {
        // From the end, so that a removal moves none that is still to come.
        for index in (0..self.arenas.len()).rev() {
            if self.arenas[index].retired
                && let Err(error) = self.fold(index)
                && let Some(arena) = self.arenas.get_mut(index)
                && !std::mem::replace(&mut arena.not_folded, true)
            {
                self.events.push(StoreEvent::NotFolded { path: arena.reader.path(), error });
            }
        }
    }

    /// Folds the arena at `index` and removes it, if every writer of it is dead.
    pub(super) fn fold(&mut self, index: usize) -> Result<bool, Error> {
        if !self.arenas[index].reader.file().take_from_the_dead()? {
            return Ok(false);
        }
        let folded = self.fold_taken(index);
        if folded.is_err() {
            self.arenas[index].reader.file().give_back();
        }
        folded.map(|()| true)
    }

    fn fold_taken(&mut self, index: usize) -> Result<(), Error> {
        let mut folded = self.folded.clone();
        let arena = &mut self.arenas[index];
        arena.add_to_ledger(&mut folded, &mut self.totals, &mut self.events)?;
        folded.arenas.push(arena.reader.file().arena_id());
        // The folded totals have the names under which they are exported, so these are decided first.
        self.totals.admission.persist()?;
        folded.write(&self.path(FOLDED))?;
        self.folded = folded;
        self.totals.set_folded(&self.folded);
        let path = self.arenas.remove(index).reader.path();
        crash::point();
        // What stays is passed over at the next start.
        if std::fs::remove_file(&path).is_ok() {
            self.folded.arenas.pop();
        }
        crash::point();
        Ok(())
    }
}
