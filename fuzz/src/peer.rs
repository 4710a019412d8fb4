//! A front end of vhost-user that says what a test wants, with files that are memory or signals of this process.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;

use quarry_env::{
    Address, Buffer, Completion, DetachedStream, Env, Listener, Network, PeerEvent, PeerFile,
    ReceivedWithFiles, SharedMemory, Sharing, Stream, View, completion,
};

type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Most bytes that a file has.
const FILE_BYTES_MAX: usize = 64 << 10;
/// How often a signal is given before it is silent.
const SIGNALS: u32 = 2;

/// A file of a peer: memory of so many bytes, or, of none, a signal.
struct File(usize);

/// A file that comes along with a message.
pub fn file(bytes: usize) -> PeerFile {
    PeerFile(Box::new(File(bytes.min(FILE_BYTES_MAX))))
}

struct Memory(Box<[u64]>);

impl Memory {
    fn new(length: usize) -> Rc<dyn SharedMemory> {
        Rc::new(Self(vec![0; length.div_ceil(8)].into_boxed_slice()))
    }
}

impl SharedMemory for Memory {
    fn start(&self) -> NonNull<u8> {
        NonNull::from(&*self.0).cast()
    }

    fn length(&self) -> usize {
        self.0.len() * 8
    }

    fn is_lost(&self) -> bool {
        false
    }
}

struct Event(Cell<u32>);

impl PeerEvent for Event {
    fn wait(&self) -> Completion<io::Result<()>> {
        match self.0.get() {
            0 => completion().1,
            left => {
                self.0.set(left - 1);
                Completion::ready(Ok(()))
            }
        }
    }

    fn signal(&self) {}
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::InvalidInput.into())
}

/// A network with one listener, which accepts one front end.
pub struct Peer(Rc<FrontEnd>);

impl Sharing for Peer {
    fn map(&self, file: &PeerFile, offset: u64, length: usize) -> io::Result<Rc<dyn SharedMemory>> {
        let bytes = file.0.downcast_ref::<File>().map_or(0, |file| file.0);
        let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(length));
        if length == 0 || end.is_none_or(|end| end > bytes) { refused() } else { Ok(Memory::new(length)) }
    }

    fn create(&self, length: usize) -> io::Result<(PeerFile, Rc<dyn SharedMemory>)> {
        assert!(length <= 16 << 20, "what a front end asks for is bounded");
        Ok((file(length), Memory::new(length)))
    }

    fn event(&self, file: PeerFile) -> io::Result<Rc<dyn PeerEvent>> {
        match file.0.downcast_ref::<File>() {
            Some(File(0)) => Ok(Rc::new(Event(Cell::new(SIGNALS)))),
            _ => refused(),
        }
    }
}

impl Network for Peer {
    fn listen<'a>(&'a self, _: &'a Address) -> Local<'a, io::Result<Rc<dyn Listener>>> {
        let listener: Rc<dyn Listener> = Rc::new(Once(Cell::new(Some(self.0.clone()))));
        Box::pin(async { Ok(listener) })
    }

    fn connect<'a>(&'a self, _: &'a Address) -> Local<'a, io::Result<Rc<dyn Stream>>> {
        Box::pin(async { refused() })
    }

    fn attach(&self, stream: DetachedStream) -> io::Result<Rc<dyn Stream>> {
        // A socket of its own for our messages, which nobody reads.
        drop(stream);
        Ok(FrontEnd::new(VecDeque::new()))
    }

    fn sharing(&self) -> Option<&dyn Sharing> {
        Some(self)
    }
}

struct Once(Cell<Option<Rc<FrontEnd>>>);

impl Listener for Once {
    fn local_address(&self) -> Address {
        Address::Unix("/fuzz".into())
    }

    fn accept(&self) -> Completion<io::Result<(Rc<dyn Stream>, String)>> {
        match self.0.take() {
            Some(front) => Completion::ready(Ok((front as Rc<dyn Stream>, "front end".to_owned()))),
            None => completion().1,
        }
    }
}

/// Bytes, and the files that come with the first of them.
pub type Part = (Vec<u8>, Vec<PeerFile>);

/// Says its parts and goes.
pub struct FrontEnd {
    parts: RefCell<VecDeque<Part>>,
    /// What was answered.
    pub answers: RefCell<Vec<u8>>,
}

impl FrontEnd {
    /// One that says `parts`.
    pub fn new(parts: VecDeque<Part>) -> Rc<Self> {
        Rc::new(Self { parts: RefCell::new(parts), answers: RefCell::default() })
    }

    /// `env` with the network in which it is the peer.
    pub fn network(self: &Rc<Self>, env: Env) -> Env {
        Env { network: Rc::new(Peer(self.clone())), ..env }
    }
}

impl Stream for FrontEnd {
    fn receive(&self, buffer: Buffer, _: usize) -> Completion<(Buffer, io::Result<usize>)> {
        Completion::ready((buffer, Ok(0)))
    }

    fn receive_with_files(&self, mut buffer: Buffer, filled: usize) -> Completion<ReceivedWithFiles> {
        let mut parts = self.parts.borrow_mut();
        let Some((bytes, files)) = parts.front_mut() else {
            return Completion::ready((buffer, Ok((0, Vec::new()))));
        };
        let count = bytes.len().min(buffer.len() - filled);
        buffer[filled..filled + count].copy_from_slice(&bytes[..count]);
        bytes.drain(..count);
        let files = std::mem::take(files);
        if bytes.is_empty() {
            parts.pop_front();
        }
        Completion::ready((buffer, Ok((count, files))))
    }

    fn send(&self, data: Vec<View>) -> Completion<io::Result<()>> {
        data.iter().for_each(|view| self.answers.borrow_mut().extend_from_slice(view));
        Completion::ready(Ok(()))
    }

    fn send_with_file(&self, data: View, _: PeerFile) -> Completion<io::Result<()>> {
        self.send(vec![data])
    }

    fn shutdown(&self) {
        self.parts.borrow_mut().clear();
    }

    fn detach(self: Rc<Self>) -> DetachedStream {
        DetachedStream(Box::new(()))
    }
}
