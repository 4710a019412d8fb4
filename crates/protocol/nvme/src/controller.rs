//! What the queues of one controller share, whichever cores they are on. Off the I/O path but for two loads of atomics.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use quarry_target::{Counters, Stop, Stopped, Traffic};
use quarry_types::VolumeId;

use crate::connect::{Connect, Refused};
use crate::limits::{ERROR_ENTRIES_MAX, IO_ENTRIES_MAX, IO_QUEUES_MAX};
use crate::property::{Life, Properties, Transition};
use quarry_nvme_wire::Command;
use quarry_nvme_wire::Status;

/// What a controller is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// To find subsystems.
    Discovery,
    /// To use namespaces.
    Io,
}

/// Who uses a controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Its NVMe qualified name.
    pub nqn: String,
    /// Its identifier, which reservations belong to.
    pub id: [u8; 16],
    /// Where its admin queue comes from.
    pub address: Option<IpAddr>,
}

impl Host {
    /// Whether it has an identifier of its own; zero is nobody's.
    pub fn has_id(&self) -> bool {
        self.id != [0; 16]
    }
}

/// A failed command, as the error log shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ErrorEntry {
    pub(crate) count: u64,
    pub(crate) queue: u16,
    pub(crate) command: u16,
    pub(crate) status: Status,
    pub(crate) block: u64,
    pub(crate) namespace: u32,
}

/// An I/O queue as its controller knows it.
struct Member {
    stop: Stop,
    counters: Arc<Counters>,
}

struct State {
    properties: Properties,
    /// How many I/O queues the host may have; it is told by Set Features.
    queues_granted: u16,
    queues: BTreeMap<u16, Member>,
    /// Given when the last queue goes; replaced when one comes.
    drained: Stop,
    /// Which volume the host takes a namespace for; at most one entry for each namespace id that there can be.
    meanings: BTreeMap<u32, VolumeId>,
    errors: VecDeque<ErrorEntry>,
    error_count: u64,
    /// What queues did that are gone.
    past: Traffic,
}

/// A controller: an admin queue and its I/O queues.
pub struct Controller {
    id: u16,
    kind: Kind,
    host: Host,
    write_cache: AtomicBool,
    state: Mutex<State>,
}

impl Controller {
    pub(crate) fn new(id: u16, kind: Kind, host: Host) -> Arc<Self> {
        let state = State {
            properties: Properties::default(),
            queues_granted: IO_QUEUES_MAX,
            queues: BTreeMap::new(),
            drained: Stop::default(),
            meanings: BTreeMap::new(),
            errors: VecDeque::new(),
            error_count: 0,
            past: Traffic::default(),
        };
        let write_cache = AtomicBool::new(true);
        Arc::new(Self { id, kind, host, write_cache, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state of a controller")
    }

    /// Its number in the subsystem.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Who uses it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Ends the controller with all of its I/O queues.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        // No queue joins from now on.
        state.properties.fail();
        state.queues.values().for_each(|member| member.stop.stop());
    }

    /// Whether writes may stay in a cache that does not survive power loss.
    pub fn has_write_cache(&self) -> bool {
        self.write_cache.load(Ordering::Relaxed)
    }

    /// Switches the write cache, from the next command on.
    pub(crate) fn set_write_cache(&self, enabled: bool) {
        self.write_cache.store(enabled, Ordering::Relaxed);
    }

    /// Whether commands other than those of fabrics are taken.
    pub fn is_enabled(&self) -> bool {
        self.state().properties.is_enabled()
    }

    pub(crate) fn property(&self, at: u32, wide: bool) -> Result<u64, Status> {
        let state = self.state();
        state.properties.get(at, wide, state.queues.is_empty())
    }

    pub(crate) fn set_property(&self, at: u32, wide: bool, value: u64) -> Result<Transition, Status> {
        let mut state = self.state();
        let transition = state.properties.set(at, wide, value)?;
        if matches!(transition, Transition::Reset | Transition::Shutdown(_)) {
            state.queues.values().for_each(|member| member.stop.stop());
        }
        if transition == Transition::Reset {
            state.queues_granted = IO_QUEUES_MAX;
            self.write_cache.store(true, Ordering::Relaxed);
        }
        Ok(transition)
    }

    /// Resolves when no I/O queue is left, with nothing of it under way.
    pub(crate) fn drained(&self) -> Stopped {
        let state = self.state();
        if state.queues.is_empty() {
            state.drained.stop();
        }
        state.drained.stopped()
    }

    /// The shutdown that was asked for in `life` is over, well or not.
    pub(crate) fn end_shutdown(&self, life: Life, is_flushed: bool) {
        self.state().properties.end_shutdown(life, is_flushed);
    }

    /// Whether the host takes a namespace for `volume`: the first volume that the id has stood for since the controller
    /// began, or the one that the host was last told of.
    ///
    /// An id that another export was given in between stands for another volume, and what the host has queued for the first
    /// one must not get there.
    pub(crate) fn takes_for(&self, namespace: u32, volume: VolumeId) -> bool {
        *self.state().meanings.entry(namespace).or_insert(volume) == volume
    }

    /// The host is told that a namespace is `volume`.
    pub(crate) fn tell_meaning(&self, namespace: u32, volume: VolumeId) {
        self.state().meanings.insert(namespace, volume);
    }

    /// Grants up to `wanted` I/O queues; how many.
    pub(crate) fn grant_queues(&self, wanted: u16) -> Result<u16, Status> {
        let mut state = self.state();
        if !state.queues.is_empty() {
            return Err(Status::COMMAND_SEQUENCE);
        }
        state.queues_granted = wanted.clamp(1, IO_QUEUES_MAX);
        Ok(state.queues_granted)
    }

    pub(crate) fn queues_granted(&self) -> u16 {
        self.state().queues_granted
    }

    /// Takes in an I/O queue.
    pub(crate) fn join(self: &Arc<Self>, connect: &Connect) -> Result<IoMember, Refused> {
        if (self.host.nqn.as_str(), self.host.id) != (connect.host.as_str(), connect.host_id) {
            return Err(Refused::host());
        }
        let mut state = self.state();
        if !state.properties.is_enabled() {
            return Err(Refused::because(Status::COMMAND_SEQUENCE));
        }
        if connect.queue > state.queues_granted {
            return Err(Refused::queue());
        }
        if connect.entries > IO_ENTRIES_MAX {
            return Err(Refused::entries());
        }
        if state.queues.contains_key(&connect.queue) {
            return Err(Refused::because(Status::COMMAND_SEQUENCE));
        }
        let (stop, counters) = (Stop::default(), Arc::<Counters>::default());
        if state.drained.is_stopped() {
            state.drained = Stop::default();
        }
        state.queues.insert(connect.queue, Member { stop: stop.clone(), counters: counters.clone() });
        drop(state);
        Ok(IoMember { controller: self.clone(), queue: connect.queue, stop, counters })
    }

    /// Notes a failed command.
    pub fn note_error(&self, queue: u16, command: &Command, status: Status) {
        let mut state = self.state();
        state.error_count += 1;
        let entry = ErrorEntry {
            count: state.error_count,
            queue,
            command: command.id(),
            status,
            block: if queue == 0 { 0 } else { command.double_dword(10) },
            namespace: command.namespace(),
        };
        state.errors.truncate(ERROR_ENTRIES_MAX - 1);
        state.errors.push_front(entry);
    }

    /// The failed commands, newest first, and how many there have been.
    pub(crate) fn errors(&self) -> (Vec<ErrorEntry>, u64) {
        let state = self.state();
        (state.errors.iter().copied().collect(), state.error_count)
    }

    /// What the I/O queues have done since the controller began.
    pub(crate) fn traffic(&self) -> Traffic {
        let state = self.state();
        state.queues.values().fold(state.past, |sum, member| add(sum, member.counters.traffic()))
    }
}

fn add(one: Traffic, other: Traffic) -> Traffic {
    Traffic {
        reads: one.reads + other.reads,
        read_bytes: one.read_bytes + other.read_bytes,
        writes: one.writes + other.writes,
        write_bytes: one.write_bytes + other.write_bytes,
        others: one.others + other.others,
        errors: one.errors + other.errors,
    }
}

/// An I/O queue's place in its controller. Dropping it ends the membership: nothing of the queue is under way any more.
pub struct IoMember {
    controller: Arc<Controller>,
    queue: u16,
    stop: Stop,
    counters: Arc<Counters>,
}

impl IoMember {
    /// The controller.
    pub fn controller(&self) -> &Arc<Controller> {
        &self.controller
    }

    /// The queue's number, from 1.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// The signal to take no further command.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Where the queue counts what it does, for the log page of the controller.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for IoMember {
    fn drop(&mut self) {
        let mut state = self.controller.state();
        state.queues.remove(&self.queue);
        state.past = add(state.past, self.counters.traffic());
        if state.queues.is_empty() {
            state.drained.stop();
        }
    }
}
