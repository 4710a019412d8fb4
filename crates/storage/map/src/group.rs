//! The entries of the 128 blocks of one leaf, by their numbers in the arena.

use std::ops::Range;

use quarry_format::node::SlotBits;
use smallvec::SmallVec;

/// Numbers that fit beside the bitmap; random writes over a large volume rarely bring more before a merge.
const NUMBERS_INLINE: usize = 4;
/// Header of an allocation and its rounding.
const ALLOCATION_BYTES: usize = 16;

/// Numbers of entries by slot, packed in slot order.
#[derive(Clone, Default, Debug)]
pub(crate) struct Group {
    present: SlotBits,
    numbers: SmallVec<[u32; NUMBERS_INLINE]>,
}

impl Group {
    pub fn present(&self) -> SlotBits {
        self.present
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Bytes that it has on the heap.
    pub fn heap_bytes(&self) -> usize {
        if self.numbers.spilled() { self.numbers.capacity() * size_of::<u32>() + ALLOCATION_BYTES } else { 0 }
    }

    pub fn get(&self, slot: usize) -> Option<u32> {
        if !self.present.contains(slot) {
            return None;
        }
        Some(self.numbers[self.present.rank(slot)])
    }

    /// Sets a slot that is not present.
    pub fn add(&mut self, slot: usize, number: u32) {
        debug_assert!(!self.present.contains(slot));
        let rank = self.present.rank(slot);
        self.present.insert(slot);
        self.numbers.insert(rank, number);
    }

    /// Clears the slots of `range`, calling `removed` with each number in slot order.
    pub fn remove_range(&mut self, range: Range<usize>, removed: impl FnMut(u32)) {
        let ranks = self.present.rank(range.start)..self.present.rank(range.end);
        self.numbers.drain(ranks).for_each(removed);
        self.present.remove_range(range);
    }

    /// Present slots that are not before `slot` and their numbers, in slot order.
    pub fn iter_from(&self, slot: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        let numbers = &self.numbers[self.present.rank(slot)..];
        self.present.from(slot).zip(numbers.iter().copied())
    }
}
