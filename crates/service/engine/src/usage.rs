//! How much a volume maps, exactly, where somebody has set a bound to it.
//!
//! The newest tree knows how many blocks it maps; what came after it is counted here, when it counts: each record looks at what
//! its blocks were before. The nodes for that are in memory, because whoever was admitted near the bound has just looked at
//! them. Where one is not, the count becomes an upper bound (*vague*) until the next checkpoint, whose tree is exact again. So a
//! volume without a bound costs nothing, and no error lasts.
//!
//! Writes that were admitted and do not count yet are *in flight*; so many together cannot pass a bound that each would keep.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use quarry_map::{Lookup, NodeCache, Run, VolumeMap};
use quarry_types::VolumeSettings;
use quarry_types::limits::BLOCK_BYTES;

/// Blocks of a hole that are looked at; a larger one makes the count vague.
const HOLE_BLOCKS_MAX: u64 = 16 << 10;

/// See the module. All counts are blocks.
#[derive(Default)]
pub(crate) struct Usage {
    tracked: Cell<bool>,
    /// Mapped beyond the newest tree that was installed.
    beyond: Cell<i64>,
    /// The part of it that the checkpoint under way takes into its tree.
    frozen: Cell<i64>,
    /// Something since the last freeze was counted as more than it may have been.
    vague: Cell<bool>,
    /// And something before it.
    frozen_vague: Cell<bool>,
    in_flight: Rc<Cell<u64>>,
}

/// A write that was admitted and does not count yet.
pub(crate) struct InFlight {
    all: Rc<Cell<u64>>,
    blocks: u64,
}

impl InFlight {
    /// So many of its blocks are new.
    pub(crate) fn set(&mut self, blocks: u64) {
        self.all.set(self.all.get() - self.blocks + blocks);
        self.blocks = blocks;
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Usage {
    /// Begins to count where `settings` have a bound, and ends it where they have none.
    pub(crate) fn follow(&self, settings: &VolumeSettings, map: &VolumeMap) {
        let wanted = settings.quota_bytes > 0 || settings.reserved_bytes > 0;
        if wanted && !self.tracked.replace(wanted) {
            self.restart(map);
        }
        self.tracked.set(wanted);
    }

    /// Counts anew, because the map shows something else.
    pub(crate) fn restart(&self, map: &VolumeMap) {
        let entries = map.overlay_entries() as i64;
        self.beyond.set(entries);
        self.frozen.set(0);
        self.vague.set(!map.is_clean());
        self.frozen_vague.set(false);
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.tracked.get()
    }

    /// Whether [`Self::mapped_blocks`] is exact and not an upper bound.
    pub(crate) fn is_exact(&self) -> bool {
        !self.vague.get() && !self.frozen_vague.get()
    }

    /// Blocks that are mapped.
    pub(crate) fn mapped_blocks(&self, map: &VolumeMap) -> u64 {
        let tree = map.mapped_blocks();
        match self.tracked.get() {
            true => (tree as i64 + self.beyond.get()).max(0) as u64,
            false => tree + map.overlay_entries() as u64,
        }
    }

    /// Blocks that are mapped, and those that may soon be.
    pub(crate) fn expected_blocks(&self, map: &VolumeMap) -> u64 {
        self.mapped_blocks(map) + self.in_flight.get()
    }

    pub(crate) fn begin(&self, blocks: u64) -> InFlight {
        self.in_flight.set(self.in_flight.get() + blocks);
        InFlight { all: self.in_flight.clone(), blocks }
    }

    /// Bytes of a reservation that are not used, nor about to be.
    pub(crate) fn unused_bytes(&self, settings: &VolumeSettings, map: &VolumeMap) -> u64 {
        settings.reserved_bytes.saturating_sub(self.expected_blocks(map) * BLOCK_BYTES as u64)
    }

    /// A record is about to map `blocks`.
    pub(crate) fn maps(&self, blocks: Range<u64>, map: &VolumeMap, cache: Option<&NodeCache>) {
        let count = blocks.end - blocks.start;
        let holes = holes(blocks, map, cache);
        self.vague.set(self.vague.get() || holes.is_none());
        self.beyond.set(self.beyond.get() + holes.unwrap_or(count) as i64);
    }

    /// A record is about to unmap `blocks`.
    pub(crate) fn unmaps(&self, blocks: Range<u64>, map: &VolumeMap, cache: Option<&NodeCache>) {
        let count = blocks.end - blocks.start;
        let holes = if count <= HOLE_BLOCKS_MAX { holes(blocks, map, cache) } else { None };
        self.vague.set(self.vague.get() || holes.is_none());
        self.beyond.set(self.beyond.get() - (count - holes.unwrap_or(count)) as i64);
    }

    /// A checkpoint takes over what there is.
    pub(crate) fn freeze(&self) {
        self.frozen.set(self.beyond.get());
        self.frozen_vague.set(self.vague.replace(false));
    }

    /// The checkpoint has failed.
    pub(crate) fn thaw(&self) {
        self.frozen.set(0);
        self.vague.set(self.vague.get() || self.frozen_vague.replace(false));
    }

    /// The checkpoint's tree is the newest one now.
    pub(crate) fn install(&self) {
        self.beyond.set(self.beyond.get() - self.frozen.replace(0));
        self.frozen_vague.set(false);
    }
}

/// How many of `blocks` are mapped to nothing, where that is known without I/O.
fn holes(blocks: Range<u64>, map: &VolumeMap, cache: Option<&NodeCache>) -> Option<u64> {
    match map.lookup(blocks, cache?) {
        Lookup::Ready(runs) => Some(holes_in(&runs)),
        Lookup::NeedNode(_) => None,
    }
}

/// Blocks of `runs` that are mapped to nothing.
pub(crate) fn holes_in(runs: &[Run]) -> u64 {
    let holes = runs.iter().map(|run| match run {
        Run::Hole { blocks } => *blocks,
        Run::Data(_) => 0,
    });
    holes.sum()
}
