//! Reading every copy of a chunk, whether anybody needs it or not, and mending what is bad.
//!
//! That a scrub cannot read does not count towards taking a device out of use: it looks for bad places, and a device with a few is
//! better than none.

use std::collections::BTreeSet;

use quarry_env::{Buffer, View, Work};
use quarry_format::anchor::Slot;
use quarry_types::limits::SECTOR_BYTES;

use crate::coded::{told_of, windows};
use crate::read::Around;
use crate::{Chunk, Contents, Expected, Group, LogStore, Pool, PoolError};

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 512 << 10;

/// What was found in a chunk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scrubbed {
    /// Bytes that were read and checked, every copy counted.
    pub bytes: u64,
    /// Copies of pieces that were bad and were written again from a good one.
    pub repaired: u64,
    /// Copies of pieces that are bad still, though another copy is good: they could not be written.
    pub unrepaired: u64,
    /// The pieces, by their number in the list, of which no copy is good.
    pub lost: BTreeSet<usize>,
}

impl Pool {
    /// Reads `pieces` (first sector in the chunk, and what must be there; in order) of every copy of a chunk that is on a
    /// device in use, and writes bad ones again from good ones.
    pub async fn scrub(&self, chunk: &Chunk, pieces: &[(u32, Expected)]) -> Scrubbed {
        let mut scrubbed = Scrubbed::default();
        // Up to where some copy was asked; what lies behind is on no device in use.
        let mut asked = 0;
        for slot in chunk.slots() {
            let mut first = 0;
            while first < pieces.len() && !self.shared.is_failed(slot.device) {
                let last = window_end(pieces, first);
                self.scrub_window(chunk, slot, (first, &pieces[first..last]), &mut scrubbed).await;
                first = last;
            }
            asked = asked.max(first);
        }
        for (index, (sector, piece)) in pieces.iter().enumerate().skip(asked) {
            // On no device in use: the rest of its group may have it.
            match self.decode_piece(chunk, offset_of(*sector) as u64, piece).await {
                Some(_) => scrubbed.bytes += piece.bytes() as u64,
                None => _ = scrubbed.lost.insert(index),
            }
        }
        scrubbed
    }

    async fn scrub_window(
        &self,
        chunk: &Chunk,
        slot: Slot,
        (first, pieces): (usize, &[(u32, Expected)]),
        scrubbed: &mut Scrubbed,
    ) {
        let start = offset_of(pieces[0].0);
        let end = pieces.last().map_or(start, |(sector, piece)| offset_of(*sector) + piece.bytes());
        let _passed = self.turn(Work::Scrub, (end - start) as u64).await;
        let read = self.read_copy_part_apart(slot, start as u64, end - start).await;
        for (index, (sector, piece)) in (first..).zip(pieces) {
            let range = offset_of(*sector) - start..offset_of(*sector) - start + piece.bytes();
            scrubbed.bytes += range.len() as u64;
            if read.as_ref().is_ok_and(|bytes| piece.holds(&bytes[range])) {
                continue;
            }
            match self.mend_piece(chunk, slot, *sector, piece).await {
                Ok(true) => scrubbed.repaired += 1,
                Ok(false) => scrubbed.unrepaired += 1,
                Err(error) => {
                    tracing::error!(chunk = %chunk.id(), sector, %error, "a piece has no good copy");
                    scrubbed.lost.insert(index);
                }
            }
        }
    }

    /// Looks at a piece of one copy again, and writes it from another copy if it is bad. Says whether it is good now; an error
    /// when no copy is.
    async fn mend_piece(
        &self,
        chunk: &Chunk,
        slot: Slot,
        sector: u32,
        piece: &Expected,
    ) -> Result<bool, PoolError> {
        let offset = offset_of(sector) as u64;
        let read = async || self.read_copy_part_apart(slot, offset, piece.bytes()).await;
        let is_good = |bytes: Result<View, _>| bytes.is_ok_and(|bytes: View| piece.holds(&bytes));
        if is_good(read().await) {
            // A read that failed once, or a larger one of which another part failed.
            return Ok(true);
        }
        for other in chunk.slots().into_iter().filter(|other| *other != slot) {
            match self.read_copy_part_apart(other, offset, piece.bytes()).await {
                Ok(bytes) if piece.holds(&bytes) => {
                    self.repair(chunk, slot, (offset, bytes), Around::Any).await;
                    return Ok(is_good(read().await));
                }
                _ => {}
            }
        }
        if let Some(bytes) = self.decode_piece(chunk, offset, piece).await {
            self.repair(chunk, slot, (offset, bytes), Around::Any).await;
            return Ok(is_good(read().await));
        }
        let (bytes, copies) = (piece.bytes(), chunk.slots().len());
        Err(PoolError::Corrupt { chunk: chunk.id(), offset, bytes, copies })
    }
}

impl LogStore {
    /// Computes the parity of a group anew, compares it with what is stored, and writes it again where that is something else. `contents`
    /// is what its chunks with data tell of, each of which has been scrubbed. Where something of these is lost nothing is compared.
    pub async fn scrub_parity(&self, group: &Group, contents: &[Contents]) -> Result<Scrubbed, PoolError> {
        let (pool, mut scrubbed) = (&self.pool, Scrubbed::default());
        let granule = pool.geometry().granule_bytes as usize;
        let (members, k) = (group.members(), group.shape().data());
        let data = told_of(group, &members[..k], contents);
        let parity = &members[k..];
        let ids: Vec<_> = parity.iter().map(|chunk| chunk.id()).collect();
        for (chunk, wanted) in parity.iter().zip(pool.parity_granules(self.log, &data, &ids).await?) {
            pool.compare(chunk, 0, &wanted, &mut scrubbed).await;
        }
        for range in windows(granule, group.end(k)) {
            let _passed = pool.turn(Work::Scrub, (range.len() * members.len()) as u64).await;
            let window = pool.coded_window(group.code(), &data, range.clone()).await?;
            if window.lost() > 0 {
                continue;
            }
            for (chunk, wanted) in parity.iter().zip(&window.parity) {
                pool.compare(chunk, range.start, wanted, &mut scrubbed).await;
            }
            // What lies between the pieces of a chunk is nobody's, but the code counts on it.
            for ((told, _), canonical) in data.iter().zip(&window.data) {
                let there = told.end.saturating_sub(range.start).min(range.len());
                if canonical.differs && there > 0 {
                    pool.compare(told.chunk, range.start, &canonical.bytes[..there], &mut scrubbed).await;
                }
            }
        }
        Ok(scrubbed)
    }
}

impl Pool {
    /// Writes granules of every copy of a chunk again that are something else.
    async fn compare(&self, chunk: &Chunk, offset: usize, wanted: &[u8], scrubbed: &mut Scrubbed) {
        for slot in chunk.slots().into_iter().filter(|slot| !self.shared.is_failed(slot.device)) {
            scrubbed.bytes += wanted.len() as u64;
            let is_same = async || {
                let read = self.read_copy_apart(slot, offset as u64, wanted.len()).await;
                read.is_ok_and(|bytes: Buffer| &bytes[..] == wanted)
            };
            if is_same().await {
                continue;
            }
            let data = self.env.buffers.copy_of(wanted);
            self.repair(chunk, slot, (offset as u64, data), Around::Own).await;
            match is_same().await {
                true => scrubbed.repaired += 1,
                false => scrubbed.unrepaired += 1,
            }
        }
    }
}

fn offset_of(sector: u32) -> usize {
    sector as usize * SECTOR_BYTES
}

/// Where the pieces that one read covers end.
fn window_end(pieces: &[(u32, Expected)], first: usize) -> usize {
    let start = offset_of(pieces[first].0);
    let fits = |(sector, piece): &(u32, Expected)| offset_of(*sector) + piece.bytes() <= start + WINDOW_BYTES;
    let more = pieces[first + 1..].iter().take_while(|piece| fits(piece)).count();
    first + 1 + more
}
