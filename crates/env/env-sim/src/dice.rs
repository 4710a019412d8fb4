//! The one source of chance of a world. Whoever draws in another order plays another history, so all of it is on one
//! thread and nothing draws by hash order or address.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded generator. Clones draw from the same stream.
#[derive(Clone)]
pub(crate) struct Dice(Rc<RefCell<ChaCha8Rng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(ChaCha8Rng::seed_from_u64(seed))))
    }

    pub(crate) fn next_u32(&self) -> u32 {
        self.0.borrow_mut().next_u32()
    }

    pub(crate) fn next_u64(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    /// A number below `count`; 0 when there is no choice, without a draw.
    pub(crate) fn below(&self, count: u64) -> u64 {
        if count <= 1 {
            return 0;
        }
        ((u128::from(self.next_u64()) * u128::from(count)) >> 64) as u64
    }

    /// An index below `count`.
    pub(crate) fn index(&self, count: usize) -> usize {
        self.below(count as u64) as usize
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&self) -> f64 {
        f64::from(self.next_u32()) / 4_294_967_296.0
    }

    /// True with this probability; the certain cases cost no draw.
    pub(crate) fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && (probability >= 1.0 || self.unit() < probability)
    }

    /// A number of the range; its start when it is empty.
    pub(crate) fn within(&self, range: &Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// Nanoseconds of a range of durations.
    pub(crate) fn nanos(&self, range: &Range<Duration>) -> u64 {
        self.within(&(nanos(range.start)..nanos(range.end)))
    }

    /// Puts `items` into any order.
    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

/// A duration in the unit of the agenda. 584 years fit.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
