//! The log's file.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use quarry_api_types::{
    AuditEntries, AuditEntry, AuditKind, AuditQuery, AuditVerification, Name, Role, Timestamp, VerifyAudit,
};
use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    TableDefinition, WriteTransaction,
};

use crate::chain::{BEGINNING, hash_of};
use crate::{AuditError, Result};

/// Entries that are kept.
pub const ENTRIES_MAX: u64 = 100_000;
/// Entries in one answer.
const PART_MAX: usize = 500;
const VERSION: &str = "1";
const FILE_NAME: &str = "audit.redb";
const DAMAGED_NAME: &str = "audit.redb.damaged";

const META: TableDefinition<'static, &'static str, &'static str> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
/// Number and hash of the last entry that was dropped, and of the last one that was written.
const META_DROPPED: &str = "dropped";
const META_LAST: &str = "last";
const ENTRIES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("entries");

type Redb<T> = std::result::Result<T, redb::Error>;

/// An entry to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEntry {
    /// What it tells.
    pub kind: AuditKind,
    /// The user, where one has proved who it is.
    pub user: Option<Name>,
    /// The role in which it asked.
    pub role: Option<Role>,
    /// The tenant to which it is confined.
    pub tenant: Option<Name>,
    /// The id of its token.
    pub token: Option<String>,
    /// The address that the request came from.
    pub from: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
    /// What was asked for.
    pub operation: String,
    /// What it is about.
    pub object: String,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// Why somebody was not let, or what the node has done.
    pub reason: Option<String>,
}

impl NewEntry {
    /// What the node itself has done.
    pub fn of_node(operation: &str, reason: impl Into<String>) -> Self {
        Self {
            kind: AuditKind::Node,
            user: None,
            role: None,
            tenant: None,
            token: None,
            from: None,
            request: None,
            operation: operation.to_owned(),
            object: String::new(),
            status: None,
            reason: Some(reason.into()),
        }
    }

    fn numbered(self, number: u64, time: Timestamp, before: &str) -> AuditEntry {
        let Self { kind, user, role, tenant, token, from, request, operation, object, status, reason } = self;
        let hash = String::new();
        let mut entry = AuditEntry {
            number,
            time,
            kind,
            user,
            role,
            tenant,
            token,
            from,
            request,
            operation,
            object,
            status,
            reason,
            hash,
        };
        entry.hash = hash_of(before, &entry);
        entry
    }
}

/// A place in the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    number: u64,
    hash: String,
}

impl Place {
    fn beginning() -> Self {
        Self { number: 0, hash: BEGINNING.to_owned() }
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, hash) = text.split_once(':')?;
        Some(Self { number: number.parse().ok()?, hash: hash.to_owned() })
    }

    fn text(&self) -> String {
        format!("{}:{}", self.number, self.hash)
    }
}

/// The audit log of a node.
pub struct AuditLog {
    database: Database,
    path: PathBuf,
    entries_max: u64,
}

impl AuditLog {
    /// Opens the log in `directory`, which exists; makes it when there is none. A file that is no database any more is moved to
    /// `audit.redb.damaged`, and the path is the second answer; entries that were changed are for [`Self::verify`] to find.
    ///
    /// # Errors
    /// [`AuditError::InUse`], [`AuditError::Newer`], [`AuditError::Io`], [`AuditError::Storage`].
    pub fn open(directory: &Path) -> Result<(Self, Option<PathBuf>)> {
        let path = directory.join(FILE_NAME);
        match Self::open_file(&path) {
            Ok(log) => Ok((log, None)),
            Err(error @ (AuditError::InUse { .. } | AuditError::Newer { .. } | AuditError::Io { .. })) => {
                Err(error)
            }
            Err(error) => {
                let aside = directory.join(DAMAGED_NAME);
                if move_aside(&path, &aside).is_err() {
                    return Err(error);
                }
                Ok((Self::open_file(&path)?, Some(aside)))
            }
        }
    }

    /// A log that nobody keeps.
    pub fn in_memory() -> Result<Self> {
        Self::over(InMemoryBackend::new())
    }

    /// A log over something that is no file, for tests of what happens when it fails.
    pub fn over(backend: impl StorageBackend) -> Result<Self> {
        let path = PathBuf::from("in memory");
        let made = Database::builder().create_with_backend(backend);
        Self::prepare(made.map_err(|error| failed("create", &path, error))?, path)
    }

    fn open_file(path: &Path) -> Result<Self> {
        let file = private_file(path).map_err(|source| AuditError::Io { path: path.to_owned(), source })?;
        let database = Database::builder().create_file(file).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => AuditError::InUse { path: path.to_owned() },
            error => failed("open", path, error),
        })?;
        Self::prepare(database, path.to_owned())
    }

    fn prepare(database: Database, path: PathBuf) -> Result<Self> {
        let log = Self { database, path, entries_max: ENTRIES_MAX };
        let found = log.write(|transaction| {
            transaction.open_table(ENTRIES)?;
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
            _ => Ok(log),
        }
    }

    /// Writes an entry; durable on return.
    pub fn append(&self, time: Timestamp, new: NewEntry) -> Result<AuditEntry> {
        let entries_max = self.entries_max;
        self.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let last = place(meta.get(META_LAST)?.map(|text| text.value().to_owned()));
            let entry = new.numbered(last.number + 1, time, &last.hash);
            let json = serde_json::to_vec(&entry).expect("an entry holds texts and numbers only");
            let mut table = transaction.open_table(ENTRIES)?;
            table.insert(entry.number, &json[..])?;
            let last = Place { number: entry.number, hash: entry.hash.clone() };
            meta.insert(META_LAST, &last.text()[..])?;
            while table.len()? > entries_max {
                let Some((number, json)) = table.pop_first()? else { break };
                // What cannot be read has been edited: the chain is broken here, and verify shall go on to say so.
                let hash = serde_json::from_slice(json.value()).map(|entry: AuditEntry| entry.hash);
                let dropped = Place { number: number.value(), hash: hash.unwrap_or_default() };
                meta.insert(META_DROPPED, &dropped.text()[..])?;
            }
            Ok(entry)
        })
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

    /// Looks at every entry: whether it is what was written, in its place, and whether all are there; and whether the one that
    /// `known` names still has the hash that it had.
    pub fn verify(&self, known: &VerifyAudit) -> Result<AuditVerification> {
        let (problem, dropped, last) = self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let text =
                |key| -> Redb<Option<String>> { Ok(meta.get(key)?.map(|text| text.value().to_owned())) };
            let (dropped, last) = (place(text(META_DROPPED)?), place(text(META_LAST)?));
            Ok((broken(transaction, &dropped, &last, known)?, dropped, last))
        })?;
        Ok(AuditVerification {
            intact: problem.is_none(),
            first: dropped.number + 1,
            last: last.number,
            hash: last.hash,
            problem,
        })
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Redb<T>) -> Result<T> {
        let begun = self.database.begin_read().map_err(redb::Error::from);
        begun.and_then(|transaction| work(&transaction)).map_err(|error| failed("read", &self.path, error))
    }

    fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Redb<T>) -> Result<T> {
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

/// What is wrong with the chain between two places, the first thing that is found.
fn broken(
    transaction: &ReadTransaction,
    dropped: &Place,
    last: &Place,
    known: &VerifyAudit,
) -> Redb<Option<String>> {
    let mut at = dropped.clone();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (number, json) = row?;
        let (number, json) = (number.value(), json.value());
        if number != at.number + 1 {
            return Ok(Some(format!("behind entry {} comes entry {number}", at.number)));
        }
        let entry: AuditEntry = match serde_json::from_slice(json) {
            Ok(entry) => entry,
            Err(error) => return Ok(Some(format!("entry {number} cannot be read: {error}"))),
        };
        let is_as_written = serde_json::to_vec(&entry).is_ok_and(|again| again == json);
        if entry.number != number || !is_as_written || entry.hash != hash_of(&at.hash, &entry) {
            return Ok(Some(format!("entry {number} is not what was written behind entry {}", at.number)));
        }
        at = Place { number, hash: entry.hash };
        if known.number == Some(number) && known.hash.as_ref().is_some_and(|hash| *hash != at.hash) {
            return Ok(Some(format!("entry {number} has another hash than the one that was kept elsewhere")));
        }
    }
    let is_missing = known.number.is_some_and(|number| number > at.number);
    Ok(match at == *last {
        true if is_missing => Some(format!("the log ends with entry {}", at.number)),
        true => None,
        false => Some(format!("entries {} to {} are missing", at.number + 1, last.number)),
    })
}

fn place(text: Option<String>) -> Place {
    let unreadable = || Place { number: 0, hash: String::new() };
    text.map_or_else(Place::beginning, |text| Place::parse(&text).unwrap_or_else(unreadable))
}

fn failed(operation: &'static str, path: &Path, error: impl Into<redb::Error>) -> AuditError {
    AuditError::Storage { operation, path: path.to_owned(), source: Box::new(error.into()) }
}

#[expect(clippy::disallowed_types, reason = "the control plane's own file, outside the simulation")]
fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[expect(clippy::disallowed_methods, reason = "the control plane's own file, outside the simulation")]
fn move_aside(path: &Path, aside: &Path) -> std::io::Result<()> {
    std::fs::rename(path, aside)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "they damage real files")]
mod tests;
