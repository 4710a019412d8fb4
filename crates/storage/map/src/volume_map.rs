//! The map of one volume: a tree and the changes that it does not hold yet.

use std::cell::{Ref, RefCell};
use std::ops::Range;
use std::rc::Rc;

use quarry_env::yield_now;
use quarry_format::node::{Entry, MAP_BLOCKS_MAX, NodeRef};
use quarry_types::{BlockIndex, SnapshotCounter, VolumeId};

use crate::overlay::Overlay;

/// Parts of an overlay that are freed before other tasks get their turn.
const FREED_AT_ONCE: usize = 8;

/// An overlay that takes no more changes, on its way into the tree.
pub(crate) struct Frozen {
    pub overlay: Overlay,
    pub birth: SnapshotCounter,
}

pub(crate) struct State {
    pub root: Option<NodeRef>,
    pub active: Overlay,
    pub frozen: Option<Rc<Frozen>>,
}

/// The map of one volume on its core. See the crate for the life of a change.
pub struct VolumeMap {
    volume: VolumeId,
    state: RefCell<State>,
}

impl VolumeMap {
    /// A map whose tree has this root; `None` when nothing is mapped.
    pub fn new(volume: VolumeId, root: Option<NodeRef>) -> Self {
        Self { volume, state: RefCell::new(State { root, active: Overlay::default(), frozen: None }) }
    }

    /// The volume.
    pub fn volume(&self) -> VolumeId {
        self.volume
    }

    pub(crate) fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// Maps `block`. Returns the entry of the active overlay that this replaces: its data is dead, unless it is the same
    /// address. What the layers below hold dies with the merge.
    ///
    /// # Panics
    /// When the block lies beyond [`MAP_BLOCKS_MAX`].
    pub fn insert(&self, block: BlockIndex, entry: Entry) -> Option<Entry> {
        assert!(block < MAP_BLOCKS_MAX, "block {block} is beyond every volume");
        debug_assert!(entry.address.0 != 0, "an entry has an address");
        self.state.borrow_mut().active.insert(block, entry).filter(|old| old.address != entry.address)
    }

    /// Maps the blocks from `first_block` on, one for each of `entries`, as [`Self::insert`] does; `died` gets the entries
    /// that are replaced. `died` must not use this map.
    pub fn insert_run(
        &self,
        first_block: BlockIndex,
        entries: impl IntoIterator<Item = Entry>,
        mut died: impl FnMut(Entry),
    ) {
        self.state.borrow_mut().active.insert_run(first_block, entries, |old, new| {
            if old.address != new.address {
                died(old);
            }
        });
    }

    /// Makes `range` read as zeroes. `died` gets the entries of the active overlay that this removes; what the layers
    /// below hold dies with the merge. `died` must not use this map.
    ///
    /// Takes O(log n) beside about 30 ns per entry that dies: a caller that must not stall cuts huge ranges.
    pub fn unmap(&self, range: Range<BlockIndex>, died: &mut dyn FnMut(Entry)) {
        if !range.is_empty() {
            self.state.borrow_mut().active.unmap(range, died);
        }
    }

    /// The root of the tree, without the overlays.
    pub fn root(&self) -> Option<NodeRef> {
        self.state().root
    }

    /// Blocks mapped by the tree: exact as of the last installed merge.
    pub fn mapped_blocks(&self) -> u64 {
        self.root().map_or(0, |root| root.mapped)
    }

    /// Blocks with an entry in an overlay, whether they are new or overwritten.
    pub fn overlay_entries(&self) -> usize {
        let state = self.state();
        state.active.entries() + state.frozen.as_ref().map_or(0, |frozen| frozen.overlay.entries())
    }

    /// Memory of the overlays in bytes.
    pub fn overlay_bytes(&self) -> usize {
        let state = self.state();
        state.active.bytes() + state.frozen.as_ref().map_or(0, |frozen| frozen.overlay.bytes())
    }

    /// Memory of the active overlay in bytes: what the next merge would free.
    pub fn active_bytes(&self) -> usize {
        self.state().active.bytes()
    }

    /// Whether the tree alone tells everything.
    pub fn is_clean(&self) -> bool {
        let state = self.state();
        state.active.is_empty() && state.frozen.is_none()
    }

    /// Whether a frozen overlay waits for [`Self::install`] or [`Self::abandon`].
    pub fn is_frozen(&self) -> bool {
        self.state().frozen.is_some()
    }

    /// Freezes the active overlay for a merge and begins another. `birth` is the log's snapshot counter now: nodes that
    /// the merge writes carry it.
    ///
    /// # Panics
    /// When an overlay is frozen already.
    pub fn freeze(&self, birth: SnapshotCounter) {
        let mut state = self.state.borrow_mut();
        assert!(state.frozen.is_none(), "one merge of a volume at a time");
        let overlay = std::mem::take(&mut state.active);
        state.frozen = Some(Rc::new(Frozen { overlay, birth }));
    }

    /// Puts the root of a finished merge in the place of the old one and of the frozen overlay.
    ///
    /// # Panics
    /// When no overlay is frozen.
    pub fn install(&self, root: Option<NodeRef>) -> Retired {
        let mut state = self.state.borrow_mut();
        let frozen = state.frozen.take().expect("only a merge of a frozen overlay is installed");
        state.root = root;
        Retired(frozen)
    }

    /// Gives a failed merge up: the frozen overlay goes back under the active one. `died` gets its entries that the active
    /// one replaces or unmaps. `died` must not use this map.
    ///
    /// # Panics
    /// When no overlay is frozen.
    pub fn abandon(&self, died: &mut dyn FnMut(Entry)) {
        let mut state = self.state.borrow_mut();
        let frozen = state.frozen.take().expect("only a frozen overlay is given up");
        let mut overlay =
            Rc::try_unwrap(frozen).map_or_else(|shared| shared.overlay.clone(), |frozen| frozen.overlay);
        overlay.apply(&state.active, died);
        state.active = overlay;
    }
}

/// An overlay that has become part of the tree. Dropping it frees a large one in one go, which may take milliseconds.
#[must_use = "release it, so that freeing it delays nobody"]
pub struct Retired(Rc<Frozen>);

impl Retired {
    /// Frees it step by step.
    pub async fn release(self) {
        let Ok(Frozen { mut overlay, .. }) = Rc::try_unwrap(self.0) else { return };
        while (0..FREED_AT_ONCE).all(|_| overlay.free_some()) {
            yield_now().await;
        }
    }
}
