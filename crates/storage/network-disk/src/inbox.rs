//! Bytes of a stream as they are wanted.

use std::io;
use std::rc::Rc;

use quarry_env::{Buffer, BufferPool, Stream};

const INBOX_BYTES: usize = 64 << 10;

/// Receives ahead into one buffer, and past it into larger ones.
pub struct Inbox {
    stream: Rc<dyn Stream>,
    buffers: BufferPool,
    /// Out while a receive is under way.
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// What comes in over `stream`.
    pub fn new(stream: Rc<dyn Stream>, buffers: BufferPool) -> Self {
        Self { stream, buffers, buffer: None, start: 0, end: 0 }
    }

    /// The stream.
    pub fn stream(&self) -> &Rc<dyn Stream> {
        &self.stream
    }

    fn ready(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    /// Receives once more behind what is there.
    async fn receive(&mut self) -> io::Result<()> {
        let mut buffer = self.buffer.take().unwrap_or_else(|| self.buffers.allocate(INBOX_BYTES));
        buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let (buffer, received) = self.stream.receive(buffer, self.end).await;
        self.buffer = Some(buffer);
        match received? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// The next bytes, few of them.
    pub async fn take_array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        while self.ready().len() < N {
            self.receive().await?;
        }
        let array = self.ready()[..N].try_into().expect("as many bytes");
        self.start += N;
        Ok(array)
    }

    /// The next `length` bytes, which fit into the inbox.
    pub async fn take_vec(&mut self, length: usize) -> io::Result<Vec<u8>> {
        assert!(length <= INBOX_BYTES, "whoever asks for more has a buffer of its own");
        while self.ready().len() < length {
            self.receive().await?;
        }
        let bytes = self.ready()[..length].to_vec();
        self.start += length;
        Ok(bytes)
    }

    /// Fills `into[at..at + length]`, most of it without a copy. Gives the buffer back as long as it was, filled or not.
    pub async fn take_into(
        &mut self,
        mut into: Buffer,
        at: usize,
        length: usize,
    ) -> (Buffer, io::Result<()>) {
        let whole = into.len();
        let copied = self.ready().len().min(length);
        into[at..at + copied].copy_from_slice(&self.ready()[..copied]);
        self.start += copied;
        let (mut filled, end) = (at + copied, at + length);
        while filled < end {
            into.set_length(end);
            let (mut buffer, received) = self.stream.receive_whole(into, filled).await;
            buffer.set_length(whole);
            into = buffer;
            match received {
                Ok(0) => return (into, Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) => return (into, Err(error)),
            }
        }
        (into, Ok(()))
    }
}
