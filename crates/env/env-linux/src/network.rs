//! Sockets of one core: listening, connecting, and taking over streams of other cores.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;

use io_uring::opcode;
use io_uring::squeue::Entry;
use quarry_env::{Address, Completer, DetachedStream, Listener, Network, Sharing, Stream, completion};
use rustix::net::SocketAddrAny;

use crate::listener::SystemListener;
use crate::op::Op;
use crate::ring::Ring;
use crate::socket::{self, Socket};
use crate::stream::SystemStream;

type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The machine's network, for one core.
pub(crate) struct SystemNetwork {
    pub(crate) ring: Rc<Ring>,
}

impl SystemNetwork {
    pub(crate) fn new(ring: Rc<Ring>) -> Self {
        Self { ring }
    }

    async fn connect_to(&self, address: &Address) -> io::Result<Rc<dyn Stream>> {
        let socket = Socket::new(self.ring.clone(), socket::open(address)?);
        let (completer, completion) = completion();
        let address = Box::new(socket::any(address)?);
        self.ring.start(Op::Connect(Connect { socket, address, completer }));
        let fd = completion.await?;
        socket::tune(&fd);
        Ok(SystemStream::new(self.ring.clone(), fd))
    }
}

impl Network for SystemNetwork {
    fn listen<'a>(&'a self, address: &'a Address) -> Local<'a, io::Result<Rc<dyn Listener>>> {
        Box::pin(async move { SystemListener::open(self.ring.clone(), address) })
    }

    fn connect<'a>(&'a self, address: &'a Address) -> Local<'a, io::Result<Rc<dyn Stream>>> {
        Box::pin(self.connect_to(address))
    }

    fn attach(&self, stream: DetachedStream) -> io::Result<Rc<dyn Stream>> {
        let fd = stream.0.downcast::<OwnedFd>().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "the stream comes from another kind of network")
        })?;
        Ok(SystemStream::new(self.ring.clone(), *fd))
    }

    fn sharing(&self) -> Option<&dyn Sharing> {
        Some(self)
    }
}

/// A connect in flight.
pub(crate) struct Connect {
    socket: Rc<Socket>,
    /// Boxed, so that it stays where it is while the kernel reads it.
    address: Box<SocketAddrAny>,
    completer: Completer<io::Result<OwnedFd>>,
}

impl Connect {
    pub(crate) fn entry(&mut self) -> Entry {
        let target = self.socket.target;
        let connect =
            opcode::Connect::new(target.fd(), self.address.as_ptr().cast(), self.address.addr_len());
        target.mark(connect.build())
    }

    pub(crate) fn complete(self, result: io::Result<u32>) {
        let socket = Rc::into_inner(self.socket).expect("only the operation holds the socket");
        self.completer.complete(result.map(|_| socket.into_fd()));
    }
}
