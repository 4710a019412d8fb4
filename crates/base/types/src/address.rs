//! Where a record lives, for ever: (log, segment, sector).

use std::fmt;

use crate::LogId;
use crate::limits::{SECTOR_BYTES, SEGMENT_SECTORS_MAX};

const SECTOR_BITS: u32 = 16;
const SEQUENCE_BITS: u32 = 36;

const _: () = assert!(SEGMENT_SECTORS_MAX as u64 <= 1 << SECTOR_BITS);

/// A segment of a log, unique in its pool: 12 bits of log, 36 bits of sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// The `sequence`-th segment of `log`.
    ///
    /// # Panics
    /// When the sequence needs more than 36 bits: 2 EiB of appends with 32 MiB segments.
    pub fn new(log: LogId, sequence: u64) -> Self {
        assert!(sequence < 1 << SEQUENCE_BITS, "segment sequence {sequence} out of range");
        assert!(log.0 < 1 << 12, "log {log} out of range");
        Self(u64::from(log.0) << SEQUENCE_BITS | sequence)
    }

    /// The log that owns the segment.
    pub fn log(self) -> LogId {
        LogId((self.0 >> SEQUENCE_BITS) as u16)
    }

    /// The number of the segment inside its log, in order of opening.
    pub fn sequence(self) -> u64 {
        self.0 & ((1 << SEQUENCE_BITS) - 1)
    }

    /// The segment that this log opens after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self::new(self.log(), self.sequence() + 1)
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.log(), self.sequence())
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The place of a record: a segment and an offset in it, counted in sectors of 512 bytes.
///
/// The number 0 (log 0, segment 0, sector 0) is the header of a segment, never a record, so it can mean "none"; so can [`Self::LOST`], of a log
/// that no pool has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogAddress(pub u64);

impl LogAddress {
    /// Where something was that nobody can find any more: the part of the map that led to it was bad on every copy.
    pub const LOST: Self = Self(u64::MAX << SECTOR_BITS);

    /// Sector `sector` of `segment`.
    ///
    /// # Panics
    /// When the sector lies outside the largest segment.
    pub fn new(segment: SegmentId, sector: u32) -> Self {
        assert!(sector < SEGMENT_SECTORS_MAX, "sector {sector} out of range");
        Self(segment.0 << SECTOR_BITS | u64::from(sector))
    }

    /// The segment that holds the record.
    pub fn segment(self) -> SegmentId {
        SegmentId(self.0 >> SECTOR_BITS)
    }

    /// Offset in the segment, in sectors.
    pub fn sector(self) -> u32 {
        (self.0 & ((1 << SECTOR_BITS) - 1)) as u32
    }

    /// Offset in the segment, in bytes.
    pub fn offset_bytes(self) -> u64 {
        u64::from(self.sector()) * SECTOR_BYTES as u64
    }

    /// The address `sectors` further on in the same segment.
    #[must_use]
    pub fn plus(self, sectors: u32) -> Self {
        Self::new(self.segment(), self.sector() + sectors)
    }
}

impl fmt::Debug for LogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LOST => write!(f, "(lost)"),
            _ => write!(f, "{}+{}", self.segment(), self.sector()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_log_sequence_and_sector() {
        let segment = SegmentId::new(LogId(4095), (1 << 36) - 1);
        let address = LogAddress::new(segment, 65_535);
        assert_eq!(address.segment().log(), LogId(4095));
        assert_eq!(address.segment().sequence(), (1 << 36) - 1);
        assert_eq!(address.sector(), 65_535);
        assert_eq!(address.offset_bytes(), 65_535 * 512);
    }
}
