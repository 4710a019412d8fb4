//! Locks of single blocks, for writes of less than a block.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use quarry_env::Signal;

/// The locked blocks of one volume. There are at most as many as partial writes in flight.
#[derive(Default)]
pub(crate) struct BlockLocks {
    locked: RefCell<BTreeSet<u64>>,
    released: Signal,
}

impl BlockLocks {
    /// Whether no block of `blocks` is locked.
    pub(crate) fn are_free(&self, blocks: &Range<u64>) -> bool {
        let locked = self.locked.borrow();
        locked.is_empty() || locked.range(blocks.clone()).next().is_none()
    }

    /// Waits until no block of `blocks` is locked. The caller must do what it wants to do before it waits again.
    pub(crate) async fn wait_free(&self, blocks: &Range<u64>) {
        loop {
            let version = self.released.version();
            if self.are_free(blocks) {
                return;
            }
            self.released.after(version).await;
        }
    }

    /// Locks a block until the guard is dropped.
    pub(crate) async fn lock(self: &Rc<Self>, block: u64) -> BlockGuard {
        self.wait_free(&(block..block + 1)).await;
        self.locked.borrow_mut().insert(block);
        BlockGuard { locks: self.clone(), block }
    }
}

/// A locked block.
pub(crate) struct BlockGuard {
    locks: Rc<BlockLocks>,
    block: u64,
}

impl Drop for BlockGuard {
    fn drop(&mut self) {
        self.locks.locked.borrow_mut().remove(&self.block);
        self.locks.released.raise();
    }
}
