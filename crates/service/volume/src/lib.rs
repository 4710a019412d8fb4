//! The block seam: what a volume is to everything above it.
//!
//! What it is: the trait [`Volume`], its requests, capabilities and errors. Protocols serve a `Rc<dyn Volume>`; the
//! engine implements it; filters are volumes over volumes. [`RangeQueue`] is for implementations that have to put overlapping changes
//! into order themselves; [`Figures`] and [`SlowLog`] count what hosts do. What it is not: no protocol, no storage.
//!
//! Invariants:
//! - Offsets and lengths are in bytes and multiples of [`SECTOR_BYTES`](quarry_types::SECTOR_BYTES); anything else, and
//!   anything outside the volume, is [`ErrorKind::Invalid`].
//! - A completed write is visible to every later read, and survives the death of the process.
//! - A completed [`Volume::flush`] makes every write that completed before it was asked for survive power loss.
//! - Writes that overlap in time may take effect in either order, each of them whole per 4 KiB block; those of
//!   [`Volume::write_atomic`] and [`Volume::compare_and_write`] whole.

mod error;
mod figures;
mod ranges;
mod slow;

use std::ops::Range;

use futures::future::LocalBoxFuture;
use quarry_env::View;
use quarry_types::{Durability, VolumeId};
use smallvec::SmallVec;

pub use error::{ErrorKind, VolumeError};
pub use figures::{Figures, FiguresSeen, InFlight, Verb, VerbFigures};
pub use ranges::{RangeQueue, RangeTurn};
pub use slow::{SLOW_REQUESTS_MAX, SlowLog, SlowRequest, Stage};

/// Data of a read, one view behind the other. Zeroes that are stored nowhere are views of shared memory.
pub type Views = SmallVec<[View; 1]>;

/// The result of a volume's operation.
pub type Result<T> = std::result::Result<T, VolumeError>;

/// Facts about a volume. The size may grow while it is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeInfo {
    /// Its id, from which protocols derive stable identifiers.
    pub id: VolumeId,
    /// Its name, unique on the node.
    pub name: String,
    /// Size in bytes, a multiple of 512.
    pub size_bytes: u64,
    /// Writes of this size and alignment need no read.
    pub preferred_bytes: u32,
    /// Largest request.
    pub request_bytes_max: u32,
    /// Largest [`Volume::compare_and_write`].
    pub compare_bytes_max: u32,
    /// Largest [`Volume::write_atomic`], a multiple of [`Self::preferred_bytes`].
    pub atomic_bytes_max: u32,
    /// Whether writes are refused.
    pub read_only: bool,
    /// When a write is safe.
    pub durability: Durability,
}

/// How a write, or an operation that changes what reads return, is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteFlags {
    /// Force unit access: completed only when it survives power loss.
    pub fua: bool,
}

/// What [`Volume::write_zeroes`] may do to the space of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZeroMode {
    /// The range may become a hole: cheap.
    MayUnmap,
    /// The range must stay allocated, so that later writes to it find their space: costs as much as a write.
    KeepAllocated,
}

/// What a range of a volume holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExtentKind {
    /// Stored data.
    Data,
    /// Nothing is stored; reads return zeroes.
    Hole,
}

/// A range of a volume of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Bytes of the volume.
    pub range: Range<u64>,
    /// What they hold.
    pub kind: ExtentKind,
}

/// The result of [`Volume::compare_and_write`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// The range was as expected, and the data is written.
    Written,
    /// It was not, and nothing is written.
    Differs {
        /// The first byte that is not as expected, counted from the offset of the request.
        at: u32,
    },
}

/// A block volume on one core. See the crate's invariants for what each operation promises.
pub trait Volume {
    /// Current facts.
    fn info(&self) -> VolumeInfo;
    /// Reads `length` (> 0) bytes at `offset`.
    fn read(&self, offset: u64, length: u32) -> LocalBoxFuture<'_, Result<Views>>;
    /// Writes `data` (not empty) at `offset`.
    fn write(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>>;
    /// Writes `data` at `offset` as a whole or not at all: no reader ever sees a part of it, and after a loss of power either all
    /// of it is there or nothing. Offset and length are multiples of [`VolumeInfo::preferred_bytes`], the length is at most
    /// [`VolumeInfo::atomic_bytes_max`].
    fn write_atomic(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>>;
    /// Writes `data` at `offset` if `expected`, which is as long, is what is there: nothing else happens to the range between
    /// the comparison and the write. Otherwise nothing is written, and the answer is where they first differ, in bytes from
    /// `offset`. At most [`VolumeInfo::compare_bytes_max`]. Whole, as with [`Self::write_atomic`].
    fn compare_and_write(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>>;
    /// Makes a range read as zeroes.
    fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>>;
    /// Frees the whole blocks of a range, which read as zeroes afterwards; parts of blocks at its ends are left alone.
    fn discard(&self, offset: u64, length: u64, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>>;
    /// See the crate's invariants.
    fn flush(&self) -> LocalBoxFuture<'_, Result<()>>;
    /// The extents of a range, in order, without gaps, neighbours of different kinds; at most `extents_max` (> 0) of
    /// them, so they may end before the range does.
    fn extents(
        &self,
        offset: u64,
        length: u64,
        extents_max: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Extent>>>;
}
