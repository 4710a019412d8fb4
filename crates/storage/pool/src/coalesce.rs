//! Which records of one request are read from a device at once.
//!
//! A request whose blocks were overwritten here and there wants many small pieces that lie near each other, and a device
//! read costs more than the bytes between two of them. So pieces of one chunk are *bridged*: one read covers them and the
//! gaps between them. What lies in a gap is neither verified nor given to anybody.
//!
//! Invariants:
//! - A bridged read is at most [`BRIDGED_BYTES_MAX`] long, and at most [`BRIDGED_FACTOR_MAX`] times as long as what is
//!   wanted of it. So a request holds at most that many times the memory that it was charged for.
//! - Distances are those in the chunk, never those of log addresses: neighbours in the log may have been moved apart.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::rc::Rc;

use quarry_types::limits::SECTOR_BYTES;

use crate::{Chunk, Group, Wanted};

/// Longest gap that is read rather than left out.
const GAP_BYTES_MAX: usize = 32 << 10;
/// Longest read over gaps: what a pool of buffers keeps ready.
const BRIDGED_BYTES_MAX: usize = 1 << 20;
/// How many times as long as what is wanted of it a read over gaps may be.
pub const BRIDGED_FACTOR_MAX: usize = 4;

/// Records that follow each other in the request and in their chunk.
#[derive(Clone)]
pub(crate) struct Stretch {
    pub chunk: Rc<Chunk>,
    /// Its group, which can be decoded as long as somebody has it, even when it has ended.
    _group: Option<Rc<Group>>,
    /// Where the first begins.
    pub sector: u32,
    /// Sectors of all.
    pub sectors: u32,
    /// Which records of the request.
    records: Range<u32>,
}

impl Stretch {
    pub fn new(chunk: &Rc<Chunk>, sector: u32, index: usize, wanted: &Wanted) -> Self {
        let (sectors, index) = (wanted.expected.sectors, index as u32);
        Self { chunk: chunk.clone(), _group: chunk.group(), sector, sectors, records: index..index + 1 }
    }

    /// Takes up the record behind the last one, if it lies right behind it in `chunk`.
    pub fn take_up(&mut self, chunk: &Rc<Chunk>, sector: u32, next: &Wanted) -> bool {
        let follows = Rc::ptr_eq(&self.chunk, chunk) && self.end_sector() == sector;
        if follows {
            self.sectors += next.expected.sectors;
            self.records.end += 1;
        }
        follows
    }

    /// Which records of the request these are.
    pub fn records(&self) -> Range<usize> {
        self.records.start as usize..self.records.end as usize
    }

    fn end_sector(&self) -> u32 {
        self.sector + self.sectors
    }
}

/// Cuts stretches, which it puts in order of their places, into device reads.
pub(crate) fn coalesce(stretches: &mut [Stretch]) -> impl Iterator<Item = &[Stretch]> {
    stretches.sort_unstable_by_key(|stretch| (stretch.chunk.id(), stretch.sector));
    let mut rest: &[Stretch] = stretches;
    std::iter::from_fn(move || {
        let (read, after) = rest.split_at(together(rest));
        rest = after;
        (!read.is_empty()).then_some(read)
    })
}

/// How many of the first stretches are read at once.
fn together(stretches: &[Stretch]) -> usize {
    let Some(first) = stretches.first() else { return 0 };
    let mut end = first.end_sector();
    let mut wanted = first.sectors as usize;
    let joined = stretches[1..].iter().take_while(|next| {
        let gap = next.sector.saturating_sub(end) as usize;
        end = end.max(next.end_sector());
        wanted += next.sectors as usize;
        let span = (end - first.sector) as usize;
        Rc::ptr_eq(&next.chunk, &first.chunk)
            && gap * SECTOR_BYTES <= GAP_BYTES_MAX
            && span * SECTOR_BYTES <= BRIDGED_BYTES_MAX
            && span <= BRIDGED_FACTOR_MAX * wanted
    });
    1 + joined.count()
}

/// The sectors that one read of `stretches`, in order of their places, covers.
pub(crate) fn span(stretches: &[Stretch]) -> Range<u32> {
    let end = stretches.iter().map(Stretch::end_sector).max();
    stretches[0].sector..end.expect("a read has a stretch")
}
