//! What is told of a volume whose requests are scheduled.

use std::cell::Cell;
use std::time::Duration;

use crate::scope::ScopeKind;

/// For what a request has waited longest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// The volume's own limit.
    Volume,
    /// That of its group.
    Group,
    /// That of its tenant.
    Tenant,
    /// Its turn among the volumes of its core.
    Share,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Volume, Self::Group, Self::Tenant, Self::Share];
}

impl From<ScopeKind> for Cause {
    fn from(kind: ScopeKind) -> Self {
        match kind {
            ScopeKind::Volume => Self::Volume,
            ScopeKind::Group => Self::Group,
            ScopeKind::Tenant => Self::Tenant,
            ScopeKind::Work => Self::Share,
        }
    }
}

/// Figures of a volume since its requests are scheduled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GateStats {
    /// Requests that have ended, counted as limits count them.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that are begun and have not ended.
    pub in_flight: u64,
    /// How long requests have waited, all of them together, by cause, in the order of [`Cause::ALL`].
    pub waited: [Duration; 4],
    /// How long there was nothing to do for the volume.
    pub idle: Duration,
}

impl GateStats {
    /// How long requests have waited, all of them together.
    pub fn waited_in_all(&self) -> Duration {
        self.waited.iter().sum()
    }
}

/// The same while it is being counted.
#[derive(Default)]
pub(crate) struct Counters {
    ios: Cell<u64>,
    bytes: Cell<u64>,
    waiting: Cell<u64>,
    in_flight: Cell<u64>,
    waited_ns: Cell<[u64; 4]>,
    idle_ns: Cell<u64>,
    idle_since_ns: Cell<u64>,
}

impl Counters {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { idle_since_ns: Cell::new(now_ns), ..Self::default() }
    }

    fn outstanding(&self) -> u64 {
        self.waiting.get() + self.in_flight.get()
    }

    pub(crate) fn begin_waiting(&self, now_ns: u64) {
        if self.outstanding() == 0 {
            let idle_ns = now_ns.saturating_sub(self.idle_since_ns.get());
            self.idle_ns.set(self.idle_ns.get() + idle_ns);
        }
        self.waiting.set(self.waiting.get() + 1);
    }

    pub(crate) fn give_up(&self, now_ns: u64) {
        self.waiting.set(self.waiting.get() - 1);
        self.note_idle(now_ns);
    }

    pub(crate) fn begin(&self, cause: Cause, waited_ns: u64) {
        self.waiting.set(self.waiting.get() - 1);
        self.in_flight.set(self.in_flight.get() + 1);
        let mut all = self.waited_ns.get();
        all[cause as usize] += waited_ns;
        self.waited_ns.set(all);
    }

    pub(crate) fn end(&self, ios: u64, bytes: u64, now_ns: u64) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.ios.set(self.ios.get() + ios);
        self.bytes.set(self.bytes.get() + bytes);
        self.note_idle(now_ns);
    }

    fn note_idle(&self, now_ns: u64) {
        if self.outstanding() == 0 {
            self.idle_since_ns.set(now_ns);
        }
    }

    pub(crate) fn show(&self, now_ns: u64) -> GateStats {
        let idle_now_ns = match self.outstanding() {
            0 => now_ns.saturating_sub(self.idle_since_ns.get()),
            _ => 0,
        };
        GateStats {
            ios: self.ios.get(),
            bytes: self.bytes.get(),
            waiting: self.waiting.get(),
            in_flight: self.in_flight.get(),
            waited: self.waited_ns.get().map(Duration::from_nanos),
            idle: Duration::from_nanos(self.idle_ns.get() + idle_now_ns),
        }
    }
}
