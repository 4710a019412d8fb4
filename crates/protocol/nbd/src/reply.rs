//! Replies on their way out: headers packed into shared memory, data as views of where it lies, many in one send.

use std::collections::VecDeque;

use quarry_env::{BufferPool, View};
use quarry_target::{Gather, HEAD_BYTES};
use quarry_volume::{Extent, ExtentKind, Views};

use crate::constants::{allocation, chunks};
use crate::limits::{MESSAGE_BYTES_MAX, SEND_BYTES_MAX};
use crate::request::CONTEXT_ID;
use crate::status::Errno;
use crate::wire::{Put, READ_HEADER_BYTES_MAX, RequestHeader, SIMPLE_REPLY_BYTES, Style, chunk_header_bytes};
use crate::work::Admitted;

/// Bytes of an error chunk around its message: header, error, message length, offset.
const ERROR_BYTES_MAX: usize = 32 + 4 + 2 + 8;

const _: () =
    assert!(READ_HEADER_BYTES_MAX <= HEAD_BYTES && ERROR_BYTES_MAX + MESSAGE_BYTES_MAX <= HEAD_BYTES);

/// What a client is told when a request fails.
pub(crate) struct Failure<'a> {
    pub(crate) error: Errno,
    /// For people; cut to [`MESSAGE_BYTES_MAX`].
    pub(crate) message: &'a str,
    /// The first byte that is concerned, where it is known.
    pub(crate) offset: Option<u64>,
}

/// The replies of one send.
#[derive(Default)]
pub(crate) struct Batch {
    /// What is sent, one view behind the other.
    pub(crate) views: Vec<View>,
    /// How many requests they answer.
    pub(crate) requests: usize,
    /// What those requests hold until it is sent.
    pub(crate) held_bytes: u64,
}

/// Collects replies into batches.
pub(crate) struct Outbox {
    buffers: BufferPool,
    style: Style,
    gather: Gather,
    bytes: usize,
    batch: Batch,
    full: VecDeque<Batch>,
}

impl Outbox {
    pub(crate) fn new(buffers: BufferPool, style: Style) -> Self {
        Self {
            gather: Gather::new(buffers.clone()),
            buffers,
            style,
            bytes: 0,
            batch: Batch::default(),
            full: VecDeque::new(),
        }
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.requests == 0 && self.full.is_empty()
    }

    /// The next batch.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.full.is_empty() && self.batch.requests > 0 {
            self.close_batch();
        }
        self.full.pop_front()
    }

    /// Answers a read by its data, of which there is at least one byte.
    pub(crate) fn data(&mut self, request: &Admitted, data: Views) {
        let (style, header) = (self.style, request.header);
        let length = header.length as usize;
        self.head(READ_HEADER_BYTES_MAX, |put| match style {
            Style::Simple => {
                put.simple_reply(0, header.cookie);
            }
            Style::Structured | Style::Extended => {
                put.last_chunk(style, chunks::OFFSET_DATA, &header, 8 + length).u64(header.offset);
            }
        });
        self.gather.data(data);
        self.answered(request, length);
    }

    /// Answers a request that has no data to bring.
    pub(crate) fn success(&mut self, request: &Admitted) {
        let (style, header) = (self.style, request.header);
        self.head(READ_HEADER_BYTES_MAX, |put| match style {
            // Only a read must be answered by chunks when replies are structured; a simple reply is shorter.
            Style::Structured if header.command != crate::constants::commands::READ => {
                put.simple_reply(0, header.cookie);
            }
            Style::Simple => {
                put.simple_reply(0, header.cookie);
            }
            Style::Structured | Style::Extended => {
                put.last_chunk(style, chunks::NONE, &header, 0);
            }
        });
        self.answered(request, 0);
    }

    /// Answers by an error.
    pub(crate) fn failure(&mut self, request: &Admitted, failure: &Failure<'_>) {
        let (style, header) = (self.style, request.header);
        let message = &failure.message[..failure.message.floor_char_boundary(MESSAGE_BYTES_MAX)];
        self.head(ERROR_BYTES_MAX + message.len(), |put| {
            if style == Style::Simple {
                put.simple_reply(failure.error as u32, header.cookie);
                return;
            }
            let (kind, extra) = match failure.offset {
                Some(_) => (chunks::ERROR_OFFSET, 8),
                None => (chunks::ERROR, 0),
            };
            put.last_chunk(style, kind, &header, 6 + message.len() + extra);
            put.u32(failure.error as u32).u16(message.len() as u16).slice(message.as_bytes());
            if let Some(offset) = failure.offset {
                put.u64(offset);
            }
        });
        self.answered(request, 0);
    }

    /// Answers `BLOCK_STATUS` by at least one extent.
    pub(crate) fn extents(&mut self, request: &Admitted, extents: &[Extent]) {
        let style = self.style;
        let (prefix, each) = if style == Style::Extended { (8, 16) } else { (4, 8) };
        let payload = prefix + each * extents.len();
        let mut buffer = self.buffers.allocate(chunk_header_bytes(style) + payload);
        let mut put = Put::new(&mut buffer);
        if style == Style::Extended {
            put.last_chunk(style, chunks::BLOCK_STATUS_EXT, &request.header, payload);
            put.u32(CONTEXT_ID).u32(extents.len() as u32);
        } else {
            put.last_chunk(style, chunks::BLOCK_STATUS, &request.header, payload).u32(CONTEXT_ID);
        }
        for extent in extents {
            let (length, state) = (extent.range.end - extent.range.start, state(extent.kind));
            match style {
                Style::Extended => put.u64(length).u64(u64::from(state)),
                // A compact request is no longer than 32 bits, and its extents lie inside its range.
                Style::Simple | Style::Structured => put.u32(length as u32).u32(state),
            };
        }
        self.gather.data([buffer.freeze()]);
        self.answered(request, payload);
    }

    /// Has `write` put a header of at most `bytes_max` bytes behind what is there.
    fn head(&mut self, bytes_max: usize, write: impl FnOnce(&mut Put<'_>)) {
        self.bytes += self.gather.head(bytes_max, |bytes| {
            let mut put = Put::new(bytes);
            write(&mut put);
            put.written()
        });
    }

    /// Ends a reply with `length` bytes of data.
    fn answered(&mut self, request: &Admitted, length: usize) {
        self.bytes += length;
        self.batch.requests += 1;
        self.batch.held_bytes += request.held_bytes;
        if self.bytes >= SEND_BYTES_MAX {
            self.close_batch();
        }
    }

    fn close_batch(&mut self) {
        self.batch.views = self.gather.take();
        self.bytes = 0;
        self.full.push_back(std::mem::take(&mut self.batch));
    }
}

/// The state of an extent in `base:allocation`.
fn state(kind: ExtentKind) -> u32 {
    match kind {
        ExtentKind::Data => 0,
        ExtentKind::Hole => allocation::HOLE | allocation::ZERO,
    }
}

/// A request without the memory that it would hold, for one that is answered at once.
pub(crate) fn unheld(header: RequestHeader) -> Admitted {
    Admitted { header, held_bytes: 0 }
}

const _: () = assert!(SIMPLE_REPLY_BYTES <= READ_HEADER_BYTES_MAX);
