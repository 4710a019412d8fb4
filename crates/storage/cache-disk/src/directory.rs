//! Which region of a cache disk belongs to whom.

use std::collections::BTreeSet;

use quarry_format::cache_disk::CacheRegion;
use quarry_types::{LogId, PoolId};

/// A log of a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// The pool.
    pub pool: PoolId,
    /// The log.
    pub log: LogId,
}

/// A region that belongs to somebody.
#[derive(Clone, Copy)]
struct Owned {
    owner: Owner,
    sequence: u64,
    /// Its table on the disk, when that was there before its owner has come.
    found: Option<CacheRegion>,
    /// Its owner was asked for it.
    leaving: bool,
}

/// Who has which regions. Behind a lock that is taken once for each region that is filled.
pub(crate) struct Directory {
    regions: Vec<Option<Owned>>,
    free: Vec<u32>,
    attached: BTreeSet<Owner>,
    next_sequence: u64,
}

impl Directory {
    /// What a disk has whose regions have these tables.
    pub(crate) fn new(tables: &[Option<CacheRegion>]) -> Self {
        let owned = |found: &CacheRegion| Owned {
            owner: Owner { pool: found.pool, log: found.log },
            sequence: found.sequence,
            found: Some(*found),
            leaving: false,
        };
        let regions: Vec<Option<Owned>> = tables.iter().map(|table| table.as_ref().map(owned)).collect();
        let is_free = |index: &u32| regions[*index as usize].is_none();
        Self {
            // The last is taken first.
            free: (0..regions.len() as u32).rev().filter(is_free).collect(),
            next_sequence: regions.iter().flatten().map(|owned| owned.sequence).max().unwrap_or(0) + 1,
            regions,
            attached: BTreeSet::new(),
        }
    }

    /// A log is there now; gives the regions that it has from former lives, the newest first.
    pub(crate) fn attach(&mut self, owner: Owner) -> Vec<(u32, CacheRegion)> {
        self.attached.insert(owner);
        let own = |owned: &&mut Owned| owned.owner == owner;
        let all = (0..).zip(self.regions.iter_mut());
        let mut found: Vec<(u32, CacheRegion)> = all
            .filter_map(|(index, owned)| Some((index, owned.as_mut().filter(own)?.found.take()?)))
            .collect();
        found.sort_by_key(|(_, region)| std::cmp::Reverse(region.sequence));
        found
    }

    /// A log has gone; what it has written stays for when it comes back, as these tables say.
    pub(crate) fn detach(&mut self, owner: Owner, tables: &[(u32, CacheRegion)]) {
        self.attached.remove(&owner);
        for &(index, table) in tables {
            if let Some(owned) = &mut self.regions[index as usize] {
                (owned.found, owned.leaving) = (Some(table), false);
            }
        }
    }

    /// A region for `owner`, and its sequence. Where none is free, the oldest is asked of who has it: try again then.
    pub(crate) fn take(&mut self, owner: Owner) -> Option<(u32, u64)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.reclaim()?,
        };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.regions[index as usize] = Some(Owned { owner, sequence, found: None, leaving: false });
        Some((index, sequence))
    }

    /// The oldest region, if its owner is not there; else its owner is to give it back.
    fn reclaim(&mut self) -> Option<u32> {
        let all = (0..).zip(self.regions.iter_mut());
        let staying =
            all.filter_map(|(index, owned)| Some((index, owned.as_mut().filter(|owned| !owned.leaving)?)));
        let (index, oldest) = staying.min_by_key(|(_, owned)| owned.sequence)?;
        if !self.attached.contains(&oldest.owner) {
            return Some(index);
        }
        oldest.leaving = true;
        None
    }

    /// Which regions a log is to give back.
    pub(crate) fn leaving(&self, owner: Owner) -> Vec<u32> {
        let is_wanted =
            |owned: &Option<Owned>| owned.is_some_and(|owned| owned.leaving && owned.owner == owner);
        (0..).zip(&self.regions).filter(|(_, owned)| is_wanted(owned)).map(|(index, _)| index).collect()
    }

    /// A region is nobody's now.
    pub(crate) fn free(&mut self, index: u32) {
        if self.regions[index as usize].take().is_some() {
            self.free.push(index);
        }
    }

    /// How many regions belong to somebody.
    pub(crate) fn owned(&self) -> usize {
        self.regions.len() - self.free.len()
    }
}
