//! What the administrator does to the devices of the pool under load: they join, leave, break, come back and grow, and the number of
//! copies changes, as do tiers. Steps and their order are those that the node daemon keeps to.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use quarry_device::{DeviceClass, JoinRequest, LogPolicy, TierPolicy, release_device};
use quarry_engine::Engine;
use quarry_env::Env;
use quarry_pool::{DeviceStatus, HeldBytes, MembershipError, Pool};
use quarry_types::{LogId, Protection};

use crate::fleet::Fleet;
use crate::model::Finding;
use crate::node::{POOL, text};
use crate::scenario::CODES;
use crate::workload::{Door, Shared};
use crate::{Chance, Scenario};

const MIB: u64 = 1 << 20;
/// How long it may take until everything has its copies, with little in the pool and nobody in the way.
const PEACE: Duration = Duration::from_secs(150);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time in which every log has seen that something has changed.
const NOTICED: Duration = Duration::from_secs(3);
/// How often, and after which pauses, it is looked whether a device has ended what it was sent before it was given up.
const LATE_LOOKS: usize = 100;
const LATE_PAUSE: Duration = Duration::from_millis(100);
const GROWN_MIB_MAX: u64 = 16;
const ROTTEN_BITS: u64 = 40;
const CLASSES: [DeviceClass; 3] = [DeviceClass::Nvme, DeviceClass::Ssd, DeviceClass::Hdd];

type Result<T> = std::result::Result<T, Finding>;

/// The devices of a pool under test, and who uses them.
pub struct Devices<'a> {
    pub fleet: &'a Fleet,
    pub chance: &'a Chance,
    pub envs: &'a [Env],
    pub engines: &'a [Rc<Engine>],
    /// Whether the pool may be too full for what is asked of it.
    pub may_be_full: bool,
    /// Whether the pool may get an erasure code.
    pub is_coded: bool,
    /// Whether logs may be kept otherwise than their pool.
    pub logs_differ: bool,
}

/// One step of the administrator.
pub async fn step(shared: &Shared, door: &Door) {
    let devices = Devices {
        fleet: &shared.fleet,
        chance: &shared.chance,
        envs: &door.envs,
        engines: &door.engines,
        may_be_full: shared.scenario.may_be_full(),
        is_coded: shared.scenario.is_coded(),
        logs_differ: shared.scenario.logs_differ,
    };
    if let Err(finding) = devices.step().await {
        shared.find(finding);
    }
}

fn found<T>(what: &str, error: impl std::error::Error) -> Result<T> {
    Err(Finding(format!("{what}: {}", text(error))))
}

impl Devices<'_> {
    fn pool(&self) -> &Rc<Pool> {
        self.engines[0].pool()
    }

    fn held(&self) -> HeldBytes {
        self.engines.iter().map(|engine| (engine.log_id(), engine.status().held_bytes())).collect()
    }

    /// One of the members for which something holds.
    fn any(&self, holds: impl Fn(&DeviceStatus) -> bool) -> Option<DeviceStatus> {
        let members: Vec<DeviceStatus> = self.pool().shared.devices().into_iter().filter(holds).collect();
        (!members.is_empty()).then(|| self.chance.pick(&members).clone())
    }

    fn is_bad(&self, device: &DeviceStatus) -> bool {
        self.fleet.bad().contains(&self.fleet.disk_at(&device.path))
    }

    async fn step(&self) -> Result<()> {
        match self.chance.below(18) {
            0 | 1 => self.add().await,
            2 | 3 => self.leave(true).await,
            4 => self.leave(false).await,
            5 | 6 => self.remove_some().await,
            7 | 8 if self.logs_differ && self.chance.percent(60) => self.change_log_policy().await,
            7 | 8 => self.change_protection().await,
            9 => self.grow().await,
            10 | 11 => {
                self.break_one();
                Ok(())
            }
            12 | 13 => self.take_some_back().await,
            14 => self.renew().await,
            15 | 16 => self.retier().await,
            _ => {
                let pause = Duration::from_millis(self.chance.spread(16_000));
                self.envs[0].clock.sleep(pause).await;
                Ok(())
            }
        }
    }

    async fn add(&self) -> Result<()> {
        let members = self.fleet.known().members;
        let others: Vec<usize> = (0..self.fleet.len()).filter(|disk| !members.contains_key(disk)).collect();
        if others.is_empty() {
            return Ok(());
        }
        let disk = *self.chance.pick(&others);
        let request = JoinRequest {
            path: Scenario::path(disk),
            directory_file_bytes: None,
            // What is left of an earlier membership.
            force: true,
            in_use: BTreeMap::new(),
        };
        self.fleet.begin(|layout| _ = layout.members.insert(disk, false));
        let added = match self.pool().add_member(&request).await {
            Ok(added) => added,
            Err(MembershipError::Format(_)) if self.fleet.bad().contains(&disk) => {
                self.fleet.refuse();
                return Ok(());
            }
            Err(error) => return found("a device does not join", error),
        };
        self.fleet.acknowledge();
        self.attach_and_admit(added.index, 1).await
    }

    /// Opens a member on cores from `first` on, and uses it.
    async fn attach_and_admit(&self, index: u16, first: usize) -> Result<()> {
        for engine in &self.engines[first..] {
            let Some(status) = self.pool().shared.member(index) else { return Ok(()) };
            if status.failure.is_some() && self.is_bad(&status) {
                return Ok(());
            }
            if let Err(error) = engine.pool().attach_member(index).await {
                return if self.is_bad(&status) {
                    Ok(())
                } else {
                    found("a device cannot be attached", error)
                };
            }
        }
        self.pool().admit_member(index).map_err(|error| Finding(text(error)))
    }

    /// Begins or ceases to leave a device.
    async fn leave(&self, leaving: bool) -> Result<()> {
        let Some(device) = self.any(|device| device.leaving != leaving) else { return Ok(()) };
        let disk = self.fleet.disk_at(&device.path);
        self.fleet.begin(|layout| _ = layout.members.insert(disk, leaving));
        match self.pool().set_leaving(device.index, leaving, &self.held()).await {
            Ok(()) => self.fleet.acknowledge(),
            Err(MembershipError::TooFewDevices { .. } | MembershipError::NoRoom { .. }) => {
                self.fleet.refuse()
            }
            Err(error) => return found("a device cannot be left", error),
        }
        Ok(())
    }

    async fn remove_some(&self) -> Result<()> {
        let shared = self.pool().shared.clone();
        match self.any(|device| device.leaving && shared.used_slots(device.index) == 0) {
            Some(device) => self.remove(&device).await,
            None => Ok(()),
        }
    }

    /// Ends the membership of an empty device.
    async fn remove(&self, device: &DeviceStatus) -> Result<()> {
        let disk = self.fleet.disk_at(&device.path);
        self.fleet.begin(|layout| _ = layout.members.remove(&disk));
        match self.pool().remove_member(device.index).await {
            Ok(_) => self.fleet.acknowledge(),
            Err(MembershipError::TooFewDevices { .. }) => {
                self.fleet.refuse();
                return Ok(());
            }
            Err(error) => return found("an empty device cannot be removed", error),
        }
        self.engines.iter().for_each(|engine| engine.pool().detach_member(device.index));
        let released = release_device(&self.envs[0], &device.path, POOL, device.id).await;
        match released {
            Err(error) if !self.is_bad(device) => found("a device is not given back", error),
            _ => Ok(()),
        }
    }

    fn draw_protection(&self) -> Protection {
        let copies = Protection::Copies(1 + self.chance.below(3) as u8);
        match self.is_coded && self.chance.percent(60) {
            true => *self.chance.pick(&CODES),
            false => copies,
        }
    }

    /// One log is kept otherwise than its pool, or as its pool again.
    async fn change_log_policy(&self) -> Result<()> {
        let log = self.chance.pick(self.engines).log_id();
        let mut policy = LogPolicy::default();
        if self.chance.percent(70) {
            policy.protection = Some(self.draw_protection());
        }
        if self.chance.percent(30) {
            policy.tier_policy = Some(self.draw_tier_policy());
        }
        let tolerated = |protection: Protection| protection.losses_tolerated();
        let tolerated = tolerated(policy.protection.unwrap_or(self.fleet.known().protection));
        if self.fleet.bad().len() > tolerated {
            return Ok(());
        }
        self.fleet.begin(|layout| match policy.is_as_pool() {
            true => _ = layout.logs.remove(&log),
            false => _ = layout.logs.insert(log, policy),
        });
        match self.pool().change_log_policy(log, policy, &self.held()).await {
            Ok(()) => self.fleet.acknowledge(),
            Err(MembershipError::TooFewDevices { .. } | MembershipError::NoRoom { .. }) => {
                self.fleet.refuse()
            }
            Err(error) => return found("a log cannot be kept otherwise", error),
        }
        Ok(())
    }

    fn draw_tier_policy(&self) -> TierPolicy {
        let class = *self.chance.pick(&CLASSES);
        if self.chance.percent(50) { TierPolicy::Automatic } else { TierPolicy::Pinned(class) }
    }

    async fn change_protection(&self) -> Result<()> {
        let protection = self.draw_protection();
        if self.fleet.bad().len() > protection.losses_tolerated() {
            return Ok(());
        }
        self.fleet.begin(|layout| layout.protection = protection);
        match self.pool().change_protection(protection, &self.held()).await {
            Ok(()) => self.fleet.acknowledge(),
            Err(MembershipError::TooFewDevices { .. } | MembershipError::NoRoom { .. }) => {
                self.fleet.refuse()
            }
            Err(error) => return found("the protection cannot be changed", error),
        }
        Ok(())
    }

    async fn grow(&self) -> Result<()> {
        let Some(device) = self.any(|device| device.failure.is_none()) else { return Ok(()) };
        let disk = self.fleet.disk_at(&device.path);
        self.fleet.enlarge(disk, (1 + self.chance.below(GROWN_MIB_MAX)) * MIB);
        match self.pool().grow_member(device.index).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(_) if self.is_bad(&device) => return Ok(()),
            Err(error) => return found("a device does not grow", error),
        }
        self.fleet.changes.set(self.fleet.changes.get() + 1);
        self.attach_and_admit(device.index, 0).await
    }

    /// A device counts as another tier, or data is to lie elsewhere.
    async fn retier(&self) -> Result<()> {
        let class = *self.chance.pick(&CLASSES);
        if self.chance.percent(40) {
            let policy =
                if self.chance.percent(50) { TierPolicy::Automatic } else { TierPolicy::Pinned(class) };
            return match self.pool().set_tier_policy(policy).await {
                // The only device in use may be the one that breaks.
                Ok(()) | Err(MembershipError::NoLabel { .. }) => Ok(()),
                Err(error) => found("data cannot be placed otherwise", error),
            };
        }
        let Some(device) = self.any(|device| device.failure.is_none()) else { return Ok(()) };
        match self.pool().set_class(device.index, class).await {
            Ok(()) | Err(MembershipError::NoLabel { .. }) => Ok(()),
            Err(error) => found("a device gets no tier", error),
        }
    }

    /// Something happens to a disk that may break.
    fn break_one(&self) {
        let bad = self.fleet.bad();
        if bad.is_empty() {
            return;
        }
        let disk = *self.chance.pick(&bad);
        match self.chance.below(5) {
            0 => self.fleet.pull(disk),
            4 => self.fleet.hang(disk),
            1 => self.fleet.fail_one(self.chance),
            2 if self.fleet.is_online(disk) => {
                for _ in 0..1 + self.chance.below(ROTTEN_BITS) {
                    let position = MIB + self.chance.below(32 * MIB);
                    self.fleet.rot(disk, (position, self.chance.below(8) as u32));
                }
            }
            _ => self.fleet.restore(disk, self.chance.percent(50)),
        }
    }

    async fn take_some_back(&self) -> Result<()> {
        let is_back = |device: &DeviceStatus| {
            device.failure.is_some() && self.fleet.is_online(self.fleet.disk_at(&device.path))
        };
        match self.any(is_back) {
            Some(device) => self.take_back(&device).await,
            None => Ok(()),
        }
    }

    /// Uses a device again that was away.
    async fn take_back(&self, device: &DeviceStatus) -> Result<()> {
        for engine in self.engines {
            match engine.forget_device(device.index).await {
                Ok(()) => {}
                Err(error) if self.may_be_full && text(&error).contains("full") => return Ok(()),
                Err(error) => return found("a device cannot be forgotten", error),
            }
        }
        let mut taken = self.pool().take_back(device.index).await;
        // What it was sent before lands first.
        for _ in 0..LATE_LOOKS {
            if !matches!(taken, Err(MembershipError::Late { .. })) {
                break;
            }
            self.envs[0].clock.sleep(LATE_PAUSE).await;
            taken = self.pool().take_back(device.index).await;
        }
        match taken {
            Ok(()) => {}
            Err(_) if self.is_bad(device) => return Ok(()),
            Err(error) => return found("a device is not taken back", error),
        }
        self.fleet.changes.set(self.fleet.changes.get() + 1);
        self.attach_and_admit(device.index, 1).await
    }

    /// Lets everything have its copies, and others break from then on.
    async fn renew(&self) -> Result<()> {
        self.fleet.set_faults_enabled(false);
        if self.settle(false).await? {
            self.fleet.choose_bad(self.chance);
        }
        self.fleet.set_faults_enabled(true);
        Ok(())
    }

    async fn take_all_back(&self) -> Result<()> {
        self.fleet.restore_all(self.chance);
        for device in self.pool().shared.devices() {
            if device.failure.is_some() {
                self.take_back(&device).await?;
            }
        }
        Ok(())
    }

    /// Waits until everything has its copies; at rest until nothing is left to be moved. Says whether it came so far.
    async fn settle(&self, at_rest: bool) -> Result<bool> {
        self.take_all_back().await?;
        let clock = &self.envs[0].clock;
        clock.sleep(NOTICED).await;
        let began = clock.now();
        loop {
            while !self.is_settled(at_rest) {
                if clock.now() - began > PEACE {
                    return Ok(false);
                }
                clock.sleep(LOOK_EVERY).await;
            }
            for engine in self.engines {
                if let Err(error) = engine.checkpoint().await {
                    let is_full = self.may_be_full && text(&error).contains("full");
                    return if is_full { Ok(false) } else { found("checkpoint", error) };
                }
            }
            // A checkpoint frees chunks and lets others be grouped: there may be something to be moved again.
            if self.is_settled(at_rest) {
                return Ok(true);
            }
        }
    }

    fn is_settled(&self, at_rest: bool) -> bool {
        let shared = &self.pool().shared;
        let is_moved = |engine: &Rc<Engine>| {
            let rehoming = engine.rehoming();
            rehoming.exposed_chunks == 0 && (!at_rest || rehoming.chunks == 0)
        };
        let is_empty = |device: &DeviceStatus| !device.leaving || shared.used_slots(device.index) == 0;
        let devices = shared.devices();
        devices.iter().all(|device| device.failure.is_none())
            && shared.degraded_reason().is_none()
            && self.engines.iter().all(is_moved)
            && (!at_rest || devices.iter().all(is_empty))
    }

    /// When the world is at peace, every chunk gets its copies, and what is left becomes empty and goes. Says whether it came so far:
    /// in a pool that is full, with nothing to spare for moving, it may wait for space.
    pub async fn finish(&self) -> Result<bool> {
        if !self.settle(true).await? {
            let shared = &self.pool().shared;
            let has_room = |engine: &Rc<Engine>| {
                let log = engine.log_id();
                shared.capacity_for(log).free_chunks > shared.needed_chunks(log)
            };
            if !self.engines.iter().all(has_room) {
                return Ok(false);
            }
            let (capacity, needed) = (shared.capacity(), shared.needed_chunks(LogId(0)));
            let rehoming: Vec<_> = self.engines.iter().map(|engine| engine.rehoming()).collect();
            let used = |device: &DeviceStatus| (device.clone(), shared.used_slots(device.index));
            let devices: Vec<_> = shared.devices().iter().map(used).collect();
            return Err(Finding(format!(
                "it does not settle: {rehoming:?}, {devices:?}, {capacity:?}, {} bytes held, {needed} chunks needed",
                self.held().values().sum::<u64>()
            )));
        }
        for device in self.pool().shared.devices().into_iter().filter(|device| device.leaving) {
            self.remove(&device).await?;
        }
        Ok(true)
    }
}
