//! The map of one volume: a version and the changes on top of it.

use std::cell::{Ref, RefCell};
use std::ops::{ControlFlow, Range};
use std::rc::Rc;

use quarry_format::node::{Entry, MAP_BLOCKS_MAX, Mapped};
use quarry_types::{BlockIndex, SnapshotCounter};

use crate::overlay::Overlay;
use crate::version::Version;

pub(crate) struct State {
    pub active: Overlay,
    pub below: Rc<Version>,
}

/// The map of one volume on its core. See the crate for the life of a change. The map of a snapshot is one that nobody changes.
pub struct VolumeMap {
    state: RefCell<State>,
}

impl VolumeMap {
    /// A map that shows `version`.
    pub fn new(version: Rc<Version>) -> Self {
        Self { state: RefCell::new(State { active: Overlay::default(), below: version }) }
    }

    pub(crate) fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// Maps `block`. Returns the entry of the active overlay that this replaces: that reference is dead. What the versions
    /// below hold dies with the merge.
    ///
    /// # Panics
    /// When the block lies beyond [`MAP_BLOCKS_MAX`].
    pub fn insert(&self, block: BlockIndex, mapped: Mapped) -> Option<Entry> {
        assert!(block < MAP_BLOCKS_MAX, "block {block} is beyond every volume");
        debug_assert!(mapped.entry.address.0 != 0, "an entry has an address");
        self.state.borrow_mut().active.insert(block, mapped)
    }

    /// Maps the blocks from `first_block` on, one for each of `entries`, as [`Self::insert`] does; `died` gets the entries
    /// that are replaced. `died` must not use this map.
    pub fn insert_run(
        &self,
        first_block: BlockIndex,
        entries: impl IntoIterator<Item = Mapped>,
        died: impl FnMut(Entry),
    ) {
        self.state.borrow_mut().active.insert_run(first_block, entries, died);
    }

    /// Makes `range` read as zeroes. `died` gets the entries of the active overlay that this removes; what the versions
    /// below hold dies with the merge. `died` must not use this map.
    ///
    /// Takes O(log n) beside about 30 ns per entry that dies: a caller that must not stall cuts huge ranges.
    pub fn unmap(&self, range: Range<BlockIndex>, died: &mut dyn FnMut(Entry)) {
        if !range.is_empty() {
            self.state.borrow_mut().active.unmap(range, died);
        }
    }

    /// The version under the active overlay.
    pub fn below(&self) -> Rc<Version> {
        self.state().below.clone()
    }

    /// Blocks that the newest tree maps: exact as of the last installed merge.
    pub fn mapped_blocks(&self) -> u64 {
        self.state().below.mapped_blocks()
    }

    /// Blocks with an entry that is in no tree, whether they are new or overwritten.
    pub fn overlay_entries(&self) -> usize {
        let state = self.state();
        state.active.entries() + state.below.pending_entries()
    }

    /// Memory of the active overlay in bytes: what the next merge would free.
    pub fn active_bytes(&self) -> usize {
        self.state().active.bytes()
    }

    /// Whether the tree alone tells everything.
    pub fn is_clean(&self) -> bool {
        let state = self.state();
        state.active.is_empty() && !state.below.is_pending()
    }

    /// Makes a version of what the map shows now, and says whether it is a new one. Takes no time, whatever there is.
    /// `birth` is the log's snapshot counter now: nodes that the version's merge writes carry it.
    pub fn freeze(&self, birth: SnapshotCounter) -> (Rc<Version>, bool) {
        let mut state = self.state.borrow_mut();
        let changed = !state.active.is_empty();
        if changed {
            let overlay = std::mem::take(&mut state.active);
            state.below = Version::pending(state.below.clone(), overlay, birth);
        }
        (state.below.clone(), changed)
    }

    /// Takes the newest version's changes back under the active ones, if that waits for a merge and nobody else has it. `died`
    /// gets its entries that the active ones replace or unmap. `died` must not use this map.
    pub fn thaw(&self, died: &mut dyn FnMut(Entry)) {
        let mut state = self.state.borrow_mut();
        let below = std::mem::replace(&mut state.below, Version::merged(None));
        match below.into_pending() {
            Ok(pending) => {
                let mut overlay =
                    Rc::try_unwrap(pending.overlay).unwrap_or_else(|shared| Overlay::clone(&shared));
                overlay.apply(&state.active, died);
                (state.active, state.below) = (overlay, pending.below);
            }
            Err(below) => state.below = below,
        }
    }

    /// Ends the map's life: `died` gets the entries of the active overlay. Returns the version that is under it. Lookups under
    /// way go on to see what was there.
    pub fn retire(&self, died: &mut dyn FnMut(Entry)) -> Rc<Version> {
        let state = self.state();
        let _ = state.active.for_each_entry(&(0..BlockIndex::MAX), |_, mapped| {
            died(*mapped.entry);
            ControlFlow::<()>::Continue(())
        });
        state.below.clone()
    }

    /// Shows `version` from now on. `died` gets the entries of the active overlay; returns the version that was under it.
    pub fn replace(&self, version: Rc<Version>, died: &mut dyn FnMut(Entry)) -> Rc<Version> {
        let mut state = self.state.borrow_mut();
        state.active.unmap(0..MAP_BLOCKS_MAX, died);
        state.active = Overlay::default();
        std::mem::replace(&mut state.below, version)
    }
}
