//! Files that travel along with the bytes of a unix socket (SCM_RIGHTS, unix(7)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::opcode;
use io_uring::squeue::Entry;
use quarry_env::{Buffer, Completer, PEER_FILES_MAX, PeerFile, ReceivedWithFiles, View};

use super::Connection;

/// Room for the control data of [`PEER_FILES_MAX`] files, in words so that it is aligned.
const CONTROL_WORDS: usize = 2 + PEER_FILES_MAX * size_of::<RawFd>() / size_of::<u64>() + 1;

/// A message header with what it points to. Boxed, so that it stays where it is while the kernel uses it.
struct Message {
    header: libc::msghdr,
    range: libc::iovec,
    control: [u64; CONTROL_WORDS],
}

impl Message {
    fn new() -> Box<Self> {
        // SAFETY: all-zero is a valid value of every field: null pointers, lengths of 0 and numbers.
        unsafe { Box::new(std::mem::zeroed()) }
    }

    /// Points to `length` bytes at `start` and to the first `control_bytes` of the control data.
    fn point_to(&mut self, start: *mut u8, length: usize, control_bytes: usize) -> *mut libc::msghdr {
        self.range = libc::iovec { iov_base: start.cast(), iov_len: length };
        self.header.msg_iov = &raw mut self.range;
        self.header.msg_iovlen = 1;
        self.header.msg_control = self.control.as_mut_ptr().cast();
        self.header.msg_controllen = control_bytes as _;
        &raw mut self.header
    }

    /// The files in the control data that the kernel has filled in. They belong to the caller: called once.
    fn take_files(&mut self) -> Vec<OwnedFd> {
        let mut files = Vec::new();
        // SAFETY: the header is that of a receive which has ended; the macros walk its control data, which is in `self`.
        // Each descriptor in it was made by the kernel for this process, and nobody else has read it.
        unsafe {
            let mut part = libc::CMSG_FIRSTHDR(&raw const self.header);
            while !part.is_null() {
                if ((*part).cmsg_level, (*part).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                    let data = libc::CMSG_DATA(part);
                    let bytes = (*part).cmsg_len as usize - (data as usize - part as usize);
                    for index in 0..bytes / size_of::<RawFd>() {
                        let fd = data.cast::<RawFd>().add(index).read_unaligned();
                        files.push(OwnedFd::from_raw_fd(fd));
                    }
                }
                part = libc::CMSG_NXTHDR(&raw const self.header, part);
            }
        }
        files
    }

    /// Makes `file` the control data; returns its length.
    fn put_file(&mut self, file: RawFd) -> usize {
        // SAFETY: CMSG_SPACE and CMSG_LEN compute; the control data has room for one file and is aligned for its header.
        unsafe {
            let space = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize;
            self.point_to(std::ptr::null_mut(), 0, space);
            let part = libc::CMSG_FIRSTHDR(&raw const self.header);
            (*part).cmsg_level = libc::SOL_SOCKET;
            (*part).cmsg_type = libc::SCM_RIGHTS;
            (*part).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(part).cast::<RawFd>().write_unaligned(file);
            space
        }
    }
}

/// A receive in flight that takes files too.
pub(crate) struct ReceiveFiles {
    connection: Rc<Connection>,
    buffer: Buffer,
    filled: usize,
    message: Box<Message>,
    completer: Completer<ReceivedWithFiles>,
}

impl ReceiveFiles {
    pub(super) fn new(
        connection: Rc<Connection>,
        buffer: Buffer,
        filled: usize,
        completer: Completer<ReceivedWithFiles>,
    ) -> Self {
        Self { connection, buffer, filled, message: Message::new(), completer }
    }

    pub(crate) fn entry(&mut self) -> Entry {
        let target = self.connection.socket.target;
        let room = &mut self.buffer[self.filled..];
        let control_bytes = size_of_val(&self.message.control);
        let header = self.message.point_to(room.as_mut_ptr(), room.len(), control_bytes);
        target.mark(opcode::RecvMsg::new(target.fd(), header).flags(libc::MSG_CMSG_CLOEXEC as u32).build())
    }

    pub(crate) fn complete(mut self, result: io::Result<u32>) {
        let received = result.and_then(|count| {
            let files: Vec<OwnedFd> = self.message.take_files();
            if self.message.header.msg_flags & libc::MSG_CTRUNC != 0 {
                let what = format!("more than {PEER_FILES_MAX} files came with one message");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            Ok((count as usize, files.into_iter().map(|file| PeerFile(Box::new(file))).collect()))
        });
        self.completer.complete((self.buffer, received));
    }
}

/// A send in flight with a file.
pub(crate) struct SendFile {
    connection: Rc<Connection>,
    data: View,
    file: OwnedFd,
    message: Box<Message>,
    completer: Completer<io::Result<()>>,
}

impl SendFile {
    pub(super) fn new(
        connection: Rc<Connection>,
        data: View,
        file: OwnedFd,
        completer: Completer<io::Result<()>>,
    ) -> Self {
        Self { connection, data, file, message: Message::new(), completer }
    }

    pub(crate) fn entry(&mut self) -> Entry {
        let target = self.connection.socket.target;
        let control_bytes = self.message.put_file(self.file.as_raw_fd());
        let start = self.data.as_ptr().cast_mut();
        let header = self.message.point_to(start, self.data.len(), control_bytes);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        target.mark(opcode::SendMsg::new(target.fd(), header).flags(flags as u32).build())
    }

    pub(crate) fn complete(self, result: io::Result<u32>) {
        // The kernel goes on after a partial send as long as it can: less is a connection that has broken.
        let whole = |count: u32| match count as usize == self.data.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::WriteZero.into()),
        };
        self.completer.complete(result.and_then(whole));
    }
}
