//! Verified load: connections that keep many requests in flight and tell the model of each step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::fabric;
use super::model::Oracle;
use super::pending::{Outcome, Pending};
use super::plan::{Mix, Operation, Plan};
use crate::load::Unit;
use crate::nbd::{Client, Command, ENOSPC, FLAG_FUA, FLAG_NO_HOLE, Replies, Reply, Requests};

/// Error messages that a report keeps.
const ERRORS_KEPT: usize = 10;
/// A full window is looked at again after so long, in case the connection died meanwhile.
const WINDOW_RECHECK: Duration = Duration::from_millis(50);

/// How a volume is reached.
#[derive(Clone, Debug)]
pub enum Access {
    /// Over NBD.
    Nbd {
        /// The server's unix socket.
        socket: PathBuf,
        /// The export.
        export: String,
    },
    /// Over iSCSI or NVMe/TCP.
    Unit(Unit),
}

impl Access {
    /// Over NBD, by the unix socket.
    pub fn nbd(socket: PathBuf, export: &str) -> Self {
        Self::Nbd { socket, export: export.to_owned() }
    }
}

/// Where and how hard to press.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where.
    pub access: Access,
    /// Connections, if the export allows several.
    pub connections: usize,
    /// Requests in flight on each connection.
    pub depth: usize,
    /// Decides every choice.
    pub seed: u64,
    /// Commands.
    pub mix: Mix,
}

impl LoadOptions {
    /// What connection `index` does.
    fn plan(&self, oracle: &Oracle, index: usize) -> Plan {
        let random = ChaCha8Rng::seed_from_u64(self.seed.wrapping_mul(31).wrapping_add(index as u64));
        Plan { random, region: oracle.model().region(), mix: self.mix }
    }
}

/// What happened.
#[derive(Clone, Default, Debug)]
pub struct LoadReport {
    /// Writes of every kind that were acknowledged.
    pub acknowledged: u64,
    /// Bytes of acknowledged writes with data.
    pub written_bytes: u64,
    /// Reads that were answered and judged.
    pub reads: u64,
    /// Writes whose outcome is open.
    pub in_flight: u64,
    /// Requests that the server answered with an error.
    pub failed: u64,
    /// Those of them that were writes for which there was no space.
    pub refused: u64,
    /// The longest that such an answer took.
    pub slowest_refusal: Duration,
    /// Connections that broke with requests in flight.
    pub broken: u64,
    /// The first errors in words.
    pub errors: Vec<String>,
    /// The longest that a request took.
    pub slowest: Duration,
}

impl LoadReport {
    /// Adds another report.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.written_bytes += other.written_bytes;
        self.reads += other.reads;
        self.in_flight += other.in_flight;
        self.failed += other.failed;
        self.refused += other.refused;
        self.slowest_refusal = self.slowest_refusal.max(other.slowest_refusal);
        self.broken += other.broken;
        self.slowest = self.slowest.max(other.slowest);
        let room = ERRORS_KEPT.saturating_sub(self.errors.len());
        self.errors.extend(other.errors.iter().take(room).cloned());
    }

    /// Notes an error, while there is room.
    pub fn error(&mut self, message: String) {
        if self.errors.len() < ERRORS_KEPT {
            self.errors.push(message);
        }
    }
}

/// Load under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    connections: Vec<JoinHandle<LoadReport>>,
}

impl Load {
    /// Connects and starts.
    pub fn start(oracle: &Oracle, options: &LoadOptions) -> Result<Self> {
        match &options.access {
            Access::Nbd { socket, export } => Self::over_nbd(oracle, options, socket, export),
            Access::Unit(unit) => Self::over_fabric(oracle, options, unit),
        }
    }

    fn over_nbd(oracle: &Oracle, options: &LoadOptions, socket: &Path, export: &str) -> Result<Self> {
        let mut clients = Vec::new();
        for index in 0..options.connections.max(1) {
            // Both kinds of replies get their turn.
            let structured = (options.seed + index as u64).is_multiple_of(2);
            let client = Client::connect(socket, export, structured)?;
            client.info.require_all_commands()?;
            let may_share = client.info.can_multi_conn();
            clients.push(client);
            if !may_share {
                break;
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let start = |(index, client): (usize, Client)| {
            let plan = options.plan(oracle, index);
            let (requests, replies) = client.split();
            let flight = Flight {
                oracle: oracle.clone(),
                depth: options.depth.max(1),
                pending: Mutex::default(),
                changed: Condvar::new(),
                is_dead: AtomicBool::new(false),
            };
            let stop = stop.clone();
            thread::spawn(move || flight.run(requests, replies, plan, &stop))
        };
        let connections = clients.into_iter().enumerate().map(start).collect();
        Ok(Self { stop, connections })
    }

    fn over_fabric(oracle: &Oracle, options: &LoadOptions, unit: &Unit) -> Result<Self> {
        let connect = |index| unit.connect(index as u16, true);
        let initiators: Vec<_> = (0..options.connections.max(1)).map(connect).collect::<Result<_>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let start = |(index, initiator)| {
            let (plan, depth) = (options.plan(oracle, index), options.depth.max(1));
            let (oracle, stop) = (oracle.clone(), stop.clone());
            thread::spawn(move || fabric::run(initiator, &oracle, plan, depth, &stop))
        };
        let connections = initiators.into_iter().enumerate().map(start).collect();
        Ok(Self { stop, connections })
    }

    /// Lets requests in flight end, closes, and reports. After a kill it only reports.
    pub fn finish(self) -> Result<LoadReport> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = LoadReport::default();
        for connection in self.connections {
            sum.add(&connection.join().map_err(|_| anyhow!("a load thread panicked"))?);
        }
        Ok(sum)
    }
}

/// One connection, from both of its threads.
struct Flight {
    oracle: Oracle,
    depth: usize,
    pending: Mutex<BTreeMap<u64, Pending>>,
    changed: Condvar,
    is_dead: AtomicBool,
}

impl Flight {
    fn run(self, requests: Requests, replies: Replies, plan: Plan, stop: &AtomicBool) -> LoadReport {
        let mut report = thread::scope(|scope| {
            let receiver = scope.spawn(|| self.receive(replies));
            self.send(requests, plan, stop);
            receiver.join().expect("the receiver does not panic")
        });
        let pending = self.pending.into_inner().expect("both threads are gone");
        report.in_flight = pending.values().filter(|pending| pending.is_write()).count() as u64;
        report
    }

    fn send(&self, mut requests: Requests, mut plan: Plan, stop: &AtomicBool) {
        let mut data = Vec::new();
        let mut cookie = 0;
        while !stop.load(Ordering::Relaxed) && self.wait_for_window(self.depth) {
            let Some(pending) = Pending::announce(&self.oracle, plan.next()) else { continue };
            cookie += 1;
            let ((command, flags), range) = (command_of(&pending.operation), pending.operation.range());
            pending.content(&self.oracle, &mut data);
            self.pending.lock().expect("not poisoned").insert(cookie, pending);
            let length = (range.end - range.start) as u32;
            if requests.send(cookie, command, flags, range.start, length, &data).is_err() {
                break;
            }
        }
        self.wait_for_window(1);
        requests.disconnect();
    }

    /// Waits until fewer than `depth` requests are in flight; false when the connection is dead.
    fn wait_for_window(&self, depth: usize) -> bool {
        let mut pending = self.pending.lock().expect("not poisoned");
        while pending.len() >= depth && !self.is_dead.load(Ordering::Acquire) {
            pending = self.changed.wait_timeout(pending, WINDOW_RECHECK).expect("not poisoned").0;
        }
        !self.is_dead.load(Ordering::Acquire)
    }

    fn receive(&self, mut replies: Replies) -> LoadReport {
        let mut report = LoadReport::default();
        loop {
            let received = replies.receive(|cookie| {
                let pending = self.pending.lock().expect("not poisoned");
                pending.get(&cookie).map(|pending| match &pending.operation {
                    Operation::Read(range) => range.clone(),
                    _ => 0..0,
                })
            });
            match received {
                Ok(reply) => self.take(reply, &mut report),
                Err(error) => {
                    if !self.pending.lock().expect("not poisoned").is_empty() {
                        report.broken = 1;
                        report.error(format!("the connection broke: {error:#}"));
                    }
                    break;
                }
            }
        }
        self.is_dead.store(true, Ordering::Release);
        replies.close();
        self.changed.notify_all();
        report
    }

    fn take(&self, reply: Reply, report: &mut LoadReport) {
        let taken = self.pending.lock().expect("not poisoned").remove(&reply.cookie);
        let pending = taken.expect("the reply matched a request in flight");
        self.changed.notify_one();
        let outcome = match reply.error {
            0 => Outcome::Done(reply.data),
            ENOSPC => Outcome::NoSpace,
            error => Outcome::Failed(format!("NBD error {error}")),
        };
        pending.end(&self.oracle, outcome, report);
    }
}

fn command_of(operation: &Operation) -> (Command, u16) {
    let fua = |fua: bool| if fua { FLAG_FUA } else { 0 };
    match operation {
        Operation::Read(_) => (Command::Read, 0),
        Operation::Write { fua: force, .. } => (Command::Write, fua(*force)),
        Operation::WriteZeroes { fua: force, no_hole, .. } => {
            (Command::WriteZeroes, fua(*force) | if *no_hole { FLAG_NO_HOLE } else { 0 })
        }
        Operation::Trim(_) => (Command::Trim, 0),
        Operation::Flush => (Command::Flush, 0),
    }
}
