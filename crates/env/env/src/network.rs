//! Stream sockets.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use crate::disk::Local;
use crate::{Buffer, Completion, PeerFile, Sharing, View};

/// Where a listener listens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket at this path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A stream on its way to another core.
pub struct DetachedStream(pub Box<dyn Any + Send>);

/// Accepts connections.
pub trait Listener {
    /// The address in use, with the port that the system chose when 0 was asked for.
    fn local_address(&self) -> Address;
    /// The next connection and a name for its peer.
    fn accept(&self) -> Completion<io::Result<(Rc<dyn Stream>, String)>>;
}

/// Most files that come along with the bytes of one receive.
pub const PEER_FILES_MAX: usize = 32;

/// The buffer of a receive, and how many bytes and which files have come.
pub type ReceivedWithFiles = (Buffer, io::Result<(usize, Vec<PeerFile>)>);

/// A connected stream socket. At most one receive and one send at a time.
pub trait Stream {
    /// Receives at least one byte behind the first `filled` bytes of `buffer`, at most to its end; 0 means that the
    /// peer has closed. Returns the buffer and the number of bytes received.
    fn receive(&self, buffer: Buffer, filled: usize) -> Completion<(Buffer, io::Result<usize>)>;
    /// Like [`Self::receive`], where everything up to the end of `buffer` is awaited: a world that can wait until it is
    /// all there wakes its caller less often. It may still bring less.
    fn receive_whole(&self, buffer: Buffer, filled: usize) -> Completion<(Buffer, io::Result<usize>)> {
        self.receive(buffer, filled)
    }
    /// Sends all of `data`, one view behind the other.
    fn send(&self, data: Vec<View>) -> Completion<io::Result<()>>;
    /// Like [`Self::receive`], with the files that the peer has sent along with the bytes: at most [`PEER_FILES_MAX`]. Only of unix
    /// sockets, and not of every world.
    fn receive_with_files(&self, buffer: Buffer, filled: usize) -> Completion<ReceivedWithFiles> {
        let _ = filled;
        Completion::ready((buffer, Err(io::ErrorKind::Unsupported.into())))
    }
    /// Like [`Self::send`], with a file that goes along with the bytes.
    fn send_with_file(&self, data: View, file: PeerFile) -> Completion<io::Result<()>> {
        let _ = (data, file);
        Completion::ready(Err(io::ErrorKind::Unsupported.into()))
    }
    /// The address of this side, where it is one of TCP: what the peer has connected to.
    fn local_address(&self) -> Option<SocketAddr> {
        None
    }
    /// Ends both directions; a waiting receive or send of this stream fails or sees the end.
    fn shutdown(&self);
    /// Gives the stream up, to be attached on another core. No receive or send may be under way.
    fn detach(self: Rc<Self>) -> DetachedStream;
}

/// Makes listeners and takes over streams.
pub trait Network {
    /// Listens. A stale unix socket file is replaced; a live one is an error.
    fn listen<'a>(&'a self, address: &'a Address) -> Local<'a, io::Result<Rc<dyn Listener>>>;
    /// Connects as a client.
    fn connect<'a>(&'a self, address: &'a Address) -> Local<'a, io::Result<Rc<dyn Stream>>>;
    /// Makes a stream of another core one of this core.
    fn attach(&self, stream: DetachedStream) -> io::Result<Rc<dyn Stream>>;
    /// Memory and signals that are shared with peers, in a world that has them.
    fn sharing(&self) -> Option<&dyn Sharing> {
        None
    }
}
