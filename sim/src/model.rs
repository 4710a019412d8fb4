//! What volumes may hold: every operation on every sector, and which of them an observation allows.
//!
//! Time is a counter of submissions and completions. Operation A is *before* B when A ended before B was submitted;
//! operations that overlap may have taken effect in either order. For each sector the model keeps its *base* (what it
//! was seen to hold when the volume was last verified) and the operations on it since then.

mod check;
mod recovered;
mod snapshots;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use quarry_types::SECTOR_BYTES;
use quarry_types::limits::BLOCK_SECTORS;
use smallvec::SmallVec;

use crate::content::{COMMON, ZEROES};

pub use recovered::Observed;
pub use snapshots::SnapshotKey;

/// How the life of a process ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Crash {
    /// It was closed or killed.
    Death,
    /// The power failed.
    PowerLoss,
}

/// What must not have been seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding(pub String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One write, write zeroes or discard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OpId(u32);

impl OpId {
    /// Its number, from 1 on.
    pub fn number(self) -> u64 {
        u64::from(self.0) + 1
    }
}

struct Op {
    volume: usize,
    /// What its sectors hold afterwards.
    value: u64,
    submitted: u64,
    /// When it was over, whether well or not; `None` while it may still take effect.
    ended: Option<u64>,
    acknowledged: bool,
    /// A flush covers it.
    flushed: bool,
    /// All of its sectors change at once.
    whole: bool,
}

/// What a sector held when it was last verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Base {
    Version(u64),
    /// It could not be read, which was allowed.
    Unknown,
}

#[derive(Clone)]
struct Sector {
    base: Base,
    ops: SmallVec<[OpId; 4]>,
}

/// A part of a volume on which there is I/O.
struct Zone {
    sectors: Range<u64>,
    content: Vec<Sector>,
}

struct Volume {
    log: usize,
    zones: Vec<Zone>,
    size_bytes: u64,
    /// Resizes since the last one that was acknowledged: any of them may have taken effect.
    pending_size_bytes: Vec<u64>,
}

/// The model of all volumes of a pool.
pub struct Model {
    seed: u64,
    time: u64,
    ops: Vec<Op>,
    volumes: Vec<Volume>,
    snapshots: Vec<snapshots::Snapshot>,
}

impl Model {
    /// No volumes yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, time: 0, ops: Vec::new(), volumes: Vec::new(), snapshots: Vec::new() }
    }

    /// Adds an empty volume of `log`, with I/O in `zones` (sectors, multiples of 8, in order) only; returns its number.
    pub fn add_volume(&mut self, log: usize, size_bytes: u64, zones: &[Range<u64>]) -> usize {
        let empty = Sector { base: Base::Version(ZEROES), ops: SmallVec::new() };
        let zone = |sectors: &Range<u64>| Zone {
            sectors: sectors.clone(),
            content: vec![empty.clone(); (sectors.end - sectors.start) as usize],
        };
        let zones = zones.iter().map(zone).collect();
        self.volumes.push(Volume { log, zones, size_bytes, pending_size_bytes: Vec::new() });
        self.volumes.len() - 1
    }

    fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    /// How many submissions and completions there were.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The seed that is part of every sector.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The acknowledged size of a volume.
    pub fn size_bytes(&self, volume: usize) -> u64 {
        self.volumes[volume].size_bytes
    }

    /// The acknowledged size of a volume, and those that it may have or get instead.
    pub fn sizes(&self, volume: usize) -> (u64, Vec<u64>) {
        (self.volumes[volume].size_bytes, self.volumes[volume].pending_size_bytes.clone())
    }

    /// The zones of a volume in sectors, as far as its size reaches.
    pub fn zones(&self, volume: usize) -> Vec<Range<u64>> {
        let volume = &self.volumes[volume];
        let end = volume.size_bytes / SECTOR_BYTES as u64;
        let zones = volume.zones.iter().map(|zone| zone.sectors.start..zone.sectors.end.min(end));
        zones.filter(|zone| !zone.is_empty()).collect()
    }

    /// A write is submitted. Its version is the operation's.
    pub fn begin_write(&mut self, volume: usize, sectors: Range<u64>) -> OpId {
        let version = self.ops.len() as u64 + 1;
        self.begin(volume, sectors, version)
    }

    /// A write of a version is submitted that others write, too.
    pub fn begin_common_write(&mut self, volume: usize, sectors: Range<u64>, version: u64) -> OpId {
        assert!(version >= COMMON, "others are told apart");
        self.begin(volume, sectors, version)
    }

    /// Whether all sectors of an operation change at once, or none.
    pub fn set_whole(&mut self, op: OpId, whole: bool) {
        self.ops[op.0 as usize].whole = whole;
    }

    /// Whether nothing but `op` has touched any of `sectors` at `since` or later, or may still do so.
    pub fn is_quiet_but_for(&self, op: OpId, volume: usize, sectors: Range<u64>, since: u64) -> bool {
        let mut others =
            sectors.filter_map(|sector| self.sector(volume, sector)).flat_map(|known| &known.ops);
        others.all(|&other| other == op || self.op(other).ended.is_some_and(|ended| ended < since))
    }

    /// What the sectors of an operation hold when it has taken effect.
    pub fn value(&self, id: OpId) -> u64 {
        self.op(id).value
    }

    /// Something is submitted that makes sectors read as zeroes.
    pub fn begin_zero(&mut self, volume: usize, sectors: Range<u64>) -> OpId {
        self.begin(volume, sectors, ZEROES)
    }

    /// The sectors that a discard of `sectors` frees: whole blocks, the last of the volume also when it is cut off.
    pub fn discarded(&self, volume: usize, sectors: Range<u64>) -> Range<u64> {
        let block = u64::from(BLOCK_SECTORS);
        let ends = |size_bytes: u64| size_bytes / SECTOR_BYTES as u64 == sectors.end;
        let (size_bytes, pending) = self.sizes(volume);
        let start = sectors.start.next_multiple_of(block);
        let at_end = ends(size_bytes) || pending.into_iter().any(ends);
        let end = if at_end { sectors.end } else { sectors.end / block * block };
        start..end.max(start)
    }

    fn begin(&mut self, volume: usize, sectors: Range<u64>, value: u64) -> OpId {
        let submitted = self.tick();
        let id = OpId(self.ops.len() as u32);
        let whole = false;
        self.ops.push(Op {
            volume,
            value,
            submitted,
            ended: None,
            acknowledged: false,
            flushed: false,
            whole,
        });
        for zone in &mut self.volumes[volume].zones {
            let part = zone.sectors.start.max(sectors.start)..zone.sectors.end.min(sectors.end);
            for sector in part {
                zone.content[(sector - zone.sectors.start) as usize].ops.push(id);
            }
        }
        id
    }

    /// An operation was acknowledged; `flushed` says that this promises more than the death of the process.
    pub fn acknowledge(&mut self, op: OpId, flushed: bool) {
        let now = self.tick();
        let op = &mut self.ops[op.0 as usize];
        (op.ended, op.acknowledged, op.flushed) = (Some(now), true, flushed);
    }

    /// An operation was answered with an error: all, some or nothing of it has taken effect.
    pub fn fail(&mut self, op: OpId) {
        let now = self.tick();
        self.ops[op.0 as usize].ended = Some(now);
    }

    /// A flush is submitted.
    pub fn begin_flush(&mut self) -> u64 {
        self.tick()
    }

    /// A flush of `volume` that was submitted at `since` was acknowledged.
    pub fn end_flush(&mut self, volume: usize, since: u64) {
        self.tick();
        let covered = |op: &&mut Op| {
            op.volume == volume && op.acknowledged && op.ended.is_some_and(|ended| ended < since)
        };
        self.ops.iter_mut().filter(covered).for_each(|op| op.flushed = true);
    }

    /// A resize is submitted.
    pub fn begin_resize(&mut self, volume: usize, size_bytes: u64) {
        self.volumes[volume].pending_size_bytes.push(size_bytes);
    }

    /// A resize was acknowledged.
    pub fn end_resize(&mut self, volume: usize, size_bytes: u64) {
        let volume = &mut self.volumes[volume];
        (volume.size_bytes, volume.pending_size_bytes) = (size_bytes, Vec::new());
    }

    /// A read is submitted.
    pub fn begin_read(&mut self) -> u64 {
        self.tick()
    }

    fn op(&self, id: OpId) -> &Op {
        &self.ops[id.0 as usize]
    }

    /// Whether `first` was over before `second` was submitted.
    fn is_before(&self, first: OpId, second: OpId) -> bool {
        self.op(first).ended.is_some_and(|ended| ended < self.op(second).submitted)
    }

    fn describe(&self, id: OpId) -> String {
        let op = self.op(id);
        let ended = op.ended.map_or("never ended".to_owned(), |ended| format!("ended at {ended}"));
        format!(
            "operation {} (volume {}, leaves {}, submitted at {}, {ended}{}{})",
            id.number(),
            op.volume,
            op.value,
            op.submitted,
            if op.acknowledged { ", acknowledged" } else { "" },
            if op.flushed { ", flushed" } else { "" },
        )
    }
}
