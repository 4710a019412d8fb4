//! Which of 128 slots are present.

use std::ops::Range;

use super::NODE_SLOTS;

const WORD_BITS: usize = 64;
const WORDS: usize = 2;

const _: () = assert!(WORDS * WORD_BITS == NODE_SLOTS);

/// A set of slots. A slot is a number below [`NODE_SLOTS`]; a larger one is a fault of the caller and panics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlotBits([u64; WORDS]);

/// Bits of the slots before `slot`, which may be [`NODE_SLOTS`].
fn below(slot: usize) -> [u64; WORDS] {
    assert!(slot <= NODE_SLOTS, "slot {slot} out of range");
    match slot {
        0..WORD_BITS => [(1 << slot) - 1, 0],
        WORD_BITS => [u64::MAX, 0],
        NODE_SLOTS.. => [u64::MAX; WORDS],
        _ => [u64::MAX, (1 << (slot - WORD_BITS)) - 1],
    }
}

impl SlotBits {
    /// The set with slot `i` in bit `i % 64` of word `i / 64`.
    pub fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// See [`Self::from_words`].
    pub fn words(self) -> [u64; WORDS] {
        self.0
    }

    /// Slots in the set.
    pub fn count(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether `slot` is in the set.
    #[inline]
    pub fn contains(self, slot: usize) -> bool {
        self.0[slot / WORD_BITS] >> (slot % WORD_BITS) & 1 == 1
    }

    /// Adds `slot`.
    #[inline]
    pub fn insert(&mut self, slot: usize) {
        self.0[slot / WORD_BITS] |= 1 << (slot % WORD_BITS);
    }

    /// Takes `slot` out.
    #[inline]
    pub fn remove(&mut self, slot: usize) {
        self.0[slot / WORD_BITS] &= !(1 << (slot % WORD_BITS));
    }

    /// Takes the slots of `range` out.
    pub fn remove_range(&mut self, range: Range<usize>) {
        let (start, end) = (below(range.start), below(range.end));
        for (word, (start, end)) in self.0.iter_mut().zip(start.into_iter().zip(end)) {
            *word &= !(end & !start);
        }
    }

    /// How many slots before `slot`, which may be [`NODE_SLOTS`], are in the set.
    #[inline]
    pub fn rank(self, slot: usize) -> usize {
        let mask = below(slot);
        ((self.0[0] & mask[0]).count_ones() + (self.0[1] & mask[1]).count_ones()) as usize
    }

    /// The set without the slots before `slot`, which may be [`NODE_SLOTS`].
    #[must_use]
    pub fn from(self, slot: usize) -> Self {
        let before = below(slot);
        Self([self.0[0] & !before[0], self.0[1] & !before[1]])
    }

    /// The lowest slot of the set.
    pub fn first(self) -> Option<usize> {
        match self.0 {
            [0, 0] => None,
            [0, high] => Some(WORD_BITS + high.trailing_zeros() as usize),
            [low, _] => Some(low.trailing_zeros() as usize),
        }
    }

    /// The highest slot of the set.
    pub fn last(self) -> Option<usize> {
        match self.0 {
            [0, 0] => None,
            [low, 0] => Some(low.ilog2() as usize),
            [_, high] => Some(WORD_BITS + high.ilog2() as usize),
        }
    }
}

impl Iterator for SlotBits {
    type Item = usize;

    /// Takes the lowest slot out.
    #[inline]
    fn next(&mut self) -> Option<usize> {
        let slot = self.first()?;
        self.0[slot / WORD_BITS] &= self.0[slot / WORD_BITS] - 1;
        Some(slot)
    }
}
