//! An open socket as one ring sees it, and the few calls on sockets that are not worth an operation.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use quarry_env::Address;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, shutdown, socket_with,
    sockopt,
};

use crate::fixed::Target;
use crate::ring::Ring;

/// A socket that is registered with a ring. Operations in flight hold it; the last holder closes it.
pub(crate) struct Socket {
    pub(crate) ring: Rc<Ring>,
    pub(crate) target: Target,
    slot: Option<u32>,
    fd: Option<OwnedFd>,
}

impl Socket {
    pub(crate) fn new(ring: Rc<Ring>, fd: OwnedFd) -> Rc<Self> {
        let (target, slot) = ring.register_file(fd.as_raw_fd());
        Rc::new(Self { ring, target, slot, fd: Some(fd) })
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        self.fd.as_ref().expect("a socket has its descriptor until it is taken apart")
    }

    /// Ends both directions: operations in flight fail or see the end. Of a listener, ends accepting.
    pub(crate) fn end(&self) {
        // Fails when the peer has ended the connection before, which is what is wanted.
        let _ = shutdown(self.fd(), Shutdown::Both);
    }

    /// Closing resets the connection. Best effort: a unix socket has nothing that could arrive late.
    pub(crate) fn set_abortive(&self) {
        let _ = sockopt::set_socket_linger(self.fd(), Some(Duration::ZERO));
    }

    /// Our address, of a socket that has an internet address.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        rustix::net::getsockname(self.fd()).ok()?.try_into().ok()
    }

    /// Takes the descriptor out of the ring.
    pub(crate) fn into_fd(mut self) -> OwnedFd {
        self.fd.take().expect("a socket has its descriptor until it is taken apart")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.ring.unregister_file(slot);
        }
    }
}

/// A new socket for `address`.
pub(crate) fn open(address: &Address) -> io::Result<OwnedFd> {
    let family = match address {
        Address::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
        Address::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
        Address::Unix(_) => AddressFamily::UNIX,
    };
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// The address as the system calls take it.
pub(crate) fn any(address: &Address) -> io::Result<SocketAddrAny> {
    Ok(match address {
        Address::Tcp(address) => (*address).into(),
        Address::Unix(path) => SocketAddrUnix::new(path.as_path())?.into(),
    })
}

/// What the kernel holds of what a peer on the same machine has not taken yet; as far as `net.core.wmem_max` allows. A few
/// large replies fit in, so that a send seldom has to wait for the peer and then be gone on with.
const UNIX_SEND_BUFFER_BYTES: usize = 512 << 10;

/// A peer on TCP that nothing is heard of is asked whether it is there after a minute, and given up two minutes after it was heard last.
/// The kernel would wait for two hours, and with it what the peer holds: memory, a place among the sessions, reservations.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_COUNT: u32 = 6;

/// Sets a connected socket up for requests and replies. Best effort: it works without. TCP chooses its buffers itself.
pub(crate) fn tune(fd: &OwnedFd) {
    if matches!(sockopt::socket_domain(fd), Ok(AddressFamily::UNIX)) {
        let _ = sockopt::set_socket_send_buffer_size(fd, UNIX_SEND_BUFFER_BYTES);
    } else {
        let _ = sockopt::set_tcp_nodelay(fd, true);
        let _ = sockopt::set_socket_keepalive(fd, true);
        let _ = sockopt::set_tcp_keepidle(fd, KEEP_ALIVE_IDLE);
        let _ = sockopt::set_tcp_keepintvl(fd, KEEP_ALIVE_INTERVAL);
        let _ = sockopt::set_tcp_keepcnt(fd, KEEP_ALIVE_COUNT);
    }
}

/// A name for the other end of a connected socket.
pub(crate) fn peer_name(fd: &OwnedFd) -> String {
    if let Ok(Some(peer)) = rustix::net::getpeername(fd)
        && let Ok(address) = SocketAddr::try_from(peer)
    {
        return address.to_string();
    }
    match sockopt::socket_peercred(fd) {
        Ok(peer) => format!("unix socket, process {}", peer.pid.as_raw_nonzero()),
        Err(_) => "unix socket".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_are_gone_are_noticed_in_two_minutes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        let accepted = OwnedFd::from(listener.accept().expect("it has connected").0);
        tune(&accepted);
        assert_eq!(sockopt::socket_keepalive(&accepted), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(&accepted), Ok(KEEP_ALIVE_IDLE));
        assert_eq!(sockopt::tcp_keepintvl(&accepted), Ok(KEEP_ALIVE_INTERVAL));
        assert_eq!(sockopt::tcp_keepcnt(&accepted), Ok(KEEP_ALIVE_COUNT));
        assert_eq!(KEEP_ALIVE_IDLE + KEEP_ALIVE_INTERVAL * KEEP_ALIVE_COUNT, Duration::from_secs(120));
    }
}
