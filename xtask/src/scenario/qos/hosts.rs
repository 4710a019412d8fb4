//! Hosts that read and write random places of a volume over NBD: one as fast as it gets answers, one at a rate of its own.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::nbd::{Client, Command};

/// What a busy host does.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    /// Requests that it keeps under way.
    pub depth: usize,
    /// Bytes of each.
    pub length: u32,
    /// One in so many is a write; 0 for reads only.
    pub writes_one_in: u32,
}

/// Hosts that are at it until they are stopped.
pub struct BusyHost {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl BusyHost {
    /// Begins.
    pub fn start(socket: &Path, export: &str, what: Busy, seed: u64) -> Result<Self> {
        let client = Client::connect(socket, export, false)?;
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (stop.clone(), answered.clone());
        let thread = thread::Builder::new()
            .name(format!("busy-{export}"))
            .spawn(move || press(client, what, seed, &until, &count))?;
        Ok(Self { stop, answered, thread })
    }

    /// Requests that were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Requests a second that are answered within `time`.
    pub fn rate(&self, time: Duration) -> f64 {
        let (before, began) = (self.answered(), Instant::now());
        sleep(time);
        (self.answered() - before) as f64 / began.elapsed().as_secs_f64()
    }

    /// Waits for what is under way, and ends.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a host has panicked"))?
    }
}

fn press(client: Client, what: Busy, seed: u64, stop: &AtomicBool, answered: &AtomicU64) -> Result<()> {
    leave_to_node()?;
    // SAFETY: it changes the priority of the calling thread alone.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
    ensure!(done == 0, "a thread may always give way");
    let size = client.info.size_bytes;
    let (mut requests, mut replies) = client.split();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut data = vec![0; what.length as usize];
    random.fill(&mut data[..]);
    let mut ranges: Vec<Option<Range<u64>>> = vec![None; what.depth];
    let mut send = |cookie: usize, ranges: &mut Vec<Option<Range<u64>>>| -> Result<()> {
        let length = u64::from(what.length);
        let offset = random.random_range(0..size / length) * length;
        let writes = what.writes_one_in > 0 && random.random_range(0..what.writes_one_in) == 0;
        let (command, data) = if writes { (Command::Write, &data[..]) } else { (Command::Read, &[][..]) };
        ranges[cookie] = Some(if writes { 0..0 } else { offset..offset + length });
        Ok(requests.send(cookie as u64, command, 0, offset, what.length, data)?)
    };
    for cookie in 0..what.depth {
        send(cookie, &mut ranges)?;
    }
    let mut left = what.depth;
    while left > 0 {
        let reply = replies.receive(|cookie| ranges.get(cookie as usize)?.clone())?;
        ensure!(reply.error == 0, "a request failed with NBD error {}", reply.error);
        answered.fetch_add(1, Ordering::Relaxed);
        match stop.load(Ordering::Relaxed) {
            true => left -= 1,
            false => send(reply.cookie as usize, &mut ranges)?,
        }
    }
    requests.disconnect();
    Ok(())
}

/// Leaves the first CPU to the node's core, which runs there: elsewhere hosts have machines of their own.
fn leave_to_node() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut others = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).skip(1).for_each(|cpu| others.set(cpu));
    ensure!(
        others.count() > 0,
        "the node needs a CPU for itself, and the hosts another one: this machine has one"
    );
    sched_setaffinity(None, &others).context("a CPU for the hosts")
}

/// Runs `host` on a thread that no other host holds up, as if it had a machine of its own. Needs the right to real-time priorities.
pub fn alone<T: Send>(host: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let work = || {
        leave_to_node()?;
        let priority = libc::sched_param { sched_priority: 1 };
        // SAFETY: it changes the scheduling of the calling thread alone.
        let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
        ensure!(done == 0, "no real-time priority: {}", std::io::Error::last_os_error());
        host()
    };
    thread::scope(|scope| scope.spawn(work).join().map_err(|_| anyhow!("a host has panicked"))?)
}

/// Reads 4 KiB `rate` times a second for `time`; how long each took from the moment in which it was due, in microseconds, sorted.
pub fn paced(socket: &Path, export: &str, rate: u32, time: Duration, seed: u64) -> Result<Vec<u64>> {
    const LENGTH: u32 = 4096;
    let mut client = Client::connect(socket, export, false)?;
    let blocks = client.info.size_bytes / u64::from(LENGTH);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (began, step) = (Instant::now(), Duration::from_secs(1) / rate);
    let mut due = began;
    let mut took = Vec::new();
    while due.duration_since(began) < time {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            sleep(early);
        }
        // A host that wakes late has not waited for the node meanwhile.
        let sent = Instant::now().max(due);
        client.read(random.random_range(0..blocks) * u64::from(LENGTH), LENGTH)?;
        took.push(sent.elapsed().as_micros() as u64);
        due += step;
        // A pause of this machine is made up for by nobody.
        due = due.max(Instant::now().checked_sub(step).unwrap_or(due));
    }
    took.sort_unstable();
    Ok(took)
}

/// The 99th percentile.
pub fn p99(sorted: &[u64]) -> Result<f64> {
    let index = sorted.len() * 99 / 100;
    sorted.get(index).map(|us| *us as f64).context("nothing was measured")
}
