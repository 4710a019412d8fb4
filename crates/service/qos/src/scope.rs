//! Whom a limit or a reservation is for: one volume, the volumes of a group together, those of a tenant together.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::cost::Cost;
use crate::pace::Pace;

/// The weight of what has none.
pub const WEIGHT_DEFAULT: u32 = 100;
/// What may be taken at once where no burst is wished: timers are late, and hosts send several requests together.
const ALLOWANCE_MIN: Duration = Duration::from_millis(25);
/// How far back a reservation that was not used counts: a host that sends its requests in heaps is not late by that.
const RESERVATION_ALLOWANCE: Duration = Duration::from_millis(20);

/// Bounds and promises, each of them a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// I/Os that are promised.
    pub iops_min: Option<u64>,
    /// I/Os at most.
    pub iops_max: Option<u64>,
    /// Bytes that are promised.
    pub bytes_min: Option<u64>,
    /// Bytes at most.
    pub bytes_max: Option<u64>,
    /// For how long what the limits give is saved up while it is not used.
    pub burst: Duration,
    /// The part that several volumes have together of what is left, against the weights of their neighbours. Without it each of them is
    /// a neighbour of all others.
    pub weight: Option<u32>,
}

/// For whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ScopeKind {
    /// One volume.
    Volume,
    /// The volumes of a group together.
    Group,
    /// Those of a tenant together.
    Tenant,
    /// What a core does beside hosts' I/O.
    Work,
}

/// In what something is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counted {
    Ios,
    Bytes,
}

/// A pace and what is counted by it.
#[derive(Debug)]
pub(crate) struct Bound {
    counted: Counted,
    pub(crate) pace: Pace,
}

impl Bound {
    pub(crate) fn amount(&self, cost: Cost) -> u64 {
        match self.counted {
            Counted::Ios => cost.ios,
            Counted::Bytes => cost.bytes,
        }
    }
}

/// The limits and reservations of one volume, group or tenant; cores share it.
#[derive(Debug)]
pub struct Scope {
    /// For whom it is.
    pub kind: ScopeKind,
    /// What was asked for.
    pub rates: Rates,
    pub(crate) limits: SmallVec<[Bound; 2]>,
    pub(crate) reservations: SmallVec<[Bound; 2]>,
}

impl Scope {
    /// From `now_ns` on, with nothing saved up.
    pub fn new(kind: ScopeKind, rates: Rates, now_ns: u64) -> Arc<Self> {
        let limit_ns = rates.burst.max(ALLOWANCE_MIN).as_nanos() as u64;
        let bounds = |ios: Option<u64>, bytes: Option<u64>, allowance_ns: u64| {
            let all = [(Counted::Ios, ios), (Counted::Bytes, bytes)].into_iter();
            let positive =
                all.filter_map(|(counted, per_s)| Some((counted, per_s.filter(|&rate| rate > 0)?)));
            positive
                .map(|(counted, per_s)| Bound { counted, pace: Pace::new(per_s, allowance_ns, now_ns) })
                .collect()
        };
        let limits = bounds(rates.iops_max, rates.bytes_max, limit_ns);
        let reservations = bounds(rates.iops_min, rates.bytes_min, RESERVATION_ALLOWANCE.as_nanos() as u64);
        Arc::new(Self { kind, rates, limits, reservations })
    }

    /// Whether it asks for a part of what others would have, and not only for bounds.
    pub fn is_sharing(&self) -> bool {
        !self.reservations.is_empty() || self.rates.weight.is_some()
    }

    fn is_empty(&self) -> bool {
        self.limits.is_empty() && !self.is_sharing()
    }
}

/// What a volume, or a kind of background work, gets.
#[derive(Clone, Debug)]
pub struct Share {
    /// Its part of what is left when reservations are served, against the weights of others on its core; of what its group or tenant has
    /// of that, where these have a weight.
    pub weight: u32,
    /// The latency below which its requests should stay once they are begun.
    pub latency_target: Option<Duration>,
    /// Its own scope, that of its group, that of its tenant: those of them that say anything.
    pub scopes: SmallVec<[Arc<Scope>; 3]>,
}

impl Default for Share {
    fn default() -> Self {
        Self { weight: WEIGHT_DEFAULT, latency_target: None, scopes: SmallVec::new() }
    }
}

impl Share {
    /// With those of the scopes that say anything.
    pub fn new(
        weight: Option<u32>,
        latency_target: Option<Duration>,
        scopes: impl IntoIterator<Item = Arc<Scope>>,
    ) -> Self {
        let scopes = scopes.into_iter().filter(|scope| !scope.is_empty()).collect();
        Self { weight: weight.unwrap_or(WEIGHT_DEFAULT).max(1), latency_target, scopes }
    }

    /// Whether it bounds what may go on.
    pub fn is_limited(&self) -> bool {
        self.scopes.iter().any(|scope| !scope.limits.is_empty())
    }

    /// Whether others have to give way to it, so that all requests of the node must be scheduled.
    pub fn is_sharing(&self) -> bool {
        self.weight != WEIGHT_DEFAULT
            || self.latency_target.is_some()
            || self.scopes.iter().any(|scope| scope.is_sharing())
    }

    /// Whether another one is the very same, down to the clocks of its scopes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.weight == other.weight
            && self.latency_target == other.latency_target
            && self.scopes.len() == other.scopes.len()
            && self.scopes.iter().zip(&other.scopes).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}
