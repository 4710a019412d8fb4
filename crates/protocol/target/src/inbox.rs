//! Bytes of a connection that still negotiates, read in small receives.

use std::io;
use std::rc::Rc;

use quarry_env::{BufferPool, Stream};

use crate::limits::RECEIVE;

/// Long replies go out in pieces of this size.
const SEND_BYTES: usize = 64 << 10;

/// What has arrived and was not taken yet. Never more than the longest option that is asked for and one receive.
pub struct Inbox {
    stream: Rc<dyn Stream>,
    buffers: BufferPool,
    bytes: Vec<u8>,
    at: usize,
}

impl Inbox {
    /// Receives from `stream`.
    pub fn new(stream: Rc<dyn Stream>, buffers: BufferPool) -> Self {
        Self { stream, buffers, bytes: Vec::new(), at: 0 }
    }

    async fn receive(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let buffer = self.buffers.allocate(RECEIVE.bytes_min);
        let (buffer, received) = self.stream.receive(buffer, 0).await;
        match received? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// The next `count` bytes.
    pub async fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.bytes.len() - self.at < count {
            self.receive().await?;
        }
        self.at += count;
        Ok(&self.bytes[self.at - count..self.at])
    }

    /// The next `N` bytes.
    pub async fn take_array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.take(N).await?.try_into().expect("as many bytes as were asked for"))
    }

    /// Throws the next `count` bytes away.
    pub async fn skip(&mut self, count: usize) -> io::Result<()> {
        let mut left = count;
        loop {
            let now = left.min(self.bytes.len() - self.at);
            self.at += now;
            left -= now;
            if left == 0 {
                return Ok(());
            }
            self.receive().await?;
        }
    }

    /// Sends `bytes`, if there are any.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(SEND_BYTES) {
            self.stream.send(vec![self.buffers.copy_of(part)]).await?;
        }
        Ok(())
    }

    /// The stream, and what arrived behind the negotiation.
    pub fn into_parts(mut self) -> (Rc<dyn Stream>, Vec<u8>) {
        let rest = self.bytes.split_off(self.at);
        (self.stream, rest)
    }
}
