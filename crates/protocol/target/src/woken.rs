//! Which of a session's requests were woken, so that one task can hold many futures and polls only those that have something
//! to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;

struct Inner<const WORDS: usize> {
    slots: [AtomicU64; WORDS],
    task: AtomicWaker,
}

struct SlotWaker<const WORDS: usize> {
    woken: Arc<Inner<WORDS>>,
    slot: usize,
}

impl<const WORDS: usize> Wake for SlotWaker<WORDS> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let bit = 1 << (self.slot % 64);
        // A bit that is set already has woken the task, which has not looked yet.
        if self.woken.slots[self.slot / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.woken.task.wake();
        }
    }
}

/// A set of up to `WORDS` times 64 slots, and the task that looks at those that were woken.
pub struct Woken<const WORDS: usize>(Arc<Inner<WORDS>>);

impl<const WORDS: usize> Default for Woken<WORDS> {
    fn default() -> Self {
        let slots = std::array::from_fn(|_| AtomicU64::new(0));
        Self(Arc::new(Inner { slots, task: AtomicWaker::new() }))
    }
}

impl<const WORDS: usize> Woken<WORDS> {
    /// A waker of `slot`, which outlives whatever is in the slot.
    pub fn waker(&self, slot: usize) -> Waker {
        assert!(slot < WORDS * 64, "slot {slot} of {}", WORDS * 64);
        Waker::from(Arc::new(SlotWaker { woken: self.0.clone(), slot }))
    }

    /// Calls `look` with each slot that was woken; wakes `context` for those that are woken from now on.
    pub fn take(&self, context: &Context<'_>, mut look: impl FnMut(usize)) {
        // Before the look at the bits, so that a bit that is set after it wakes the task again.
        self.0.task.register(context.waker());
        for (word, bits) in self.0.slots.iter().enumerate() {
            if bits.load(Ordering::Acquire) == 0 {
                continue;
            }
            let mut bits = bits.swap(0, Ordering::AcqRel);
            while bits != 0 {
                look(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}
