//! A sparse array of 128 slots: a bitmap and the present values packed in slot order.

use std::iter::Zip;
use std::ops::Range;

use super::SlotBits;

/// Up to [`super::NODE_SLOTS`] values by slot. The memory grows with the values that are present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slots<T> {
    present: SlotBits,
    values: Vec<T>,
}

/// See [`Slots::iter`].
pub type SlotsIter<'a, T> = Zip<SlotBits, std::slice::Iter<'a, T>>;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { present: SlotBits::default(), values: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Values by the set of present slots and the values in slot order; `None` when their numbers differ.
    pub fn from_parts(present: SlotBits, values: Vec<T>) -> Option<Self> {
        (present.count() == values.len()).then_some(Self { present, values })
    }

    /// The present slots.
    pub fn present(&self) -> SlotBits {
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

    /// The value in `slot`.
    pub fn get(&self, slot: usize) -> Option<&T> {
        if !self.present.contains(slot) {
            return None;
        }
        Some(&self.values[self.present.rank(slot)])
    }

    /// The value in `slot`.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        if !self.present.contains(slot) {
            return None;
        }
        Some(&mut self.values[self.present.rank(slot)])
    }

    /// The value in `slot`, which becomes present if it was not.
    pub fn get_or_default(&mut self, slot: usize) -> &mut T
    where
        T: Default,
    {
        let rank = self.present.rank(slot);
        if !self.present.contains(slot) {
            self.present.insert(slot);
            self.values.insert(rank, T::default());
        }
        &mut self.values[rank]
    }

    /// Sets `slot`; returns what it held.
    pub fn insert(&mut self, slot: usize, value: T) -> Option<T> {
        let rank = self.present.rank(slot);
        if self.present.contains(slot) {
            return Some(std::mem::replace(&mut self.values[rank], value));
        }
        self.present.insert(slot);
        self.values.insert(rank, value);
        None
    }

    /// Clears `slot`; returns what it held.
    pub fn remove(&mut self, slot: usize) -> Option<T> {
        if !self.present.contains(slot) {
            return None;
        }
        let value = self.values.remove(self.present.rank(slot));
        self.present.remove(slot);
        Some(value)
    }

    /// Clears the slots of `range`, calling `removed` with each value in slot order.
    pub fn remove_range(&mut self, range: Range<usize>, removed: impl FnMut(T)) {
        if range.is_empty() {
            return;
        }
        let ranks = self.present.rank(range.start)..self.present.rank(range.end);
        self.values.drain(ranks).for_each(removed);
        self.present.remove_range(range);
    }

    /// Gives memory back that no value uses.
    pub fn shrink_to_fit(&mut self) {
        self.values.shrink_to_fit();
    }

    /// Present slots and their values, in slot order.
    pub fn iter(&self) -> SlotsIter<'_, T> {
        self.iter_from(0)
    }

    /// Present slots that are not before `slot`, which may be [`super::NODE_SLOTS`], and their values, in slot order.
    pub fn iter_from(&self, slot: usize) -> SlotsIter<'_, T> {
        let values = &self.values[self.present.rank(slot)..];
        self.present.from(slot).zip(values)
    }
}
