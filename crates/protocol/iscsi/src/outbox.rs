//! Answers on their way out: headers packed into shared memory, data as views of where it lies, many in one send.

use std::collections::VecDeque;

use quarry_env::{BufferPool, View};
use quarry_scsi::{Reply, Status};
use quarry_target::{Gather, HEAD_BYTES};
use quarry_volume::Views;

use crate::limits::SEND_BYTES_MAX;
use crate::numbers::Numbers;
use crate::parameters::Parameters;
use crate::request::Request;
use quarry_iscsi_wire::digest::{DIGEST_BYTES, digest, digest_of};
use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header, NO_TAG, flags, opcode, padding};

/// Sense data behind its length is put among the headers.
const SENSE_BYTES_MAX: usize = 64;

/// The answers of one send.
#[derive(Default)]
pub(crate) struct Batch {
    /// What is sent, one view behind the other.
    pub(crate) views: Vec<View>,
    /// What the answered requests hold until it is sent.
    pub(crate) held_bytes: u64,
    /// How many bytes it has.
    pub(crate) bytes: usize,
}

/// Collects answers into batches.
pub(crate) struct Outbox {
    buffers: BufferPool,
    header_digest: bool,
    data_digest: bool,
    segment_bytes: usize,
    burst_bytes: usize,
    gather: Gather,
    batch: Batch,
    full: VecDeque<Batch>,
    waiting_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(buffers: BufferPool, parameters: &Parameters) -> Self {
        Self {
            gather: Gather::new(buffers.clone()),
            buffers,
            header_digest: parameters.header_digest,
            data_digest: parameters.data_digest,
            segment_bytes: parameters.initiator_segment_bytes as usize,
            burst_bytes: parameters.burst_bytes as usize,
            batch: Batch::default(),
            full: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// The initiator takes data segments of this length from now on.
    pub(crate) fn set_segment_bytes(&mut self, bytes: u32) {
        self.segment_bytes = bytes as usize;
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting_bytes == 0
    }

    /// Bytes that wait to be sent.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The next batch.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.full.is_empty() && self.batch.bytes > 0 {
            self.close_batch();
        }
        let batch = self.full.pop_front()?;
        self.waiting_bytes -= batch.bytes;
        Some(batch)
    }

    /// Sends a header without data.
    pub(crate) fn header(&mut self, header: &Header) {
        self.small(header, &[]);
    }

    /// Sends a header with a little data, which is copied.
    pub(crate) fn small(&mut self, header: &Header, data: &[u8]) {
        let mut header = *header;
        header.set_data_bytes(data.len());
        let digest_bytes = usize::from(self.header_digest) * DIGEST_BYTES;
        if data.len() > HEAD_BYTES / 2 {
            let view = self.buffers.copy_of(data);
            self.put(&header, &[]);
            self.data(Views::from_iter([view]));
            return;
        }
        let padded = data.len() + padding(data.len());
        let total = HEADER_BYTES + digest_bytes + padded + self.data_digest_bytes(data.len());
        let (with_header, with_data) = (self.header_digest, self.data_digest && !data.is_empty());
        self.head(total, |bytes| {
            bytes[..HEADER_BYTES].copy_from_slice(&header.0);
            if with_header {
                bytes[HEADER_BYTES..HEADER_BYTES + DIGEST_BYTES].copy_from_slice(&digest(&header.0));
            }
            let at = HEADER_BYTES + digest_bytes;
            bytes[at..at + data.len()].copy_from_slice(data);
            bytes[at + data.len()..at + padded].fill(0);
            if with_data {
                let sum = digest(&bytes[at..at + padded]);
                bytes[at + padded..].copy_from_slice(&sum);
            }
        });
    }

    fn data_digest_bytes(&self, data: usize) -> usize {
        if self.data_digest && data > 0 { DIGEST_BYTES } else { 0 }
    }

    /// Puts a header whose data follows.
    fn put(&mut self, header: &Header, behind: &[u8]) {
        let digest_bytes = usize::from(self.header_digest) * DIGEST_BYTES;
        let with_header = self.header_digest;
        self.head(HEADER_BYTES + digest_bytes + behind.len(), |bytes| {
            bytes[..HEADER_BYTES].copy_from_slice(&header.0);
            if with_header {
                bytes[HEADER_BYTES..HEADER_BYTES + DIGEST_BYTES].copy_from_slice(&digest(&header.0));
            }
            bytes[HEADER_BYTES + digest_bytes..].copy_from_slice(behind);
        });
    }

    /// Puts data behind a header, with its padding and digest.
    fn data(&mut self, data: Views) {
        let length: usize = data.iter().map(|view| view.len()).sum();
        let pad = padding(length);
        let mut tail = [0; 3 + DIGEST_BYTES];
        let mut tail_bytes = pad;
        if self.data_digest {
            let zeroes = [0; 3];
            let pieces = data.iter().map(|view| &view[..]).chain(std::iter::once(&zeroes[..pad]));
            tail[pad..pad + DIGEST_BYTES].copy_from_slice(&digest_of(pieces));
            tail_bytes += DIGEST_BYTES;
        }
        self.account(length);
        self.gather.data(data);
        if tail_bytes > 0 {
            self.head(tail_bytes, |bytes| bytes.copy_from_slice(&tail[..tail_bytes]));
        }
    }

    /// Answers a SCSI command: data and status in as few units as possible.
    pub(crate) fn reply(&mut self, numbers: &mut Numbers, request: &Request, reply: Reply) {
        let Reply { status, sense, data } = reply;
        let have: usize = data.iter().map(|view| view.len()).sum();
        let expected = if request.reads { request.expected_bytes as usize } else { 0 };
        let sent = have.min(expected);
        let residual = residual(request, have, status);
        if sent > 0 && status == Status::Good {
            self.data_in(numbers, request, data, sent, residual);
        } else {
            let mut header = Header::new(opcode::SCSI_RESPONSE);
            header.0[1] |= residual.flag;
            header.0[3] = status as u8;
            header.set_u32(16, request.task_tag);
            header.set_u32(44, residual.bytes);
            numbers.stamp(&mut header);
            match sense {
                Some(sense) => {
                    let mut bytes = [0; SENSE_BYTES_MAX];
                    let fixed = sense.fixed();
                    bytes[..2].copy_from_slice(&(fixed.len() as u16).to_be_bytes());
                    bytes[2..2 + fixed.len()].copy_from_slice(&fixed);
                    self.small(&header, &bytes[..2 + fixed.len()]);
                }
                None => self.header(&header),
            }
        }
        self.answered(request.held_bytes);
    }

    /// Data in sequences and segments of the agreed sizes; the last one brings the status.
    fn data_in(
        &mut self,
        numbers: &mut Numbers,
        request: &Request,
        data: Views,
        sent: usize,
        residual: Residual,
    ) {
        let mut source = data.into_iter();
        let mut current: Option<View> = source.next();
        let (mut at, mut number, mut burst) = (0, 0u32, 0);
        while at < sent {
            let length = self.segment_bytes.min(sent - at).min(self.burst_bytes - burst);
            let mut header = Header::new(opcode::DATA_IN);
            let last = at + length == sent;
            burst += length;
            if last {
                header.0[1] |= flags::STATUS | residual.flag;
                header.set_u32(44, residual.bytes);
            } else if burst < self.burst_bytes {
                header.0[1] = 0;
            } else {
                burst = 0;
            }
            header.set_data_bytes(length);
            header.set_u32(16, request.task_tag);
            header.set_u32(20, NO_TAG);
            header.set_u32(36, number);
            header.set_u32(40, at as u32);
            if last {
                numbers.stamp(&mut header)
            } else {
                numbers.stamp_window(&mut header)
            }
            self.put(&header, &[]);
            self.data(cut(&mut current, &mut source, length));
            at += length;
            number += 1;
        }
    }

    /// Has `write` fill `bytes` bytes behind what is there.
    fn head(&mut self, bytes: usize, write: impl FnOnce(&mut [u8])) {
        self.gather.head(bytes, |out| {
            write(out);
            bytes
        });
        self.account(bytes);
    }

    fn account(&mut self, bytes: usize) {
        self.batch.bytes += bytes;
        self.waiting_bytes += bytes;
    }

    /// Ends an answer that gives back `held_bytes` once it is sent.
    pub(crate) fn answered(&mut self, held_bytes: u64) {
        self.batch.held_bytes += held_bytes;
        if self.batch.bytes >= SEND_BYTES_MAX {
            self.close_batch();
        }
    }

    fn close_batch(&mut self) {
        self.batch.views = self.gather.take();
        self.full.push_back(std::mem::take(&mut self.batch));
    }
}

/// The next `length` bytes of `source`, of which `current` is begun.
fn cut(current: &mut Option<View>, source: &mut impl Iterator<Item = View>, length: usize) -> Views {
    let mut views = Views::new();
    let mut left = length;
    while left > 0 {
        let Some(view) = current.take() else { break };
        if view.len() > left {
            views.push(view.slice(0..left));
            *current = Some(view.slice(left..view.len()));
            left = 0;
        } else {
            left -= view.len();
            views.push(view);
            *current = source.next();
        }
    }
    views
}

/// By how much the data differs from what the initiator expects (RFC 7143 section 11.4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Residual {
    flag: u8,
    bytes: u32,
}

fn residual(request: &Request, have: usize, status: Status) -> Residual {
    let actual = match status {
        // Also of an initiator that has spoken of no data at all: what it was to send was not written.
        Status::Good if request.wanted_bytes > 0 => request.wanted_bytes as usize,
        _ if request.writes => 0,
        _ => have,
    };
    let expected = request.expected_bytes as usize;
    match actual.cmp(&expected) {
        std::cmp::Ordering::Equal => Residual { flag: 0, bytes: 0 },
        std::cmp::Ordering::Less => Residual { flag: flags::UNDERFLOW, bytes: (expected - actual) as u32 },
        std::cmp::Ordering::Greater => Residual { flag: flags::OVERFLOW, bytes: (actual - expected) as u32 },
    }
}

#[cfg(test)]
mod tests;
