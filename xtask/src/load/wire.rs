//! A TCP connection, with what is to be sent and what has arrived.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// Nothing takes longer than this, or the load has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const RECEIVE_BYTES: usize = 512 << 10;

/// Bytes in both directions.
pub struct Wire {
    stream: TcpStream,
    /// To be sent.
    pub out: Vec<u8>,
    arrived: Vec<u8>,
    at: usize,
}

impl Wire {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("nobody listens on {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, out: Vec::new(), arrived: Vec::new(), at: 0 })
    }

    /// What has arrived and was not taken.
    pub fn bytes(&self) -> &[u8] {
        &self.arrived[self.at..]
    }

    /// Takes so many bytes off.
    pub fn advance(&mut self, count: usize) {
        self.at += count;
    }

    /// Sends what is to be sent.
    pub fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out).context("sending")?;
        self.out.clear();
        Ok(())
    }

    /// Sends what the socket takes now and receives what is there, after waiting for either. Does not wait for a server that waits
    /// for us to receive.
    pub fn turn(&mut self) -> Result<()> {
        let mut interest = PollFlags::IN;
        if !self.out.is_empty() {
            interest |= PollFlags::OUT;
        }
        let mut events = [PollFd::new(&self.stream, interest)];
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        ensure!(poll(&mut events, Some(&patience))? > 0, "the server says nothing for {PATIENCE:?}");
        let ready = events[0].revents();
        if ready.contains(PollFlags::OUT) {
            let sent = match send(&self.stream, &self.out, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => 0,
                Err(error) => return Err(error).context("sending"),
            };
            self.out.drain(..sent);
        }
        // An end or an error of the connection shows as data that can be received.
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.receive()?;
        }
        Ok(())
    }

    /// Receives what is there already, without waiting.
    pub fn receive_what_is_there(&mut self) -> Result<()> {
        let mut events = [PollFd::new(&self.stream, PollFlags::IN)];
        if poll(&mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0 {
            self.receive()?;
        }
        Ok(())
    }

    /// Waits for more bytes.
    pub fn receive(&mut self) -> Result<()> {
        self.arrived.drain(..self.at);
        self.at = 0;
        let filled = self.arrived.len();
        self.arrived.resize(filled + RECEIVE_BYTES, 0);
        let count = self.stream.read(&mut self.arrived[filled..]).context("receiving")?;
        self.arrived.truncate(filled + count);
        ensure!(count > 0, "the server has closed the connection");
        Ok(())
    }

    /// Waits until so many bytes are there.
    pub fn require(&mut self, count: usize) -> Result<&[u8]> {
        while self.bytes().len() < count {
            self.receive()?;
        }
        Ok(&self.bytes()[..count])
    }
}
