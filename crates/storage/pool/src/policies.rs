//! How a pool keeps what it holds, and which of its logs keep it otherwise.
//!
//! A log has the protection and the tier of its pool unless it has its own. Each log counts space in chunks with its own number of copies; what it
//! counts on is kept in slots, so that logs which keep data differently share what is free (`stakes`).

use std::collections::{BTreeMap, BTreeSet};

use quarry_ec::Shape;
use quarry_format::label::{Label, LogPolicy, TierPolicy};
use quarry_types::{LogId, Protection};

use crate::PoolShared;

/// What the labels say of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Policies {
    pub protection: Protection,
    pub tier_policy: TierPolicy,
    pub logs: BTreeMap<LogId, LogPolicy>,
}

impl Policies {
    /// All logs alike.
    #[cfg(test)]
    pub fn new(protection: Protection) -> Self {
        Self { protection, tier_policy: TierPolicy::Automatic, logs: BTreeMap::new() }
    }

    pub fn of_label(label: &Label) -> Self {
        let Label { protection, tier_policy, log_policies, .. } = label;
        Self { protection: *protection, tier_policy: *tier_policy, logs: log_policies.clone() }
    }

    pub fn protection_of(&self, log: LogId) -> Protection {
        self.logs.get(&log).and_then(|policy| policy.protection).unwrap_or(self.protection)
    }

    fn tier_policy_of(&self, log: LogId) -> TierPolicy {
        self.logs.get(&log).and_then(|policy| policy.tier_policy).unwrap_or(self.tier_policy)
    }

    /// How a log is kept from now on.
    pub fn set(&mut self, log: LogId, policy: LogPolicy) {
        match policy.is_as_pool() {
            true => _ = self.logs.remove(&log),
            false => _ = self.logs.insert(log, policy),
        }
    }

    /// The protections of what was kept in another way `before`.
    pub fn changed_protections(&self, before: &Self) -> BTreeSet<Protection> {
        let logs: BTreeSet<LogId> = self.logs.keys().chain(before.logs.keys()).copied().collect();
        let of_logs = logs.into_iter().map(|log| (self.protection_of(log), before.protection_of(log)));
        let of_pool = (self.protection, before.protection);
        of_logs.chain([of_pool]).filter(|(now, before)| now != before).map(|(now, _)| now).collect()
    }

    /// The protections that are in use: that of the pool, and those of logs.
    pub fn protections(&self) -> impl Iterator<Item = Protection> {
        let of_logs = self.logs.values().filter_map(|policy| policy.protection);
        std::iter::once(self.protection).chain(of_logs)
    }

    /// The numbers of copies that are in use.
    pub fn copies(&self) -> Vec<usize> {
        self.protections().map(Protection::copies).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The protection that needs the most devices.
    pub fn widest(&self) -> Protection {
        self.protections().max_by_key(|protection| protection.devices()).expect("that of the pool at least")
    }
}

impl PoolShared {
    fn with_policies<T>(&self, get: impl FnOnce(&Policies) -> T) -> T {
        get(&self.policies.lock().expect("no panic under it"))
    }

    /// How it keeps what it holds, but for logs that keep it otherwise.
    pub fn protection(&self) -> Protection {
        self.with_policies(|policies| policies.protection)
    }

    /// Where what it holds lies among its tiers, but for logs with a policy of their own.
    pub fn tier_policy(&self) -> TierPolicy {
        self.with_policies(|policies| policies.tier_policy)
    }

    /// What is said of a log alone.
    pub fn log_policy(&self, log: LogId) -> LogPolicy {
        self.with_policies(|policies| policies.logs.get(&log).copied().unwrap_or_default())
    }

    /// What is said of logs alone.
    pub fn log_policies(&self) -> BTreeMap<LogId, LogPolicy> {
        self.with_policies(|policies| policies.logs.clone())
    }

    /// How a log keeps what it holds.
    pub fn protection_of(&self, log: LogId) -> Protection {
        self.with_policies(|policies| policies.protection_of(log))
    }

    pub(crate) fn tier_policy_of(&self, log: LogId) -> TierPolicy {
        self.with_policies(|policies| policies.tier_policy_of(log))
    }

    /// The code of a log's groups, if it has any.
    pub fn shape_of(&self, log: LogId) -> Option<Shape> {
        let (data, parity) = self.protection_of(log).code()?;
        Some(Shape::new(data, parity).expect("labels name codes that there are"))
    }

    /// Copies that each chunk of a log should have that is in no group.
    pub fn copies_of(&self, log: LogId) -> usize {
        self.protection_of(log).copies()
    }

    /// Copies that a new chunk of a log gets: those asked for, or as many as there are usable devices.
    pub fn copies_now(&self, log: LogId) -> usize {
        self.placed_copies(self.copies_of(log))
    }

    /// The protection that needs the most devices.
    pub(crate) fn widest_protection(&self) -> Protection {
        self.with_policies(Policies::widest)
    }

    /// How many devices may be lost of which no log notices anything.
    pub(crate) fn losses_tolerated(&self) -> usize {
        let tolerated = |policies: &Policies| policies.protections().map(Protection::losses_tolerated).min();
        self.with_policies(tolerated).expect("that of the pool at least")
    }

    /// The protections that are in use, each once.
    pub fn protections(&self) -> Vec<Protection> {
        let mut all: Vec<Protection> = self.with_policies(|policies| policies.protections().collect());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Takes note of what the labels say now.
    pub(crate) fn set_policies(&self, policies: Policies) {
        self.allocator().set_copies(policies.copies());
        *self.policies.lock().expect("no panic under it") = policies;
        self.note_layout();
    }
}

#[cfg(test)]
mod tests {
    use quarry_format::label::DeviceClass;

    use super::*;

    #[test]
    fn a_log_is_kept_as_its_pool_unless_it_has_its_own_policy() {
        let (plain, own) = (LogId(0), LogId(3));
        let code = Protection::Coded { data: 4, parity: 2 };
        let pinned = TierPolicy::Pinned(DeviceClass::Hdd);
        let policy = LogPolicy { protection: Some(code), tier_policy: Some(pinned) };
        let mut policies = Policies::new(Protection::Copies(2));
        assert_eq!(policies.widest(), Protection::Copies(2));
        policies.logs.insert(own, policy);
        assert_eq!([plain, own].map(|log| policies.protection_of(log)), [Protection::Copies(2), code]);
        assert_eq!([plain, own].map(|log| policies.tier_policy_of(log)), [TierPolicy::Automatic, pinned]);
        assert_eq!(policies.widest(), code);
        policies.protection = Protection::Copies(4);
        assert_eq!(policies.protection_of(plain), Protection::Copies(4));
        assert_eq!(policies.protection_of(own), code);
    }
}
