//! What all cores know of the disks behind networks that are in use as devices.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use crate::address::DiskAddress;
use crate::host::Host;
use crate::ranges::{Owner, Ranges};

/// What has happened with one disk since it was first used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RemoteStats {
    /// Connections open now.
    pub connections: u64,
    /// Connections made again after one was lost.
    pub reconnects: u64,
    /// Requests sent again over another connection, for want of an answer.
    pub repeated_requests: u64,
    /// Writes that were answered and not flushed, written again over another connection.
    pub restored_writes: u64,
    /// Writes and discards held back because another one may still have been on its way to their range.
    pub held_back: u64,
    /// Requests that the server has answered.
    pub replies: u64,
    /// Time from the sending of a request to its answer, of all of them together.
    pub reply_time: Duration,
    /// Times that a disk was given up after an outage.
    pub losses: u64,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    reconnects: AtomicU64,
    repeated_requests: AtomicU64,
    restored_writes: AtomicU64,
    held_back: AtomicU64,
    replies: AtomicU64,
    reply_time_us: AtomicU64,
    losses: AtomicU64,
}

/// One disk, for all of its connections.
pub(crate) struct Remote {
    ranges: Mutex<Ranges>,
    owners: AtomicU32,
    counters: Counters,
    /// The number of the process in claims.
    holder: OnceLock<u128>,
    /// Disks of the process that hold the disk.
    pub(crate) holders: AtomicU32,
    /// Whether a core reads or writes the claim now.
    is_claiming: AtomicBool,
    /// Until when it may be used, in microseconds; the end of time when there is no claim.
    lease_until_us: AtomicU64,
    sequence: AtomicU64,
    /// Flushes that have failed, over any connection.
    flush_failures: AtomicU64,
}

/// What stands for the end of time.
const FOREVER_US: u64 = u64::MAX;

impl Remote {
    /// The table of ranges. Held for a few look-ups at a time.
    pub(crate) fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().expect("no code panics while it holds the table")
    }

    /// A number for a connection that writes.
    pub(crate) fn new_owner(&self) -> Owner {
        self.owners.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of the process in claims, chosen by the first that asks.
    pub(crate) fn holder(&self, choose: impl FnOnce() -> u128) -> u128 {
        *self.holder.get_or_init(choose)
    }

    /// Keeps other cores from the claim; false when one has done so.
    pub(crate) fn begin_claiming(&self) -> bool {
        !self.is_claiming.swap(true, Ordering::Acquire)
    }

    pub(crate) fn end_claiming(&self) {
        self.is_claiming.store(false, Ordering::Release);
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.lease_until_us.load(Ordering::Acquire) != FOREVER_US
    }

    pub(crate) fn renewed(&self, until: Duration, sequence: u64) {
        self.sequence.store(sequence, Ordering::Relaxed);
        self.lease_until_us.store(until.as_micros() as u64, Ordering::Release);
    }

    pub(crate) fn unclaim(&self) {
        self.lease_until_us.store(FOREVER_US, Ordering::Release);
    }

    pub(crate) fn note_flush_failure(&self) {
        self.flush_failures.fetch_add(1, Ordering::AcqRel);
    }

    /// Flushes that have failed so far.
    pub(crate) fn flush_failures(&self) -> u64 {
        self.flush_failures.load(Ordering::Acquire)
    }

    /// Until when it may be used.
    pub(crate) fn lease_until(&self) -> Duration {
        Duration::from_micros(self.lease_until_us.load(Ordering::Acquire))
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed) + 1
    }

    /// Whether something that was sent may still be carried out.
    pub(crate) fn is_haunted(&self, now: Duration) -> bool {
        self.ranges().is_haunted(now)
    }

    pub(crate) fn note_connected(&self, again: bool) {
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        self.counters.reconnects.fetch_add(u64::from(again), Ordering::Relaxed);
    }

    pub(crate) fn note_disconnected(&self, repeated_requests: u64) {
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        self.counters.repeated_requests.fetch_add(repeated_requests, Ordering::Relaxed);
    }

    pub(crate) fn note_restored(&self, writes: u64) {
        self.counters.restored_writes.fetch_add(writes, Ordering::Relaxed);
    }

    pub(crate) fn note_held_back(&self) {
        self.counters.held_back.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_reply(&self, time: Duration) {
        self.counters.replies.fetch_add(1, Ordering::Relaxed);
        self.counters.reply_time_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn note_lost(&self) {
        self.counters.losses.fetch_add(1, Ordering::Relaxed);
    }

    fn stats(&self) -> RemoteStats {
        let Counters {
            connections,
            reconnects,
            repeated_requests,
            restored_writes,
            held_back,
            replies,
            reply_time_us,
            losses,
        } = &self.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RemoteStats {
            connections: of(connections),
            reconnects: of(reconnects),
            repeated_requests: of(repeated_requests),
            restored_writes: of(restored_writes),
            held_back: of(held_back),
            replies: of(replies),
            reply_time: Duration::from_micros(of(reply_time_us)),
            losses: of(losses),
        }
    }
}

/// The disks behind networks of a process, for all of its cores. Clones are the same table.
///
/// A disk stays in it when its last disk is closed: what may still be on its way to the server outlives the disk.
#[derive(Clone)]
pub struct Remotes {
    cores: usize,
    host: Arc<Host>,
    remotes: Arc<Mutex<BTreeMap<String, Arc<Remote>>>>,
}

impl Remotes {
    /// For a process in which this many cores open a device, and which is `host` to the servers.
    pub fn new(cores: usize, host: Host) -> Self {
        Self { cores, host: Arc::new(host), remotes: Arc::default() }
    }

    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    pub(crate) fn cores(&self) -> usize {
        self.cores
    }

    fn remotes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Remote>>> {
        self.remotes.lock().expect("no code panics while it holds the table")
    }

    pub(crate) fn get(&self, address: &DiskAddress) -> Arc<Remote> {
        let remote = || {
            Arc::new(Remote {
                ranges: Mutex::default(),
                owners: AtomicU32::new(0),
                counters: Counters::default(),
                holder: OnceLock::new(),
                holders: AtomicU32::new(0),
                is_claiming: AtomicBool::new(false),
                lease_until_us: AtomicU64::new(FOREVER_US),
                sequence: AtomicU64::new(0),
                flush_failures: AtomicU64::new(0),
            })
        };
        self.remotes().entry(address.to_string()).or_insert_with(remote).clone()
    }

    /// Whether no connection is open any more: what was closed is, too, and has given its claim back.
    pub fn are_closed(&self) -> bool {
        self.stats().iter().all(|(_, stats)| stats.connections == 0)
    }

    /// What has happened, by canonical address.
    pub fn stats(&self) -> Vec<(String, RemoteStats)> {
        self.remotes().iter().map(|(address, export)| (address.clone(), export.stats())).collect()
    }
}
