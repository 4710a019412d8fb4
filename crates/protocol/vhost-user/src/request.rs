//! What a request asks for (virtio 1.2, 5.2.6), and whether it may.

use std::rc::Rc;

use quarry_env::BufferPool;
use quarry_target::{Counters, Member};
use quarry_types::SECTOR_BYTES;
use quarry_volume::{Result, Views, Volume, WriteFlags, ZeroMode};
use smallvec::SmallVec;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use vm_memory::GuestAddress;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::chain::Chain;
use crate::error::QueueError;
use crate::limits::{DATA_BYTES_MAX, RANGE_SECTORS_MAX, RANGES_MAX};
use crate::memory::is_lost;
use crate::work::Work;

const HEADER_BYTES: u32 = size_of::<RequestHeader>() as u32;
const RANGE_BYTES: u64 = size_of::<WireRange>() as u64;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RequestHeader {
    kind: u32,
    reserved: u32,
    sector: u64,
}

/// `struct virtio_blk_discard_write_zeroes`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct WireRange {
    sector: u64,
    sectors: u32,
    flags: u32,
}

/// What a driver is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// It is done.
    Ok = VIRTIO_BLK_S_OK as u8,
    /// It has failed, or cannot be.
    Failed = VIRTIO_BLK_S_IOERR as u8,
    /// The device does not do that.
    Unsupported = VIRTIO_BLK_S_UNSUPP as u8,
}

/// Bytes of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// Whether their space may be given back.
    pub may_unmap: bool,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Bytes of the volume go where the driver wants to read.
    Read {
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u32,
    },
    /// What the driver has written goes to the volume.
    Write {
        /// Where to.
        offset: u64,
        /// How many bytes.
        bytes: u32,
    },
    /// What was written before is to be safe.
    Flush,
    /// The serial number.
    Identify,
    /// Ranges are not needed any more.
    Discard(SmallVec<[Range; 1]>),
    /// Ranges are to read as zeroes.
    WriteZeroes(SmallVec<[Range; 1]>),
}

/// A request as it was taken in.
#[derive(Debug)]
pub struct Request {
    /// Its data, without header and status.
    pub chain: Chain,
    /// Where its status goes.
    pub status_at: GuestAddress,
    /// What it asks for, or what it is told at once.
    pub verb: std::result::Result<Verb, Status>,
}

impl Request {
    /// Takes header and status off a chain, wherever its descriptors are cut (2.7.4.1), and reads what it asks for.
    pub fn parse(mut chain: Chain) -> std::result::Result<Self, QueueError> {
        if chain.readable.bytes() < HEADER_BYTES.into() || chain.writable.bytes() == 0 {
            return Err(QueueError::Incomplete);
        }
        let mut header = [0; HEADER_BYTES as usize];
        let front = chain.readable.split_front(HEADER_BYTES);
        front.copy_to(&chain.memory, &mut header).map_err(|_| QueueError::Incomplete)?;
        let status_at = chain.writable.split_last();
        let header = RequestHeader::read_from_bytes(&header).expect("it is as long as the structure");
        Ok(Self { verb: verb(&header, &chain), chain, status_at })
    }

    /// Memory that it holds until it is done.
    pub fn held_bytes(&self) -> u64 {
        match self.verb {
            Ok(Verb::Read { bytes, .. } | Verb::Write { bytes, .. }) => bytes.into(),
            _ => 0,
        }
    }
}

fn verb(header: &RequestHeader, chain: &Chain) -> std::result::Result<Verb, Status> {
    let offset = || header.sector.checked_mul(SECTOR_BYTES as u64).ok_or(Status::Failed);
    match header.kind {
        VIRTIO_BLK_T_IN => Ok(Verb::Read { offset: offset()?, bytes: data_bytes(chain.writable.bytes())? }),
        VIRTIO_BLK_T_OUT => Ok(Verb::Write { offset: offset()?, bytes: data_bytes(chain.readable.bytes())? }),
        VIRTIO_BLK_T_FLUSH => Ok(Verb::Flush),
        VIRTIO_BLK_T_GET_ID => Ok(Verb::Identify),
        VIRTIO_BLK_T_DISCARD => ranges(chain, 0).map(Verb::Discard),
        VIRTIO_BLK_T_WRITE_ZEROES => ranges(chain, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP).map(Verb::WriteZeroes),
        _ => Err(Status::Unsupported),
    }
}

fn data_bytes(bytes: u64) -> std::result::Result<u32, Status> {
    match u32::try_from(bytes) {
        Ok(bytes) if bytes <= DATA_BYTES_MAX && bytes.is_multiple_of(SECTOR_BYTES as u32) => Ok(bytes),
        _ => Err(Status::Failed),
    }
}

/// The ranges of a discard or of write zeroes. Flags that it does not have are not supported (5.2.6.2).
fn ranges(chain: &Chain, flags_allowed: u32) -> std::result::Result<SmallVec<[Range; 1]>, Status> {
    let bytes = chain.readable.bytes();
    if bytes == 0 || !bytes.is_multiple_of(RANGE_BYTES) || bytes > RANGE_BYTES * u64::from(RANGES_MAX) {
        return Err(Status::Failed);
    }
    let mut data = [0; RANGE_BYTES as usize * RANGES_MAX as usize];
    let data = &mut data[..bytes as usize];
    chain.readable.copy_to(&chain.memory, data).map_err(|_| Status::Failed)?;
    let range = |bytes: &[u8]| {
        let range = WireRange::read_from_bytes(bytes).map_err(|_| Status::Failed)?;
        if range.flags & !flags_allowed != 0 {
            return Err(Status::Unsupported);
        }
        let offset = range.sector.checked_mul(SECTOR_BYTES as u64);
        let offset = offset.filter(|_| range.sectors <= RANGE_SECTORS_MAX).ok_or(Status::Failed)?;
        let bytes = u64::from(range.sectors) * SECTOR_BYTES as u64;
        offset.checked_add(bytes).ok_or(Status::Failed)?;
        Ok(Range { offset, bytes, may_unmap: range.flags != 0 })
    };
    data.chunks_exact(RANGE_BYTES as usize).map(range).collect()
}

impl Verb {
    /// Whether reservations of others and the export allow it.
    pub(crate) fn is_allowed(&self, member: &Member, read_only: bool) -> bool {
        match self {
            Self::Identify => true,
            Self::Read { .. } => member.may_read(),
            // A flush counts as a write (NVMe Base 2.0, figure 126); what is read-only has nothing to flush.
            Self::Flush => read_only || member.may_write(),
            Self::Write { .. } | Self::Discard(_) | Self::WriteZeroes(_) => !read_only && member.may_write(),
        }
    }

    /// Where the bytes end that it is about.
    pub(crate) fn end(&self) -> u64 {
        let of = |ranges: &[Range]| ranges.iter().map(|range| range.offset.saturating_add(range.bytes)).max();
        match self {
            Self::Read { offset, bytes } | Self::Write { offset, bytes } => {
                offset.saturating_add((*bytes).into())
            }
            Self::Discard(ranges) | Self::WriteZeroes(ranges) => of(ranges).unwrap_or_default(),
            Self::Flush | Self::Identify => 0,
        }
    }

    pub(crate) fn count(&self, counters: &Counters) {
        match self {
            Self::Read { bytes, .. } => counters.read((*bytes).into()),
            Self::Write { bytes, .. } => counters.write((*bytes).into()),
            _ => counters.other(),
        }
    }

    /// The volume's work for it; `None` where there is none. What is written is copied first: a guest may change its memory
    /// while it is being written, and then no checksum would be that of what is stored.
    pub(crate) fn work<'v>(
        &self,
        volume: &'v Rc<dyn Volume>,
        chain: &Chain,
        buffers: &BufferPool,
        flags: WriteFlags,
    ) -> std::result::Result<Option<Work<'v>>, Status> {
        Ok(Some(match self {
            Self::Read { bytes: 0, .. } | Self::Write { bytes: 0, .. } | Self::Identify => return Ok(None),
            Self::Read { offset, bytes } => Work::Read(volume.read(*offset, *bytes)),
            Self::Write { offset, bytes } => {
                let mut data = buffers.allocate(*bytes as usize);
                chain.readable.copy_to(&chain.memory, &mut data).map_err(|_| Status::Failed)?;
                // Zeroes may stand in place of what the driver has written: see `SharedMemory::is_lost`.
                if is_lost(&chain.memory) {
                    return Err(Status::Failed);
                }
                Work::Change(volume.write(*offset, data.freeze(), flags))
            }
            Self::Flush => Work::Change(volume.flush()),
            Self::Discard(ranges) => Work::Change(Box::pin(discard(volume, ranges.clone(), flags))),
            Self::WriteZeroes(ranges) => Work::Change(Box::pin(write_zeroes(volume, ranges.clone(), flags))),
        }))
    }
}

async fn discard(volume: &Rc<dyn Volume>, ranges: SmallVec<[Range; 1]>, flags: WriteFlags) -> Result<()> {
    for range in ranges.iter().filter(|range| range.bytes > 0) {
        volume.discard(range.offset, range.bytes, flags).await?;
    }
    Ok(())
}

async fn write_zeroes(
    volume: &Rc<dyn Volume>,
    ranges: SmallVec<[Range; 1]>,
    flags: WriteFlags,
) -> Result<()> {
    for range in ranges.iter().filter(|range| range.bytes > 0) {
        let mode = if range.may_unmap { ZeroMode::MayUnmap } else { ZeroMode::KeepAllocated };
        volume.write_zeroes(range.offset, range.bytes, mode, flags).await?;
    }
    Ok(())
}

/// Brings what was read to where the driver wants it.
pub(crate) fn deliver(chain: &Chain, views: &Views) -> Status {
    let mut at = 0;
    for view in views {
        if chain.writable.copy_from(&chain.memory, at, view).is_err() {
            return Status::Failed;
        }
        at += view.len() as u64;
    }
    Status::Ok
}
