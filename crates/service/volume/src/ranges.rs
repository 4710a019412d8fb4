//! Order among changes of one volume whose ranges overlap, for volumes that have no log to give it.
//!
//! A change takes its place in the queue when it is asked for, and begins when nothing before it in the queue overlaps it. So
//! overlapping changes take effect one after another, in the order in which they were asked for; and whoever wants a large range
//! is not kept waiting by small ones that come later.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use quarry_env::Signal;

/// The changes of one volume, those that wait included. As many as its users have requests in flight.
#[derive(Default)]
pub struct RangeQueue {
    entries: RefCell<BTreeMap<u64, Range<u64>>>,
    next: Cell<u64>,
    left: Signal,
}

/// A place in the queue, until it is dropped.
#[must_use = "the place is lost when it is dropped"]
pub struct RangeTurn {
    queue: Rc<RangeQueue>,
    number: u64,
    range: Range<u64>,
}

impl RangeQueue {
    /// Takes a place for the bytes of `range`, at once.
    pub fn enter(self: &Rc<Self>, range: Range<u64>) -> RangeTurn {
        let number = self.next.get();
        self.next.set(number + 1);
        self.entries.borrow_mut().insert(number, range.clone());
        RangeTurn { queue: self.clone(), number, range }
    }

    /// How many changes are in it.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether no change is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }
}

impl RangeTurn {
    /// Waits until nothing that came before overlaps. From then on, until it is dropped, nothing else changes the range.
    pub async fn begin(&self) {
        loop {
            let version = self.queue.left.version();
            if self.is_first() {
                return;
            }
            self.queue.left.after(version).await;
        }
    }

    fn is_first(&self) -> bool {
        let entries = self.queue.entries.borrow();
        let overlaps = |other: &Range<u64>| other.start < self.range.end && self.range.start < other.end;
        !entries.range(..self.number).any(|(_, other)| overlaps(other))
    }

    /// The bytes that it is for.
    pub fn range(&self) -> &Range<u64> {
        &self.range
    }
}

impl Drop for RangeTurn {
    fn drop(&mut self) {
        self.queue.entries.borrow_mut().remove(&self.number);
        self.queue.left.raise();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn overlapping_changes_go_one_after_another_in_the_order_of_their_arrival() {
        let queue = Rc::new(RangeQueue::default());
        let first = queue.enter(0..10);
        let large = queue.enter(5..100);
        let later = queue.enter(50..60);
        let apart = queue.enter(100..200);
        assert!(first.begin().now_or_never().is_some());
        assert!(large.begin().now_or_never().is_none());
        assert!(later.begin().now_or_never().is_none(), "it came after the large one, which still waits");
        assert!(apart.begin().now_or_never().is_some());
        drop(first);
        assert!(large.begin().now_or_never().is_some());
        drop(large);
        assert!(later.begin().now_or_never().is_some());
        drop((later, apart));
        assert!(queue.is_empty());
    }

    #[test]
    fn who_waits_is_woken() {
        let queue = Rc::new(RangeQueue::default());
        let (first, second) = (queue.enter(0..1), queue.enter(0..1));
        let mut executor = quarry_env::Executor::new(|| {});
        let done = Rc::new(Cell::new(false));
        let told = done.clone();
        executor
            .spawner()
            .spawn(async move {
                second.begin().await;
                told.set(true);
            })
            .detach();
        executor.run(10);
        assert!(!done.get());
        drop(first);
        executor.run(10);
        assert!(done.get());
    }
}
