//! How fast it goes: as fast as it is allowed to, and half the time at most while hosts do anything.

use std::time::Duration;

use crate::migration::Sides;

/// The longest pause that is made for hosts.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// A step of the copy.
pub(crate) struct Step {
    began: Duration,
    host_operations: u64,
}

impl Step {
    pub(crate) fn begin(sides: &Sides) -> Self {
        Self { began: sides.env.clock.now(), host_operations: sides.host_operations.get() }
    }

    /// Pauses as is due after a step that has read so much.
    pub(crate) async fn end(self, sides: &Sides, read_bytes: u64) {
        let clock = &sides.env.clock;
        let took = clock.now().saturating_sub(self.began);
        let is_busy = sides.host_operations.get() != self.host_operations;
        let for_hosts = if is_busy { took.min(PAUSE_MAX) } else { Duration::ZERO };
        let for_rate = sides.options.rate_bytes_per_s.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(read_bytes as f64 / rate.max(1) as f64).saturating_sub(took)
        });
        let pause = for_hosts.max(for_rate);
        if pause.is_zero() {
            // A copy from memory to memory must not keep the core for itself.
            quarry_env::yield_now().await;
        } else {
            clock.sleep(pause).await;
        }
        let time = clock.now().saturating_sub(self.began);
        sides.update(|progress| {
            progress.read_bytes += read_bytes;
            progress.time += time;
        });
    }
}
