//! Connected stream sockets.

mod files;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use io_uring::squeue::Entry;
use io_uring::{cqueue, opcode};
use quarry_env::{
    Buffer, Completer, Completion, DetachedStream, PeerFile, ReceivedWithFiles, Stream, View, completion,
};

use crate::gather::{self, Gather};
use crate::op::Op;
use crate::ring::Ring;
use crate::socket::Socket;

pub(crate) use files::{ReceiveFiles, SendFile};

/// `IORING_RECVSEND_POLL_FIRST` of linux/io_uring.h: do not try before the socket says that it has something.
const POLL_FIRST: u16 = 1;

/// A connection on one core.
pub(crate) struct SystemStream {
    /// Empty once the stream was detached.
    connection: RefCell<Option<Rc<Connection>>>,
}

/// What operations in flight hold of a stream.
struct Connection {
    socket: Rc<Socket>,
    /// Whether more data was there when the last receive ended.
    more_waits: Cell<bool>,
}

impl SystemStream {
    pub(crate) fn new(ring: Rc<Ring>, fd: OwnedFd) -> Rc<Self> {
        let connection = Connection { socket: Socket::new(ring, fd), more_waits: Cell::new(false) };
        Rc::new(Self { connection: RefCell::new(Some(Rc::new(connection))) })
    }

    fn connection(&self) -> io::Result<Rc<Connection>> {
        self.connection.borrow().clone().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl SystemStream {
    /// Receives with `flags` of recv(2).
    fn start_receive(
        &self,
        buffer: Buffer,
        filled: usize,
        flags: i32,
    ) -> Completion<(Buffer, io::Result<usize>)> {
        assert!(filled < buffer.len(), "a receive has room for at least one byte");
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(error) => return Completion::ready((buffer, Err(error))),
        };
        let (completer, completion) = completion();
        let ring = connection.socket.ring.clone();
        ring.start(Op::Receive(Receive { connection, buffer, filled, flags, completer }));
        completion
    }
}

impl Stream for SystemStream {
    fn receive(&self, buffer: Buffer, filled: usize) -> Completion<(Buffer, io::Result<usize>)> {
        self.start_receive(buffer, filled, 0)
    }

    fn receive_whole(&self, buffer: Buffer, filled: usize) -> Completion<(Buffer, io::Result<usize>)> {
        self.start_receive(buffer, filled, libc::MSG_WAITALL)
    }

    fn send(&self, data: Vec<View>) -> Completion<io::Result<()>> {
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(error) => return Completion::ready(Err(error)),
        };
        let length = gather::length(&data);
        if length == 0 {
            return Completion::ready(Ok(()));
        }
        let (completer, completion) = completion();
        let ring = connection.socket.ring.clone();
        let gather = (!gather::is_contiguous(&data)).then(|| ring.gathers.take());
        ring.start(Op::Send(Send { connection, data, length, gather, done: 0, completer }));
        completion
    }

    fn receive_with_files(&self, buffer: Buffer, filled: usize) -> Completion<ReceivedWithFiles> {
        assert!(filled < buffer.len(), "a receive has room for at least one byte");
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(error) => return Completion::ready((buffer, Err(error))),
        };
        let (completer, completion) = completion();
        let ring = connection.socket.ring.clone();
        ring.start(Op::ReceiveFiles(ReceiveFiles::new(connection, buffer, filled, completer)));
        completion
    }

    fn send_with_file(&self, data: View, file: PeerFile) -> Completion<io::Result<()>> {
        let (connection, file) = match (self.connection(), file.0.downcast::<OwnedFd>()) {
            (Ok(connection), Ok(file)) => (connection, *file),
            (Err(error), _) => return Completion::ready(Err(error)),
            (_, Err(_)) => return Completion::ready(Err(io::ErrorKind::InvalidInput.into())),
        };
        let (completer, completion) = completion();
        let ring = connection.socket.ring.clone();
        ring.start(Op::SendFile(SendFile::new(connection, data, file, completer)));
        completion
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.connection().ok()?.socket.local_address()
    }

    fn shutdown(&self) {
        if let Ok(connection) = self.connection() {
            connection.socket.end();
        }
    }

    fn detach(self: Rc<Self>) -> DetachedStream {
        let connection = self.connection.borrow_mut().take().expect("a stream is detached once");
        let alone = Rc::into_inner(connection).and_then(|connection| Rc::into_inner(connection.socket));
        let socket = alone.expect("no receive or send is under way on a stream that is detached");
        DetachedStream(Box::new(socket.into_fd()))
    }
}

impl Drop for SystemStream {
    /// Closes the connection, behind operations in flight: those end now, since nobody can end them later. Data that
    /// the kernel has taken is still delivered.
    fn drop(&mut self) {
        if let Some(connection) = self.connection.get_mut()
            && Rc::strong_count(connection) > 1
        {
            connection.socket.end();
        }
    }
}

/// A receive in flight.
pub(crate) struct Receive {
    connection: Rc<Connection>,
    buffer: Buffer,
    filled: usize,
    flags: i32,
    completer: Completer<(Buffer, io::Result<usize>)>,
}

impl Receive {
    pub(crate) fn entry(&mut self) -> Entry {
        let target = self.connection.socket.target;
        let room = &mut self.buffer[self.filled..];
        let length = gather::request_bytes(room.len());
        let hint = if self.connection.more_waits.get() { 0 } else { POLL_FIRST };
        let receive = opcode::Recv::new(target.fd(), room.as_mut_ptr(), length);
        target.mark(receive.flags(self.flags).ioprio(hint).build())
    }

    pub(crate) fn complete(self, result: io::Result<u32>, flags: u32) {
        self.connection.more_waits.set(cqueue::sock_nonempty(flags));
        self.completer.complete((self.buffer, result.map(|count| count as usize)));
    }
}

/// A send in flight.
pub(crate) struct Send {
    connection: Rc<Connection>,
    data: Vec<View>,
    length: usize,
    done: usize,
    /// Present when the data is not one range of memory.
    gather: Option<Box<Gather>>,
    completer: Completer<io::Result<()>>,
}

impl Send {
    pub(crate) fn entry(&mut self) -> Entry {
        let target = self.connection.socket.target;
        // The kernel itself goes on after a partial send, as far as it can.
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        target.mark(match &mut self.gather {
            Some(gather) => {
                gather.point_to(&self.data, self.done);
                opcode::SendMsg::new(target.fd(), gather.message()).flags(flags as u32).build()
            }
            None => {
                let (start, length) = gather::contiguous(&self.data, self.done..self.length);
                opcode::Send::new(target.fd(), start, length).flags(flags).build()
            }
        })
    }

    pub(crate) fn complete(mut self, result: io::Result<u32>) -> Option<Self> {
        let result = match result {
            Err(error) => Err(error),
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                self.done += count as usize;
                if self.done < self.length {
                    return Some(self);
                }
                Ok(())
            }
        };
        if let Some(gather) = self.gather {
            self.connection.socket.ring.gathers.give_back(gather);
        }
        self.completer.complete(result);
        None
    }
}
