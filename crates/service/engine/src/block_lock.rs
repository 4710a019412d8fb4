//! Locks of blocks, for writes that depend on what is there: of less than a block, or after a comparison.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use quarry_env::Signal;

/// The locked blocks of one volume: those of the requests in flight that lock any.
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

    /// Locks blocks, all at once, until the guard is dropped.
    pub(crate) async fn lock(self: &Rc<Self>, blocks: Range<u64>) -> BlockGuard {
        self.wait_free(&blocks).await;
        self.locked.borrow_mut().extend(blocks.clone());
        BlockGuard { locks: self.clone(), blocks }
    }
}

/// Locked blocks.
pub(crate) struct BlockGuard {
    locks: Rc<BlockLocks>,
    blocks: Range<u64>,
}

impl Drop for BlockGuard {
    fn drop(&mut self) {
        let mut locked = self.locks.locked.borrow_mut();
        self.blocks.clone().for_each(|block| _ = locked.remove(&block));
        drop(locked);
        self.locks.released.raise();
    }
}
