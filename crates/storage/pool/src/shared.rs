//! What all cores know of a pool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quarry_format::anchor::Slot;
use quarry_format::label::DeviceClass;
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{DeviceId, LogId, PoolId, Protection};

use crate::Allocator;
use crate::allocator::Counts;
use crate::board::{Board, DeviceHealth};
use crate::member::{DeviceStatus, MemberUse, Members};
use crate::policies::Policies;
use crate::slow::Slowness;
use crate::stakes::{Free, Need, Purpose, Stakes};
use crate::tiers::{HeatMap, Tier};

/// A device that fails this many reads in a row, at different places and without a good one between them, is taken out of use.
const READ_ERRORS_MAX: u32 = 32;

/// The sizes by which a pool is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Batches and chunks are padded to this many bytes, and device reads and writes are multiples of it.
    pub granule_bytes: u32,
    /// Bytes of a segment, of a chunk and of a slot.
    pub segment_bytes: u64,
}

impl Geometry {
    /// Sectors of a granule.
    pub fn granule_sectors(&self) -> u32 {
        self.granule_bytes / SECTOR_BYTES as u32
    }

    /// Sectors of a segment.
    pub fn segment_sectors(&self) -> u32 {
        (self.segment_bytes / SECTOR_BYTES as u64) as u32
    }
}

/// What all cores know of a pool.
pub struct PoolShared {
    /// Its id.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    pub(crate) policies: Mutex<Policies>,
    /// Its sizes.
    pub geometry: Geometry,
    allocator: Mutex<Allocator>,
    members: Members,
    /// Counts changes of where chunks should lie: of members, of their use, of the number of copies.
    layout: AtomicU64,
    stakes: Mutex<Stakes>,
    /// Slots of copies that were given up, by log: a durable image of it may name them still.
    given_up: Mutex<BTreeMap<LogId, Vec<Slot>>>,
    /// What logs have given back while all of them are being opened.
    held_back: Mutex<Option<Vec<(LogId, Slot)>>>,
    closing: AtomicBool,
    pub(crate) board: Board,
    pub(crate) tiers: Mutex<Arc<[Tier]>>,
    /// A bit for each device that is slow, by index.
    pub(crate) slow: AtomicU64,
    /// What each log has in which tier.
    pub(crate) heats: Mutex<BTreeMap<LogId, HeatMap>>,
}

/// Space of a pool in chunks that are in no group, each with all its copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Chunks that fit on the usable devices.
    pub total_chunks: u64,
    /// Chunks that can still be allocated.
    pub free_chunks: u64,
}

impl PoolShared {
    pub(crate) fn new(
        id: PoolId,
        name: String,
        policies: Policies,
        geometry: Geometry,
        devices: Vec<DeviceStatus>,
    ) -> Self {
        let mut allocator = Allocator::default();
        allocator.set_copies(policies.copies());
        for device in &devices {
            allocator.add_device(device.index, device.slots, device.failure.is_none() && !device.leaving);
        }
        let shared = Self {
            id,
            name,
            policies: Mutex::new(policies),
            geometry,
            allocator: Mutex::new(allocator),
            members: Members::new(devices),
            layout: AtomicU64::new(1),
            stakes: Mutex::default(),
            given_up: Mutex::default(),
            held_back: Mutex::default(),
            closing: AtomicBool::new(false),
            tiers: Mutex::new(Arc::new([])),
            slow: AtomicU64::new(0),
            heats: Mutex::default(),
            board: Board::default(),
        };
        shared.renew_tiers();
        shared
    }

    /// Rises with every change of where chunks should lie.
    pub fn layout(&self) -> u64 {
        self.layout.load(Ordering::Acquire)
    }

    pub(crate) fn note_layout(&self) {
        self.renew_tiers();
        self.layout.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn allocator(&self) -> MutexGuard<'_, Allocator> {
        self.allocator.lock().expect("the allocator's assertions end the process")
    }

    /// Space in chunks that are kept as those of the pool.
    pub fn capacity(&self) -> Capacity {
        self.capacity_in(self.protection().copies())
    }

    /// Space in chunks that are kept as those of a log.
    pub fn capacity_for(&self, log: LogId) -> Capacity {
        self.capacity_in(self.copies_of(log))
    }

    fn capacity_in(&self, copies: usize) -> Capacity {
        let allocator = self.allocator();
        Capacity { total_chunks: allocator.total_chunks(copies), free_chunks: allocator.free_chunks(copies) }
    }

    /// Has the stakes look at what is free, as a log counts.
    fn with_free<T>(&self, log: LogId, look: impl FnOnce(Free<'_>) -> T) -> T {
        look(Free { copies: self.copies_of(log), allocator: &self.allocator() })
    }

    fn free_chunks(&self, log: LogId) -> u64 {
        self.capacity_for(log).free_chunks
    }

    /// Does something with the free slots for a log, and takes note of what that took.
    fn take_note<T>(&self, stakes: &mut Stakes, log: LogId, work: impl FnOnce(&Self) -> T) -> T {
        let before = self.free_chunks(log);
        let result = work(self);
        stakes.take(log, before as i64 - self.free_chunks(log) as i64);
        result
    }

    fn stakes(&self) -> MutexGuard<'_, Stakes> {
        self.stakes.lock().expect("no panic under it")
    }

    /// How many chunks the hosts of `log` may take, which needs `need` itself and holds `ready` chunks; other logs count
    /// on the rest. 0 or less when they may take none. A log that is not alone gets `share_max` at most.
    pub fn renew_stake(&self, log: LogId, need: Need, ready: u64, share_max: Option<u64>) -> i64 {
        let mut stakes = self.stakes();
        self.with_free(log, |free| stakes.renew(log, need, (free, ready), share_max))
    }

    /// Chunks that `log` may take for `purpose` now.
    pub fn spare_chunks(&self, log: LogId, purpose: Purpose) -> u64 {
        let stakes = self.stakes();
        self.spare_of(&stakes, log, purpose)
    }

    fn spare_of(&self, stakes: &Stakes, log: LogId, purpose: Purpose) -> u64 {
        self.with_free(log, |free| stakes.spare(log, purpose, free))
    }

    /// Slots for a chunk, if `log` may have one for `purpose`; none otherwise. Logs that ask at the same time do not both
    /// get what is there for one of them.
    pub(crate) fn allocate(&self, log: LogId, (purpose, tier): (Purpose, u8), copies: usize) -> Vec<Slot> {
        let mut stakes = self.stakes();
        if self.spare_of(&stakes, log, purpose) == 0 {
            return Vec::new();
        }
        let first = self.tier_for(log, self.pinned_tier(log).unwrap_or(tier));
        self.take_note(&mut stakes, log, |shared| shared.allocator().allocate_in(copies, first))
    }

    /// Gives nothing to anybody that a log gives back from now on. A log that does not open gives back all that it has, which counts: no other
    /// one must write there.
    pub fn hold_back_slots(&self) {
        self.held_back().get_or_insert_default();
    }

    /// All logs are open: what they gave back is free.
    pub fn let_slots_go(&self) {
        let held_back = self.held_back().take();
        for (log, slot) in held_back.into_iter().flatten() {
            self.free(log, [slot]);
        }
    }

    fn held_back(&self) -> MutexGuard<'_, Option<Vec<(LogId, Slot)>>> {
        self.held_back.lock().expect("no panic under it")
    }

    /// Gives the slots of a chunk of `log` back.
    pub(crate) fn free(&self, log: LogId, slots: impl IntoIterator<Item = Slot>) {
        if let Some(held_back) = &mut *self.held_back() {
            return held_back.extend(slots.into_iter().map(|slot| (log, slot)));
        }
        let mut stakes = self.stakes();
        self.take_note(&mut stakes, log, |shared| {
            slots.into_iter().for_each(|slot| shared.release(slot));
        });
    }

    /// Keeps the slot of a copy of `log` that cannot be relied on until an image that does not name it is durable.
    pub(crate) fn give_up(&self, log: LogId, slot: Slot) {
        self.given_up().entry(log).or_default().push(slot);
    }

    fn given_up(&self) -> MutexGuard<'_, BTreeMap<LogId, Vec<Slot>>> {
        self.given_up.lock().expect("no panic under it")
    }

    /// The slots of copies that `log` has given up since its last commit.
    pub(crate) fn given_up_by(&self, log: LogId) -> Vec<Slot> {
        self.given_up().get(&log).cloned().unwrap_or_default()
    }

    /// The same, which are the caller's from then on.
    pub(crate) fn take_given_up(&self, log: LogId) -> Vec<Slot> {
        self.given_up().remove(&log).unwrap_or_default()
    }

    /// Free chunks that no log counts on, of as many copies as any has: whoever asks for space can use them.
    pub fn unclaimed_chunks(&self) -> u64 {
        let copies = self.protections().iter().map(|protection| protection.copies()).max().unwrap_or(1);
        let stakes = self.stakes();
        stakes.unclaimed(Free { copies, allocator: &self.allocator() })
    }

    /// Asks the other logs to look for space, because hosts of this one wait. The answer is the number of the request.
    pub fn want_space(&self) -> u64 {
        self.stakes().want()
    }

    /// The number of the newest [`Self::want_space`].
    pub fn wanted_space(&self) -> u64 {
        self.stakes().wanted()
    }

    /// `log` has looked for space since a request and found no more.
    pub fn note_looked(&self, log: LogId, request: u64) {
        self.stakes().note_looked(log, request);
    }

    /// Whether every log but `log` has looked for space since a request.
    pub fn have_others_looked(&self, log: LogId, request: u64) -> bool {
        self.stakes().have_others_looked(log, request)
    }

    /// How many logs have told what they count on.
    pub fn staked_logs(&self) -> usize {
        self.stakes().logs()
    }

    /// What the checkpoints and the cleaners of all logs need at most, in chunks of a log: so many fewer fit beside it.
    pub fn needed_chunks(&self, log: LogId) -> u64 {
        let stakes = self.stakes();
        let beside = self.chunks_beside_need(&stakes, log);
        (self.free_chunks(log) as i64 - beside).max(0) as u64
    }

    fn chunks_beside_need(&self, stakes: &Stakes, log: LogId) -> i64 {
        self.allocator().free_chunks_beside(self.copies_of(log), &stakes.need())
    }

    /// Chunks that a log can have now that is kept so, beside what all logs that there are need and what is kept for volumes.
    pub fn chunks_for_another_log(&self, protection: Protection) -> u64 {
        let promised = self.stakes().promised();
        self.allocator().free_chunks_beside(protection.copies(), &promised).max(0) as u64
    }

    /// Devices that take new chunks.
    pub fn usable_devices(&self) -> usize {
        self.allocator().usable_devices()
    }

    /// How many of so many copies a new chunk gets.
    pub(crate) fn placed_copies(&self, copies: usize) -> usize {
        copies.min(self.allocator().usable_devices())
    }

    /// The pool is being closed, log by log: from now on a chunk whose owner goes away keeps its slots, because the
    /// owner's durable image still names it and another log may be about to allocate.
    pub fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Gives a slot back.
    pub(crate) fn release(&self, slot: Slot) {
        if !self.closing.load(Ordering::Acquire) {
            self.allocator().release(slot);
        }
    }

    /// Slots of a device that are taken, also of one that is out of use.
    pub fn used_slots(&self, device: u16) -> u64 {
        self.allocator().used_slots(device)
    }

    /// What it means for new data that devices are out of use; `None` when it means nothing.
    pub fn degraded_reason(&self) -> Option<String> {
        let usable = self.allocator().usable_devices();
        let protections = self.protections();
        let short = protections.iter().filter(|protection| protection.copies() > usable).max();
        if let Some(wanted) = short.map(|protection| protection.copies()) {
            return Some(format!("new data gets {usable} of {wanted} copies, for want of devices in use"));
        }
        protections.iter().find(|protection| protection.devices() > usable).map(|protection| {
            let (copies, wanted) = (protection.copies(), protection.devices());
            format!(
                "new data is kept in {copies} copies and not as {protection}, which needs {wanted} devices in use: there are {usable}"
            )
        })
    }

    /// Its devices and what is wrong with them, by index.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.members.all()
    }

    /// What is known of a device.
    pub fn member(&self, index: u16) -> Option<DeviceStatus> {
        self.members.get(index)
    }

    /// How far a device is used.
    pub fn use_of(&self, device: u16) -> MemberUse {
        self.members.use_of(device)
    }

    /// Whether a device is out of use.
    pub fn is_failed(&self, device: u16) -> bool {
        self.use_of(device) >= MemberUse::Out
    }

    /// How often a device has been taken out of use since the pool was opened.
    pub(crate) fn failures_of(&self, device: u16) -> u32 {
        self.members.failures(device)
    }

    /// Whether everything on a device is to be moved elsewhere.
    pub fn is_leaving(&self, device: u16) -> bool {
        self.members.is_leaving(device)
    }

    /// Whether what lies on a device may stay there.
    pub fn is_staying(&self, device: u16) -> bool {
        self.use_of(device) == MemberUse::Full
    }

    /// Takes a device out of use; says it once.
    pub fn fail_device(&self, device: u16, reason: String) {
        let Some(status) = self.members.fail(device, &reason) else { return };
        self.allocator().set_usable(device, false);
        self.note_layout();
        tracing::error!(
            pool = %self.name, device = %status.id, path = %status.path.display(), reason,
            "device taken out of use; the pool goes on without it"
        );
    }

    /// How long a device may take for anything before it is given up, if it can be done without.
    pub fn set_device_patience(&self, patience: Duration) {
        self.board.set_patience(patience);
    }

    /// How a device answers; `now` is by the clock of the env.
    pub fn device_health(&self, device: u16, now: Duration) -> DeviceHealth {
        self.board.health(device, now)
    }

    /// Devices that still may carry out what they were sent before they were given up; some of them may be no members any more.
    pub fn late_devices(&self) -> BTreeSet<DeviceId> {
        self.board.late_devices()
    }

    /// Whether everything can be had with one more device out of use, as far as the protection tells.
    pub(crate) fn can_lose_one(&self) -> bool {
        let is_out = |device: &DeviceStatus| self.is_failed(device.index);
        let out = self.devices().iter().filter(|device| is_out(device)).count();
        out < self.losses_tolerated()
    }

    /// Says that a device is slow beside its peers, or is not any more.
    pub(crate) fn note_slow(&self, device: u16, slow: Option<Slowness>) {
        let path = self.member(device).map(|status| status.path).unwrap_or_default();
        let (pool, path) = (&self.name, path.display());
        match slow {
            Some(slow) => tracing::warn!(
                %pool, device = %path, operation = %slow.operation, mean = ?slow.mean, peers_mean = ?slow.peers_mean,
                "device is slow beside its peers; reads avoid it where they can"
            ),
            None => tracing::info!(%pool, device = %path, "device is as quick as its peers again"),
        }
    }

    /// Whether reads avoid a device where they can.
    pub(crate) fn is_avoided(&self, device: u16) -> bool {
        self.members.is_avoided(device)
    }

    pub(crate) fn set_avoided(&self, device: u16, avoided: bool) {
        self.members.set_avoided(device, avoided);
    }

    /// Takes note of a device that is new, or is back, and uses it so far.
    pub(crate) fn put_member(&self, status: DeviceStatus, use_: MemberUse) {
        let (index, slots) = (status.index, status.slots);
        self.members.put(status, use_);
        self.allocator().add_device(index, slots, use_ == MemberUse::Full);
        self.note_layout();
    }

    /// Takes note of what is new of a device that is there, and uses it so far. What has happened to it meanwhile stays known.
    pub(crate) fn change_member(
        &self,
        index: u16,
        change: impl FnOnce(&mut DeviceStatus, MemberUse) -> MemberUse,
    ) {
        let mut allocator = self.allocator();
        if let Some((slots, use_)) = self.members.change(index, change) {
            allocator.add_device(index, slots, use_ == MemberUse::Full);
        }
        drop(allocator);
        self.note_layout();
    }

    /// Takes note that a device has grown. It is used as before; nothing is placed on what is new of it before every core has it.
    pub(crate) fn note_grown(&self, index: u16, slots: u32) {
        self.members.change(index, |status, use_| {
            status.slots = slots;
            use_
        });
    }

    /// Takes note of what a device counts as.
    pub(crate) fn change_class(&self, index: u16, class: DeviceClass) {
        self.members.change(index, |status, use_| {
            status.class = class;
            use_
        });
        self.note_layout();
    }

    /// Takes away a device on which nothing lies.
    pub(crate) fn remove_member(&self, index: u16) {
        self.members.remove(index);
        self.allocator().remove_device(index);
        self.note_layout();
    }

    /// Slots for more copies of a chunk of `log` that lies on the devices `taken`, rather in `tier`: as many as can be had, up to `count`, without
    /// taking what checkpoints and cleaners of all logs need. What is given up for them is on devices that take nothing new, so that
    /// nothing would ever fill that up again.
    pub(crate) fn allocate_beside(&self, log: LogId, taken: &[u16], (count, tier): (usize, u8)) -> Vec<Slot> {
        let mut stakes = self.stakes();
        let mut slots = Vec::new();
        let mut taken = taken.to_vec();
        while slots.len() < count {
            if self.chunks_beside_need(&stakes, log) <= 0 {
                break;
            }
            let beside = |shared: &Self| shared.allocator().allocate_beside(&taken, tier);
            let Some(slot) = self.take_note(&mut stakes, log, beside) else { break };
            taken.push(slot.device);
            slots.push(slot);
        }
        slots
    }

    /// Slots in a tier for a chunk of `log` that gives up the slots `left` and has others on the devices `taken`: all of them or none.
    pub(crate) fn allocate_for_move(
        &self,
        log: LogId,
        (tier, count): (u8, usize),
        taken: &[u16],
        left: &[Slot],
    ) -> Vec<Slot> {
        let mut stakes = self.stakes();
        // What it gives up is free only after the next image: until then it is missing.
        if self.chunks_beside_need(&stakes, log) <= 1 {
            return Vec::new();
        }
        self.take_note(&mut stakes, log, |shared| {
            shared.allocator().allocate_for_move(count, tier, taken, left)
        })
    }

    /// A slot for a chunk of a group of `log` whose others lie on the devices `taken`, rather in `tier`. A group frees more than it takes, so it may have
    /// what the cleaner may.
    pub(crate) fn allocate_coded(&self, log: LogId, taken: &[u16], tier: u8) -> Option<Slot> {
        let mut stakes = self.stakes();
        if self.spare_of(&stakes, log, Purpose::Packed) == 0 {
            return None;
        }
        self.take_note(&mut stakes, log, |shared| shared.allocator().allocate_beside(taken, tier))
    }

    /// Free slots of a device.
    pub(crate) fn free_slots(&self, device: u16) -> usize {
        self.allocator().free_slots(device)
    }

    /// Chunks of data that the devices hold which take new ones, or all but one of them, when everything is kept as `protection` says.
    pub fn data_chunks(&self, protection: Protection, without: Option<u16>) -> u64 {
        let (slots, data) = protection.slots();
        self.allocator().total_chunks_without(slots, without) * data as u64
    }

    /// Whether so many chunks fit on the devices that take new ones, or on all but one of them, when these are empty.
    pub(crate) fn can_hold(&self, chunks: &Counts, without: Option<u16>) -> bool {
        self.allocator().can_hold(chunks, without)
    }

    /// What the checkpoint and the cleaner of each log need at most, in chunks with as many copies as it keeps.
    pub(crate) fn needs(&self) -> BTreeMap<LogId, u64> {
        self.stakes().needs()
    }

    /// Slots of the devices that take new chunks, or of all but one of them.
    pub(crate) fn usable_slots(&self, without: Option<u16>) -> u64 {
        self.allocator().total_chunks_without(1, without)
    }

    /// The device among those of `slots` that has so much less free space than one that is neither among these nor in `beside` that the
    /// copy should go there.
    pub(crate) fn relieved_device(&self, slots: &[Slot], beside: &[u16]) -> Option<u16> {
        let own: Vec<u16> = slots.iter().map(|slot| slot.device).collect();
        self.allocator().relieved_device(&own, beside)
    }

    /// Counts the outcome of a read `at` some granule of a device; many failures in a row, at different places, take the device out of use.
    pub(crate) fn note_read(&self, device: u16, at: u32, error: Option<&dyn std::error::Error>) {
        let Some(error) = error else { return self.members.note_read(device) };
        if self.members.note_read_error(device, at) >= READ_ERRORS_MAX {
            self.fail_device(device, format!("{READ_ERRORS_MAX} reads in a row failed: {error}"));
        }
    }
}
