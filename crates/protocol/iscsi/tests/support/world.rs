//! A core without sockets and disks, whose time others move: for tests and fuzz targets that drive a server by bytes.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{
    Address, Buffer, BufferPool, Clock, Completer, Completion, DetachedStream, Disk, Disks, Env, Executor,
    Listener, Network, OpenMode, Random, Stream, View, completion,
};

type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

struct Nothing;

fn nothing<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Time that stands still until somebody moves it.
#[derive(Default)]
pub struct Time {
    now: Cell<Duration>,
    sleepers: RefCell<Vec<(Duration, Completer<()>)>>,
}

impl Time {
    /// Lets `duration` pass: who sleeps no longer than that is woken.
    pub fn pass(&self, duration: Duration) {
        let now = self.now.get() + duration;
        self.now.set(now);
        let (due, later): (Vec<_>, Vec<_>) = self.sleepers.take().into_iter().partition(|(at, _)| *at <= now);
        *self.sleepers.borrow_mut() = later;
        due.into_iter().for_each(|(_, completer)| completer.complete(()));
    }
}

impl Clock for Time {
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

impl Random for Nothing {
    fn next_u64(&self) -> u64 {
        4
    }
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

/// The core of `executor`.
pub fn env(executor: &Executor, time: Rc<Time>) -> Env {
    Env {
        clock: time,
        random: Rc::new(Nothing),
        disks: Rc::new(Nothing),
        network: Rc::new(Nothing),
        spawner: executor.spawner(),
        buffers: BufferPool::default(),
    }
}

/// What a receive waits for.
type Receiving = Completer<(Buffer, io::Result<usize>)>;

/// A client that says what it was made with, in pieces, takes every answer, and goes, or stays and is silent.
pub struct Script {
    bytes: Vec<u8>,
    at: Cell<usize>,
    piece: usize,
    stays: bool,
    waiting: RefCell<Option<(Buffer, Receiving)>>,
    /// Whether the server has closed.
    pub closed: Cell<bool>,
    /// What was answered.
    pub answers: RefCell<Vec<u8>>,
}

impl Script {
    /// Says `bytes`, at most `piece` (> 0) of them at once, and then stays or goes.
    pub fn new(bytes: Vec<u8>, piece: usize, stays: bool) -> Rc<Self> {
        Rc::new(Self {
            bytes,
            at: Cell::new(0),
            piece,
            stays,
            waiting: RefCell::default(),
            closed: Cell::new(false),
            answers: RefCell::default(),
        })
    }
}

impl Stream for Script {
    fn receive(&self, mut buffer: Buffer, filled: usize) -> Completion<(Buffer, io::Result<usize>)> {
        let (at, room) = (self.at.get(), buffer.len() - filled);
        if at == self.bytes.len() && self.stays && !self.closed.get() {
            let (completer, completion) = completion();
            *self.waiting.borrow_mut() = Some((buffer, completer));
            return completion;
        }
        let count = room.min(self.bytes.len() - at).min(self.piece);
        buffer[filled..filled + count].copy_from_slice(&self.bytes[at..at + count]);
        self.at.set(at + count);
        Completion::ready((buffer, Ok(count)))
    }

    fn send(&self, data: Vec<View>) -> Completion<io::Result<()>> {
        data.iter().for_each(|view| self.answers.borrow_mut().extend_from_slice(view));
        Completion::ready(Ok(()))
    }

    fn shutdown(&self) {
        self.at.set(self.bytes.len());
        self.closed.set(true);
        if let Some((buffer, completer)) = self.waiting.take() {
            completer.complete((buffer, Ok(0)));
        }
    }

    fn detach(self: Rc<Self>) -> DetachedStream {
        DetachedStream(Box::new(()))
    }
}

/// What an accept waits for.
type Accepting = Completer<io::Result<(Rc<dyn Stream>, String)>>;

/// Accepts one connection, and others when it is told to.
pub struct Once(RefCell<Option<Rc<Script>>>, RefCell<Option<Accepting>>);

impl Once {
    /// Accepts `script`.
    pub fn new(script: Rc<Script>) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Some(script)), RefCell::default()))
    }

    /// Accepts another one, which it waits for.
    pub fn accept_another(&self, script: Rc<Script>) {
        let completer = self.1.take().expect("the server accepts the next connection");
        completer.complete(Ok((script, "127.0.0.1:1".to_owned())));
    }
}

impl Listener for Once {
    fn local_address(&self) -> Address {
        Address::Unix("/fuzz".into())
    }

    fn accept(&self) -> Completion<io::Result<(Rc<dyn Stream>, String)>> {
        match self.0.take() {
            Some(script) => Completion::ready(Ok((script as Rc<dyn Stream>, "127.0.0.1:1".to_owned()))),
            None => {
                let (completer, completion) = completion();
                *self.1.borrow_mut() = Some(completer);
                completion
            }
        }
    }
}
