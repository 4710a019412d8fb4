//! What may be there after a crash.
//!
//! The order in which the log took the operations is not known, but that of operations which did not overlap is. From
//! what the sectors hold it follows which operations are *present* and which are *absent*, block by block. Absent may be
//! nothing that was promised, and nothing that was before anything present or promised: what is there is a prefix.

use std::collections::BTreeMap;

use quarry_types::SECTOR_BYTES;
use quarry_types::limits::BLOCK_SECTORS;
use smallvec::SmallVec;

use super::{Base, Crash, Finding, Model, OpId, Sector};
use crate::content::{COMMON, ZEROES};

/// What one zone was found to hold: the bytes, block by block; `None` where they could not be read.
pub type Observed = Vec<Option<Vec<u8>>>;

/// What is known of one log.
#[derive(Default)]
struct Cut {
    /// The present or promised operation that was submitted last.
    latest_present: Option<(u64, OpId)>,
    /// The acknowledged and absent operation that ended first.
    earliest_absent: Option<(u64, OpId)>,
}

impl Cut {
    fn present(&mut self, submitted: u64, op: OpId) {
        if self.latest_present.is_none_or(|(latest, _)| latest < submitted) {
            self.latest_present = Some((submitted, op));
        }
    }

    fn absent(&mut self, ended: u64, op: OpId) {
        if self.earliest_absent.is_none_or(|(earliest, _)| ended < earliest) {
            self.earliest_absent = Some((ended, op));
        }
    }
}

impl Model {
    /// Checks the size of a volume after a crash, and believes it.
    pub fn recovered_size(&mut self, volume: usize, size_bytes: u64) -> Result<(), Finding> {
        let known = &mut self.volumes[volume];
        let pending = std::mem::take(&mut known.pending_size_bytes);
        if size_bytes != known.size_bytes && !pending.contains(&size_bytes) {
            let text =
                format!("volume {volume} has {size_bytes} bytes, not {} or {pending:?}", known.size_bytes);
            return Err(Finding(text));
        }
        known.size_bytes = size_bytes;
        Ok(())
    }

    /// Checks what all zones of all volumes hold after a crash, and believes it: it is the base from now on.
    pub fn recovered(
        &mut self,
        observed: &BTreeMap<(usize, usize), Observed>,
        crash: Crash,
    ) -> Result<(), Finding> {
        let logs = self.volumes.iter().map(|volume| volume.log + 1).max().unwrap_or(0);
        let mut cuts: Vec<Cut> = (0..logs).map(|_| Cut::default()).collect();
        for index in 0..self.ops.len() {
            let id = OpId(index as u32);
            if self.is_promised(id, crash) {
                cuts[self.volumes[self.op(id).volume].log].present(self.op(id).submitted, id);
            }
        }
        for (&(volume, zone), blocks) in observed {
            self.recovered_zone(volume, zone, blocks, crash, &mut cuts[self.volumes[volume].log])?;
        }
        for (log, cut) in cuts.iter().enumerate() {
            if let (Some((submitted, present)), Some((ended, absent))) =
                (cut.latest_present, cut.earliest_absent)
                && ended < submitted
            {
                return Err(Finding(format!(
                    "log {log} did not come back as a prefix: {} is missing, {} is there or promised",
                    self.describe(absent),
                    self.describe(present)
                )));
            }
        }
        self.believe(observed)
    }

    fn is_promised(&self, id: OpId, crash: Crash) -> bool {
        let op = self.op(id);
        op.acknowledged && (crash == Crash::Death || op.flushed)
    }

    fn recovered_zone(
        &self,
        volume: usize,
        zone: usize,
        blocks: &Observed,
        crash: Crash,
        cut: &mut Cut,
    ) -> Result<(), Finding> {
        let zone = &self.volumes[volume].zones[zone];
        let block_sectors = BLOCK_SECTORS as usize;
        // Of operations that change all of their sectors at once, in all of the zone.
        let mut whole = Vec::new();
        for (index, (bytes, known)) in blocks.iter().zip(zone.content.chunks(block_sectors)).enumerate() {
            let Some(bytes) = bytes else { continue };
            let first = zone.sectors.start + (index * block_sectors) as u64;
            let mut visible: SmallVec<[(OpId, bool); 8]> = SmallVec::new();
            for ((sector, bytes), known) in (first..).zip(bytes.chunks_exact(SECTOR_BYTES)).zip(known) {
                let version = self.version(volume, sector, bytes)?;
                self.recovered_sector((volume, sector), known, version, crash, cut)?;
                visible.extend(self.last_write(known).map(|op| (op, self.op(op).value == version)));
            }
            if let Some(torn) = torn(&visible) {
                let text = self.describe(torn);
                return Err(Finding(format!("block at sector {first} of volume {volume} is torn: {text}")));
            }
            whole.extend(visible.iter().filter(|(op, _)| self.op(*op).whole));
            whole.dedup();
        }
        self.check_whole(volume, &whole)
    }

    /// Of an operation that changes all of its sectors at once, all or none must be seen.
    pub(super) fn check_whole(&self, volume: usize, seen: &[(OpId, bool)]) -> Result<(), Finding> {
        match torn(seen) {
            None => Ok(()),
            Some(torn) => {
                let text = self.describe(torn);
                Err(Finding(format!("a part of an atomic write to volume {volume} is seen: {text}")))
            }
        }
    }

    fn recovered_sector(
        &self,
        (volume, sector): (usize, u64),
        known: &Sector,
        version: u64,
        crash: Crash,
        cut: &mut Cut,
    ) -> Result<(), Finding> {
        let from_base = match known.base {
            Base::Unknown => true,
            Base::Version(base) => base == version,
        };
        let sources: SmallVec<[OpId; 4]> =
            known.ops.iter().copied().filter(|&op| self.op(op).value == version).collect();
        if !from_base && sources.is_empty() {
            return Err(Finding(format!(
                "volume {volume}, sector {sector} came back with version {version}, which it never had since its \
                 base {:?}",
                known.base
            )));
        }
        if let (false, [source]) = (from_base, &sources[..]) {
            cut.present(self.op(*source).submitted, *source);
        }
        for &op in &known.ops {
            let is_absent =
                sources.iter().all(|&source| self.is_before(source, op)) && self.op(op).value != version;
            if !is_absent {
                continue;
            }
            if self.is_promised(op, crash) {
                return Err(Finding(format!(
                    "volume {volume}, sector {sector} came back with version {version} after {crash:?}: lost is {}",
                    self.describe(op)
                )));
            }
            if let (true, Some(ended)) = (self.op(op).acknowledged, self.op(op).ended) {
                cut.absent(ended, op);
            }
        }
        Ok(())
    }

    /// The write after all others on a sector, if there is one that can be told from what was there before.
    pub(super) fn last_write(&self, known: &Sector) -> Option<OpId> {
        let (&last, others) = known.ops.split_last()?;
        let decided = others.iter().all(|&other| self.is_before(other, last));
        let is_its_alone = |value: u64| value != ZEROES && value < COMMON;
        (decided && is_its_alone(self.op(last).value)).then_some(last)
    }

    fn believe(&mut self, observed: &BTreeMap<(usize, usize), Observed>) -> Result<(), Finding> {
        for (&(volume, zone), blocks) in observed {
            let first = self.volumes[volume].zones[zone].sectors.start;
            for (index, bytes) in blocks.iter().enumerate() {
                for sector in 0..BLOCK_SECTORS as usize {
                    let place = index * BLOCK_SECTORS as usize + sector;
                    let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                    let base = match bytes.as_ref().map(|bytes| bytes.get(range)) {
                        Some(Some(bytes)) => {
                            Base::Version(self.version(volume, first + place as u64, bytes)?)
                        }
                        // Beyond the end of the volume.
                        Some(None) => continue,
                        None => Base::Unknown,
                    };
                    let known = &mut self.volumes[volume].zones[zone].content[place];
                    known.base = base;
                    known.ops.clear();
                }
            }
        }
        // Operations are named by their index: they stay, but belong to the past, which is durable.
        for op in &mut self.ops {
            op.ended.get_or_insert(0);
            (op.acknowledged, op.flushed) = (false, false);
        }
        Ok(())
    }
}

/// An operation of which a block shows one part and not another.
fn torn(visible: &[(OpId, bool)]) -> Option<OpId> {
    let differs = |&(op, seen): &(OpId, bool)| visible.contains(&(op, !seen));
    visible.iter().copied().find(differs).map(|(op, _)| op)
}
