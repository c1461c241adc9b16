//! The journal: every change in an SQLite file, before it is made.

use std::path::Path;

use rusqlite::Connection;

use crate::store::{Change, Store};

/// A journal of this many changes more than needed is written anew when it is opened.
const SLACK: usize = 10_000;

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// SQLite's word.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// A row is no change of this version.
    #[error("change {sequence} is not understood: {source}")]
    Change {
        /// The row.
        sequence: i64,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// An open journal. No other process can open it at the same time.
pub(super) struct Journal {
    connection: Connection,
}

impl Journal {
    /// Opens or creates a journal and replays it; a new one starts with `key`.
    pub(super) fn open(file: &Path, key: [u8; 32]) -> Result<(Self, Store), JournalError> {
        let connection = Connection::open(file)?;
        // Written pages outlive the process without being forced to the disk at each commit.
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS changes (sequence INTEGER PRIMARY KEY, change TEXT NOT NULL);
             BEGIN EXCLUSIVE; COMMIT;",
        )?;
        let mut journal = Self { connection };
        let mut store = Store::new(key);
        let count = journal.replay(&mut store)?;
        if count == 0 {
            journal.append(&[Change::Key { key }])?;
        } else {
            let snapshot = store.snapshot();
            if count > snapshot.len() * 2 + SLACK {
                journal.rewrite(&snapshot)?;
            }
        }
        Ok((journal, store))
    }

    fn replay(&self, store: &mut Store) -> Result<usize, JournalError> {
        let mut statement =
            self.connection.prepare("SELECT sequence, change FROM changes ORDER BY sequence")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (sequence, text): (i64, String) = (row.get(0)?, row.get(1)?);
            let change = serde_json::from_str(&text);
            store.apply([change.map_err(|source| JournalError::Change { sequence, source })?]);
            count += 1;
        }
        Ok(count)
    }

    /// Writes changes, all or none.
    pub(super) fn append(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(changes, false)
    }

    fn rewrite(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        self.write(changes, true)
    }

    fn write(&mut self, changes: &[Change], anew: bool) -> Result<(), JournalError> {
        let transaction = self.connection.transaction()?;
        if anew {
            transaction.execute("DELETE FROM changes", [])?;
        }
        {
            let mut insert = transaction.prepare_cached("INSERT INTO changes (change) VALUES (?1)")?;
            for change in changes {
                let text = serde_json::to_string(change)
                    .map_err(|source| JournalError::Change { sequence: 0, source })?;
                insert.execute([text])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
