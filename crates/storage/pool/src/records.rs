//! Reading records that lie anywhere, in few device reads.
//!
//! Every device read is begun before the first is waited for, and they are waited for one after the other: whatever
//! their number, the reader is woken for each of them once at most.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::Ordering;

use quarry_env::View;
use quarry_types::LogAddress;
use quarry_types::limits::SECTOR_BYTES;
use smallvec::SmallVec;

use crate::coalesce::{Stretch, coalesce, span};
use crate::read::placed;
use crate::{Expected, LogStore, PoolError};

/// A record that a read wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Where it is.
    pub address: LogAddress,
    /// What it holds.
    pub expected: Expected,
}

type Stretches = SmallVec<[Stretch; 1]>;

/// Where the records of a stretch are: in which read, and at which bytes of it.
struct Found {
    records: Range<usize>,
    read: usize,
    bytes: Range<usize>,
}

fn expected(wanted: &[Wanted]) -> impl Iterator<Item = &Expected> + Clone {
    wanted.iter().map(|wanted| &wanted.expected)
}

/// Bytes of records that lie one behind the other.
fn bytes(wanted: &[Wanted]) -> usize {
    expected(wanted).map(Expected::bytes).sum()
}

impl LogStore {
    /// Reads and verifies records, which may lie anywhere. Gives their bytes in the order of `wanted`;
    /// records that lie one behind the other share a view.
    pub async fn read_records(&self, wanted: &[Wanted]) -> Result<SmallVec<[View; 1]>, PoolError> {
        let stretches = self.locate(wanted)?;
        if let [only] = &stretches[..] {
            let length = only.sectors as usize * SECTOR_BYTES;
            let pieces = placed(expected(wanted), 0);
            only.chunk.heat.note_read();
            let view = self.pool.read_placed(&only.chunk, only.sector, length, pieces).await?;
            return Ok(SmallVec::from_buf([view]));
        }
        Box::pin(self.read_stretches(wanted, stretches)).await
    }

    /// Whether one of the records lies on slow devices alone: spinning disks and buckets.
    pub fn lie_on_slow(&self, wanted: &[Wanted]) -> bool {
        let slow = self.pool.shared.slow.load(Ordering::Relaxed);
        let table = self.table();
        slow != 0
            && wanted.iter().any(|record| {
                let chunk = table.resolve(record.address).map(|(chunk, _)| chunk);
                chunk.is_some_and(|chunk| chunk.slots().iter().all(|slot| slow & 1 << slot.device != 0))
            })
    }

    /// Where the records are now, in their order.
    fn locate(&self, wanted: &[Wanted]) -> Result<Stretches, PoolError> {
        let table = self.table();
        let mut stretches = Stretches::new();
        for (index, record) in wanted.iter().enumerate() {
            let address = record.address;
            let (chunk, sector) = table.resolve(address).ok_or_else(|| PoolError::nowhere(address))?;
            let before = stretches.last_mut();
            if !before.is_some_and(|last| last.take_up(chunk, sector, record)) {
                stretches.push(Stretch::new(chunk, sector, index, record));
            }
        }
        Ok(stretches)
    }

    async fn read_stretches(
        &self,
        wanted: &[Wanted],
        mut stretches: Stretches,
    ) -> Result<SmallVec<[View; 1]>, PoolError> {
        let count = stretches.len();
        let mut reads = Vec::with_capacity(count);
        reads.extend(coalesce(&mut stretches).map(|read| (read, self.begin(wanted, read))));
        let (mut views, mut found) = (Vec::with_capacity(reads.len()), Vec::with_capacity(count));
        for (index, (read, reading)) in reads.into_iter().enumerate() {
            views.push(match reading.await {
                Err(_) if read.len() > 1 => self.read_apart(wanted, read).await?,
                result => result?,
            });
            found.extend(read.iter().map(|stretch| {
                let start = (stretch.sector - read[0].sector) as usize * SECTOR_BYTES;
                let records = stretch.records();
                Found { bytes: start..start + bytes(&wanted[records.clone()]), records, read: index }
            }));
        }
        found.sort_unstable_by_key(|found| found.records.start);
        Ok(in_order(&views, &found))
    }

    /// Begins one read of all of `stretches`, which lie near each other.
    fn begin<'a>(
        &'a self,
        wanted: &'a [Wanted],
        stretches: &'a [Stretch],
    ) -> impl Future<Output = Result<View, PoolError>> + 'a {
        let sectors = span(stretches);
        stretches[0].chunk.heat.note_read();
        let pieces = stretches.iter().flat_map(move |stretch| {
            let start = (stretch.sector - sectors.start) as usize * SECTOR_BYTES;
            placed(expected(&wanted[stretch.records()]), start)
        });
        let length = (sectors.end - sectors.start) as usize * SECTOR_BYTES;
        self.pool.read_placed(&stretches[0].chunk, sectors.start, length, pieces)
    }

    /// The bytes of a read that failed as a whole, stretch by stretch: what cannot be read may lie in a gap.
    async fn read_apart(&self, wanted: &[Wanted], stretches: &[Stretch]) -> Result<View, PoolError> {
        let sectors = span(stretches);
        let length = (sectors.end - sectors.start) as usize * SECTOR_BYTES;
        let mut all = self.pool.env.buffers.allocate(length);
        for stretch in stretches {
            let view = self.begin(wanted, std::slice::from_ref(stretch)).await?;
            let start = (stretch.sector - sectors.start) as usize * SECTOR_BYTES;
            all[start..start + view.len()].copy_from_slice(&view);
        }
        Ok(all.freeze())
    }
}

/// The views of what was found, in order of records; neighbours in a read are one view.
fn in_order(views: &[View], found: &[Found]) -> SmallVec<[View; 1]> {
    let follows = |last: &Found, next: &Found| last.read == next.read && last.bytes.end == next.bytes.start;
    found
        .chunk_by(follows)
        .map(|run| views[run[0].read].slice(run[0].bytes.start..run[run.len() - 1].bytes.end))
        .collect()
}
