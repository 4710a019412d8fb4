//! What cores tell each other of latency: devices are shared, so who misses a target asks the others to begin less, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a core has written counts for so long.
const VALID_NS: u64 = 200_000_000;
const UNITS_BITS: u32 = 16;

/// One number for each core: how much it lets be under way, and until when that counts.
#[derive(Clone, Debug)]
pub struct Board(Arc<[AtomicU64]>);

impl Board {
    /// For so many cores.
    pub fn new(cores: usize) -> Self {
        Self((0..cores).map(|_| AtomicU64::new(0)).collect())
    }

    /// A core with a target lets so much be under way.
    pub(crate) fn write(&self, core: usize, units: u64, now_ns: u64) {
        let until_us = (now_ns + VALID_NS) / 1000;
        let units = units.min((1 << UNITS_BITS) - 1);
        self.0[core].store(until_us << UNITS_BITS | units, Ordering::Relaxed);
    }

    /// The least of what others let be under way, if they have said something lately.
    pub(crate) fn least_of_others(&self, core: usize, now_ns: u64) -> Option<u64> {
        let others = self.0.iter().enumerate().filter(|(other, _)| *other != core);
        let said = others.map(|(_, number)| number.load(Ordering::Relaxed));
        let valid = said.filter(|number| number >> UNITS_BITS > now_ns / 1000);
        valid.map(|number| number & ((1 << UNITS_BITS) - 1)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_core_says_counts_for_a_while() {
        let board = Board::new(3);
        assert_eq!(board.least_of_others(0, 0), None);
        board.write(1, 500, 1_000_000_000);
        board.write(2, 300, 1_000_000_000);
        board.write(0, 100, 1_000_000_000);
        assert_eq!(board.least_of_others(0, 1_100_000_000), Some(300));
        assert_eq!(board.least_of_others(0, 1_300_000_000), None);
    }
}
