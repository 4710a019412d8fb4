//! The disks of a machine: which of them may break at present, which are members of the pool, and how the pool keeps what it holds.
//!
//! As many disks may break at a time as may be lost. Others may only when everything has its copies again and nothing that was
//! damaged silently is left: a disk that was stays among those that may break for as long as it is a member.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use quarry_device::LogPolicy;
use quarry_env_sim::{DiskId, DiskStatus, FaultClass, FaultPlan, World};
use quarry_pool::PoolShared;
use quarry_types::{LogId, Protection};

use crate::model::Finding;
use crate::node::CACHE_PATH;
use crate::scenario::break_it;
use crate::{Chance, Scenario};

/// Faults by chance in one history.
const FAULTS_MAX: u64 = 200;

/// What the labels say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Protection of the pool.
    pub protection: Protection,
    /// What logs have of their own.
    pub logs: BTreeMap<LogId, LogPolicy>,
    /// The disks that are members, and whether they are to be left.
    pub members: BTreeMap<usize, bool>,
}

impl Layout {
    /// How many disks may be lost.
    pub fn losses_tolerated(&self) -> usize {
        let of_logs = self.logs.values().filter_map(|policy| policy.protection);
        let tolerated = of_logs.map(Protection::losses_tolerated).min();
        tolerated.unwrap_or(usize::MAX).min(self.protection.losses_tolerated())
    }
}

/// The disks of a machine.
pub struct Fleet {
    world: Rc<World>,
    disks: Vec<DiskId>,
    cache: Option<DiskId>,
    size_bytes: RefCell<Vec<u64>>,
    /// Those that may break.
    bad: RefCell<Vec<usize>>,
    /// What was acknowledged of the labels.
    known: RefCell<Layout>,
    /// What they may say besides: a change that was not acknowledged.
    pending: RefCell<Option<Layout>>,
    /// Changes that were acknowledged.
    pub changes: Cell<u64>,
}

impl Fleet {
    /// Puts the disks of a scenario into a world.
    pub fn new(world: Rc<World>, scenario: &Scenario) -> Self {
        let specs = scenario.disks.iter().chain(&scenario.spares);
        let add = |(index, spec): (usize, &_)| world.add_disk(Scenario::path(index), Clone::clone(spec));
        let size_bytes = RefCell::new(specs.clone().map(|spec| spec.size_bytes).collect());
        let disks = specs.enumerate().map(add).collect();
        let cache = scenario.cache.as_ref().map(|spec| world.add_disk(CACHE_PATH, spec.clone()));
        let members = (0..scenario.disks.len()).map(|disk| (disk, false)).collect();
        let known = Layout { protection: scenario.protection, logs: BTreeMap::new(), members };
        let fleet = Self {
            world,
            disks,
            cache,
            size_bytes,
            bad: RefCell::default(),
            known: RefCell::new(known),
            pending: RefCell::default(),
            changes: Cell::new(0),
        };
        fleet.set_bad(scenario.bad.clone());
        fleet
    }

    fn set_bad(&self, bad: Vec<usize>) {
        let ids: BTreeSet<DiskId> = bad.iter().map(|&disk| self.disks[disk]).chain(self.cache).collect();
        let plan = FaultPlan { corruptible: ids.clone(), failing: ids, faults_max: FAULTS_MAX };
        self.world.set_fault_plan(plan);
        self.bad.replace(bad);
    }

    /// Those that may break.
    pub fn bad(&self) -> Vec<usize> {
        self.bad.borrow().clone()
    }

    /// Breaks one that may.
    pub fn fail_one(&self, chance: &Chance) {
        let bad = self.bad();
        if !bad.is_empty() {
            self.world.fail_disk(self.disks[*chance.pick(&bad)]);
        }
    }

    /// Whether a disk answers.
    pub fn is_online(&self, disk: usize) -> bool {
        let id = self.disks[disk];
        self.world.disk_status(id) == DiskStatus::Online && !self.world.is_hanging(id)
    }

    /// Pulls a disk out.
    pub fn pull(&self, disk: usize) {
        self.world.pull_disk(self.disks[disk]);
    }

    /// Makes a disk hang.
    pub fn hang(&self, disk: usize) {
        self.world.hang_disk(self.disks[disk]);
    }

    /// Lets a disk work again, if it does not.
    pub fn restore(&self, disk: usize, cache_lost: bool) {
        self.world.release_disk(self.disks[disk]);
        self.world.restore_disk(self.disks[disk], cache_lost);
    }

    /// Lets every disk work again.
    pub fn restore_all(&self, chance: &Chance) {
        (0..self.disks.len()).for_each(|disk| self.restore(disk, chance.percent(50)));
        if let Some(cache) = self.cache {
            self.world.release_disk(cache);
            self.world.restore_disk(cache, false);
        }
    }

    /// Lets bad disks vanish and come back.
    pub fn shuffle(&self, chance: &Chance) {
        for disk in self.bad() {
            match self.is_online(disk) {
                true if chance.percent(30) => self.pull(disk),
                true if chance.percent(20) => self.hang(disk),
                true => {}
                false if chance.percent(60) => self.restore(disk, chance.percent(50)),
                false => {}
            }
        }
    }

    /// Flips bits of a disk.
    pub fn rot(&self, disk: usize, (position, bit): (u64, u32)) {
        self.world.rot(self.disks[disk], position, bit);
    }

    /// Makes a disk larger.
    pub fn enlarge(&self, disk: usize, more_bytes: u64) {
        let mut sizes = self.size_bytes.borrow_mut();
        sizes[disk] += more_bytes;
        self.world.grow_disk(self.disks[disk], sizes[disk]);
    }

    /// Holds faults by chance back, or lets them come again.
    pub fn set_faults_enabled(&self, enabled: bool) {
        self.world.set_faults_enabled(enabled);
    }

    /// How many disks there are.
    pub fn len(&self) -> usize {
        self.disks.len()
    }

    /// The number of the disk at a path.
    pub fn disk_at(&self, path: &Path) -> usize {
        (0..self.len()).find(|&disk| Scenario::path(disk) == path).expect("devices lie on disks")
    }

    /// What was acknowledged of the labels.
    pub fn known(&self) -> Layout {
        self.known.borrow().clone()
    }

    /// A change of the labels is submitted.
    pub fn begin(&self, change: impl FnOnce(&mut Layout)) {
        let mut next = self.known();
        change(&mut next);
        self.pending.replace(Some(next));
    }

    /// It was acknowledged.
    pub fn acknowledge(&self) {
        let next = self.pending.take().expect("it was submitted");
        self.known.replace(next);
        self.changes.set(self.changes.get() + 1);
    }

    /// It was refused.
    pub fn refuse(&self) {
        self.pending.take();
    }

    /// Checks what the labels say after a start, and believes it.
    pub fn opened(&self, shared: &PoolShared) -> Result<(), Finding> {
        let members =
            shared.devices().into_iter().map(|device| (self.disk_at(&device.path), device.leaving)).collect();
        let found = Layout { protection: shared.protection(), logs: shared.log_policies(), members };
        let (known, pending) = (self.known(), self.pending.take());
        if found != known && Some(&found) != pending.as_ref() {
            return Err(Finding(format!("the labels say {found:?}, not {known:?} or {pending:?}")));
        }
        self.known.replace(found);
        Ok(())
    }

    /// The bad disks that something has damaged silently and that are members still.
    pub fn damaged(&self) -> Vec<usize> {
        let members = self.known().members;
        let faults = self.world.faults();
        let is_damaged = |disk: &usize| {
            let silent = |kind: quarry_env_sim::FaultKind| kind.class() == FaultClass::Silent;
            faults.iter().any(|fault| fault.disk == self.disks[*disk] && silent(fault.kind))
        };
        self.bad().into_iter().filter(|disk| members.contains_key(disk)).filter(is_damaged).collect()
    }

    /// Draws which disks may break from now on, when everything has its copies.
    pub fn choose_bad(&self, chance: &Chance) {
        let mut bad = self.damaged();
        let most = self.known().losses_tolerated();
        assert!(bad.len() <= most, "no more than these were allowed to break");
        let mut others: Vec<usize> = (0..self.len()).filter(|disk| !bad.contains(disk)).collect();
        let wanted = chance.below(most as u64 + 1) as usize;
        while bad.len() < wanted && !others.is_empty() {
            let disk = others.remove(chance.below(others.len() as u64) as usize);
            let rates = break_it(chance, quarry_env_sim::FaultRates::none(), false);
            self.world.set_fault_rates(self.disks[disk], rates);
            bad.push(disk);
        }
        // One may have been broken while everything got its copies.
        self.bad().into_iter().filter(|disk| !bad.contains(disk)).for_each(|disk| self.restore(disk, false));
        self.set_bad(bad);
    }

    /// Disks that the pool must do without in the end: as many as may break, those that were damaged first.
    pub fn choose_lost(&self, chance: &Chance) -> Vec<usize> {
        let known = self.known();
        let (most, members) = (known.losses_tolerated(), known.members);
        let mut lost = self.damaged();
        let mut others: Vec<usize> = members.into_keys().filter(|disk| !lost.contains(disk)).collect();
        while lost.len() < most && others.len() > 1 {
            lost.push(others.remove(chance.below(others.len() as u64) as usize));
        }
        lost
    }
}
