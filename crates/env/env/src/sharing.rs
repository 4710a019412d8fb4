//! What processes of one machine give each other over a unix socket: files that are memory for both, or signals.

use std::any::Any;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::{Completion, DetachedStream};

/// A file that a peer has given, or that it is to be given. What it is, its user finds out.
pub struct PeerFile(pub Box<dyn Any + Send>);

impl PeerFile {
    /// The same file as a stream that [`Network::attach`](crate::Network::attach) takes, for a peer that has given a socket.
    pub fn into_stream(self) -> DetachedStream {
        DetachedStream(self.0)
    }
}

/// Memory that a peer sees too, and may change at any moment: it is read and written only as volatile memory, never by
/// reference.
pub trait SharedMemory {
    /// Where it begins. It stays there as long as the value lives.
    fn start(&self) -> NonNull<u8>;
    /// How long it is, in bytes.
    fn length(&self) -> usize;
    /// Whether the peer has taken memory away that was used afterwards. What was read of it was zeroes, and what was written is
    /// gone: nothing that was done with it may count.
    fn is_lost(&self) -> bool;
}

/// A signal between two processes (eventfd), with one end here. Dropping it ends a wait.
pub trait PeerEvent {
    /// Completes at the first signal since the last wait completed; at once if there was one already. It may also complete
    /// without any.
    fn wait(&self) -> Completion<io::Result<()>>;
    /// Gives the signal. Signals that the peer has not taken note of become one.
    fn signal(&self);
}

/// Makes memory and signals of what peers give.
pub trait Sharing {
    /// Maps `length` bytes of a file that is memory, from `offset`. Fails for files that do not live in memory: to use them
    /// would mean to wait for whoever holds them.
    fn map(&self, file: &PeerFile, offset: u64, length: usize) -> io::Result<Rc<dyn SharedMemory>>;
    /// New memory of `length` bytes, all zero, and the file by which a peer sees it too.
    fn create(&self, length: usize) -> io::Result<(PeerFile, Rc<dyn SharedMemory>)>;
    /// The end of a signal that a peer has given.
    fn event(&self, file: PeerFile) -> io::Result<Rc<dyn PeerEvent>>;
}
