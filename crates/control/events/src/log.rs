//! The log's file.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use quarry_api_types::{Event, EventKind, EventSeverity, Events, EventsQuery, ObjectKind, Timestamp};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::{EventLogError, Result};

/// Events that are kept.
pub const EVENTS_MAX: u64 = 10_000;
/// Events in one answer.
const PART_MAX: usize = 500;
const VERSION: u64 = 1;
const FILE_NAME: &str = "events.redb";
const DAMAGED_NAME: &str = "events.redb.damaged";

const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
const EVENTS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("events");
const CONDITIONS: TableDefinition<'static, &'static str, &'static str> = TableDefinition::new("conditions");

/// An event to be recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEvent {
    /// How much it matters.
    pub severity: EventSeverity,
    /// What has happened.
    pub kind: EventKind,
    /// What sort of thing it has happened to.
    pub object_kind: ObjectKind,
    /// The name of that thing.
    pub object: String,
    /// A sentence that names the thing.
    pub message: String,
    /// Why, where more is known.
    pub cause: Option<String>,
    /// What to do, where there is something to do.
    pub next_step: Option<String>,
}

/// A condition that begins, becomes another one, or ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConditionChange {
    /// What it is about, in words of whoever records.
    pub key: String,
    /// How it is now; `None` when it has ended.
    pub state: Option<String>,
}

/// The event log of a node.
pub struct EventLog {
    database: Database,
    path: PathBuf,
}

impl EventLog {
    /// Opens the log in `directory`, which exists; makes it when there is none. A damaged one is moved to
    /// `events.redb.damaged`, and the path is the second answer.
    ///
    /// # Errors
    /// [`EventLogError::InUse`], [`EventLogError::Newer`], [`EventLogError::Storage`].
    pub fn open(directory: &Path) -> Result<(Self, Option<PathBuf>)> {
        let path = directory.join(FILE_NAME);
        match Self::open_file(&path) {
            Ok(log) => Ok((log, None)),
            Err(error @ (EventLogError::InUse { .. } | EventLogError::Newer { .. })) => Err(error),
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
        let path = PathBuf::from("in memory");
        let database = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .map_err(|error| failed("create", &path, error))?;
        Self::prepare(database, path)
    }

    fn open_file(path: &Path) -> Result<Self> {
        let database = Database::create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => EventLogError::InUse { path: path.to_owned() },
            error => failed("open", path, error),
        })?;
        make_private(path)?;
        let log = Self::prepare(database, path.to_owned())?;
        // What opens can be read.
        log.conditions()?;
        log.scan(&EventsQuery::default(), usize::MAX)?;
        Ok(log)
    }

    fn prepare(database: Database, path: PathBuf) -> Result<Self> {
        let log = Self { database, path };
        let found = log.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(META_VERSION)?.map(|version| version.value());
            if found.is_none() {
                meta.insert(META_VERSION, VERSION)?;
            }
            drop(meta);
            transaction.open_table(EVENTS)?;
            transaction.open_table(CONDITIONS)?;
            Ok(found.unwrap_or(VERSION))
        })?;
        if found > VERSION {
            return Err(EventLogError::Newer { path: log.path, found, supported: VERSION });
        }
        Ok(log)
    }

    /// Records events and what they say of conditions; durable on return. Gives the events with their ids.
    pub fn record(
        &self,
        time: Timestamp,
        events: Vec<NewEvent>,
        conditions: &[ConditionChange],
    ) -> Result<Vec<Event>> {
        self.write(|transaction| {
            let mut table = transaction.open_table(EVENTS)?;
            let last = table.last()?.map_or(0, |(id, _)| id.value());
            let recorded: Vec<Event> = (last + 1..)
                .zip(events)
                .map(|(id, new)| Event {
                    id,
                    time,
                    severity: new.severity,
                    kind: new.kind,
                    object_kind: new.object_kind,
                    object: new.object,
                    message: new.message,
                    cause: new.cause,
                    next_step: new.next_step,
                })
                .collect();
            for event in &recorded {
                let bytes = serde_json::to_vec(event).expect("an event holds texts and numbers only");
                table.insert(event.id, &bytes[..])?;
            }
            while table.len()? > EVENTS_MAX {
                table.pop_first()?;
            }
            let mut standing = transaction.open_table(CONDITIONS)?;
            for change in conditions {
                match &change.state {
                    Some(state) => _ = standing.insert(&change.key[..], &state[..])?,
                    None => _ = standing.remove(&change.key[..])?,
                }
            }
            Ok(recorded)
        })
    }

    /// A part of the events that a query selects, the oldest first.
    pub fn list(&self, query: &EventsQuery) -> Result<Events> {
        self.scan(query, PART_MAX)
    }

    /// The newest event.
    pub fn last(&self) -> Result<Option<Event>> {
        let found = self.read(|transaction| {
            let table = transaction.open_table(EVENTS)?;
            Ok(table.last()?.map(|(_, bytes)| bytes.value().to_vec()))
        })?;
        found.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// The conditions that hold, with how they are.
    pub fn conditions(&self) -> Result<BTreeMap<String, String>> {
        self.read(|transaction| {
            let table = transaction.open_table(CONDITIONS)?;
            let rows = table.iter()?.map(|row| {
                let (key, state) = row?;
                Ok((key.value().to_owned(), state.value().to_owned()))
            });
            rows.collect()
        })
    }

    fn scan(&self, query: &EventsQuery, events_max: usize) -> Result<Events> {
        let rows = self.read(|transaction| {
            let table = transaction.open_table(EVENTS)?;
            let rows = table.range(query.since.saturating_add(1)..)?.map(|row| Ok(row?.1.value().to_vec()));
            rows.collect::<std::result::Result<Vec<_>, redb::Error>>()
        })?;
        let mut found = Events::default();
        for bytes in rows {
            let event = self.decode(&bytes)?;
            if !query.selects(&event) {
                continue;
            }
            if found.events.len() == events_max {
                found.next = found.events.last().map(|event| event.id);
                break;
            }
            found.events.push(event);
        }
        Ok(found)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Event> {
        let corrupt = |error: serde_json::Error| EventLogError::Corrupt {
            path: self.path.clone(),
            detail: error.to_string(),
        };
        serde_json::from_slice(bytes).map_err(corrupt)
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&redb::ReadTransaction) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        let begun = self.database.begin_read().map_err(redb::Error::from);
        begun.and_then(|transaction| work(&transaction)).map_err(|error| failed("read", &self.path, error))
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

fn failed(operation: &'static str, path: &Path, error: impl Into<redb::Error>) -> EventLogError {
    EventLogError::Storage { operation, path: path.to_owned(), source: Box::new(error.into()) }
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
