//! The table of exports and sessions that all cores share. Off the I/O path: a session asks it when it begins and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use quarry_types::VolumeId;
use quarry_volume::VolumeInfo;

use crate::limits::{EXPORT_NAME_BYTES_MAX, EXPORTS_MAX, SESSIONS_MAX, STRANGERS_MAX};
use crate::{AdmitError, Counters, ExportError, Login, Session, SessionId, SessionInfo, Stop, Stopped};

/// A volume under the name by which clients ask for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// What clients ask for.
    pub name: String,
    /// The volume as it was when it was exported or last resized.
    pub volume: VolumeInfo,
    /// The core that owns the volume and runs its sessions.
    pub core: usize,
}

/// What the table knows of one connection.
pub(crate) struct Connected {
    pub(crate) peer: String,
    pub(crate) export: Option<String>,
    pub(crate) login: Option<Login>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: Stop,
}

#[derive(Default)]
pub(crate) struct Table {
    exports: BTreeMap<String, Export>,
    pub(crate) sessions: BTreeMap<SessionId, Connected>,
    /// Those of which nothing is known yet. Anybody can have as many as the node lets him, so they are few, and the oldest gives way: who
    /// means well is known long before his turn comes.
    pub(crate) strangers: BTreeSet<SessionId>,
    next_session: u64,
    /// Given and replaced when a volume has another size.
    resized: Stop,
}

impl Table {
    fn sessions_of(&self, export: &str) -> impl Iterator<Item = &Connected> {
        self.sessions.values().filter(move |session| session.export.as_deref() == Some(export))
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Export, ExportError> {
        self.exports.get(name).ok_or_else(|| ExportError::NotFound { name: name.to_owned() })
    }
}

/// The exports of a node and the sessions that use them. Clones are the same table.
#[derive(Clone, Default)]
pub struct Exports {
    table: Arc<Mutex<Table>>,
    stop: Stop,
}

impl Exports {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nothing panics while it holds the table of exports")
    }

    /// Adds an export.
    pub fn insert(&self, export: Export) -> Result<(), ExportError> {
        let bytes = export.name.len();
        if bytes == 0 || bytes > EXPORT_NAME_BYTES_MAX {
            return Err(ExportError::BadName { bytes });
        }
        let mut table = self.table();
        if table.exports.contains_key(&export.name) {
            return Err(ExportError::Exists { name: export.name });
        }
        if table.exports.len() >= EXPORTS_MAX {
            return Err(ExportError::TooMany);
        }
        table.exports.insert(export.name.clone(), export);
        Ok(())
    }

    /// Removes an export that no session uses.
    pub fn remove(&self, name: &str) -> Result<Export, ExportError> {
        let mut table = self.table();
        table.find(name)?;
        match table.sessions_of(name).count() {
            0 => Ok(table.exports.remove(name).expect("it was found under the same lock")),
            sessions => Err(ExportError::InUse { name: name.to_owned(), sessions }),
        }
    }

    /// The export of this name.
    pub fn find(&self, name: &str) -> Option<Export> {
        self.table().exports.get(name).cloned()
    }

    /// The export, when there is exactly one: what a client means that names none.
    pub fn only(&self) -> Option<Export> {
        let table = self.table();
        let mut exports = table.exports.values();
        exports.next().filter(|_| exports.next().is_none()).cloned()
    }

    /// All exports, by name.
    pub fn list(&self) -> Vec<Export> {
        self.table().exports.values().cloned().collect()
    }

    /// Lets new sessions see the new size of a volume; returns how many exports it has.
    pub fn update_size(&self, volume: VolumeId, size_bytes: u64) -> usize {
        let mut table = self.table();
        let exports = table.exports.values_mut().filter(|export| export.volume.id == volume);
        let count = exports.map(|export| export.volume.size_bytes = size_bytes).count();
        if count > 0 {
            std::mem::take(&mut table.resized).stop();
        }
        count
    }

    /// Resolves when the next volume has another size.
    pub fn resized(&self) -> Stopped {
        self.table().resized.stopped()
    }

    /// Takes in a connection, which has no export yet. `peer` is the name that people see.
    pub fn admit(&self, peer: String) -> Result<Session, AdmitError> {
        let mut table = self.table();
        // Looked at under the lock, so that `stop` reaches every session that was admitted before it.
        if self.stop.is_stopped() {
            return Err(AdmitError::Stopping);
        }
        if table.sessions.len() >= SESSIONS_MAX {
            return Err(AdmitError::TooMany);
        }
        table.next_session += 1;
        let id = SessionId(table.next_session);
        let (counters, stop) = (Arc::<Counters>::default(), Stop::default());
        let connected =
            Connected { peer, export: None, login: None, counters: counters.clone(), stop: stop.clone() };
        table.sessions.insert(id, connected);
        table.strangers.insert(id);
        let oldest = if table.strangers.len() > STRANGERS_MAX { table.strangers.pop_first() } else { None };
        let gives_way = oldest.and_then(|id| table.sessions.get(&id)).map(|session| session.stop.clone());
        drop(table);
        gives_way.iter().for_each(Stop::stop);
        Ok(Session::new(self.clone(), id, counters, stop))
    }

    /// Who is connected, in order of arrival.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let table = self.table();
        let info = |(&id, session): (&SessionId, &Connected)| SessionInfo {
            id,
            peer: session.peer.clone(),
            export: session.export.clone(),
            login: session.login.clone(),
            traffic: session.counters.traffic(),
        };
        table.sessions.iter().map(info).collect()
    }

    /// How many sessions use an export.
    pub fn sessions_of(&self, export: &str) -> usize {
        self.table().sessions_of(export).count()
    }

    /// Asks the sessions of an export to finish what they do and close; returns how many were asked.
    pub fn disconnect(&self, export: &str) -> usize {
        let stops: Vec<Stop> = self.table().sessions_of(export).map(|session| session.stop.clone()).collect();
        stops.iter().for_each(Stop::stop);
        stops.len()
    }

    /// Ends all: no connection is admitted any more, and every session finishes what it does and closes.
    pub fn stop(&self) {
        let table = self.table();
        self.stop.stop();
        let stops: Vec<Stop> = table.sessions.values().map(|session| session.stop.clone()).collect();
        drop(table);
        stops.iter().for_each(Stop::stop);
    }

    /// The signal that [`Self::stop`] gives.
    pub fn stop_signal(&self) -> &Stop {
        &self.stop
    }
}
