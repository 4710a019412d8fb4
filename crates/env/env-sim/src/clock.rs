//! Time and chance as one process sees them.

use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Clock, Completion, Random};

use crate::dice::{Dice, nanos};
use crate::shared::Shared;

/// The wall clock at the beginning of every world: 2025-01-01T00:00:00Z.
const WALL_START: Duration = Duration::from_secs(1_735_689_600);

/// The clocks of one process; its monotonic time starts anywhere.
pub(crate) struct SimClock {
    pub(crate) shared: Rc<Shared>,
    pub(crate) origin: Duration,
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.origin + self.shared.time()
    }

    fn wall(&self) -> Duration {
        let Shared { dice, config, wall_offset, .. } = &*self.shared;
        if dice.chance(config.wall_jump) {
            let far = dice.below(nanos(config.wall_jump_max)) as i64;
            let jump = if dice.below(2) == 0 { far } else { -far };
            wall_offset.set(wall_offset.get().saturating_add(jump));
        }
        let wall = WALL_START + self.shared.time();
        let offset = Duration::from_nanos(wall_offset.get().unsigned_abs());
        if wall_offset.get() < 0 { wall.saturating_sub(offset) } else { wall + offset }
    }

    fn sleep(&self, duration: Duration) -> Completion<()> {
        let lateness = self.shared.dice.nanos(&self.shared.config.timer_lateness);
        self.shared.sleep(nanos(duration).saturating_add(lateness))
    }
}

/// Random bits from the seed.
pub(crate) struct SimRandom(pub(crate) Dice);

impl Random for SimRandom {
    fn next_u64(&self) -> u64 {
        self.0.next_u64()
    }
}
