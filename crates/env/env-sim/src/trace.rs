//! A running hash of everything that happens, to prove that a seed replays, and the last lines of it in words.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Odd, with its bits well spread (the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The trace of one world.
pub(crate) struct Trace {
    hash: Cell<u64>,
    events: Cell<u64>,
    lines_max: usize,
    lines: RefCell<VecDeque<String>>,
}

impl Trace {
    pub(crate) fn new(lines_max: usize) -> Self {
        Self { hash: Cell::new(MULTIPLIER), events: Cell::new(0), lines_max, lines: RefCell::default() }
    }

    /// Adds words to the hash as one event.
    pub(crate) fn fold(&self, words: &[u64]) {
        let fold = |hash: u64, word: &u64| (hash.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
        self.hash.set(words.iter().fold(self.hash.get(), fold));
        self.events.set(self.events.get() + 1);
    }

    /// Keeps a line where lines are kept; `text` is not evaluated otherwise.
    pub(crate) fn line<T: fmt::Display>(&self, now: u64, text: impl FnOnce() -> T) {
        if self.lines_max == 0 {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        if lines.len() == self.lines_max {
            lines.pop_front();
        }
        lines.push_back(format!("{:>14.9} {}", Duration::from_nanos(now).as_secs_f64(), text()));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.get()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events.get()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().iter().cloned().collect()
    }
}

/// A word that stands for `bytes` in the trace: their ends and their number, not a checksum, which would cost as much
/// as the I/O.
pub(crate) fn sample(bytes: &[u8]) -> u64 {
    let end = |bytes: &[u8]| bytes.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
    let width = bytes.len().min(8);
    end(&bytes[..width]) ^ end(&bytes[bytes.len() - width..]).rotate_left(17) ^ bytes.len() as u64
}
