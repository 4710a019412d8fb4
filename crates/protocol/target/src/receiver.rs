//! Bytes from the client: one large receive that is parsed for many requests, or one large payload received to where it
//! stays. At most one receive is under way.
//!
//! Small payloads are views of the receive, so a receive's memory lives until the last of them is written. The size of
//! the next receive follows the traffic, which keeps an idle session small and a pinned receive well filled.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use quarry_env::{Buffer, BufferPool, Completion, Stream, View};

/// How much is received at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveSizes {
    /// An idle session holds no more.
    pub bytes_min: usize,
    /// First receive of a session.
    pub bytes_start: usize,
    /// Largest receive that is parsed for requests.
    pub bytes_max: usize,
}

/// A receive that was started.
struct UnderWay {
    completion: Completion<(Buffer, io::Result<usize>)>,
    filled: usize,
}

/// A payload with memory of its own.
struct Payload {
    /// Away while a receive into it is under way.
    buffer: Option<Buffer>,
    filled: usize,
    end: usize,
    /// The length of the buffer, of which a receive sees no more than up to `end`.
    length: usize,
}

/// The receiving side of a session.
pub struct Receiver {
    stream: Rc<dyn Stream>,
    buffers: BufferPool,
    /// The last receive; `at` bytes of it are done with.
    received: Option<View>,
    at: usize,
    /// Whether a request holds a part of it.
    shared: bool,
    payload: Option<Payload>,
    under_way: Option<UnderWay>,
    next_bytes: usize,
    sizes: ReceiveSizes,
}

impl Receiver {
    /// Receives from `stream`, behind the bytes in `rest` that came during the negotiation.
    pub fn new(stream: Rc<dyn Stream>, buffers: BufferPool, rest: &[u8], sizes: ReceiveSizes) -> Self {
        let received = (!rest.is_empty()).then(|| buffers.copy_of(rest));
        Self {
            stream,
            buffers,
            received,
            at: 0,
            shared: false,
            payload: None,
            under_way: None,
            next_bytes: sizes.bytes_start,
            sizes,
        }
    }

    /// What has arrived and was not taken yet.
    pub fn bytes(&self) -> &[u8] {
        self.received.as_ref().map_or(&[], |view| &view[self.at..])
    }

    /// What a payload keeps from being used again while it lies in this receive.
    pub fn pinned_bytes(&self) -> usize {
        self.received.as_ref().map_or(0, |view| view.len())
    }

    /// Is done with the next `count` bytes, which are there.
    pub fn advance(&mut self, count: usize) {
        self.at += count;
    }

    /// Takes the next `count` bytes, which are there, without a copy.
    pub fn take(&mut self, count: usize) -> View {
        let view = self.received.as_ref().expect("the bytes are there").slice(self.at..self.at + count);
        self.at += count;
        self.shared = true;
        view
    }

    /// Throws away up to `count` of the bytes that are there; how many.
    pub fn skip(&mut self, count: u64) -> u64 {
        let skipped = count.min(self.bytes().len() as u64);
        self.at += skipped as usize;
        skipped
    }

    /// Receives the next bytes, of which some are missing, into `buffer` from `at` to `end`.
    pub fn begin_payload(&mut self, mut buffer: Buffer, at: usize, end: usize) {
        let arrived = self.bytes().len().min(end - at);
        buffer[at..at + arrived].copy_from_slice(&self.bytes()[..arrived]);
        self.at += arrived;
        let length = buffer.len();
        self.payload = Some(Payload { buffer: Some(buffer), filled: at + arrived, end, length });
        // Behind a large payload comes its like more often than not: take in little with its header.
        self.next_bytes = self.sizes.bytes_min;
    }

    /// Whether a large payload is on its way.
    pub fn awaits_payload(&self) -> bool {
        self.payload.is_some()
    }

    /// The large payload, once it is complete.
    pub fn take_payload(&mut self) -> Option<Buffer> {
        let payload = self.payload.take_if(|payload| payload.filled == payload.end)?;
        Some(payload.buffer.expect("it came back with the last receive"))
    }

    /// Receives more, until there are at least `wanted` bytes in one piece or some of the large payload. The number of
    /// bytes that came; 0 when the client has closed.
    pub fn poll_more(&mut self, wanted: usize, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let under_way = match &mut self.under_way {
            Some(under_way) => under_way,
            None => {
                let started = self.start(wanted);
                self.under_way.insert(started)
            }
        };
        let Poll::Ready((buffer, result)) = Pin::new(&mut under_way.completion).poll(context) else {
            return Poll::Pending;
        };
        let filled = under_way.filled + result.as_ref().copied().unwrap_or(0);
        self.under_way = None;
        match &mut self.payload {
            Some(payload) => {
                let mut buffer = buffer;
                buffer.set_length(payload.length);
                payload.filled = filled;
                payload.buffer = Some(buffer);
            }
            None => self.received(buffer, filled),
        }
        Poll::Ready(result)
    }

    fn start(&mut self, wanted: usize) -> UnderWay {
        if let Some(payload) = &mut self.payload {
            let mut buffer = payload.buffer.take().expect("no receive into it is under way");
            let filled = payload.filled;
            buffer.set_length(payload.end);
            return UnderWay { completion: self.stream.receive_whole(buffer, filled), filled };
        }
        let (buffer, filled) = self.next_buffer(wanted);
        UnderWay { completion: self.stream.receive(buffer, filled), filled }
    }

    /// Memory for the next receive, which begins with what is left of the last one.
    fn next_buffer(&mut self, wanted: usize) -> (Buffer, usize) {
        let (at, shared) = (std::mem::take(&mut self.at), std::mem::take(&mut self.shared));
        let size = self.next_bytes.max(wanted);
        let Some(last) = self.received.take() else { return (self.buffers.allocate(size), 0) };
        let left = last.len() - at;
        // Nobody holds a part of it, so the same memory does again.
        let last = match if shared { Err(last) } else { last.try_thaw() } {
            Ok(mut buffer) if buffer.capacity() >= size && buffer.capacity() <= 2 * size => {
                buffer.copy_within(at..at + left, 0);
                buffer.set_length(size);
                return (buffer, left);
            }
            Ok(buffer) => buffer.freeze(),
            Err(view) => view,
        };
        let mut buffer = self.buffers.allocate(size);
        buffer[..left].copy_from_slice(&last[at..]);
        (buffer, left)
    }

    fn received(&mut self, mut buffer: Buffer, filled: usize) {
        let size = buffer.len();
        if filled == size {
            self.next_bytes = (size * 4).min(self.sizes.bytes_max);
        } else if filled <= size / 8 {
            self.next_bytes = (size / 2).max(self.sizes.bytes_min);
        }
        buffer.set_length(filled);
        self.received = (filled > 0).then(|| buffer.freeze());
    }
}
