//! Which of a session's requests were woken, so that one task can hold many futures and polls only those that have something
//! to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;

struct Inner {
    slots: Box<[AtomicU64]>,
    task: AtomicWaker,
}

struct SlotWaker {
    woken: Arc<Inner>,
    slot: usize,
}

impl Wake for SlotWaker {
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

/// A set of slots, and the task that looks at those that were woken.
pub struct Woken(Arc<Inner>);

impl Woken {
    /// For `slots_max` slots.
    pub fn new(slots_max: usize) -> Self {
        let slots = (0..slots_max.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { slots, task: AtomicWaker::new() }))
    }

    /// A waker of `slot`, which outlives whatever is in the slot.
    pub fn waker(&self, slot: usize) -> Waker {
        assert!(slot < self.0.slots.len() * 64, "slot {slot} of {}", self.0.slots.len() * 64);
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
