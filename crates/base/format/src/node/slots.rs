//! A sparse array of 128 slots: a bitmap and the present values packed in slot order.

use super::NODE_SLOTS;

const WORD_BITS: usize = 64;
const WORDS: usize = NODE_SLOTS / WORD_BITS;

/// Up to [`NODE_SLOTS`] values by slot. The memory grows with the values that are present.
///
/// Slots are numbers below [`NODE_SLOTS`]; a larger one is a fault of the caller and panics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slots<T> {
    present: [u64; WORDS],
    values: Vec<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { present: [0; WORDS], values: Vec::new() }
    }
}

/// Bits of the slots before `slot`.
fn below(slot: usize) -> [u64; WORDS] {
    debug_assert!(slot <= NODE_SLOTS);
    match slot {
        0..WORD_BITS => [(1 << slot) - 1, 0],
        WORD_BITS => [u64::MAX, 0],
        NODE_SLOTS.. => [u64::MAX; WORDS],
        _ => [u64::MAX, (1 << (slot - WORD_BITS)) - 1],
    }
}

impl<T> Slots<T> {
    /// Values by a bitmap of present slots (bit `i` of word `i / 64`) and the values in slot order.
    ///
    /// Returns `None` when their numbers differ.
    pub fn from_parts(present: [u64; WORDS], values: Vec<T>) -> Option<Self> {
        let count: u32 = present.iter().map(|word| word.count_ones()).sum();
        (count as usize == values.len()).then_some(Self { present, values })
    }

    /// The bitmap of present slots, as [`Self::from_parts`] takes it.
    pub fn present(&self) -> [u64; WORDS] {
        self.present
    }

    /// The values in slot order.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Present slots.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no slot is present.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Values for which memory is reserved.
    pub fn capacity(&self) -> usize {
        self.values.capacity()
    }

    /// Whether `slot` is present.
    pub fn contains(&self, slot: usize) -> bool {
        self.present[slot / WORD_BITS] >> (slot % WORD_BITS) & 1 == 1
    }

    /// How many slots before `slot` are present.
    fn rank(&self, slot: usize) -> usize {
        if slot < WORD_BITS {
            (self.present[0] & ((1 << slot) - 1)).count_ones() as usize
        } else {
            let upper = self.present[1] & ((1 << (slot - WORD_BITS)) - 1);
            (self.present[0].count_ones() + upper.count_ones()) as usize
        }
    }

    /// The value in `slot`.
    pub fn get(&self, slot: usize) -> Option<&T> {
        if !self.contains(slot) {
            return None;
        }
        Some(&self.values[self.rank(slot)])
    }

    /// The value in `slot`.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        if !self.contains(slot) {
            return None;
        }
        let rank = self.rank(slot);
        Some(&mut self.values[rank])
    }

    /// Sets `slot`; returns what it held.
    pub fn insert(&mut self, slot: usize, value: T) -> Option<T> {
        let rank = self.rank(slot);
        if self.contains(slot) {
            return Some(std::mem::replace(&mut self.values[rank], value));
        }
        self.make_room();
        self.present[slot / WORD_BITS] |= 1 << (slot % WORD_BITS);
        self.values.insert(rank, value);
        None
    }

    /// Clears `slot`; returns what it held.
    pub fn remove(&mut self, slot: usize) -> Option<T> {
        if !self.contains(slot) {
            return None;
        }
        let value = self.values.remove(self.rank(slot));
        self.present[slot / WORD_BITS] &= !(1 << (slot % WORD_BITS));
        Some(value)
    }

    /// Grows by a half instead of by doubling: most arrays stay small, and there are very many of them.
    fn make_room(&mut self) {
        if self.values.len() == self.values.capacity() {
            let room = (self.values.len() / 2).clamp(1, NODE_SLOTS - self.values.len());
            self.values.reserve_exact(room);
        }
    }

    /// Clears the slots of `range`, calling `removed` with each value in slot order.
    pub fn remove_range(&mut self, range: std::ops::Range<usize>, removed: impl FnMut(T)) {
        if range.is_empty() {
            return;
        }
        let (start, end) = (below(range.start), below(range.end));
        let first = self.ones(start);
        let last = self.ones(end);
        self.values.drain(first..last).for_each(removed);
        for (present, (start, end)) in self.present.iter_mut().zip(start.into_iter().zip(end)) {
            *present &= !(end & !start);
        }
    }

    fn ones(&self, mask: [u64; WORDS]) -> usize {
        self.present.iter().zip(mask).map(|(word, mask)| (word & mask).count_ones() as usize).sum()
    }

    /// The first present slot that is not before `slot`, which may be [`NODE_SLOTS`].
    pub fn next_present(&self, slot: usize) -> Option<usize> {
        let before = below(slot);
        let mut words = self.present.iter().zip(before).map(|(word, before)| word & !before);
        let low = words.next().unwrap_or_default();
        let high = words.next().unwrap_or_default();
        match (low, high) {
            (0, 0) => None,
            (0, _) => Some(WORD_BITS + high.trailing_zeros() as usize),
            _ => Some(low.trailing_zeros() as usize),
        }
    }

    /// Present slots and their values, in slot order.
    pub fn iter(&self) -> SlotsIter<'_, T> {
        self.iter_from(0)
    }

    /// Present slots that are not before `slot` and their values, in slot order.
    pub fn iter_from(&self, slot: usize) -> SlotsIter<'_, T> {
        let before = below(slot);
        let left = [self.present[0] & !before[0], self.present[1] & !before[1]];
        SlotsIter { left, values: self.values[self.ones(before)..].iter() }
    }
}

/// See [`Slots::iter`].
pub struct SlotsIter<'a, T> {
    left: [u64; WORDS],
    values: std::slice::Iter<'a, T>,
}

impl<'a, T> Iterator for SlotsIter<'a, T> {
    type Item = (usize, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let value = self.values.next()?;
        let word = usize::from(self.left[0] == 0);
        let slot = word * WORD_BITS + self.left[word].trailing_zeros() as usize;
        self.left[word] &= self.left[word] - 1;
        Some((slot, value))
    }
}
