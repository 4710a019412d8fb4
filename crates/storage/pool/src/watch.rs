//! Watching whether devices answer: each core looks at its own operations, tells the others by the `board`, and with them decides
//! what becomes of a device that does not.
//!
//! A device is *silent* when it has owed an answer for longer than it may. If every log can do without it, it is taken out of use, like one
//! that has failed a write, and what waits for it is given up; else it is waited for, and the board says so. What is given up may be
//! carried out later, so a device that was taken out of use gets nothing before that has ended: see `board` and RFD 0022.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use quarry_device::{Device, DeviceClass, Latencies, Operation, Unanswered};
use quarry_env::DiskKind;
use quarry_format::label::LABEL_COPY_OFFSETS;
use quarry_types::DeviceId;
use quarry_types::limits::{NETWORK_PATIENCE_EXTRA, OBJECT_PATIENCE_EXTRA};

use crate::board::{PERIOD, Pulse};
use crate::{Chunk, LogStore, Pool, PoolShared};

/// How often a core looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What a probe reads: the unit of most reads of hosts.
const PROBE_BYTES: usize = 4096;

/// What a core has told of a device.
struct Told {
    id: DeviceId,
    period: u64,
    latencies: Latencies,
}

/// One core's part in the watch.
pub(crate) struct Watch {
    pub(crate) way: u32,
    told: RefCell<BTreeMap<u16, Told>>,
    stores: RefCell<Vec<Weak<LogStore>>>,
}

impl Watch {
    pub(crate) fn new(shared: &PoolShared) -> Self {
        Self { way: shared.board.new_way(), told: Default::default(), stores: Default::default() }
    }
}

impl Pool {
    /// Begins to watch the devices, until the pool is closed on this core.
    pub(crate) fn watched(self) -> Rc<Self> {
        let pool = Rc::new(self);
        let (watched, clock) = (Rc::downgrade(&pool), pool.env.clock.clone());
        let watching = async move {
            loop {
                clock.sleep(LOOK_EVERY).await;
                let Some(pool) = watched.upgrade() else { return };
                pool.look_at_devices();
            }
        };
        pool.env.spawner.spawn(watching).detach();
        pool
    }

    /// A log is open on this core: no device is given up that it needs.
    pub fn add_store(&self, store: &Rc<LogStore>) {
        self.watch.stores.borrow_mut().push(Rc::downgrade(store));
        self.shared.board.add_log(store.log);
    }

    /// A log is closed, or ends.
    pub fn remove_store(&self, store: &LogStore) {
        let is_other = |known: &Weak<LogStore>| !std::ptr::eq(known.as_ptr(), store);
        self.watch.stores.borrow_mut().retain(is_other);
        self.shared.board.remove_log(store.log);
    }

    /// Ends all waiting of this core for changes of a device that is out of use, before it is used anew.
    pub fn give_up_changes(&self, index: u16) {
        if let Some(device) = self.device(index).filter(|_| self.shared.is_failed(index)) {
            device.give_up(|what| what.operation != Operation::Read);
        }
    }

    /// Ends waiting for a device that is out of use: of one that was silent at once, also for what it was asked for just now; of one that
    /// has failed otherwise when its time is over. It may be the only one that can be read.
    fn end_waiting(&self, index: u16, device: &Device, now: Duration) {
        if !self.shared.is_failed(index) {
            return;
        }
        let patience = self.patience(device);
        let is_over = |what: &Unanswered| now.saturating_sub(what.began) >= patience;
        let silent_since = self.shared.board.silent_since(index);
        device.give_up(|what| is_over(what) || silent_since.is_some_and(|since| what.began <= since));
    }

    /// How long a device may take for anything.
    fn patience(&self, device: &Device) -> Duration {
        let patience = self.shared.board.patience();
        match device.geometry().kind {
            DiskKind::Network => patience + NETWORK_PATIENCE_EXTRA,
            DiskKind::Object => patience + OBJECT_PATIENCE_EXTRA,
            DiskKind::File | DiskKind::Block | DiskKind::Pmem => patience,
        }
    }

    /// Whether a device that is out of use owes an answer for longer than it may. It is not asked for more before it has answered.
    pub(crate) fn is_silent(&self, index: u16, device: &Device) -> bool {
        let (board, now) = (&self.shared.board, self.env.clock.now());
        self.shared.is_failed(index) && board.is_silent(index, self.patience(device), now)
    }

    fn look_at_devices(self: &Rc<Self>) {
        let (board, now) = (&self.shared.board, self.env.clock.now());
        let period = (now.as_nanos() / PERIOD.as_nanos()) as u64;
        let devices = self.devices();
        for (index, device) in &devices {
            self.end_waiting(*index, device, now);
            let pulse = Pulse {
                oldest: device.oldest_unanswered(),
                waiting: device.waiting(),
                answered: device.answered(),
            };
            let class = self.shared.member(*index).map_or(DeviceClass::Unknown, |member| member.class);
            board.note(self.watch.way, (*index, device.id(), class), pulse, now);
            self.tell_latencies(*index, device, period);
        }
        self.watch.told.borrow_mut().retain(|index, _| {
            let is_there = devices.iter().any(|(known, _)| known == index);
            if !is_there {
                board.forget(self.watch.way, *index);
            }
            is_there
        });
        for (index, device) in devices.iter().filter(|(index, _)| !self.shared.is_failed(*index)) {
            self.judge_silence(*index, device, now);
        }
        let in_use = |index| !self.shared.is_failed(index);
        for (index, slow) in board.judge(period, in_use) {
            self.shared.note_slow(index, slow);
        }
        board.avoided(now).into_iter().for_each(|(index, avoided)| self.shared.set_avoided(index, avoided));
        devices.into_iter().for_each(|(index, device)| self.probe(index, device, now));
    }

    fn tell_latencies(&self, index: u16, device: &Device, period: u64) {
        let mut told = self.watch.told.borrow_mut();
        let new = || Told { id: device.id(), period, latencies: Latencies::default() };
        let told = told.entry(index).or_insert_with(new);
        if told.id != device.id() {
            *told = new();
        }
        if told.period == period {
            return;
        }
        let latencies = device.latencies();
        let recent = latencies.since(&told.latencies);
        self.shared.board.add_latencies(index, told.period, &recent);
        (told.period, told.latencies) = (period, latencies);
    }

    fn judge_silence(&self, index: u16, device: &Device, now: Duration) {
        let (board, patience) = (&self.shared.board, self.patience(device));
        if board.is_in_question(index, patience, now) {
            let (layout, mut others) = (self.shared.layout(), board.stalled(now));
            others.insert(index);
            let answers = |device: u16| !self.shared.is_failed(device) && !others.contains(&device);
            for store in self.watch.stores.borrow().iter().filter_map(Weak::upgrade) {
                board.answer(index, store.log, layout, store.can_do_without(index, &answers));
            }
        }
        let view = || (self.shared.layout(), self.shared.can_lose_one());
        board.decide(index, patience, now, view, |reason| self.shared.fail_device(index, reason));
        self.end_waiting(index, device, now);
    }

    /// Asks an idle device for something, so that it is noticed when it has died. One that is out of use is asked, too: it may be back.
    fn probe(self: &Rc<Self>, index: u16, device: Rc<Device>, now: Duration) {
        let Some(is_suspect) = self.shared.board.claim_probe(index, now) else { return };
        let slots = u64::from(device.slots());
        let offset = match is_suspect && slots > 0 {
            // The first bytes of a device that is slow may well come from its cache.
            true => {
                let places = self.geometry().segment_bytes / PROBE_BYTES as u64;
                let slot = (self.env.random.next_u64() % slots) as u32;
                device.slot_offset(slot) + self.env.random.next_u64() % places * PROBE_BYTES as u64
            }
            false => LABEL_COPY_OFFSETS[0],
        };
        let reading = device.read_held(offset, self.env.buffers.allocate(PROBE_BYTES));
        let (shared, clock) = (self.shared.clone(), self.env.clock.clone());
        let probing = async move {
            let answer = reading.await;
            shared.board.end_probe(index, answer.is_ok(), clock.now());
        };
        self.env.spawner.spawn(probing).detach();
    }
}

impl LogStore {
    /// Whether everything of this log can be read without a device, of the others only from those that `answer`.
    fn can_do_without(&self, device: u16, answer: &impl Fn(u16) -> bool) -> bool {
        let counts =
            |chunk: &Chunk| chunk.slots().iter().any(|slot| slot.device != device && answer(slot.device));
        let survives = |chunk: &Rc<Chunk>| {
            !chunk.is_on(device)
                || counts(chunk)
                || chunk.group().is_some_and(|group| {
                    let left = group.members().iter().filter(|member| counts(member)).count();
                    left >= group.shape().data()
                })
        };
        let table = self.table();
        table.iter().all(|(_, segment)| segment.chunks().all(survives))
    }
}
