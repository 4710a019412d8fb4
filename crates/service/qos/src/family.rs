//! Volumes that share by weight together: those of a group, those of a tenant.
//!
//! A family has one weight among its neighbours, however many volumes it has, and what it gets is divided by weight among those of its
//! members that have something that may go on: a tree, as in hierarchical fair queueing, of which only what is busy is kept. So the tags of the
//! scheduler stay those of single queues: the virtual time of a request is that of its weight, times the part that the family's busy
//! members have of the family's weight, on each level. A member that falls idle, or is kept back by a limit, leaves its part to its family, not to everybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::scope::{Scope, Share};

/// A family among those above it: the addresses of its scope and of that of the family that it is in, which live as long as it has members.
type Key = (usize, usize);

#[derive(Default)]
struct Family {
    /// Members that have something that may go on.
    busy: usize,
    /// Their weights together.
    weights: u64,
}

/// The families of which a member has something that may go on.
#[derive(Default)]
pub(crate) struct Families(BTreeMap<Key, Family>);

/// The families of a queue and the weight of each, from the innermost.
fn path(share: &Share) -> impl Iterator<Item = (Key, u64)> {
    let families = || share.scopes.iter().filter_map(|scope| Some((scope, scope.rates.weight?)));
    let address = |scope: &Arc<Scope>| Arc::as_ptr(scope).addr();
    let above = families().skip(1).map(move |(scope, _)| address(scope)).chain([0]);
    families()
        .zip(above)
        .map(move |((scope, weight), above)| ((address(scope), above), u64::from(weight.max(1))))
}

impl Families {
    /// Whether nothing may go on in any.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A queue of this share has something now that its limits let go on.
    pub(crate) fn enter(&mut self, share: &Share) {
        let mut weight = u64::from(share.weight);
        for (key, of_family) in path(share) {
            let family = self.0.entry(key).or_default();
            family.busy += 1;
            family.weights += weight;
            if family.busy > 1 {
                return;
            }
            weight = of_family;
        }
    }

    /// It has nothing of that kind any more.
    pub(crate) fn leave(&mut self, share: &Share) {
        let mut weight = u64::from(share.weight);
        for (key, of_family) in path(share) {
            let Some(family) = self.0.get_mut(&key) else { return };
            family.busy -= 1;
            family.weights -= weight;
            if family.busy > 0 {
                return;
            }
            self.0.remove(&key);
            weight = of_family;
        }
    }

    /// What `units` of cost, scaled, come to in virtual time for a queue of this share that has entered.
    pub(crate) fn virtual_time(&self, share: &Share, scaled_units: u64) -> u64 {
        let (mut time, mut weight) = (u128::from(scaled_units), u128::from(share.weight));
        for (key, of_family) in path(share) {
            let weights = self.0.get(&key).map_or(1, |family| family.weights);
            time *= u128::from(weights);
            weight *= u128::from(of_family);
        }
        u64::try_from(time / weight).unwrap_or(u64::MAX)
    }
}
