//! Holding writes back for a moment, so that several volumes, also of other logs, are snapshotted at one point in time.
//!
//! While all volumes of a set are held, none of their writes is appended. So a write that is in one snapshot of the set was
//! appended before the hold; and a write that its host had issued only after another one's acknowledgement came after that
//! one's append. Nothing that was acknowledged before can be missing.

use std::cell::Cell;
use std::rc::Rc;

use quarry_env::Signal;

/// Who holds the writes of a volume back.
#[derive(Default)]
pub(crate) struct Holds {
    count: Cell<usize>,
    released: Signal,
}

impl Holds {
    pub(crate) fn is_held(&self) -> bool {
        self.count.get() > 0
    }

    /// Waits until nobody holds the volume. The caller must append before it waits for anything else.
    pub(crate) async fn wait(&self) {
        loop {
            let version = self.released.version();
            if !self.is_held() {
                return;
            }
            self.released.after(version).await;
        }
    }
}

/// Holds the writes of a volume back until it is dropped.
#[must_use = "writes go on when it is dropped"]
pub struct Hold(Rc<crate::volume::VolumeState>);

impl Hold {
    pub(crate) fn begin(volume: Rc<crate::volume::VolumeState>) -> Self {
        volume.holds.count.set(volume.holds.count.get() + 1);
        Self(volume)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let holds = &self.0.holds;
        holds.count.set(holds.count.get() - 1);
        holds.released.raise();
    }
}
