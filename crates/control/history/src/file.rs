//! The file that keeps a history: docs/format/history.md.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use quarry_api_types::{ObjectKind, Resolution, Series};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use uuid::Uuid;

use crate::memory::{Changes, History, RowKey, SeriesKey};
use crate::row;
use crate::{HistoryError, Result};

const VERSION: u64 = 1;
const FILE_NAME: &str = "history.redb";
const DAMAGED_NAME: &str = "history.redb.damaged";
/// What a minute touches is a few pages; the whole is in memory anyhow.
const CACHE_BYTES: usize = 4 << 20;

const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
const META_NEXT_NUMBER: &str = "next number";
const SERIES: TableDefinition<'static, u32, &'static str> = TableDefinition::new("series");
const ROWS: TableDefinition<'static, (u8, u32), &'static [u8]> = TableDefinition::new("rows");

/// A history as it was found.
pub struct Opened {
    /// What was kept.
    pub history: History,
    /// Where it is kept from now on.
    pub file: HistoryFile,
    /// Where a file went that was damaged, and a new one begins.
    pub damaged: Option<PathBuf>,
    /// Rows and series that could not be read, which are left out.
    pub unreadable: u64,
}

/// Keeps a history.
pub struct HistoryFile {
    database: Database,
    path: PathBuf,
}

impl HistoryFile {
    /// Opens the file in `directory`, which exists; makes it when there is none. A damaged one is moved to `history.redb.damaged`.
    ///
    /// # Errors
    /// [`HistoryError::InUse`], [`HistoryError::Newer`], [`HistoryError::Storage`].
    pub fn open(directory: &Path) -> Result<Opened> {
        let path = directory.join(FILE_NAME);
        match Self::open_file(&path) {
            Ok(opened) => Ok(opened),
            Err(error @ (HistoryError::InUse { .. } | HistoryError::Newer { .. })) => Err(error),
            Err(error) => {
                let aside = directory.join(DAMAGED_NAME);
                if move_aside(&path, &aside).is_err() {
                    return Err(error);
                }
                Ok(Opened { damaged: Some(aside), ..Self::open_file(&path)? })
            }
        }
    }

    /// A history that nobody keeps.
    pub fn in_memory() -> Result<Opened> {
        let path = PathBuf::from("in memory");
        let made = Database::builder().create_with_backend(InMemoryBackend::new());
        Self::prepare(made.map_err(|error| failed("create", &path, error))?, path)
    }

    fn open_file(path: &Path) -> Result<Opened> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = database.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => HistoryError::InUse { path: path.to_owned() },
            error => failed("open", path, error),
        })?;
        make_private(path)?;
        Self::prepare(database, path.to_owned())
    }

    pub(crate) fn prepare(database: Database, path: PathBuf) -> Result<Opened> {
        let file = Self { database, path };
        let found = file.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(META_VERSION)?.map(|version| version.value());
            if found.is_none() {
                meta.insert(META_VERSION, VERSION)?;
            }
            drop(meta);
            transaction.open_table(SERIES)?;
            transaction.open_table(ROWS)?;
            Ok(found.unwrap_or(VERSION))
        })?;
        if found > VERSION {
            return Err(HistoryError::Newer { path: file.path, found, supported: VERSION });
        }
        let (history, unreadable) = file.load()?;
        Ok(Opened { history, file, damaged: None, unreadable })
    }

    fn load(&self) -> Result<(History, u64)> {
        let read = || -> std::result::Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let (mut history, mut unreadable) = (History::default(), 0);
            let next =
                transaction.open_table(META)?.get(META_NEXT_NUMBER)?.map_or(0, |number| number.value());
            history.set_next_number(next as u32);
            for found in transaction.open_table(SERIES)?.iter()? {
                let (number, text) = found?;
                match parse_key(text.value()) {
                    Some(key) => history.restore_series(number.value(), key),
                    None => unreadable += 1,
                }
            }
            for found in transaction.open_table(ROWS)?.iter()? {
                let (key, bytes) = found?;
                let (resolution, stretch) = key.value();
                let resolution = Resolution::ALL.get(usize::from(resolution));
                match (resolution, row::decode(stretch, bytes.value())) {
                    (Some(resolution), Some(points)) => history.restore_row((*resolution, stretch), &points),
                    (found, _) => {
                        found.iter().for_each(|resolution| history.note_unreadable((**resolution, stretch)));
                        unreadable += 1;
                    }
                }
            }
            Ok((history, unreadable))
        };
        read().map_err(|error| failed("read", &self.path, error))
    }

    /// Keeps what has changed; durable on return.
    pub fn keep(&self, changes: &Changes) -> Result<()> {
        self.write(|transaction| {
            let mut series = transaction.open_table(SERIES)?;
            for number in &changes.ended {
                series.remove(number)?;
            }
            for (number, key) in &changes.begun {
                series.insert(number, &key_text(key)[..])?;
            }
            if let Some((number, _)) = changes.begun.last() {
                let next = u64::from(number.wrapping_add(1));
                transaction.open_table(META)?.insert(META_NEXT_NUMBER, next)?;
            }
            let mut rows = transaction.open_table(ROWS)?;
            for key in &changes.dropped {
                rows.remove(row_key(*key))?;
            }
            for (key, points) in &changes.put {
                rows.insert(row_key(*key), &row::encode(points)[..])?;
            }
            Ok(())
        })
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        let written = || -> std::result::Result<T, redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_quick_repair(true);
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        written().map_err(|error| failed("write", &self.path, error))
    }
}

fn row_key((resolution, stretch): RowKey) -> (u8, u32) {
    (resolution as u8, stretch)
}

fn key_text(key: &SeriesKey) -> String {
    format!("{} {} {}", key.kind, key.object, key.series)
}

fn parse_key(text: &str) -> Option<SeriesKey> {
    let mut words = text.split(' ');
    let kind = words.next()?.parse::<ObjectKind>().ok()?;
    let object = words.next()?.parse::<Uuid>().ok()?;
    let series = words.next()?.parse::<Series>().ok()?;
    Some(SeriesKey { kind, object, series })
}

fn failed(operation: &'static str, path: &Path, error: impl Into<redb::Error>) -> HistoryError {
    HistoryError::Storage { operation, path: path.to_owned(), source: Box::new(error.into()) }
}

/// It names objects of tenants: nobody but its owner reads it.
fn make_private(path: &Path) -> Result<()> {
    let private = std::fs::set_permissions(path, Permissions::from_mode(0o600));
    private.map_err(|error| failed("make private", path, redb::Error::Io(error)))
}

#[expect(clippy::disallowed_methods, reason = "the control plane's own file, outside the simulation")]
fn move_aside(path: &Path, aside: &Path) -> std::io::Result<()> {
    std::fs::rename(path, aside)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "they look at and damage real files")]
mod tests;
