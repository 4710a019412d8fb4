//! The membership of one connection in the table of exports.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{Counters, Export, ExportError, Exports, Fabric, Stop, Traffic};

/// Numbers the connections of a node in order of arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who has logged in over a fabric. With [`Access::view`](crate::Access::view) it says what the session sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// By which protocol.
    pub fabric: Fabric,
    /// What the initiator calls itself.
    pub initiator: String,
    /// Where it comes from.
    pub address: Option<IpAddr>,
}

/// What people see of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionInfo {
    /// Its number.
    pub id: SessionId,
    /// Where it comes from.
    pub peer: String,
    /// The export that it uses, once it has chosen one.
    pub export: Option<String>,
    /// Who it is, once an initiator has logged in over it.
    pub login: Option<Login>,
    /// What it has done.
    pub traffic: Traffic,
}

/// A connection's place in the table. Dropping it ends the membership.
pub struct Session {
    exports: Exports,
    id: SessionId,
    counters: Arc<Counters>,
    stop: Stop,
}

impl Session {
    pub(crate) fn new(exports: Exports, id: SessionId, counters: Arc<Counters>, stop: Stop) -> Self {
        Self { exports, id, counters, stop }
    }

    /// Chooses an export, which cannot be removed from now on; an earlier choice is given up.
    pub fn bind(&self, name: &str) -> Result<Export, ExportError> {
        let mut table = self.exports.table();
        let export = table.find(name)?.clone();
        let connected = table.sessions.get_mut(&self.id).expect("a session is in the table while it lives");
        connected.export = Some(name.to_owned());
        table.strangers.remove(&self.id);
        Ok(export)
    }

    /// An initiator has logged in over it: from now on the session counts as a client of whatever that initiator sees. Of an
    /// NVMe association, the admin queue's connection does this and those of I/O queues do not.
    pub fn log_in(&self, login: Login) {
        let mut table = self.exports.table();
        let connected = table.sessions.get_mut(&self.id).expect("a session is in the table while it lives");
        connected.login = Some(login);
        table.strangers.remove(&self.id);
    }

    /// It has come through its handshake, and does not give way to strangers any more. Whoever is bound to an export or logged in has.
    pub fn become_known(&self) {
        self.exports.table().strangers.remove(&self.id);
    }

    /// Its number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Where its core counts what it does.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The signal to finish and close.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut table = self.exports.table();
        table.sessions.remove(&self.id);
        table.strangers.remove(&self.id);
    }
}
