//! A load generator for protocols that fio does not speak: one connection, so many requests of 4 KiB under way, one thread.

pub mod iscsi;
pub mod nvme_tcp;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bytes of each request.
pub const REQUEST_BYTES: usize = 4096;
/// Nothing takes longer than this, or the load has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const RECEIVE_BYTES: usize = 512 << 10;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Read what is there.
    Read,
    /// Overwrite it.
    Write,
}

/// A connection that has logged in.
pub trait Initiator {
    /// Bytes of the volume.
    fn volume_bytes(&self) -> u64;
    /// How it is connected.
    fn wire(&mut self) -> &mut Wire;
    /// Whether one more request may be sent now.
    fn may_send(&self) -> bool;
    /// Appends the request `tag` to what will be sent.
    fn request(&mut self, tag: u16, verb: Verb, offset: u64, data: &[u8]);
    /// Takes one unit of the protocol off what has arrived; `Some` with the tags of requests that it ends. `None` when more bytes
    /// are needed.
    fn reply(&mut self) -> Result<Option<Option<u16>>>;
}

/// Bytes in both directions.
pub struct Wire {
    stream: TcpStream,
    /// To be sent.
    pub out: Vec<u8>,
    arrived: Vec<u8>,
    at: usize,
}

impl Wire {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("nobody listens on {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, out: Vec::new(), arrived: Vec::new(), at: 0 })
    }

    /// What has arrived and was not taken.
    pub fn bytes(&self) -> &[u8] {
        &self.arrived[self.at..]
    }

    /// Takes so many bytes off.
    pub fn advance(&mut self, count: usize) {
        self.at += count;
    }

    /// Sends what is to be sent.
    pub fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out).context("sending")?;
        self.out.clear();
        Ok(())
    }

    /// Waits for more bytes.
    pub fn receive(&mut self) -> Result<()> {
        self.arrived.drain(..self.at);
        self.at = 0;
        let filled = self.arrived.len();
        self.arrived.resize(filled + RECEIVE_BYTES, 0);
        let count = self.stream.read(&mut self.arrived[filled..]).context("receiving")?;
        self.arrived.truncate(filled + count);
        ensure!(count > 0, "the server has closed the connection");
        Ok(())
    }

    /// Waits until so many bytes are there.
    pub fn require(&mut self, count: usize) -> Result<&[u8]> {
        while self.bytes().len() < count {
            self.receive()?;
        }
        Ok(&self.bytes()[..count])
    }
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
    let mut is_over = false;
    loop {
        while !is_over
            && initiator.may_send()
            && let Some(tag) = idle.pop()
        {
            let offset = random.random_range(0..blocks) * REQUEST_BYTES as u64;
            data[..8].copy_from_slice(&random.random::<u64>().to_le_bytes());
            begun[usize::from(tag)] = Instant::now();
            initiator.request(tag, verb, offset, &data);
        }
        if idle.len() == usize::from(depth) {
            break;
        }
        initiator.wire().flush()?;
        initiator.wire().receive()?;
        while let Some(ended) = initiator.reply()? {
            let Some(tag) = ended else { continue };
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
