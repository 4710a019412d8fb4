//! Reading from one copy, verifying, and repairing a bad copy from a good one.
//!
//! A repair writes the verified bytes over the bad ones in the same slot. The slot cannot have another owner, because the
//! reader holds the chunk; and writing the same sectors again is what makes a drive replace those it cannot read.

use std::ops::Range;

use futures::FutureExt;
use futures::future::OptionFuture;
use quarry_env::{Buffer, View};
use quarry_format::anchor::Slot;
use quarry_format::crc32c;
use quarry_types::limits::SECTOR_BYTES;

use crate::{Chunk, CopyError, Geometry, Pool, PoolError};

/// A piece of a read: so many sectors with this checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Its length.
    pub sectors: u32,
    /// CRC-32C of all of it.
    pub checksum: u32,
}

impl Expected {
    /// The same in bytes.
    pub fn bytes(&self) -> usize {
        self.sectors as usize * SECTOR_BYTES
    }

    pub(crate) fn holds(&self, piece: &[u8]) -> bool {
        crc32c(piece) == self.checksum
    }
}

/// Where the rest of a granule comes from when a part of it is written again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Around {
    /// From the same copy. If that cannot be read now, the piece stays bad until a scrub: what is around it may be good.
    Own,
    /// From another one, or from the group, if that cannot be read. For a scrub, which looks at all that lives there.
    Any,
}

/// A piece and where it lies in its read, in bytes. Between pieces there may be bytes that nobody wants.
pub(crate) type Placed = (Expected, Range<usize>);

/// The pieces of a read that holds them one behind the other from byte `start` on.
pub(crate) fn placed<'p>(
    pieces: impl Iterator<Item = &'p Expected> + Clone,
    start: usize,
) -> impl Iterator<Item = Placed> + Clone {
    pieces.scan(start, |start, piece| {
        let range = *start..*start + piece.bytes();
        *start = range.end;
        Some((*piece, range))
    })
}

/// A read that counts as under way on its device until it is dropped.
struct UnderWay<'p> {
    pool: &'p Pool,
    device: u16,
}

impl<'p> UnderWay<'p> {
    fn begin(pool: &'p Pool, device: u16) -> Self {
        pool.count_read(device, true);
        Self { pool, device }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.pool.count_read(self.device, false);
    }
}

impl Pool {
    /// Reads `pieces`, one behind the other from sector `sector` of a chunk, and verifies each of them.
    pub async fn read_verified(
        &self,
        chunk: &Chunk,
        sector: u32,
        pieces: &[Expected],
    ) -> Result<View, PoolError> {
        let bytes = pieces.iter().map(Expected::bytes).sum();
        // As long as somebody has a group, it can be decoded, even when it has ended.
        let _group = chunk.group();
        self.read_placed(chunk, sector, bytes, placed(pieces.iter(), 0)).await
    }

    /// Reads `bytes` bytes from sector `sector` of a chunk, and verifies the pieces in them. Starts when it is called. The device
    /// reads whole granules. The caller holds the group of the chunk.
    pub(crate) fn read_placed<'a>(
        &'a self,
        chunk: &'a Chunk,
        sector: u32,
        bytes: usize,
        pieces: impl Iterator<Item = Placed> + Clone + 'a,
    ) -> impl Future<Output = Result<View, PoolError>> + 'a {
        let (offset, skipped, length) = self.granules(u64::from(sector) * SECTOR_BYTES as u64, bytes);
        let pieces = pieces.map(move |(piece, range)| (piece, range.start + skipped..range.end + skipped));
        let order = chunk.read_order(self);
        let is_lost = chunk.is_coded() && order.iter().all(|slot| self.shared.is_failed(slot.device));
        let reading = order.first().filter(|_| !is_lost).map(|&first| self.read_copy(first, offset, length));
        async move {
            let Some(reading) = reading else {
                let view = Box::pin(self.read_lost(chunk, offset, length, pieces.collect())).await?;
                return Ok(view.slice(skipped..skipped + bytes));
            };
            let (first, others) = (order[0], &order[1..]);
            let view = match reading.await {
                Ok(buffer) => {
                    if pieces.clone().all(|(piece, range)| piece.holds(&buffer[range])) {
                        buffer.freeze()
                    } else {
                        let bad = (first, None);
                        Box::pin(self.mend(chunk, bad, others, offset, pieces.collect(), buffer)).await?
                    }
                }
                Err(error) => {
                    tracing::warn!(device = first.device, chunk = %chunk.id(), offset, %error, "read failed, trying another copy");
                    // What cannot be read may lie in a gap, where nobody needs it: the caller reads without the gaps.
                    let wanted: usize = pieces.clone().map(|(_, range)| range.len()).sum();
                    let is_last = others.is_empty() && !chunk.is_coded();
                    if is_last || wanted < bytes {
                        return Err(PoolError::Unreadable { chunk: chunk.id(), offset, source: Some(error) });
                    }
                    // All pieces count as bad: each comes from another copy and is written back.
                    let buffer = self.env.buffers.allocate(length);
                    let bad = (first, Some(error));
                    Box::pin(self.mend(chunk, bad, others, offset, pieces.collect(), buffer)).await?
                }
            };
            Ok(if bytes < length { view.slice(skipped..skipped + bytes) } else { view })
        }
    }

    /// Granules of a chunk of a group whose device is out of use, with these pieces in them.
    async fn read_lost(
        &self,
        chunk: &Chunk,
        offset: u64,
        bytes: usize,
        pieces: Vec<Placed>,
    ) -> Result<View, PoolError> {
        let hold = |bytes: &[u8]| {
            pieces.iter().all(|(piece, range)| piece.holds(&bytes[range.clone()])).then_some(())
        };
        if let Some(((), view)) = self.decode_bytes(chunk, offset, bytes, hold).await {
            return Ok(view);
        }
        // Not all of them at once: each may need another combination.
        let mut buffer = self.env.buffers.allocate_zeroed(bytes);
        for (piece, range) in &pieces {
            let at = offset + range.start as u64;
            let good = self.find_good_copy(chunk, &chunk.slots(), at, piece).await?;
            buffer[range.clone()].copy_from_slice(&good);
        }
        Ok(buffer.freeze())
    }

    /// The granules that hold `bytes` bytes at `offset`: where they begin, what of them lies before these bytes, and their length.
    pub(crate) fn granules(&self, offset: u64, bytes: usize) -> (u64, usize, usize) {
        let granule = self.geometry().granule_bytes as usize;
        let skipped = (offset % granule as u64) as usize;
        (offset - skipped as u64, skipped, (skipped + bytes).next_multiple_of(granule))
    }

    /// Reads bytes of one copy as they are, wherever they begin and end.
    pub async fn read_copy_part(&self, slot: Slot, offset: u64, bytes: usize) -> Result<View, CopyError> {
        let (start, skipped, length) = self.granules(offset, bytes);
        Ok(self.read_copy(slot, start, length).await?.freeze().slice(skipped..skipped + bytes))
    }

    /// The same, without taking note of whether the device can read.
    pub(crate) async fn read_copy_part_apart(
        &self,
        slot: Slot,
        offset: u64,
        bytes: usize,
    ) -> Result<View, CopyError> {
        let (start, skipped, length) = self.granules(offset, bytes);
        Ok(self.read_copy_apart(slot, start, length).await?.freeze().slice(skipped..skipped + bytes))
    }

    /// Reads whole granules of one copy as they are. Starts when it is called.
    pub fn read_copy(
        &self,
        slot: Slot,
        offset: u64,
        bytes: usize,
    ) -> impl Future<Output = Result<Buffer, CopyError>> + use<'_> {
        let reading = self.read_copy_apart(slot, offset, bytes);
        let Geometry { segment_bytes, granule_bytes } = self.geometry();
        // Cut off on devices beyond 16 TiB: it is kept small for the sake of every read under way.
        let granule = ((u64::from(slot.index) * segment_bytes + offset) / u64::from(granule_bytes)) as u32;
        reading.inspect(move |result| match result {
            Err(CopyError::Gone { .. } | CopyError::Silent { .. }) => {}
            result => {
                self.shared.note_read(slot.device, granule, result.as_ref().err().map(|error| error as _))
            }
        })
    }

    /// The same, without taking note of whether the device can read.
    ///
    /// A device that is out of use and does not answer is not asked: whoever looks at many places, one after the other, would wait for
    /// each of them.
    pub(crate) fn read_copy_apart(
        &self,
        slot: Slot,
        offset: u64,
        bytes: usize,
    ) -> impl Future<Output = Result<Buffer, CopyError>> + use<'_> {
        let device = self.device(slot.device);
        let is_silent = device.as_ref().is_some_and(|device| self.is_silent(slot.device, device));
        let unread = move || match is_silent {
            true => CopyError::Silent { device: slot.device },
            false => CopyError::Gone { device: slot.device },
        };
        let started = device.filter(|_| !is_silent).map(|device| {
            let buffer = self.env.buffers.allocate(bytes);
            let under_way = UnderWay::begin(self, slot.device);
            let offset = device.slot_offset(slot.index) + offset;
            let reading = device.read_held(offset, buffer);
            reading.inspect(move |_| drop(under_way))
        });
        OptionFuture::from(started).map(move |result| Ok(result.ok_or_else(unread)??))
    }

    /// Replaces the pieces of `buffer` that do not hold by those of other copies, and writes them over the bad ones. With an error the first
    /// copy was not read, and may be right.
    async fn mend(
        &self,
        chunk: &Chunk,
        (bad, mut unread): (Slot, Option<CopyError>),
        others: &[Slot],
        offset: u64,
        pieces: Vec<Placed>,
        mut buffer: Buffer,
    ) -> Result<View, PoolError> {
        let mut mended = Vec::new();
        for (piece, range) in pieces {
            if piece.holds(&buffer[range.clone()]) {
                continue;
            }
            let at = offset + range.start as u64;
            let good = self.find_good_copy(chunk, others, at, &piece).await.map_err(|error| match error {
                PoolError::Corrupt { chunk, offset, .. } if unread.is_some() => {
                    PoolError::Unreadable { chunk, offset, source: unread.take() }
                }
                error => error,
            })?;
            buffer[range.clone()].copy_from_slice(&good);
            mended.push(range);
        }
        let view = buffer.freeze();
        for range in mended {
            let piece = (offset + range.start as u64, view.slice(range));
            self.repair(chunk, bad, piece, Around::Own).await;
        }
        Ok(view)
    }

    pub(crate) async fn find_good_copy(
        &self,
        chunk: &Chunk,
        slots: &[Slot],
        offset: u64,
        piece: &Expected,
    ) -> Result<View, PoolError> {
        let mut source = None;
        for &slot in slots {
            match self.read_copy_part(slot, offset, piece.bytes()).await {
                Ok(view) if piece.holds(&view) => return Ok(view),
                Ok(_) => {}
                Err(error) => source = Some(error),
            }
        }
        if let Some(view) = self.decode_piece(chunk, offset, piece).await {
            return Ok(view);
        }
        let bytes = piece.bytes();
        Err(match source {
            // What is away may come back, and be right.
            None if self.lacks_members(chunk, offset, bytes).await => {
                PoolError::Unreadable { chunk: chunk.id(), offset, source: None }
            }
            None => PoolError::Corrupt { chunk: chunk.id(), offset, bytes, copies: slots.len() + 1 },
            Some(error) => PoolError::Unreadable { chunk: chunk.id(), offset, source: Some(error) },
        })
    }

    /// Writes verified bytes over a bad copy. What else is in their granules is written as it is: it belongs to the same append, so
    /// that nobody writes there. That it fails is no error of the reader, who has good bytes.
    pub(crate) async fn repair(
        &self,
        chunk: &Chunk,
        slot: Slot,
        (offset, data): (u64, View),
        around: Around,
    ) {
        if self.shared.is_failed(slot.device) || !chunk.slots().contains(&slot) {
            return;
        }
        let Some(device) = self.device(slot.device) else { return };
        let bytes = data.len();
        let (start, skipped, length) = self.granules(offset, bytes);
        let data = if length == bytes {
            data
        } else {
            let Some(mut granules) = self.read_around(chunk, slot, (start, length), around).await else {
                return;
            };
            granules[skipped..skipped + bytes].copy_from_slice(&data);
            granules.freeze()
        };
        match device.write(device.slot_offset(slot.index) + start, vec![data]).await {
            Ok(()) => tracing::warn!(
                device = slot.device, chunk = %chunk.id(), offset, bytes, "bad copy repaired from a good one"
            ),
            Err(error) => self.shared.fail_device(slot.device, format!("repair failed: {error}")),
        }
    }

    /// The granules around a piece that is to be written again: nothing vouches for what else is in them.
    async fn read_around(
        &self,
        chunk: &Chunk,
        slot: Slot,
        (offset, bytes): (u64, usize),
        around: Around,
    ) -> Option<Buffer> {
        let others = chunk.slots().into_iter().filter(|other| *other != slot && around == Around::Any);
        for slot in std::iter::once(slot).chain(others) {
            if let Ok(buffer) = self.read_copy_apart(slot, offset, bytes).await {
                return Some(buffer);
            }
        }
        match around {
            Around::Own => None,
            Around::Any => self.decode_unverified(chunk, offset, bytes).await,
        }
    }
}
