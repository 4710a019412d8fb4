//! Answers on their way out: headers packed into shared memory, data as views of where it lies, many in one send.

use std::collections::VecDeque;

use quarry_env::{BufferPool, View};
use quarry_nvme_wire::CompletionEntry;
use quarry_target::{Gather, HEAD_BYTES};
use quarry_volume::Views;

use crate::digest::digest_of_views;
use crate::limits::SEND_BYTES_MAX;
use quarry_nvme_wire::digest::DIGEST_BYTES;
use quarry_nvme_wire::pdu::{
    C2H_HEADER_BYTES_MAX, DataHeader, Fatal, HEADER_BYTES, Link, TERMINATION_DATA_BYTES_MAX, kind,
    put_c2h_data, put_r2t, put_response, put_termination,
};

const RESPONSE_BYTES_MAX: usize = HEADER_BYTES + DIGEST_BYTES;
const TERMINATION_BYTES_MAX: usize = HEADER_BYTES + TERMINATION_DATA_BYTES_MAX;

const _: () = assert!(C2H_HEADER_BYTES_MAX <= HEAD_BYTES && TERMINATION_BYTES_MAX <= HEAD_BYTES);

/// The answers of one send.
#[derive(Default)]
pub(crate) struct Batch {
    /// What is sent, one view behind the other.
    pub(crate) views: Vec<View>,
    /// How many commands they answer.
    pub(crate) answers: usize,
    /// What those commands hold until it is sent.
    pub(crate) held_bytes: u64,
}

/// Collects answers into batches.
pub(crate) struct Outbox {
    link: Link,
    gather: Gather,
    bytes: usize,
    batch: Batch,
    full: VecDeque<Batch>,
    answers: usize,
    is_terminated: bool,
}

impl Outbox {
    pub(crate) fn new(buffers: BufferPool, link: Link) -> Self {
        Self {
            link,
            gather: Gather::new(buffers),
            bytes: 0,
            batch: Batch::default(),
            full: VecDeque::new(),
            answers: 0,
            is_terminated: false,
        }
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.gather.is_empty() && self.full.is_empty()
    }

    /// Whether the last word has been said.
    pub(crate) fn is_terminated(&self) -> bool {
        self.is_terminated
    }

    /// How many commands are answered by what waits to be sent.
    pub(crate) fn answers(&self) -> usize {
        self.answers
    }

    /// The next batch.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.full.is_empty() && !self.is_empty() {
            self.close_batch();
        }
        let batch = self.full.pop_front()?;
        self.answers -= batch.answers;
        Some(batch)
    }

    /// Answers a command that returns data, of which there is some: all of it in one PDU, then the completion unless
    /// `entry` is `None`, where the data itself says that the command has succeeded. `held_bytes` are held until it is sent.
    pub(crate) fn data(
        &mut self,
        command: u16,
        data: Views,
        entry: Option<&CompletionEntry>,
        held_bytes: u64,
    ) {
        let length: usize = data.iter().map(|view| view.len()).sum();
        let (link, digests) = (self.link, self.link.data_digest.then(|| digest_of_views(&data)));
        let header = DataHeader { command, tag: 0, offset: 0, length: length as u32 };
        self.head(C2H_HEADER_BYTES_MAX, |out| put_c2h_data(out, &header, entry.is_none(), &link));
        self.gather.data(data);
        self.bytes += length;
        if let Some(digest) = digests {
            self.head(DIGEST_BYTES, |out| {
                out[..DIGEST_BYTES].copy_from_slice(&digest.to_le_bytes());
                DIGEST_BYTES
            });
        }
        if let Some(entry) = entry {
            self.head(RESPONSE_BYTES_MAX, |out| put_response(out, entry, &link));
        }
        self.answered(held_bytes);
    }

    /// Answers a command that returns no data.
    pub(crate) fn response(&mut self, entry: &CompletionEntry) {
        let link = self.link;
        self.head(RESPONSE_BYTES_MAX, |out| put_response(out, entry, &link));
        self.answered(0);
    }

    /// Asks the host for data.
    pub(crate) fn ready_to_transfer(&mut self, header: &DataHeader) {
        let link = self.link;
        self.head(RESPONSE_BYTES_MAX, |out| put_r2t(out, header, &link));
    }

    /// Says why the connection ends. Nothing may follow (NVMe/TCP 1.0, 3.5).
    pub(crate) fn termination(&mut self, fatal: &Fatal, header: &[u8]) {
        self.is_terminated = true;
        self.head(TERMINATION_BYTES_MAX, |out| {
            put_termination(out, kind::CONTROLLER_TERMINATION, fatal, header)
        });
    }

    /// Has `put` write at most `bytes_max` bytes behind what is there; it says how many.
    fn head(&mut self, bytes_max: usize, put: impl FnOnce(&mut [u8]) -> usize) {
        self.bytes += self.gather.head(bytes_max, put);
    }

    fn answered(&mut self, held_bytes: u64) {
        self.answers += 1;
        self.batch.answers += 1;
        self.batch.held_bytes += held_bytes;
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
