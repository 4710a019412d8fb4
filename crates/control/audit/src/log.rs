//! The log's file: entries are written, listed, and moved on to files of older ones.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use quarry_api_types::{AuditEntries, AuditEntry, AuditQuery, Timestamp};
use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    TableDefinition, WriteTransaction,
};

use crate::chain::Place;
use crate::mark::Mark;
use crate::{AuditError, NewEntry, Result, archive, files};

/// Entries that the log's file keeps; files of older ones keep [`Bounds::archives`] times [`Bounds::part`] more.
pub const ENTRIES_MAX: u64 = 100_000;
/// Entries in one answer.
const PART_MAX: usize = 500;
const VERSION: &str = "1";

pub(crate) const META: TableDefinition<'static, &'static str, &'static str> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
/// Number and hash of the last entry that is nowhere any more, of the last one that is not in this file, and of the last one.
pub(crate) const META_GONE: &str = "gone";
pub(crate) const META_DROPPED: &str = "dropped";
pub(crate) const META_LAST: &str = "last";
pub(crate) const ENTRIES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("entries");
/// The files of older entries: the first number in each, and number and hash of the last.
pub(crate) const ARCHIVES: TableDefinition<'static, u64, &'static str> = TableDefinition::new("archives");

pub(crate) type Redb<T> = std::result::Result<T, redb::Error>;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Entries in the log's file.
    pub(crate) entries: u64,
    /// Entries that go to a file of older ones at a time.
    pub(crate) part: u64,
    /// Such files.
    pub(crate) archives: u64,
}

const BOUNDS: Bounds = Bounds { entries: ENTRIES_MAX, part: 10_000, archives: 40 };
const _: () = assert!(BOUNDS.part > 0 && BOUNDS.part < BOUNDS.entries);

/// The audit log of a node.
pub struct AuditLog {
    database: Database,
    pub(crate) path: PathBuf,
    pub(crate) bounds: Bounds,
    /// The directory, and the mark in it; nothing for a log that nobody keeps.
    pub(crate) kept: Option<(PathBuf, Mark)>,
    /// Held while an entry and the mark behind it are written, so that who holds it sees both or neither.
    pub(crate) writing: Mutex<()>,
}

impl AuditLog {
    /// A log that nobody keeps.
    pub fn in_memory() -> Result<Self> {
        Self::over(InMemoryBackend::new())
    }

    /// A log over something that is no file, for tests of what happens when it fails.
    pub fn over(backend: impl StorageBackend) -> Result<Self> {
        let path = PathBuf::from("in memory");
        let made = Database::builder().create_with_backend(backend);
        Ok(Self::prepare(made.map_err(|error| failed("create", &path, error))?, path)?.0)
    }

    /// The log in a file, and whether it was made just now.
    pub(crate) fn open_file(path: &Path) -> Result<(Self, bool)> {
        let file =
            files::private_file(path).map_err(|source| AuditError::Io { path: path.to_owned(), source })?;
        let database = Database::builder().create_file(file).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => AuditError::InUse { path: path.to_owned() },
            error => failed("open", path, error),
        })?;
        Self::prepare(database, path.to_owned())
    }

    fn prepare(database: Database, path: PathBuf) -> Result<(Self, bool)> {
        let log = Self { database, path, bounds: BOUNDS, kept: None, writing: Mutex::default() };
        let found = log.write(|transaction| {
            transaction.open_table(ENTRIES)?;
            transaction.open_table(ARCHIVES)?;
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(META_VERSION)?.map(|version| version.value().to_owned());
            if found.is_none() {
                meta.insert(META_VERSION, VERSION)?;
            }
            Ok(found)
        })?;
        match found {
            Some(found) if found != VERSION => {
                Err(AuditError::Newer { path: log.path, found, supported: VERSION })
            }
            found => Ok((log, found.is_none())),
        }
    }

    /// Writes an entry; durable on return.
    pub fn append(&self, time: Timestamp, new: NewEntry) -> Result<AuditEntry> {
        let _writing = self.writing.lock().expect("nobody panics with this lock");
        while self.read(|transaction| Ok(transaction.open_table(ENTRIES)?.len()?))? >= self.bounds.entries {
            self.move_on()?;
        }
        let entry = self.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let last = place(meta.get(META_LAST)?.map(|text| text.value().to_owned()));
            let entry = new.numbered(last.number + 1, time, &last.hash);
            let json = serde_json::to_vec(&entry).expect("an entry holds texts and numbers only");
            transaction.open_table(ENTRIES)?.insert(entry.number, &json[..])?;
            meta.insert(META_LAST, &Place::of(&entry).text()[..])?;
            Ok(entry)
        })?;
        if let Some((_, mark)) = &self.kept {
            mark.write(&Place::of(&entry), time)?;
        }
        Ok(entry)
    }

    /// Moves the oldest entries to a file of their own, and drops the oldest of such files where there are too many. The file is written
    /// before they leave the log: whoever is killed in between writes the same file again.
    fn move_on(&self) -> Result<()> {
        let part = usize::try_from(self.bounds.part).unwrap_or(usize::MAX);
        let oldest = self.read(|transaction| {
            let mut oldest = Vec::new();
            for row in transaction.open_table(ENTRIES)?.iter()?.take(part) {
                let (number, json) = row?;
                oldest.push((number.value(), json.value().to_vec()));
            }
            Ok(oldest)
        })?;
        let (Some((first, _)), Some((number, json))) = (oldest.first(), oldest.last()) else { return Ok(()) };
        // What cannot be read has been edited: the chain is broken here, and verify shall go on to say so.
        let hash = serde_json::from_slice(json).map(|entry: AuditEntry| entry.hash).unwrap_or_default();
        let last = Place { number: *number, hash };
        if let Some((directory, _)) = &self.kept {
            archive::write(&archive::path(directory, *first, last.number), &oldest)?;
        }
        let gone = self.write(|transaction| {
            transaction.open_table(ENTRIES)?.retain(|number, _| number > last.number)?;
            let mut meta = transaction.open_table(META)?;
            let mut archives = transaction.open_table(ARCHIVES)?;
            let dropped =
                place(meta.insert(META_DROPPED, &last.text()[..])?.map(|text| text.value().to_owned()));
            if archives.is_empty()? {
                meta.insert(META_GONE, &dropped.text()[..])?;
            }
            archives.insert(*first, &last.text()[..])?;
            let mut gone = Vec::new();
            let bound = if self.kept.is_some() { self.bounds.archives } else { 0 };
            while archives.len()? > bound {
                let Some((first, text)) = archives.pop_first()? else { break };
                meta.insert(META_GONE, text.value())?;
                gone.push((first.value(), place(Some(text.value().to_owned())).number));
            }
            Ok(gone)
        })?;
        for ((first, last), (directory, _)) in gone.into_iter().zip(self.kept.iter().cycle()) {
            // It is no part of the log any more; that it stays does no harm.
            let _ = files::remove(&archive::path(directory, first, last));
        }
        Ok(())
    }

    /// A part of the entries that a query selects, the oldest first.
    pub fn list(&self, query: &AuditQuery) -> Result<AuditEntries> {
        let begun = self.read(|transaction| {
            let table = transaction.open_table(ENTRIES)?;
            let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
            for row in table.range(query.since.saturating_add(1)..)? {
                let (number, json) = row?;
                found.push((number.value(), json.value().to_vec()));
            }
            Ok(found)
        })?;
        let mut answer = AuditEntries::default();
        for (number, json) in begun {
            let entry: AuditEntry = serde_json::from_slice(&json).map_err(|error| AuditError::Corrupt {
                path: self.path.clone(),
                number: number.saturating_sub(1),
                detail: error.to_string(),
            })?;
            if !query.selects(&entry) {
                continue;
            }
            if answer.entries.len() == PART_MAX {
                answer.next = answer.entries.last().map(|entry| entry.number);
                break;
            }
            answer.entries.push(entry);
        }
        Ok(answer)
    }

    /// What is kept under a key beside the entries.
    pub(crate) fn meta(transaction: &ReadTransaction, key: &str) -> Redb<Option<String>> {
        Ok(transaction.open_table(META)?.get(key)?.map(|text| text.value().to_owned()))
    }

    pub(crate) fn set_meta(transaction: &WriteTransaction, key: &str, text: &str) -> Redb<()> {
        transaction.open_table(META)?.insert(key, text)?;
        Ok(())
    }

    pub(crate) fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Redb<T>) -> Result<T> {
        let begun = self.database.begin_read().map_err(redb::Error::from);
        begun.and_then(|transaction| work(&transaction)).map_err(|error| failed("read", &self.path, error))
    }

    pub(crate) fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Redb<T>) -> Result<T> {
        let written = || -> Redb<T> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_quick_repair(true);
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        written().map_err(|error| failed("write", &self.path, error))
    }
}

pub(crate) fn place(text: Option<String>) -> Place {
    let unreadable = || Place { number: 0, hash: String::new() };
    text.map_or_else(Place::beginning, |text| Place::parse(&text).unwrap_or_else(unreadable))
}

pub(crate) fn failed(operation: &'static str, path: &Path, error: impl Into<redb::Error>) -> AuditError {
    AuditError::Storage { operation, path: path.to_owned(), source: Box::new(error.into()) }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "they damage real files")]
mod tests;
