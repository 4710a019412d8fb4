//! From bytes to units: their boundaries, their digests, and who deals with them.

use crate::collect::Segment;
use crate::limits::{DATA_SEGMENT_BYTES_MAX, SEGMENT_BYTES_DIRECT};
use quarry_iscsi_wire::digest::{DIGEST_BYTES, digest, digest_of};
use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header, opcode, padding};

use super::{Ended, FullFeature, Halt, Trailer};

/// The parts of a unit, in bytes from its beginning.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Where its data begins.
    pub(super) data_at: usize,
    /// How much data it has.
    pub(super) data: usize,
    /// Padding and digest behind the data.
    pub(super) tail: usize,
}

impl Shape {
    pub(super) fn total(&self) -> usize {
        self.data_at + self.data + self.tail
    }
}

impl FullFeature<'_> {
    /// Takes every unit that has arrived and may be taken.
    pub(super) fn parse(&mut self) -> Halt {
        loop {
            if self.ended.is_some() || self.logout.is_some() || self.cold_reset {
                return Halt::Full;
            }
            match self.parse_one() {
                Ok(None) => {}
                Ok(Some(halt)) => return halt,
                Err(ended) => self.ended = Some(ended),
            }
        }
    }

    fn parse_one(&mut self) -> Result<Option<Halt>, Ended> {
        if self.skip > 0 {
            self.skip -= self.receiver.skip(self.skip as u64) as usize;
            return Ok((self.skip > 0).then_some(Halt::Needs(1)));
        }
        if self.awaited.is_some() {
            let Some(buffer) = self.receiver.take_payload() else { return Ok(Some(Halt::Needs(1))) };
            let segment = self.awaited.take().expect("it was just looked at");
            self.payload_arrived(segment, buffer);
            return Ok(None);
        }
        if let Some(trailer) = &self.trailer {
            let bytes = trailer.padding + self.data_digest_bytes(trailer.segment.bytes);
            if self.receiver.bytes().len() < bytes {
                return Ok(Some(Halt::Needs(bytes)));
            }
            return self.end_segment(bytes).map(|()| None);
        }
        if let Some(held) = self.held.take() {
            return self.resume(held);
        }
        let bytes = self.receiver.bytes();
        if bytes.len() < HEADER_BYTES {
            return Ok(Some(if self.owes_answers() { Halt::Full } else { Halt::Needs(HEADER_BYTES) }));
        }
        let header = Header::decode(bytes);
        // Data that was asked for has its memory, and ends what is under way.
        if self.owes_answers() && header.opcode() != opcode::DATA_OUT {
            return Ok(Some(Halt::Full));
        }
        let shape = self.shape(&header)?;
        if bytes.len() < shape.data_at {
            return Ok(Some(Halt::Needs(shape.data_at)));
        }
        self.check_header(shape.data_at)?;
        let is_here = bytes.len() >= shape.total();
        let is_data = matches!(header.opcode(), opcode::SCSI_COMMAND | opcode::DATA_OUT);
        let is_direct = is_data && shape.data >= SEGMENT_BYTES_DIRECT;
        if !is_here && !is_direct {
            return Ok(Some(Halt::Needs(shape.total())));
        }
        if is_here {
            self.check_data(&shape)?;
        }
        self.dispatch(&header, shape, is_here)
    }

    pub(super) fn data_digest_bytes(&self, data: usize) -> usize {
        if self.parameters.data_digest && data > 0 { DIGEST_BYTES } else { 0 }
    }

    fn shape(&self, header: &Header) -> Result<Shape, Ended> {
        let data = header.data_bytes();
        if data > DATA_SEGMENT_BYTES_MAX {
            return Err(Ended::Protocol("a data segment longer than was declared"));
        }
        let header_digest = if self.parameters.header_digest { DIGEST_BYTES } else { 0 };
        let data_at = HEADER_BYTES + header.additional_bytes() + header_digest;
        Ok(Shape { data_at, data, tail: padding(data) + self.data_digest_bytes(data) })
    }

    fn check_header(&self, end: usize) -> Result<(), Ended> {
        if !self.parameters.header_digest {
            return Ok(());
        }
        let (header, sum) = self.receiver.bytes()[..end].split_at(end - DIGEST_BYTES);
        if digest(header) == *sum { Ok(()) } else { Err(Ended::Protocol("the digest of a header is wrong")) }
    }

    pub(super) fn check_data(&self, shape: &Shape) -> Result<(), Ended> {
        if self.data_digest_bytes(shape.data) == 0 {
            return Ok(());
        }
        let data = &self.receiver.bytes()[shape.data_at..shape.total()];
        let (data, sum) = data.split_at(data.len() - DIGEST_BYTES);
        // RFC 7143 section 7.8: at error recovery level 0 a session does not outlive that.
        if digest(data) == *sum { Ok(()) } else { Err(Ended::Protocol("the digest of data is wrong")) }
    }

    /// Receives the rest of a data segment into `buffer`, which has its first `filled` bytes from before.
    pub(super) fn receive_segment(
        &mut self,
        shape: &Shape,
        segment: Segment,
        buffer: quarry_env::Buffer,
        filled: usize,
    ) {
        self.receiver.advance(shape.data_at);
        self.awaited = Some(segment);
        let end = buffer.len();
        self.receiver.begin_payload(buffer, filled, end);
    }

    fn payload_arrived(&mut self, segment: Segment, buffer: quarry_env::Buffer) {
        let trailer = Trailer { padding: padding(segment.bytes), segment };
        // A task that was aborted meanwhile has no use for it.
        let found = self.collecting.iter_mut().find(|one| one.serial() == segment.serial);
        if let Some(collecting) = found {
            collecting.take_back(buffer);
        }
        self.trailer = Some(trailer);
    }

    /// Checks what follows a data segment that was received to where it stays.
    fn end_segment(&mut self, bytes: usize) -> Result<(), Ended> {
        let Trailer { padding, segment } = self.trailer.take().expect("it was just looked at");
        let tail = &self.receiver.bytes()[..bytes];
        let place = self.collecting.iter().position(|one| one.serial() == segment.serial);
        if self.data_digest_bytes(segment.bytes) > 0
            && let Some(place) = place
        {
            let data = self.collecting[place].last(segment.bytes);
            if digest_of([data, &tail[..padding]].into_iter()) != tail[padding..] {
                return Err(Ended::Protocol("the digest of data is wrong"));
            }
        }
        self.receiver.advance(bytes);
        if let Some(place) = place {
            self.segment_ended(place, segment.is_final);
        }
        Ok(())
    }
}
