//! Sockets as one process sees them.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use quarry_env::{Address, Buffer, Completion, DetachedStream, Listener, Network, Stream, View, completion};

use crate::process::ProcessState;
use crate::shared::Shared;
use crate::slab::Key;

use super::connection::{Notice, Side, Told};
use super::state::Accepted;

/// One end of a connection.
pub(super) struct SimStream {
    shared: Rc<Shared>,
    process: Rc<ProcessState>,
    connection: Key,
    side: Side,
    /// Whether it was detached: other handles to it are dead.
    given_up: Cell<bool>,
}

/// What travels between cores.
struct Detached {
    process: u32,
    connection: Key,
    side: Side,
    token: Arc<()>,
}

impl SimStream {
    pub(super) fn new(shared: Rc<Shared>, process: Rc<ProcessState>, connection: Key, side: Side) -> Self {
        Self { shared, process, connection, side, given_up: Cell::new(false) }
    }

    /// Whether operations reach the network at all.
    fn is_usable(&self) -> bool {
        assert!(!self.given_up.get(), "the stream was detached");
        self.process.is_alive()
    }
}

impl Stream for SimStream {
    fn receive(&self, buffer: Buffer, filled: usize) -> Completion<(Buffer, io::Result<usize>)> {
        let (completer, completion) = completion();
        if self.is_usable() {
            self.shared.with_connection(self.connection, |connection, _| {
                connection.receive(&self.shared, self.side, buffer, filled, completer);
            });
        }
        completion
    }

    fn send(&self, data: Vec<View>) -> Completion<io::Result<()>> {
        let (completer, completion) = completion();
        if self.is_usable() {
            self.shared.with_connection(self.connection, |connection, _| {
                connection.send(&self.shared, self.side, data, completer);
            });
        }
        completion
    }

    fn shutdown(&self) {
        if self.is_usable() {
            self.shared.with_connection(self.connection, |connection, told| {
                connection.shut(&self.shared, self.side, told);
            });
        }
    }

    fn detach(self: Rc<Self>) -> DetachedStream {
        let usable = self.is_usable();
        let token = Arc::new(());
        self.given_up.set(true);
        if usable {
            self.shared.with_connection(self.connection, |connection, _| {
                assert!(!connection.is_busy(self.side), "no operation may be under way in a detach");
            });
            let entry = (self.connection, self.side, token.clone());
            self.shared.network.borrow_mut().detached.push(entry);
        }
        let Self { connection, side, .. } = *self;
        DetachedStream(Box::new(Detached { process: self.process.id, connection, side, token }))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if self.given_up.get() || !self.process.is_alive() {
            return;
        }
        let mut told = Told::default();
        let mut network = self.shared.network.borrow_mut();
        network.close_end(&self.shared, self.connection, self.side, false, &mut told);
        drop(network);
        told.tell();
    }
}

/// A listening socket.
struct SimListener {
    shared: Rc<Shared>,
    process: Rc<ProcessState>,
    key: Key,
    address: Address,
}

impl Listener for SimListener {
    fn local_address(&self) -> Address {
        self.address.clone()
    }

    fn accept(&self) -> Completion<Accepted> {
        let (completer, completion) = completion();
        if self.process.is_alive() {
            self.shared.network.borrow_mut().wait_for_connection(&self.shared, self.key, completer);
        }
        completion
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if !self.process.is_alive() {
            return;
        }
        let mut told = Told::default();
        let in_vain = self.shared.network.borrow_mut().close_listener(&self.shared, self.key, &mut told);
        in_vain.into_iter().for_each(|completer| told.add(Notice::NotAccepted(completer)));
        told.tell();
    }
}

/// The sockets of one core.
pub(crate) struct SimNetwork {
    pub(crate) shared: Rc<Shared>,
    pub(crate) process: Rc<ProcessState>,
}

impl SimNetwork {
    async fn listen_at(&self, address: &Address) -> io::Result<Rc<dyn Listener>> {
        self.shared.sleep(self.shared.dice.within(&(1_000..100_000))).await;
        let (key, address) = self.shared.network.borrow_mut().listen(address.clone(), &self.process)?;
        Ok(Rc::new(SimListener { shared: self.shared.clone(), process: self.process.clone(), key, address }))
    }

    async fn connect_to(&self, address: &Address) -> io::Result<Rc<dyn Stream>> {
        let delay = self.shared.dice.nanos(&self.shared.config.network.delay);
        self.shared.sleep(delay).await;
        let key = self.shared.network.borrow_mut().connect(&self.shared, address, self.process.id)?;
        Ok(Rc::new(SimStream::new(self.shared.clone(), self.process.clone(), key, Side::Client)))
    }
}

impl Network for SimNetwork {
    fn listen<'a>(
        &'a self,
        address: &'a Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<Rc<dyn Listener>>> + 'a>> {
        Box::pin(self.listen_at(address))
    }

    fn connect<'a>(
        &'a self,
        address: &'a Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<Rc<dyn Stream>>> + 'a>> {
        Box::pin(self.connect_to(address))
    }

    fn attach(&self, stream: DetachedStream) -> io::Result<Rc<dyn Stream>> {
        let detached = stream.0.downcast::<Detached>().map_err(|_| io::ErrorKind::InvalidInput)?;
        let Detached { process, connection, side, token } = *detached;
        assert_eq!(process, self.process.id, "streams move between cores of one process");
        self.shared.network.borrow_mut().detached.retain(|(.., other)| !Arc::ptr_eq(other, &token));
        Ok(Rc::new(SimStream::new(self.shared.clone(), self.process.clone(), connection, side)))
    }
}
