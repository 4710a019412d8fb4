//! Changes of a volume that its tree does not hold yet: new entries by block, and ranges that were unmapped.
//!
//! Invariants:
//! - An entry is newer than any hole that covers its block: unmapping removes the entries of its range. So an entry wins
//!   over a hole, inserting never splits a hole, and a hole may cover entries.
//! - No group and no region is empty.
//!
//! 128 blocks are a *group*, whose entries become part of one leaf, and 128 groups a *region*; both are packed arrays
//! behind a bitmap, and a B-tree leads to the regions. The entries lie in an arena in order of arrival. Nothing is ever
//! rebuilt as a whole, so no insert takes longer than moving one packed array, and freeing it all is cheap. (Packed
//! entries in the groups instead of numbers cost 1.7 times as much for a random insert, hash tables stall to grow.)

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use quarry_format::node::{Entry, Mapped, MappedRef, NODE_SLOT_BITS, NODE_SLOTS, Slots};
use quarry_types::BlockIndex;

use crate::arena::Arena;
use crate::group::Group;
use crate::holes::Holes;

type Region = Slots<Group>;

const REGION_BITS: u32 = 2 * NODE_SLOT_BITS;
const SLOT_MASK: u64 = NODE_SLOTS as u64 - 1;
/// Estimate of what a region costs beside its groups: its part of the B-tree, whose nodes are two thirds full, and the
/// header of an allocation.
const REGION_BYTES: usize = 3 * (size_of::<Region>() + size_of::<u64>()) / 2 + 16;

/// What an overlay knows of a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece<'a> {
    /// One block with data.
    Data(BlockIndex, MappedRef<'a>),
    /// Blocks that read as zeroes.
    Hole(Range<BlockIndex>),
    /// Blocks of which it knows nothing.
    Unknown(Range<BlockIndex>),
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub(crate) struct Overlay {
    regions: BTreeMap<u64, Region>,
    arena: Arena,
    holes: Holes,
    entries: usize,
    index_bytes: usize,
}

fn group_slot(block: BlockIndex) -> usize {
    (block >> NODE_SLOT_BITS & SLOT_MASK) as usize
}

fn entry_slot(block: BlockIndex) -> usize {
    (block & SLOT_MASK) as usize
}

/// The part of `range` inside the aligned unit of 2^`unit_bits` blocks that starts at `start`.
fn clip(range: &Range<BlockIndex>, start: BlockIndex, unit_bits: u32) -> Range<BlockIndex> {
    range.start.max(start)..range.end.min(start + (1 << unit_bits))
}

fn region_bytes(capacity: usize) -> usize {
    REGION_BYTES + capacity * size_of::<Group>()
}

impl Overlay {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty() && self.holes.is_empty()
    }

    /// Blocks with an entry.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Memory in use.
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.index_bytes + self.holes.bytes()
    }

    pub fn holes(&self) -> &Holes {
        &self.holes
    }

    /// Sets the entry of `block`; returns the one that it replaces.
    pub fn insert(&mut self, block: BlockIndex, mapped: Mapped) -> Option<Entry> {
        let mut replaced = None;
        self.insert_into_group(block, std::iter::once(mapped), &mut |old| replaced = Some(old));
        replaced
    }

    /// Sets the entries of the blocks from `first_block` on; `replaced` gets each that is replaced.
    pub fn insert_run(
        &mut self,
        first_block: BlockIndex,
        entries: impl IntoIterator<Item = Mapped>,
        mut replaced: impl FnMut(Entry),
    ) {
        let mut entries = entries.into_iter().peekable();
        let mut block = first_block;
        while entries.peek().is_some() {
            let room = NODE_SLOTS - entry_slot(block);
            self.insert_into_group(block, entries.by_ref().take(room), &mut replaced);
            block += room as u64;
        }
    }

    /// Sets entries (at least one) of blocks that belong to the group of `first_block`.
    fn insert_into_group(
        &mut self,
        first_block: BlockIndex,
        entries: impl Iterator<Item = Mapped>,
        replaced: &mut impl FnMut(Entry),
    ) {
        let region = self.regions.entry(first_block >> REGION_BITS).or_default();
        let before = region.capacity();
        let group = region.get_or_default(group_slot(first_block));
        let group_before = group.heap_bytes();
        for (slot, mapped) in (entry_slot(first_block)..NODE_SLOTS).zip(entries) {
            match group.get(slot) {
                Some(number) => replaced(self.arena.replace(number, mapped)),
                None => {
                    group.add(slot, self.arena.add(mapped));
                    self.entries += 1;
                }
            }
        }
        self.index_bytes += group.heap_bytes() - group_before;
        let after = region.capacity();
        if before != after {
            self.index_bytes += region_bytes(after);
            self.index_bytes -= if before == 0 { 0 } else { region_bytes(before) };
        }
    }

    /// Makes `range` (not empty) a hole; `died` gets the entries that it removes.
    pub fn unmap(&mut self, range: Range<BlockIndex>, mut died: impl FnMut(Entry)) {
        let regions = range.start >> REGION_BITS..((range.end - 1) >> REGION_BITS) + 1;
        let (mut removed, mut freed) = (0, 0);
        for (&number, region) in self.regions.range_mut(regions.clone()) {
            let part = clip(&range, number << REGION_BITS, REGION_BITS);
            clear(region, part, &mut freed, &mut |number| {
                removed += 1;
                died(self.arena.remove(number));
            });
        }
        for (_, region) in self.regions.extract_if(regions, |_, region| region.is_empty()) {
            freed += region_bytes(region.capacity());
        }
        self.entries -= removed;
        self.index_bytes -= freed;
        self.holes.insert(range);
    }

    /// Slots and entries of the leaf that starts at `first_block`, in order.
    pub fn leaf_entries(&self, first_block: BlockIndex) -> impl Iterator<Item = (usize, MappedRef<'_>)> {
        let region = self.regions.get(&(first_block >> REGION_BITS));
        let group = region.and_then(|region| region.get(group_slot(first_block)));
        group
            .into_iter()
            .flat_map(|group| group.iter_from(0))
            .map(|(slot, number)| (slot, self.arena.get(number)))
    }

    /// The first block with an entry that is not before `from`.
    pub fn next_block(&self, from: BlockIndex) -> Option<BlockIndex> {
        self.regions.range(from >> REGION_BITS..).find_map(|(&number, region)| {
            let start = number << REGION_BITS;
            let from = from.max(start);
            region.iter_from(group_slot(from)).find_map(|(slot, group)| {
                let start = start | (slot as u64) << NODE_SLOT_BITS;
                let skip = from.saturating_sub(start) as usize;
                group.present().from(skip).first().map(|slot| start | slot as u64)
            })
        })
    }

    /// The last block with an entry.
    pub fn last_block(&self) -> Option<BlockIndex> {
        let (&number, region) = self.regions.last_key_value()?;
        let group_slot = region.present().last()?;
        let slot = region.get(group_slot)?.present().last()?;
        Some(number << REGION_BITS | (group_slot as u64) << NODE_SLOT_BITS | slot as u64)
    }

    /// Whether a block of `range` has an entry.
    pub fn has_entries(&self, range: &Range<BlockIndex>) -> bool {
        self.next_block(range.start).is_some_and(|block| block < range.end)
    }

    /// Runs `visit` with each block of `range` that has an entry, in order.
    pub fn for_each_entry<'a, B>(
        &'a self,
        range: &Range<BlockIndex>,
        mut visit: impl FnMut(BlockIndex, MappedRef<'a>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for (&number, region) in self.regions.range(range.start >> REGION_BITS..) {
            let start = number << REGION_BITS;
            let from = range.start.max(start);
            if range.end <= start {
                break;
            }
            for (slot, group) in region.iter_from(group_slot(from)) {
                let start = start | (slot as u64) << NODE_SLOT_BITS;
                if range.end <= start {
                    break;
                }
                let skip = from.saturating_sub(start) as usize;
                let end = (range.end - start).min(NODE_SLOTS as u64) as usize;
                for (slot, number) in group.iter_from(skip).take_while(|&(slot, _)| slot < end) {
                    visit(start | slot as u64, self.arena.get(number))?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// What it knows of one block.
    pub fn find(&self, block: BlockIndex) -> Piece<'_> {
        let region = self.regions.get(&(block >> REGION_BITS));
        let group = region.and_then(|region| region.get(group_slot(block)));
        match group.and_then(|group| group.get(entry_slot(block))) {
            Some(number) => Piece::Data(block, self.arena.get(number)),
            None if self.holes.is_empty() || !self.holes.contains(block) => Piece::Unknown(block..block + 1),
            None => Piece::Hole(block..block + 1),
        }
    }

    /// Runs `visit` with what it knows of `range`, piece by piece, in order and without gaps.
    pub fn pieces<B>(
        &self,
        range: Range<BlockIndex>,
        mut visit: impl FnMut(Piece<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut position = range.start;
        self.for_each_entry(&range, |block, entry| {
            self.gap(position..block, &mut visit)?;
            position = block + 1;
            visit(Piece::Data(block, entry))
        })?;
        self.gap(position..range.end, &mut visit)
    }

    /// The pieces of a range without entries.
    fn gap<B>(
        &self,
        range: Range<BlockIndex>,
        visit: &mut impl FnMut(Piece<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if range.is_empty() {
            return ControlFlow::Continue(());
        }
        if self.holes.is_empty() {
            return visit(Piece::Unknown(range));
        }
        self.holes.cut(range, |part, hole| visit(if hole { Piece::Hole(part) } else { Piece::Unknown(part) }))
    }

    /// Puts `newer` on top; `died` gets the entries that it replaces or unmaps.
    pub fn apply(&mut self, newer: &Overlay, mut died: impl FnMut(Entry)) {
        newer.holes.iter().for_each(|range| self.unmap(range, &mut died));
        let _ = newer.for_each_entry(&(0..BlockIndex::MAX), |block, mapped| {
            self.insert(block, mapped.into()).into_iter().for_each(&mut died);
            ControlFlow::<()>::Continue(())
        });
    }

    /// Frees a part of it; `false` once nothing is left.
    pub fn free_some(&mut self) -> bool {
        self.regions.pop_first().is_some() | self.arena.free_page()
    }
}

/// Removes the entries of `range`, which lies inside `region`, and its groups that are empty then.
fn clear(region: &mut Region, range: Range<BlockIndex>, freed: &mut usize, removed: &mut impl FnMut(u32)) {
    let mut position = range.start;
    while position < range.end {
        let start = position >> NODE_SLOT_BITS << NODE_SLOT_BITS;
        let part = clip(&range, start, NODE_SLOT_BITS);
        let slot = group_slot(position);
        position = part.end;
        let Some(group) = region.get_mut(slot) else { continue };
        let before = group.heap_bytes();
        let first = entry_slot(part.start);
        group.remove_range(first..first + (part.end - part.start) as usize, &mut *removed);
        if group.is_empty() {
            *freed += before;
            region.remove(slot);
        }
    }
}
