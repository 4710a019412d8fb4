//! Every listener and connection of a world.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use quarry_env::{Address, Completer, Stream};

use crate::agenda::Event;
use crate::process::ProcessState;
use crate::shared::Shared;
use crate::slab::{Key, Slab};

use super::connection::{Connection, Side, Told};
use super::stream::SimStream;

/// First port that the system chooses.
const PORT_FIRST: u16 = 40_000;

pub(super) type Accepted = io::Result<(Rc<dyn Stream>, String)>;

/// A connection of a world, to be cut or held up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub(crate) Key);

pub(super) struct ListenerState {
    pub(super) address: Address,
    pub(super) process: Rc<ProcessState>,
    /// Connections that nobody has accepted yet, and who they come from.
    backlog: VecDeque<(Key, String)>,
    waiting: VecDeque<Completer<Accepted>>,
}

/// Listeners and connections.
#[derive(Default)]
pub(crate) struct NetworkState {
    pub(super) listeners: Slab<ListenerState>,
    pub(super) connections: Slab<Connection>,
    /// Ends that are on their way between cores, closed when the other owner of their token is gone.
    pub(super) detached: Vec<(Key, Side, Arc<()>)>,
    connections_made: u64,
}

/// Whether a connect to `to` reaches a listener at `at`.
fn reaches(at: &Address, to: &Address) -> bool {
    match (at, to) {
        (Address::Tcp(at), Address::Tcp(to)) => {
            at.port() == to.port() && (at.ip() == to.ip() || at.ip().is_unspecified())
        }
        _ => at == to,
    }
}

impl NetworkState {
    /// Opens a listener; port 0 becomes a free one.
    pub(super) fn listen(
        &mut self,
        mut address: Address,
        process: &Rc<ProcessState>,
    ) -> io::Result<(Key, Address)> {
        if let Address::Tcp(tcp) = &mut address
            && tcp.port() == 0
        {
            let taken = |port| self.listeners.iter().any(|other| port_of(&other.address) == Some(port));
            let free = (PORT_FIRST..u16::MAX).find(|&port| !taken(port));
            tcp.set_port(free.ok_or(io::ErrorKind::AddrInUse)?);
        }
        let clash =
            |other: &ListenerState| reaches(&other.address, &address) || reaches(&address, &other.address);
        if self.listeners.iter().any(clash) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let state = ListenerState {
            address: address.clone(),
            process: process.clone(),
            backlog: VecDeque::new(),
            waiting: VecDeque::new(),
        };
        Ok((self.listeners.insert(state), address))
    }

    /// Makes a connection to whoever listens at `address`.
    pub(super) fn connect(&mut self, shared: &Shared, address: &Address, client: u32) -> io::Result<Key> {
        let keys = self.listeners.keys();
        let found = keys.into_iter().find(|&key| {
            self.listeners.get_mut(key).is_some_and(|listener| reaches(&listener.address, address))
        });
        let listener_key = found.ok_or(io::ErrorKind::ConnectionRefused)?;
        let listener = self.listeners.get_mut(listener_key).ok_or(io::ErrorKind::ConnectionRefused)?;
        if listener.backlog.len() >= shared.config.network.backlog_max {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.connections_made += 1;
        let number = self.connections_made;
        let peer = match address {
            Address::Tcp(tcp) => format!("{}:{}", tcp.ip(), 1_024 + number % 30_000),
            Address::Unix(_) => format!("unix:{number}"),
        };
        let key = self.connections.insert(Connection::new(shared, client, listener.process.id));
        if let Some(connection) = self.connections.get_mut(key) {
            connection.set_key(key);
        }
        listener.backlog.push_back((key, peer));
        if !listener.waiting.is_empty() {
            accept_soon(shared, listener_key);
        }
        Ok(key)
    }

    pub(super) fn wait_for_connection(&mut self, shared: &Shared, key: Key, completer: Completer<Accepted>) {
        let Some(listener) = self.listeners.get_mut(key) else { return };
        listener.waiting.push_back(completer);
        if !listener.backlog.is_empty() {
            accept_soon(shared, key);
        }
    }

    /// Ends a listener; connections that wait in it are reset. Returns who waited in vain.
    pub(super) fn close_listener(
        &mut self,
        shared: &Shared,
        key: Key,
        told: &mut Told,
    ) -> VecDeque<Completer<Accepted>> {
        let Some(listener) = self.listeners.remove(key) else { return VecDeque::new() };
        for (connection, _) in listener.backlog {
            self.close_end(shared, connection, Side::Server, true, told);
        }
        listener.waiting
    }

    pub(super) fn close_end(&mut self, shared: &Shared, key: Key, side: Side, abrupt: bool, told: &mut Told) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.close(shared, side, abrupt, told);
        }
        self.bury(key);
    }

    fn bury(&mut self, key: Key) {
        if self.connections.get_mut(key).is_some_and(|connection| connection.is_over()) {
            self.connections.remove(key);
        }
    }
}

fn port_of(address: &Address) -> Option<u16> {
    match address {
        Address::Tcp(tcp) => Some(tcp.port()),
        Address::Unix(_) => None,
    }
}

fn accept_soon(shared: &Shared, listener: Key) {
    shared.schedule(shared.dice.within(&(1_000..50_000)), Event::Accept(listener));
}

impl Shared {
    /// Hands one waiting connection to one waiting accept.
    pub(crate) fn accept(self: &Rc<Self>, key: Key) {
        let handed = {
            let mut network = self.network.borrow_mut();
            let Some(listener) = network.listeners.get_mut(key) else { return };
            if listener.backlog.is_empty() || listener.waiting.is_empty() {
                return;
            }
            let process = listener.process.clone();
            listener.backlog.pop_front().zip(listener.waiting.pop_front()).map(|pair| (pair, process))
        };
        let Some((((connection, peer), completer), process)) = handed else { return };
        self.trace.line(self.now(), || format!("p{} accepts {peer}", process.id));
        let stream: Rc<dyn Stream> = Rc::new(SimStream::new(self.clone(), process, connection, Side::Server));
        completer.complete(Ok((stream, peer)));
    }

    /// The next segment of a connection arrives, or the connection is cut in that moment.
    pub(crate) fn deliver(&self, key: Key, to: Side) {
        let mut told = Told::default();
        let mut network = self.network.borrow_mut();
        let Some(connection) = network.connections.get_mut(key) else { return };
        self.trace.fold(&[32 + to as u64, u64::from(key.index), self.now()]);
        if self.faults.borrow().enabled && self.dice.chance(self.config.network.cut) {
            self.trace.line(self.now(), || format!("connection {} is cut", key.index));
            connection.cut(self, &mut told);
        } else {
            connection.deliver(self, to, &mut told);
        }
        drop(network);
        told.tell();
    }

    pub(crate) fn service(&self, key: Key, side: Side) {
        let mut told = Told::default();
        if let Some(connection) = self.network.borrow_mut().connections.get_mut(key) {
            connection.service(self, side, &mut told);
        }
        told.tell();
    }

    /// Closes the sockets of a process that has died.
    pub(crate) fn abandon_sockets(&self, process: u32) {
        let mut told = Told::default();
        let mut network = self.network.borrow_mut();
        let mut in_vain = Vec::new();
        for key in network.listeners.keys() {
            if network.listeners.get_mut(key).is_some_and(|listener| listener.process.id == process) {
                in_vain.push(network.close_listener(self, key, &mut told));
            }
        }
        for key in network.connections.keys() {
            for side in [Side::Client, Side::Server] {
                if let Some(connection) = network.connections.get_mut(key)
                    && connection.belongs_to(side, process)
                {
                    connection.abandon(self, side);
                }
            }
            network.bury(key);
        }
        drop(network);
        drop(in_vain);
        told.tell();
    }

    /// Closes ends that were detached and then dropped on their way.
    pub(crate) fn sweep_detached(&self) {
        let mut told = Told::default();
        let mut network = self.network.borrow_mut();
        if network.detached.is_empty() {
            return;
        }
        let (lost, kept) = std::mem::take(&mut network.detached)
            .into_iter()
            .partition::<Vec<_>, _>(|(.., token)| Arc::strong_count(token) == 1);
        network.detached = kept;
        for (key, side, _) in lost {
            network.close_end(self, key, side, false, &mut told);
        }
        drop(network);
        told.tell();
    }

    /// Does something to a connection.
    pub(super) fn with_connection(&self, key: Key, change: impl FnOnce(&mut Connection, &mut Told)) {
        let mut told = Told::default();
        if let Some(connection) = self.network.borrow_mut().connections.get_mut(key) {
            change(connection, &mut told);
        }
        told.tell();
    }

    pub(crate) fn connections(&self) -> Vec<ConnectionId> {
        self.network.borrow().connections.keys().into_iter().map(ConnectionId).collect()
    }

    pub(crate) fn cut(&self, connection: ConnectionId) {
        self.with_connection(connection.0, |connection, told| connection.cut(self, told));
    }

    pub(crate) fn set_frozen(&self, connection: ConnectionId, frozen: bool) {
        self.with_connection(connection.0, |connection, _| match frozen {
            true => connection.frozen = true,
            false => connection.thaw(self),
        });
    }
}
