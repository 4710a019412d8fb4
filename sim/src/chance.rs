//! The driver's own chance, apart from the world's, so that a change in one does not change what the other draws.

use std::cell::Cell;
use std::rc::Rc;

/// A seeded generator (SplitMix64). Clones draw from the same stream.
#[derive(Clone)]
pub struct Chance(Rc<Cell<u64>>);

impl Chance {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15)))
    }

    /// 64 bits.
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `count` (> 0).
    pub fn below(&self, count: u64) -> u64 {
        self.next() % count
    }

    /// A number of `range` (not empty).
    pub fn within(&self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A number from 1 to `max`, each order of magnitude as likely as another.
    pub fn spread(&self, max: u64) -> u64 {
        let bits = self.below(u64::from(max.ilog2()) + 1);
        ((1 << bits) + self.below(1 << bits)).min(max)
    }

    /// One of `items` (not empty).
    pub fn pick<'a, T>(&self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// `count` of the numbers below `of`, in order.
    pub fn choose(&self, count: usize, of: usize) -> Vec<usize> {
        let mut chosen: Vec<usize> = (0..of).collect();
        while chosen.len() > count {
            chosen.remove(self.below(chosen.len() as u64) as usize);
        }
        chosen
    }
}
