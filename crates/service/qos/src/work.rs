//! The turns of what a core does beside hosts' requests, while requests are scheduled at all.
//!
//! Each kind of it is a client of the scheduler like a volume, with a weight, and with a reservation that no room below holds up. What
//! gains space has more of both. It does not wait at all while hosts wait for it ([`Turns::hurry`]): they may hold all the room.

use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use quarry_env::{Passed, Turns, Work};

use crate::core::{CoreQos, Place};
use crate::cost::Cost;
use crate::scope::{Rates, Scope, ScopeKind, Share};

/// How long nothing waits that gains space, after a host has waited for it.
const HURRY: Duration = Duration::from_secs(1);

/// What a kind of work gets on each core: its weight, and bytes a second for certain.
const fn wages(work: Work) -> (u32, u64) {
    match work {
        Work::Cleaning => (100, 32 << 20),
        Work::Rebuild => (50, 8 << 20),
        Work::Grouping => (25, 8 << 20),
        Work::Migration => (25, 4 << 20),
        Work::Scrub => (10, 2 << 20),
    }
}

/// Whether hosts may wait for it: for what it gains, or for what it holds meanwhile.
const fn gains_space(work: Work) -> bool {
    matches!(work, Work::Cleaning | Work::Grouping | Work::Rebuild)
}

/// The share of a kind of work.
pub(crate) fn share(work: Work, now_ns: u64) -> Place {
    let (weight, bytes_min) = wages(work);
    let rates = Rates { bytes_min: Some(bytes_min), ..Rates::default() };
    Place {
        core: None,
        share: Some(Share::new(Some(weight), None, [Scope::new(ScopeKind::Work, rates, now_ns)])),
    }
}

impl Turns for CoreQos {
    fn turn(&self, work: Work, bytes: u64) -> Option<LocalBoxFuture<'static, Passed>> {
        if !self.is_sharing() || gains_space(work) && self.is_hurrying() {
            return None;
        }
        let gate = self.gate_of_work(work);
        Some(Box::pin(async move {
            let turn: Passed = Rc::new(gate.turn(Cost::of_bytes(bytes)).await);
            turn
        }))
    }

    fn hurry(&self) {
        if self.is_sharing() {
            self.hurry_for(HURRY, Work::ALL.into_iter().filter(|work| gains_space(*work)));
        }
    }
}
