//! Initiators of our own for protocols that fio does not speak, and a load generator over them: one connection, so many requests
//! of 4 KiB under way, one thread.

pub mod iscsi;
pub mod nvme_tcp;
mod unit;
mod wire;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use unit::{Fabric, Unit};
pub use wire::Wire;

/// Bytes of each request of the load.
pub const REQUEST_BYTES: usize = 4096;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Read what is there.
    Read,
    /// Overwrite it.
    Write {
        /// Force unit access.
        force: bool,
    },
    /// Make it read as zeroes.
    WriteZeroes {
        /// Without making a hole.
        keep: bool,
    },
    /// The content is not needed any more.
    Trim,
    /// Everything that was acknowledged is to survive power loss.
    Flush,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What.
    pub verb: Verb,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// As many bytes for a write, none for all else.
    pub data: &'a [u8],
}

/// What has come of a unit of the protocol that arrived.
#[derive(Debug)]
pub enum Arrival {
    /// It ends no request.
    Nothing,
    /// A request has ended.
    Ended {
        /// Its tag.
        tag: u16,
        /// What the server has against it, in words.
        failure: Option<String>,
        /// What a read has read, for initiators that keep it.
        data: Vec<u8>,
    },
}

/// A connection that has logged in.
pub trait Initiator: Send {
    /// Bytes of the volume.
    fn volume_bytes(&self) -> u64;
    /// How it is connected.
    fn wire(&mut self) -> &mut Wire;
    /// Whether one more request may be sent now.
    fn may_send(&self) -> bool;
    /// Appends a request to what will be sent.
    fn request(&mut self, tag: u16, request: &Request<'_>);
    /// Takes one unit of the protocol off what has arrived. `None` when more bytes are needed.
    fn reply(&mut self) -> Result<Option<Arrival>>;
    /// Tells the server that the host is there.
    fn keep_alive(&mut self) -> Result<()>;
    /// How often hosts do that.
    fn keep_alive_period(&self) -> Duration;
}

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Requests that were answered.
    pub requests: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
}

/// Requests at random over the whole volume, `depth` at a time, for `duration`.
pub fn run(
    initiator: &mut dyn Initiator,
    verb: Verb,
    depth: u16,
    duration: Duration,
    seed: u64,
) -> Result<Loaded> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let blocks = initiator.volume_bytes() / REQUEST_BYTES as u64;
    let mut data = vec![0u8; REQUEST_BYTES];
    random.fill(&mut data[..]);
    let mut begun = vec![Instant::now(); usize::from(depth)];
    let mut idle: Vec<u16> = (0..depth).collect();
    let mut latencies_us: Vec<u32> = Vec::new();
    let start = Instant::now();
    let mut kept_alive = start;
    let mut is_over = false;
    loop {
        if kept_alive.elapsed() > initiator.keep_alive_period() {
            kept_alive = Instant::now();
            initiator.keep_alive()?;
        }
        while !is_over
            && initiator.may_send()
            && let Some(tag) = idle.pop()
        {
            let offset = random.random_range(0..blocks) * REQUEST_BYTES as u64;
            data[..8].copy_from_slice(&random.random::<u64>().to_le_bytes());
            begun[usize::from(tag)] = Instant::now();
            let data = if verb == Verb::Read { &[] } else { &data[..] };
            initiator.request(tag, &Request { verb, offset, length: REQUEST_BYTES as u32, data });
        }
        if idle.len() == usize::from(depth) {
            break;
        }
        initiator.wire().flush()?;
        initiator.wire().receive()?;
        while let Some(arrival) = initiator.reply()? {
            let Arrival::Ended { tag, failure, .. } = arrival else { continue };
            if let Some(failure) = failure {
                bail!("a request of the load failed: {failure}");
            }
            latencies_us.push(begun[usize::from(tag)].elapsed().as_micros() as u32);
            idle.push(tag);
        }
        is_over = start.elapsed() >= duration;
    }
    let elapsed = start.elapsed();
    latencies_us.sort_unstable();
    let percentile = |share: f64| {
        let index = (latencies_us.len() as f64 * share) as usize;
        latencies_us.get(index.min(latencies_us.len().saturating_sub(1))).copied().map_or(0.0, f64::from)
    };
    Ok(Loaded {
        requests: latencies_us.len() as u64,
        elapsed,
        p50_us: percentile(0.5),
        p99_us: percentile(0.99),
    })
}
