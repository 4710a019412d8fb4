//! What every sector may hold, given what was sent, acknowledged and seen.
//!
//! Time is a counter of events: a write is *sent* at one tick and *acknowledged* at a later one. Write A is over when a
//! write B to the same sector was sent after A's acknowledgement and has been acknowledged itself. What is not over may
//! be what the sector holds.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use super::content::{Content, SECTOR_BYTES, Version, identify};

/// The unit in which writes must be whole.
pub const BLOCK_BYTES: usize = 4096;
const BLOCK_SECTORS: usize = BLOCK_BYTES / SECTOR_BYTES;
/// Writes to one block whose outcome may be open at once.
const OPEN_WRITES_MAX: usize = 12;
/// Violations that are kept in full; more are only counted.
const VIOLATIONS_KEPT: usize = 20;

type Tick = u64;
/// One bit for each sector of a block.
type SectorMask = u8;
const WHOLE_BLOCK: SectorMask = u8::MAX;

/// What a write leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Sectors that carry its version.
    Data,
    /// Zeroes.
    Zero,
    /// Zeroes in whole blocks; blocks that it covers in part may stay as they were.
    Trim,
}

#[derive(Clone, Copy, Debug)]
struct OpenWrite {
    version: Version,
    effect: Effect,
    sectors: SectorMask,
    sent: Tick,
    acknowledged: Option<Tick>,
}

impl OpenWrite {
    fn covers(&self, sector: usize) -> bool {
        self.sectors >> sector & 1 == 1
    }

    /// Whether, once acknowledged, it must have taken effect.
    fn is_binding(&self) -> bool {
        self.effect != Effect::Trim || self.sectors == WHOLE_BLOCK
    }

    fn leaves(&self) -> Version {
        if self.effect == Effect::Data { self.version } else { 0 }
    }

    fn is_before(&self, other: &OpenWrite) -> bool {
        self.acknowledged.is_some_and(|tick| tick < other.sent)
    }

    /// Whether it was acknowledged, and had to have its effect, before tick `at`.
    fn is_settled_at(&self, at: Tick) -> bool {
        self.is_binding() && self.acknowledged.is_some_and(|tick| tick < at)
    }
}

/// A sector that holds what it must not, or a block that is torn.
#[derive(Clone, Debug)]
pub struct Violation {
    block: u64,
    observed: [Content; BLOCK_SECTORS],
    settled: [Version; BLOCK_SECTORS],
    open: Vec<OpenWrite>,
    when: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.block * BLOCK_BYTES as u64;
        writeln!(f, "block {} (offset {offset:#x}), {}: wrong or torn", self.block, self.when)?;
        writeln!(f, "    holds   {:?}", self.observed)?;
        writeln!(f, "    settled {:?}", self.settled)?;
        for write in &self.open {
            let OpenWrite { version, effect, sectors, sent, acknowledged } = write;
            writeln!(
                f,
                "    open    {effect:?} version {version} sectors {sectors:08b} sent {sent} acknowledged {acknowledged:?}"
            )?;
        }
        Ok(())
    }
}

/// A model that several connections share.
#[derive(Clone)]
pub struct Oracle(Arc<Mutex<Model>>);

impl Oracle {
    /// An oracle of a volume that reads as zeroes, watching its bytes in `region` (whole blocks).
    pub fn new(seed: u64, region: Range<u64>) -> Self {
        Self(Arc::new(Mutex::new(Model::new(seed, region))))
    }

    /// The model, for a moment.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().expect("no thread panics while it holds the model")
    }
}

/// What every sector of a region may hold.
pub struct Model {
    /// The seed that all content carries.
    pub seed: u64,
    region: Range<u64>,
    settled: Vec<Version>,
    open: BTreeMap<u64, Vec<OpenWrite>>,
    readers: BTreeMap<u64, u32>,
    clock: Tick,
    versions: Version,
    violations: Vec<Violation>,
    violation_count: u64,
}

impl Model {
    fn new(seed: u64, region: Range<u64>) -> Self {
        let block = BLOCK_BYTES as u64;
        assert!(region.start.is_multiple_of(block) && region.end.is_multiple_of(block), "whole blocks");
        let sectors = (region.end - region.start) / SECTOR_BYTES as u64;
        Self {
            seed,
            region,
            settled: vec![0; sectors as usize],
            open: BTreeMap::new(),
            readers: BTreeMap::new(),
            clock: 0,
            versions: 0,
            violations: Vec::new(),
            violation_count: 0,
        }
    }

    /// The bytes of the volume that are watched.
    pub fn region(&self) -> Range<u64> {
        self.region.clone()
    }

    /// Everything that was found wrong: the first ones in full, and how many in all.
    pub fn violations(&self) -> (&[Violation], u64) {
        (&self.violations, self.violation_count)
    }

    /// Blocks whose content is open now.
    pub fn open_blocks(&self) -> usize {
        self.open.len()
    }

    fn tick(&mut self) -> Tick {
        self.clock += 1;
        self.clock
    }

    fn blocks(range: &Range<u64>) -> Range<u64> {
        range.start / BLOCK_BYTES as u64..range.end.div_ceil(BLOCK_BYTES as u64)
    }

    fn mask(range: &Range<u64>, block: u64) -> SectorMask {
        let start = block * BLOCK_BYTES as u64;
        let sector = |byte: u64| byte.saturating_sub(start).min(BLOCK_BYTES as u64) / SECTOR_BYTES as u64;
        let below = |sector: u64| ((1u16 << sector) - 1) as SectorMask;
        below(sector(range.end)) & !below(sector(range.start))
    }

    fn settled_range(&self, block: u64) -> Range<usize> {
        let first = ((block * BLOCK_BYTES as u64 - self.region.start) / SECTOR_BYTES as u64) as usize;
        first..first + BLOCK_SECTORS
    }

    /// A write of `range` is about to be sent. `None` when too much is open there already; choose another place then.
    pub fn sent(&mut self, range: &Range<u64>, effect: Effect) -> Option<Version> {
        let is_full = |block| self.open.get(&block).is_some_and(|writes| writes.len() >= OPEN_WRITES_MAX);
        if Self::blocks(range).any(is_full) {
            return None;
        }
        let sent = self.tick();
        self.versions += 1;
        let version = self.versions;
        for block in Self::blocks(range) {
            let sectors = Self::mask(range, block);
            let write = OpenWrite { version, effect, sectors, sent, acknowledged: None };
            self.open.entry(block).or_default().push(write);
        }
        Some(version)
    }

    /// The server has acknowledged write `version` of `range`.
    pub fn acknowledged(&mut self, range: &Range<u64>, version: Version) {
        let now = self.tick();
        for block in Self::blocks(range) {
            let writes = self.open.get_mut(&block).expect("a write in flight is open");
            let write = writes.iter_mut().find(|write| write.version == version).expect("it is among them");
            write.acknowledged = Some(now);
            self.settle_what_is_certain(block);
        }
    }

    /// A read of `range` is about to be sent; returns the tick to judge its data by.
    pub fn read_sent(&mut self, range: &Range<u64>) -> Tick {
        for block in Self::blocks(range) {
            *self.readers.entry(block).or_default() += 1;
        }
        self.tick()
    }

    /// A read has failed or was cut off.
    pub fn read_failed(&mut self, range: &Range<u64>) {
        for block in Self::blocks(range) {
            self.reader_left(block);
        }
    }

    /// Data of a read that was sent at tick `sent` has come.
    pub fn read_done(&mut self, range: &Range<u64>, sent: Tick, data: &[u8], when: &'static str) {
        for block in Self::blocks(range) {
            if let Some(observed) = self.observed(range, block, data) {
                self.look(block, observed, sent, when);
            }
            self.reader_left(block);
        }
    }

    /// Every connection is gone: what is in flight is never acknowledged.
    pub fn disconnected(&mut self) {
        self.readers.clear();
    }

    /// What a read of `range` shows of `block`; `None` when it does not cover the whole block.
    fn observed(&self, range: &Range<u64>, block: u64, data: &[u8]) -> Option<[Content; BLOCK_SECTORS]> {
        let start = (block * BLOCK_BYTES as u64).checked_sub(range.start)? as usize;
        let bytes = data.get(start..start + BLOCK_BYTES)?;
        let first = block * BLOCK_SECTORS as u64;
        Some(std::array::from_fn(|index| {
            let bytes = &bytes[index * SECTOR_BYTES..(index + 1) * SECTOR_BYTES];
            identify(bytes, self.seed, first + index as u64)
        }))
    }

    fn look(&mut self, block: u64, observed: [Content; BLOCK_SECTORS], sent: Tick, when: &'static str) {
        let settled: [Version; BLOCK_SECTORS] =
            self.settled[self.settled_range(block)].try_into().expect("one block");
        let open = self.open.get(&block).map_or(&[][..], Vec::as_slice);
        if !is_allowed(&observed, &settled, open, sent) {
            self.violation_count += 1;
            if self.violations.len() < VIOLATIONS_KEPT {
                let open = open.to_vec();
                self.violations.push(Violation { block, observed, settled, open, when });
            }
            return;
        }
        // With nothing under way since the read was sent, what it shows is what the block holds from now on. Another
        // read that was sent earlier may still show what was there before, so it must be over too.
        let is_only_reader = self.readers.get(&block).is_none_or(|&readers| readers == 1);
        if is_only_reader && open.iter().all(|write| write.acknowledged.is_some_and(|tick| tick < sent)) {
            self.settle(block, &observed);
        }
    }

    fn settle(&mut self, block: u64, observed: &[Content; BLOCK_SECTORS]) {
        let range = self.settled_range(block);
        for (settled, content) in self.settled[range].iter_mut().zip(observed) {
            *settled = if let Content::Written(version) = content { *version } else { 0 };
        }
        self.open.remove(&block);
    }

    /// The data of a block read after the server died and came back: fixes what was open.
    pub fn recovered(&mut self, block: u64, data: &[u8], when: &'static str) {
        let start = block * BLOCK_BYTES as u64;
        let range = start..start + BLOCK_BYTES as u64;
        let Some(observed) = self.observed(&range, block, data) else { return };
        let now = self.tick();
        let before = self.violation_count;
        self.look(block, observed, now, when);
        if self.violation_count == before {
            self.settle(block, &observed);
        }
    }

    fn reader_left(&mut self, block: u64) {
        match self.readers.get_mut(&block) {
            Some(1) => {
                self.readers.remove(&block);
                self.settle_what_is_certain(block);
            }
            Some(readers) => *readers -= 1,
            None => {}
        }
    }

    /// Forgets the open writes of a block once each of its sectors can hold one thing only. Not while a read is under
    /// way, which may still show an older state.
    fn settle_what_is_certain(&mut self, block: u64) {
        if self.readers.contains_key(&block) {
            return;
        }
        let Some(open) = self.open.get(&block) else { return };
        if open.iter().any(|write| write.acknowledged.is_none()) {
            return;
        }
        let range = self.settled_range(block);
        let mut certain = [0; BLOCK_SECTORS];
        for (sector, certain) in certain.iter_mut().enumerate() {
            let mut alive = open.iter().filter(|write| is_alive(write, sector, open, Tick::MAX));
            let base = is_base_alive(sector, open, Tick::MAX).then(|| self.settled[range.start + sector]);
            *certain = match (base, alive.next(), alive.next()) {
                (Some(version), None, _) => version,
                (None, Some(write), None) => write.leaves(),
                _ => return,
            };
        }
        self.settled[range].copy_from_slice(&certain);
        self.open.remove(&block);
    }
}

/// Whether a sector may still hold what it held before all open writes.
fn is_base_alive(sector: usize, open: &[OpenWrite], at: Tick) -> bool {
    !open.iter().any(|write| write.covers(sector) && write.is_settled_at(at))
}

/// Whether a sector may hold what `write` put there.
fn is_alive(write: &OpenWrite, sector: usize, open: &[OpenWrite], at: Tick) -> bool {
    let replaces =
        |other: &OpenWrite| other.covers(sector) && other.is_settled_at(at) && write.is_before(other);
    write.covers(sector) && !open.iter().any(replaces)
}

/// Whether a block may look like this to a read that was sent at tick `at`: some order of the writes explains it. The
/// only part of the order that matters is which write of the whole block came last, so each one is tried, and none.
fn is_allowed(
    observed: &[Content; BLOCK_SECTORS],
    settled: &[Version; BLOCK_SECTORS],
    open: &[OpenWrite],
    at: Tick,
) -> bool {
    let whole = open.iter().filter(|write| write.sectors == WHOLE_BLOCK);
    whole.map(Some).chain([None]).any(|last_whole| {
        observed.iter().enumerate().all(|(sector, content)| {
            let found = match content {
                Content::Zero => 0,
                Content::Written(version) => *version,
                Content::Misplaced { .. } | Content::Garbage => return false,
            };
            let matches = |write: &OpenWrite| found == write.leaves() && is_alive(write, sector, open, at);
            let in_part = open.iter().filter(|write| write.sectors != WHOLE_BLOCK);
            match last_whole {
                Some(whole) => matches(whole) || in_part.clone().any(|w| !w.is_before(whole) && matches(w)),
                None => {
                    found == settled[sector] && is_base_alive(sector, open, at)
                        || in_part.clone().any(matches)
                }
            }
        })
    })
}
