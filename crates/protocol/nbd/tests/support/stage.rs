//! A stage with one core, a clock that the test moves, and connections that are queues of bytes. Everything happens in
//! [`Stage::run`], which returns when nothing can happen any more. Protocols put their servers on it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{
    Address, Buffer, BufferPool, Clock, Completer, Completion, DetachedStream, Disk, Disks, Env, Executor,
    Listener, Network, OpenMode, Random, Stream, View, completion,
};
use quarry_target::{HandOver, Volumes};
use quarry_types::VolumeId;
use quarry_volume::Volume;

type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Time that only the test moves.
#[derive(Default)]
pub struct TestClock {
    now: Cell<Duration>,
    sleepers: RefCell<Vec<(Duration, Completer<()>)>>,
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.now.get()
    }
    fn wall(&self) -> Duration {
        self.now.get()
    }
    fn sleep(&self, duration: Duration) -> Completion<()> {
        let (completer, completion) = completion();
        self.sleepers.borrow_mut().push((self.now.get() + duration, completer));
        completion
    }
}

struct Fixed;

impl Random for Fixed {
    fn next_u64(&self) -> u64 {
        4
    }
}

/// There are neither disks nor addresses here.
struct Nothing;

fn nothing<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Disks for Nothing {
    fn open<'a>(&'a self, _: &'a Path, _: OpenMode) -> Local<'a, io::Result<Rc<dyn Disk>>> {
        Box::pin(async { nothing() })
    }
    fn canonical(&self, _: &Path) -> io::Result<PathBuf> {
        nothing()
    }
    fn is_directory(&self, _: &Path) -> io::Result<bool> {
        nothing()
    }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        nothing()
    }
    fn exists(&self, _: &Path) -> bool {
        false
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        nothing()
    }
    fn scan(&self) -> io::Result<Vec<(PathBuf, Option<String>)>> {
        nothing()
    }
}

impl Network for Nothing {
    fn listen<'a>(&'a self, _: &'a Address) -> Local<'a, io::Result<Rc<dyn Listener>>> {
        Box::pin(async { nothing() })
    }
    fn connect<'a>(&'a self, _: &'a Address) -> Local<'a, io::Result<Rc<dyn Stream>>> {
        Box::pin(async { nothing() })
    }
    fn attach(&self, _: DetachedStream) -> io::Result<Rc<dyn Stream>> {
        nothing()
    }
}

struct Receiving {
    buffer: Buffer,
    filled: usize,
    completer: Completer<(Buffer, io::Result<usize>)>,
}

struct Sending {
    /// Held until the end, as a real send does.
    _views: Vec<View>,
    bytes: Vec<u8>,
    /// How many of the bytes were taken.
    done: usize,
    completer: Completer<io::Result<()>>,
}

/// A connection. The server's side is a [`Stream`]; the test plays the client with the inherent methods.
pub struct Wire {
    to_server: RefCell<VecDeque<u8>>,
    from_server: RefCell<Vec<u8>>,
    receiving: RefCell<Option<Receiving>>,
    sending: RefCell<Option<Sending>>,
    client_closed: Cell<bool>,
    server_closed: Cell<bool>,
    /// How many bytes the client's side holds before the server has to wait.
    pub room: Cell<usize>,
    /// Most bytes that one receive brings.
    pub segment: Cell<usize>,
    /// Sends that the server has begun.
    pub sends: Cell<usize>,
}

impl Wire {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            to_server: RefCell::default(),
            from_server: RefCell::default(),
            receiving: RefCell::default(),
            sending: RefCell::default(),
            client_closed: Cell::new(false),
            server_closed: Cell::new(false),
            room: Cell::new(usize::MAX),
            segment: Cell::new(usize::MAX),
            sends: Cell::new(0),
        })
    }

    pub fn write(&self, bytes: &[u8]) {
        self.to_server.borrow_mut().extend(bytes);
    }

    /// Bytes that the server has not received yet.
    pub fn unreceived(&self) -> usize {
        self.to_server.borrow().len()
    }

    /// Takes everything that the server has sent so far.
    pub fn read(&self) -> Vec<u8> {
        self.from_server.take()
    }

    /// The client dies.
    pub fn close(&self) {
        self.client_closed.set(true);
    }

    /// Whether the server has closed.
    pub fn is_closed(&self) -> bool {
        self.server_closed.get()
    }

    /// Moves what can move; whether something did.
    fn step(&self) -> bool {
        let received = self.step_receive();
        self.step_send() || received
    }

    fn step_receive(&self) -> bool {
        let Some(mut receiving) = self.receiving.take() else { return false };
        let mut queue = self.to_server.borrow_mut();
        let room = receiving.buffer.len() - receiving.filled;
        let count = room.min(queue.len()).min(self.segment.get());
        if count == 0 && !self.client_closed.get() && !self.server_closed.get() {
            *self.receiving.borrow_mut() = Some(receiving);
            return false;
        }
        let (first, second) = queue.as_slices();
        let split = count.min(first.len());
        let target = &mut receiving.buffer[receiving.filled..receiving.filled + count];
        target[..split].copy_from_slice(&first[..split]);
        target[split..].copy_from_slice(&second[..count - split]);
        queue.drain(..count);
        receiving.completer.complete((receiving.buffer, Ok(count)));
        true
    }

    fn step_send(&self) -> bool {
        let Some(mut sending) = self.sending.take() else { return false };
        if self.client_closed.get() || self.server_closed.get() {
            sending.completer.complete(Err(io::ErrorKind::BrokenPipe.into()));
            return true;
        }
        let room = self.room.get().saturating_sub(self.from_server.borrow().len());
        let count = room.min(sending.bytes.len() - sending.done);
        self.from_server.borrow_mut().extend_from_slice(&sending.bytes[sending.done..sending.done + count]);
        sending.done += count;
        if sending.done == sending.bytes.len() {
            sending.completer.complete(Ok(()));
        } else {
            *self.sending.borrow_mut() = Some(sending);
        }
        count > 0
    }
}

/// The server's side. Dropping it closes the connection.
struct ServerSide(Rc<Wire>);

impl Drop for ServerSide {
    fn drop(&mut self) {
        self.0.server_closed.set(true);
    }
}

impl Stream for ServerSide {
    fn receive(&self, buffer: Buffer, filled: usize) -> Completion<(Buffer, io::Result<usize>)> {
        assert!(filled < buffer.len(), "a receive has room");
        let (completer, completion) = completion();
        let previous = self.0.receiving.replace(Some(Receiving { buffer, filled, completer }));
        assert!(previous.is_none(), "one receive at a time");
        completion
    }

    fn send(&self, data: Vec<View>) -> Completion<io::Result<()>> {
        assert!(data.iter().all(|view| !view.is_empty()));
        self.0.sends.set(self.0.sends.get() + 1);
        let (completer, completion) = completion();
        let bytes: Vec<u8> = data.iter().map(|view| &view[..]).collect::<Vec<_>>().concat();
        let previous = self.0.sending.replace(Some(Sending { _views: data, bytes, done: 0, completer }));
        assert!(previous.is_none(), "one send at a time");
        completion
    }

    fn shutdown(&self) {
        self.0.server_closed.set(true);
    }

    fn detach(self: Rc<Self>) -> DetachedStream {
        assert!(self.0.receiving.borrow().is_none() && self.0.sending.borrow().is_none());
        DetachedStream(Box::new(()))
    }
}

/// What a listener's accept waits for.
type Accepting = Completer<io::Result<(Rc<dyn Stream>, String)>>;

#[derive(Default)]
struct Backlog {
    arrived: RefCell<VecDeque<io::Result<Rc<Wire>>>>,
    accepting: RefCell<Option<Accepting>>,
}

impl Backlog {
    fn step(&self) -> bool {
        let mut arrived = self.arrived.borrow_mut();
        if arrived.is_empty() {
            return false;
        }
        let Some(completer) = self.accepting.take() else { return false };
        let next = arrived.pop_front().expect("it is not empty");
        completer.complete(next.map(|wire| (Rc::new(ServerSide(wire)) as Rc<dyn Stream>, "test".to_owned())));
        true
    }
}

struct TestListener(Rc<Backlog>);

impl Listener for TestListener {
    fn local_address(&self) -> Address {
        Address::Unix("/test".into())
    }
    fn accept(&self) -> Completion<io::Result<(Rc<dyn Stream>, String)>> {
        let (completer, completion) = completion();
        *self.0.accepting.borrow_mut() = Some(completer);
        completion
    }
}

/// The volumes of the only core.
#[derive(Default)]
pub struct TestVolumes(pub RefCell<BTreeMap<VolumeId, Rc<dyn Volume>>>);

impl Volumes for TestVolumes {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        self.0.borrow().get(&id).cloned()
    }
}

/// Core 0, and a note of what would have gone to the others.
#[derive(Default)]
pub struct OneCore(pub RefCell<Vec<usize>>);

impl<T: Send + 'static> HandOver<T> for OneCore {
    fn core(&self) -> usize {
        0
    }
    fn hand_over(&self, core: usize, _connection: T) {
        self.0.borrow_mut().push(core);
    }
}

/// A core with a listener, on which nothing runs yet.
pub struct Stage {
    executor: Executor,
    pub env: Env,
    clock: Rc<TestClock>,
    pub volumes: Rc<TestVolumes>,
    pub cores: Rc<OneCore>,
    backlog: Rc<Backlog>,
    wires: Vec<Rc<Wire>>,
}

impl Stage {
    pub fn new() -> Self {
        let executor = Executor::new(|| {}).with_live_tasks();
        let clock = Rc::new(TestClock::default());
        let env = Env {
            clock: clock.clone(),
            random: Rc::new(Fixed),
            disks: Rc::new(Nothing),
            network: Rc::new(Nothing),
            spawner: executor.spawner(),
            buffers: BufferPool::default(),
        };
        let (volumes, cores, backlog) = (Rc::default(), Rc::default(), Rc::default());
        Self { executor, env, clock, volumes, cores, backlog, wires: Vec::new() }
    }

    /// The listener that [`Self::connect`] reaches.
    pub fn listener(&self) -> Rc<dyn Listener> {
        Rc::new(TestListener(self.backlog.clone()))
    }

    /// A new connection.
    pub fn connect(&mut self) -> Rc<Wire> {
        let wire = Wire::new();
        self.wires.push(wire.clone());
        self.backlog.arrived.borrow_mut().push_back(Ok(wire.clone()));
        wire
    }

    /// The next accept fails.
    pub fn fail_accept(&self, kind: io::ErrorKind) {
        self.backlog.arrived.borrow_mut().push_back(Err(kind.into()));
    }

    /// Lets everything happen that can happen without time passing.
    pub fn run(&mut self) {
        loop {
            let ran = self.executor.run(usize::MAX);
            let moved =
                self.backlog.step() | self.wires.iter().fold(false, |moved, wire| wire.step() | moved);
            if ran == 0 && !moved && !self.executor.has_ready() {
                self.wires.retain(|wire| !wire.is_closed() || wire.sending.borrow().is_some());
                return;
            }
        }
    }

    /// Lets time pass, from one sleeper's end to the next, and everything happen meanwhile.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.clock.now.get() + duration;
        loop {
            let next = self.clock.sleepers.borrow().iter().map(|(at, _)| *at).min();
            let now = next.filter(|at| *at < end).unwrap_or(end);
            self.clock.now.set(now);
            let (due, later): (Vec<_>, Vec<_>) =
                self.clock.sleepers.take().into_iter().partition(|(at, _)| *at <= now);
            *self.clock.sleepers.borrow_mut() = later;
            due.into_iter().for_each(|(_, completer)| completer.complete(()));
            self.run();
            if now == end {
                return;
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.executor.clear();
    }
}
