//! Decoded nodes by address, bounded in bytes.
//!
//! Addresses are never reused and nodes never change, so nothing is ever invalidated; [`NodeCache::forget`] only gives
//! memory back early. Eviction is SIEVE with two extensions: a hand goes from the oldest node to the youngest, takes one
//! *credit* from each that has any and evicts the first that has none; new nodes enter at the young end without moving
//! the hand. A leaf starts with no credit and a hit gives it one, so a scan is evicted before what is used again;
//! interior nodes start with some and get more, because one of them stands for many leaves.

mod load;
#[cfg(test)]
mod tests;

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use quarry_cache::Queue;
use quarry_format::node::{Node, NodeRef, NodeSlots};
use quarry_types::LogAddress;
use rustc_hash::FxHashMap;

pub use load::Needed;
use load::Waiters;
pub(crate) use load::read;

/// Credit of a leaf that was hit.
const LEAF_CREDIT: u8 = 1;
/// Credit of an interior node, new or hit.
const INTERIOR_CREDIT: u8 = 3;
/// How many nodes the hand passes before it evicts the one that it has reached, whatever its credit.
const HAND_STEPS_MAX: usize = 64;
/// What a node costs beside its slots: its header, its places in table and queue, and two allocations.
const NODE_OVERHEAD_BYTES: usize = size_of::<Cached>() + 96;
/// The table has room for so many nodes from the start, so that it seldom stalls to grow. For no more: a table that is almost empty costs
/// each lookup two misses of the processor's caches, and the growth to a million nodes some 30 ms, once.
const NODES_AT_FIRST_MAX: usize = 32 * 1024;
/// What a node takes, for how many the budget is.
const NODE_BYTES_TYPICAL: usize = 2048;

/// A node in the cache.
pub(crate) struct Cached {
    pub node: Node,
    credit: Cell<u8>,
}

impl Cached {
    /// One that no cache keeps.
    pub(crate) fn apart(node: Node) -> Self {
        Self { node, credit: Cell::new(0) }
    }

    fn credit_when_hit(&self) -> u8 {
        if self.node.level() == 0 { LEAF_CREDIT } else { INTERIOR_CREDIT }
    }

    fn bytes(&self) -> usize {
        let slots = match &self.node.slots {
            NodeSlots::Leaf(leaf) => leaf.heap_bytes(),
            NodeSlots::Interior { children, .. } => children.capacity() * size_of::<NodeRef>(),
        };
        slots + NODE_OVERHEAD_BYTES
    }
}

struct Place {
    cached: Rc<Cached>,
    queued: u32,
}

pub(crate) struct Nodes {
    table: FxHashMap<LogAddress, Place>,
    queue: Queue,
    used_bytes: usize,
    budget_bytes: usize,
}

/// See the module. Shared by the volumes of one core.
pub struct NodeCache {
    nodes: RefCell<Nodes>,
    loading: RefCell<FxHashMap<LogAddress, Waiters>>,
}

impl NodeCache {
    /// A cache that keeps at most `budget_bytes`.
    pub fn new(budget_bytes: usize) -> Self {
        let nodes_at_first = (budget_bytes / NODE_BYTES_TYPICAL).min(NODES_AT_FIRST_MAX);
        let table = FxHashMap::with_capacity_and_hasher(nodes_at_first, Default::default());
        let nodes = Nodes { table, queue: Queue::default(), used_bytes: 0, budget_bytes };
        Self { nodes: RefCell::new(nodes), loading: RefCell::default() }
    }

    /// Changes the bound; evicts at once what is over it.
    pub fn set_budget(&self, budget_bytes: usize) {
        let mut nodes = self.nodes.borrow_mut();
        nodes.budget_bytes = budget_bytes;
        nodes.evict();
    }

    /// Memory in use, at most the budget. Nodes that an operation under way holds are not counted once evicted.
    pub fn used_bytes(&self) -> usize {
        self.nodes.borrow().used_bytes
    }

    /// Nodes that it holds.
    pub fn len(&self) -> usize {
        self.nodes.borrow().table.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops a node that will hardly be asked for again: one that died with an installed merge.
    pub fn forget(&self, address: LogAddress) {
        self.nodes.borrow_mut().remove(address);
    }

    /// Looks without keeping anything alive; the cache cannot change while the result is held.
    pub(crate) fn nodes(&self) -> Ref<'_, Nodes> {
        self.nodes.borrow()
    }

    pub(crate) fn get(&self, address: LogAddress) -> Option<Rc<Cached>> {
        self.nodes.borrow().place(address).map(|place| place.cached.clone())
    }

    pub(crate) fn insert(&self, address: LogAddress, node: Node) -> Rc<Cached> {
        let credit = if node.level() == 0 { 0 } else { INTERIOR_CREDIT };
        let cached = Rc::new(Cached { node, credit: Cell::new(credit) });
        self.nodes.borrow_mut().insert(address, cached.clone());
        cached
    }
}

impl Nodes {
    fn place(&self, address: LogAddress) -> Option<&Place> {
        let place = self.table.get(&address)?;
        let (credit, when_hit) = (&place.cached.credit, place.cached.credit_when_hit());
        if credit.get() != when_hit {
            credit.set(when_hit);
        }
        Some(place)
    }

    /// The node at `address`.
    pub fn find(&self, address: LogAddress) -> Option<&Node> {
        self.place(address).map(|place| &place.cached.node)
    }

    fn insert(&mut self, address: LogAddress, cached: Rc<Cached>) {
        self.remove(address);
        self.used_bytes += cached.bytes();
        let queued = self.queue.push(address);
        self.table.insert(address, Place { cached, queued });
        self.evict();
    }

    fn remove(&mut self, address: LogAddress) {
        if let Some(place) = self.table.remove(&address) {
            self.queue.remove(place.queued);
            self.used_bytes -= place.cached.bytes();
        }
    }

    fn evict(&mut self) {
        while self.used_bytes > self.budget_bytes {
            let mut steps = 0;
            let table = &self.table;
            let victim = self.queue.advance_hand(|address| {
                let credit = &table[&address].cached.credit;
                steps += 1;
                let spared = credit.get() > 0 && steps <= HAND_STEPS_MAX;
                credit.set(credit.get().saturating_sub(1));
                !spared
            });
            match victim {
                Some(address) => self.remove(address),
                None => return,
            }
        }
    }
}
