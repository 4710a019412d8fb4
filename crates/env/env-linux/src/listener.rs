//! Listening sockets.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use io_uring::opcode;
use io_uring::squeue::Entry;
use quarry_env::{Address, Completer, Completion, Listener, Stream, completion};
use rustix::io::Errno;
use rustix::net::{bind, getsockname, listen, sockopt};

use crate::op::Op;
use crate::ring::Ring;
use crate::socket::{self, Socket};
use crate::stream::SystemStream;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listening socket on one core.
pub(crate) struct SystemListener {
    socket: Rc<Socket>,
    address: Address,
    /// Removed with the listener.
    _socket_file: Option<SocketFile>,
}

/// The file that names a unix socket.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SystemListener {
    /// Listens at `address`.
    pub(crate) fn open(ring: Rc<Ring>, address: &Address) -> io::Result<Rc<dyn Listener>> {
        let fd = socket::open(address)?;
        let socket_file = match address {
            Address::Tcp(_) => {
                sockopt::set_socket_reuseaddr(&fd, true)?;
                bind(&fd, &socket::any(address)?)?;
                None
            }
            Address::Unix(path) => {
                bind_unix(&fd, address, path)?;
                SocketFile::at(path)
            }
        };
        listen(&fd, BACKLOG)?;
        let address = match address {
            Address::Tcp(_) => Address::Tcp(getsockname(&fd)?.try_into()?),
            Address::Unix(_) => address.clone(),
        };
        Ok(Rc::new(Self { socket: Socket::new(ring, fd), address, _socket_file: socket_file }))
    }
}

/// Binds to a path; a socket file there that nobody listens on any more is replaced.
fn bind_unix(fd: &OwnedFd, address: &Address, path: &Path) -> io::Result<()> {
    let name = socket::any(address)?;
    match bind(fd, &name) {
        Err(Errno::ADDRINUSE) if is_stale(address, path)? => {
            fs::remove_file(path)?;
            Ok(bind(fd, &name)?)
        }
        result => Ok(result?),
    }
}

/// Whether `path` is a socket that refuses connections.
fn is_stale(address: &Address, path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = socket::open(address)?;
    Ok(rustix::net::connect(&probe, &socket::any(address)?) == Err(Errno::CONNREFUSED))
}

impl SocketFile {
    fn at(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let identity = Self::identity(&path)?;
        Some(Self { path, identity })
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Not when a successor has put its own there.
        if Self::identity(&self.path) == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener for SystemListener {
    fn local_address(&self) -> Address {
        self.address.clone()
    }

    fn accept(&self) -> Completion<io::Result<(Rc<dyn Stream>, String)>> {
        let (completer, completion) = completion();
        self.socket.ring.start(Op::Accept(Accept { socket: self.socket.clone(), completer }));
        completion
    }
}

impl Drop for SystemListener {
    fn drop(&mut self) {
        // An accept in flight would keep the socket listening.
        self.socket.end();
    }
}

/// An accept in flight.
pub(crate) struct Accept {
    socket: Rc<Socket>,
    completer: Completer<io::Result<(Rc<dyn Stream>, String)>>,
}

impl Accept {
    pub(crate) fn entry(&mut self) -> Entry {
        let target = self.socket.target;
        let (no_address, no_length) = (std::ptr::null_mut(), std::ptr::null_mut());
        let accept = opcode::Accept::new(target.fd(), no_address, no_length).flags(libc::SOCK_CLOEXEC);
        target.mark(accept.build())
    }

    pub(crate) fn complete(self, result: io::Result<u32>) {
        let accepted = result.map(|fd| {
            // SAFETY: the kernel has just made this descriptor for us.
            let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
            socket::tune(&fd);
            let peer = socket::peer_name(&fd);
            (SystemStream::new(self.socket.ring.clone(), fd) as Rc<dyn Stream>, peer)
        });
        self.completer.complete(accepted);
    }
}
