//! Reading everything, and writing everything.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::content::{SECTOR_BYTES, fill};
use super::model::{BLOCK_BYTES, Effect, Oracle};
use crate::nbd::{Client, Command, ENOSPC};

const CONNECTIONS: usize = 4;
const PIECE_BYTES: u64 = 1 << 20;

/// What a verification found.
#[derive(Clone, Copy, Debug)]
pub struct VerifyReport {
    /// Bytes read and judged.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Blocks that hold what they must not, this time.
    pub violations: u64,
}

/// Reads the oracle's whole region and judges it. No load may be under way. What was open is fixed by it: whatever
/// the volume shows now must stay.
pub fn verify(oracle: &Oracle, socket: &Path, export: &str, when: &'static str) -> Result<VerifyReport> {
    let start = Instant::now();
    let region = oracle.model().region();
    let before = oracle.model().violations().1;
    oracle.model().disconnected();
    in_pieces(oracle, socket, export, |client, offset, length| {
        let data = client.read(offset, length).with_context(|| format!("a read at {offset:#x}, {when}"))?;
        let mut model = oracle.model();
        for block in 0..data.len() / BLOCK_BYTES {
            let bytes = &data[block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES];
            model.recovered(offset / BLOCK_BYTES as u64 + block as u64, bytes, when);
        }
        Ok(())
    })?;
    let violations = oracle.model().violations().1 - before;
    Ok(VerifyReport { bytes: region.end - region.start, elapsed: start.elapsed(), violations })
}

/// Writes the oracle's whole region once, in large pieces in order.
pub fn write_all(oracle: &Oracle, socket: &Path, export: &str) -> Result<()> {
    let seed = oracle.model().seed;
    in_pieces(oracle, socket, export, |client, offset, length| {
        let range = offset..offset + u64::from(length);
        let version = oracle.model().sent(&range, Effect::Data).context("other load is under way")?;
        let mut data = vec![0; length as usize];
        fill(&mut data, seed, offset / SECTOR_BYTES as u64, version);
        let error = client.call(Command::Write, 0, offset, length, &data)?;
        ensure!(error == 0, "a write at {offset:#x} failed with NBD error {error}");
        oracle.model().acknowledged(&range, version);
        Ok(())
    })
}

/// How far writing in order came.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    /// The first byte that was not written.
    pub bytes: u64,
    /// How long the refusal took that ended it; nothing when none did.
    pub refusal: Duration,
}

/// Writes a range in large pieces in order until one is refused for want of space, or to its end. Another error fails.
pub fn write_until_refused(
    oracle: &Oracle,
    socket: &Path,
    export: &str,
    range: Range<u64>,
) -> Result<Filled> {
    let mut client = Client::connect(socket, export, true)?;
    let seed = oracle.model().seed;
    let mut offset = range.start;
    while offset < range.end {
        let piece = offset..(offset + PIECE_BYTES).min(range.end);
        let version = oracle.model().sent(&piece, Effect::Data).context("other load is under way")?;
        let mut data = vec![0; (piece.end - piece.start) as usize];
        fill(&mut data, seed, offset / SECTOR_BYTES as u64, version);
        let began = Instant::now();
        let error = client.call(Command::Write, 0, offset, data.len() as u32, &data)?;
        if error == ENOSPC {
            return Ok(Filled { bytes: offset, refusal: began.elapsed() });
        }
        ensure!(error == 0, "a write at {offset:#x} failed with NBD error {error}");
        oracle.model().acknowledged(&piece, version);
        offset = piece.end;
    }
    Ok(Filled { bytes: offset, refusal: Duration::ZERO })
}

/// Runs `work` for each piece of the region, over several connections where the export allows it.
fn in_pieces(
    oracle: &Oracle,
    socket: &Path,
    export: &str,
    work: impl Fn(&mut Client, u64, u32) -> Result<()> + Sync,
) -> Result<()> {
    let region = oracle.model().region();
    let next = AtomicU64::new(region.start);
    let run = |mut client: Client| -> Result<()> {
        loop {
            let offset = next.fetch_add(PIECE_BYTES, Ordering::Relaxed);
            if offset >= region.end {
                return Ok(());
            }
            work(&mut client, offset, PIECE_BYTES.min(region.end - offset) as u32)?;
        }
    };
    let first = Client::connect(socket, export, true)?;
    let more = if first.info.can_multi_conn() { CONNECTIONS - 1 } else { 0 };
    let mut clients = vec![first];
    for _ in 0..more {
        clients.push(Client::connect(socket, export, true)?);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(|| run(client))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}
