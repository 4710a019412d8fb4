//! The moment of the switch, or of giving up: no change is under way, and new ones wait.

use std::rc::Rc;

use quarry_volume::{RangeTurn, Volume, VolumeError};

use crate::migration::Sides;
use crate::{Migration, MigrationError};

/// Changes wait until it is dropped, or ended. Reads go on.
#[must_use = "changes go on when it is dropped"]
pub struct Frozen {
    sides: Rc<Sides>,
    _turn: RangeTurn,
}

impl Migration {
    /// Waits until every change that was asked for has ended; later ones wait.
    pub async fn freeze(&self) -> Frozen {
        let turn = self.0.queue.enter(0..u64::MAX);
        turn.begin().await;
        Frozen { sides: self.0.clone(), _turn: turn }
    }
}

impl Frozen {
    /// Whether both sides are equal: else [`Migration::run`] has more to do.
    pub fn is_equal(&self) -> bool {
        self.sides.is_done() && !self.sides.has_failed()
    }

    /// Makes both sides survive power loss: the destination, because it is to count from now on, and the source, so that it is complete
    /// when it is left.
    pub async fn flush(&self) -> Result<(), MigrationError> {
        let error = |side| move |error: VolumeError| MigrationError::Flush { side, error: Rc::new(error) };
        self.sides.destination.flush().await.map_err(error("destination"))?;
        self.sides.source.flush().await.map_err(error("source"))
    }

    /// Sends everything to `next` from now on: first what waits, in its order. Afterwards nothing is changed on the other side any more.
    ///
    /// # Panics
    /// When it was ended before.
    pub fn end(self, next: Rc<dyn Volume>) {
        assert!(self.sides.next.set(next).is_ok(), "a migration ends once");
        self.sides.stopped.set(true);
    }
}
