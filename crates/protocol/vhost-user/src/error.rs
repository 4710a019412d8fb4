//! Why a front end or one of its queues is not served any further.

use std::io;

/// Why a connection ends, or why a message is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The socket has failed.
    #[error("the connection: {0}")]
    Io(#[from] io::Error),
    /// The front end has closed the connection.
    #[error("the front end has closed the connection")]
    Closed,
    /// A message is not one of version 1 of the protocol, or longer than any.
    #[error(
        "a message with request {request}, flags {flags:#x} and {bytes} bytes of payload is none of the protocol"
    )]
    BadHeader { request: u32, flags: u32, bytes: u32 },
    /// A message is of the wrong length.
    #[error("message {request} has {bytes} bytes of payload")]
    BadPayload { request: u32, bytes: usize },
    /// A message is not supported.
    #[error("message {0} is not supported")]
    Unsupported(u32),
    /// Features were acknowledged that were not offered.
    #[error("features {0:#x} were acknowledged and not offered")]
    Features(u64),
    /// The device has fewer queues.
    #[error("queue {index} of {QUEUES_MAX}")]
    NoQueue { index: u64 },
    /// A queue may not have this size.
    #[error("a queue of {0} descriptors: a power of two from 1 to {QUEUE_SIZE_MAX} is needed")]
    QueueSize(u32),
    /// A running queue cannot be changed.
    #[error("queue {index} is running")]
    Running { index: usize },
    /// The addresses of a queue are missing, not aligned or not in the memory of the front end.
    #[error("the rings of queue {index} are not in the memory of the front end")]
    Rings { index: usize },
    /// A message needs as many files.
    #[error("message {request} came with {files} files")]
    Files { request: u32, files: usize },
    /// The table of memory is not one.
    #[error("the memory of the front end: {0}")]
    Memory(String),
    /// The memory for requests in flight does not fit.
    #[error("the memory for requests in flight: {0}")]
    InFlight(&'static str),
    /// A part of the configuration that is not there or cannot be written.
    #[error("{bytes} bytes at {offset} of the configuration")]
    Config { offset: u32, bytes: u32 },
}

use crate::limits::{QUEUE_SIZE_MAX, QUEUES_MAX};

/// Why a queue is not served any further until the driver sets it up anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueueError {
    /// A ring is not in the memory of the front end, or the driver has put more into it than fits.
    #[error("its rings cannot be used")]
    Ring,
    /// A chain begins or goes on at a descriptor that is not there.
    #[error("a descriptor is not in its table")]
    NoDescriptor,
    /// A chain is longer than any request: a loop, most likely.
    #[error("a chain of descriptors has no end")]
    Endless,
    /// A table of descriptors in a table, of a length that none has, or with something behind it.
    #[error("a table of descriptors is not in order")]
    Table,
    /// A part to be written stands before a part to be read.
    #[error("the parts of a request are not in order")]
    Order,
    /// A request without a header, or without a place for its status.
    #[error("a request without header or status")]
    Incomplete,
    /// The front end has taken memory away that was in use.
    #[error("its memory was taken away")]
    Lost,
}
