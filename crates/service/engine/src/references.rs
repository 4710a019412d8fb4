//! How many blocks refer to one record, where these are more than one.
//!
//! A record has one reference when it is written; each block that a record *write shared* maps to it has another one. Whoever
//! lets go of a reference (an overwrite, a discard, a snapshot that is dissolved) reports a death, and the record dies with
//! the last of them. What counts is *settled* by checkpoints, with everything else about liveness; so is what is here.
//!
//! A reference can be on its way while the last one to its record goes: it was appended when that was still there. The death
//! is then *owed*: it goes into the image, so that the record stays whether or not what is on its way survives, and counts at
//! the next checkpoint, which knows.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use quarry_format::image::{ImageShared, REFERENCES_MAX};
use quarry_types::{LogAddress, SegmentId};
use rustc_hash::FxBuildHasher;

/// Records with several references in one log: 8 bytes each in memory and in each image.
const SHARED_RECORDS_MAX: usize = 1 << 20;

type Counts = HashMap<LogAddress, u32, FxBuildHasher>;

/// See the module.
#[derive(Default)]
pub(crate) struct References {
    /// References beyond the first, as of the last checkpoint: sector and count, in order of sectors.
    settled: RefCell<BTreeMap<SegmentId, Vec<(u32, u32)>>>,
    records: Cell<usize>,
    /// Those that were appended and do not count yet.
    appended: RefCell<Counts>,
    /// Those that have counted since the last checkpoint began.
    tail: RefCell<Counts>,
    /// Those that the checkpoint under way settles.
    frozen: RefCell<Counts>,
}

/// What the end of a reference means for its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// It was the last one: the record is dead.
    Dead,
    /// There are others.
    Shared,
    /// Others are on their way.
    Owed,
}

impl References {
    /// The state of an image.
    pub(crate) fn load(&self, image: &[ImageShared]) {
        let counts = image.iter().map(|shared| (shared.segment, shared.records.clone()));
        *self.settled.borrow_mut() = counts.collect();
        self.records.set(image.iter().map(|shared| shared.records.len()).sum());
    }

    /// The state for an image.
    pub(crate) fn image(&self) -> Vec<ImageShared> {
        let settled = self.settled.borrow();
        let shared =
            |(&segment, records): (&SegmentId, &Vec<_>)| ImageShared { segment, records: records.clone() };
        settled.iter().map(shared).collect()
    }

    /// Whether a record may get one more reference.
    pub(crate) fn has_room(&self, address: LogAddress) -> bool {
        match self.settled_of(address) + self.coming(address) {
            0 => self.records.get() + self.unsettled() < SHARED_RECORDS_MAX,
            count => count < REFERENCES_MAX,
        }
    }

    fn unsettled(&self) -> usize {
        [&self.appended, &self.tail, &self.frozen].iter().map(|counts| counts.borrow().len()).sum()
    }

    /// Whether more than one block may refer to a record.
    pub(crate) fn is_shared(&self, address: LogAddress) -> bool {
        self.settled_of(address) > 0 || self.coming(address) > 0
    }

    /// Whether no record has several references, nor may soon have.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.get() == 0
            && [&self.appended, &self.tail, &self.frozen].iter().all(|counts| counts.borrow().is_empty())
    }

    /// A reference was appended.
    pub(crate) fn append(&self, address: LogAddress) {
        *self.appended.borrow_mut().entry(address).or_default() += 1;
    }

    /// A reference counts, whether it was appended by this opening of the log or is replayed.
    pub(crate) fn count(&self, address: LogAddress) {
        take_one(&mut self.appended.borrow_mut(), address);
        *self.tail.borrow_mut().entry(address).or_default() += 1;
    }

    /// A reference that was appended will not count.
    pub(crate) fn cancel(&self, address: LogAddress) {
        take_one(&mut self.appended.borrow_mut(), address);
    }

    /// A checkpoint takes over what has counted.
    pub(crate) fn freeze(&self) {
        debug_assert!(self.frozen.borrow().is_empty(), "one checkpoint at a time");
        self.frozen.replace(self.tail.take());
    }

    /// The checkpoint has failed.
    pub(crate) fn thaw(&self) {
        let mut tail = self.tail.borrow_mut();
        self.frozen
            .take()
            .into_iter()
            .for_each(|(address, count)| *tail.entry(address).or_default() += count);
    }

    /// The checkpoint settles what it took over. To be called before the deaths that it settles.
    pub(crate) fn settle(&self) {
        let mut coming: Vec<(LogAddress, u32)> = self.frozen.take().into_iter().collect();
        coming.sort_unstable();
        let mut settled = self.settled.borrow_mut();
        for run in coming.chunk_by(|(one, _), (next, _)| one.segment() == next.segment()) {
            let records = settled.entry(run[0].0.segment()).or_default();
            let before = records.len();
            records.extend(run.iter().map(|(address, count)| (address.sector(), *count)));
            // Two sorted runs: this merges them.
            records.sort_by_key(|&(sector, _)| sector);
            records.dedup_by(|next, first| {
                let is_same = next.0 == first.0;
                first.1 += if is_same { next.1 } else { 0 };
                is_same
            });
            self.records.set(self.records.get() + records.len() - before);
        }
    }

    /// A reference ends, as a checkpoint settles it.
    pub(crate) fn end(&self, address: LogAddress) -> Ended {
        let mut settled = self.settled.borrow_mut();
        if let Some(records) = settled.get_mut(&address.segment())
            && let Ok(index) = records.binary_search_by_key(&address.sector(), |&(sector, _)| sector)
        {
            records[index].1 -= 1;
            if records[index].1 == 0 {
                records.remove(index);
                self.records.set(self.records.get() - 1);
            }
            if records.is_empty() {
                settled.remove(&address.segment());
            }
            return Ended::Shared;
        }
        if self.coming(address) > 0 { Ended::Owed } else { Ended::Dead }
    }

    /// References beyond the first that are settled.
    pub(crate) fn settled_of(&self, address: LogAddress) -> u32 {
        let settled = self.settled.borrow();
        let Some(records) = settled.get(&address.segment()) else { return 0 };
        let found = records.binary_search_by_key(&address.sector(), |&(sector, _)| sector);
        found.map_or(0, |index| records[index].1)
    }

    /// Every record with several references that are settled, and how many beyond the first.
    pub(crate) fn all_settled(&self) -> BTreeMap<LogAddress, u32> {
        let settled = self.settled.borrow();
        let of = |(&segment, records): (&SegmentId, &Vec<(u32, u32)>)| {
            let records = records.clone().into_iter();
            records.map(move |(sector, count)| (LogAddress::new(segment, sector), count))
        };
        settled.iter().flat_map(of).collect()
    }

    /// Records with several references that are settled.
    pub(crate) fn records(&self) -> usize {
        self.records.get()
    }

    /// References that are not settled.
    fn coming(&self, address: LogAddress) -> u32 {
        let all = [&self.appended, &self.tail, &self.frozen];
        all.iter().map(|counts| counts.borrow().get(&address).copied().unwrap_or(0)).sum()
    }

    /// Memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        let counts = [&self.appended, &self.tail, &self.frozen];
        let unsettled: usize = counts.iter().map(|counts| counts.borrow().capacity()).sum();
        self.records.get() * size_of::<(u32, u32)>() + unsettled * size_of::<(LogAddress, u32)>()
    }
}

fn take_one(counts: &mut Counts, address: LogAddress) {
    if let Some(count) = counts.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LogAddress = LogAddress(3 << 16 | 8);
    const OTHER: LogAddress = LogAddress(3 << 16 | 16);

    fn settle(references: &References) {
        references.freeze();
        references.settle();
    }

    #[test]
    fn a_record_dies_with_its_last_reference() {
        let references = References::default();
        for _ in 0..2 {
            references.append(ONE);
            references.count(ONE);
        }
        settle(&references);
        assert!(references.is_shared(ONE) && !references.is_shared(OTHER));
        assert_eq!(references.end(OTHER), Ended::Dead);
        assert_eq!([(); 3].map(|()| references.end(ONE)), [Ended::Shared, Ended::Shared, Ended::Dead]);
        assert!(references.is_empty());
    }

    #[test]
    fn what_is_on_its_way_keeps_a_record() {
        let references = References::default();
        references.append(ONE);
        settle(&references);
        assert_eq!(references.end(ONE), Ended::Owed, "it was appended");
        references.count(ONE);
        assert_eq!(references.end(ONE), Ended::Owed, "it counts, but not for this checkpoint");
        settle(&references);
        assert_eq!(references.end(ONE), Ended::Shared, "what was owed");
        assert_eq!(references.end(ONE), Ended::Dead);
    }

    #[test]
    fn a_checkpoint_that_fails_settles_nothing() {
        let references = References::default();
        references.count(ONE);
        references.freeze();
        references.count(ONE);
        references.thaw();
        assert_eq!(references.settled_of(ONE), 0);
        settle(&references);
        assert_eq!(references.settled_of(ONE), 2);
        let again = References::default();
        again.load(&references.image());
        assert_eq!(again.all_settled(), BTreeMap::from([(ONE, 2)]));
        assert_eq!([(); 3].map(|()| again.end(ONE)), [Ended::Shared, Ended::Shared, Ended::Dead]);
    }
}
