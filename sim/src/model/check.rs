//! What a read may return while everything runs.

use std::ops::Range;

use quarry_types::SECTOR_BYTES;

use super::{Base, Finding, Model, OpId, Sector};
use crate::content::{self, ZEROES};

impl Model {
    /// Checks what a read of `bytes` from `first_sector` on has returned, which was submitted at `since`.
    pub fn check_read(
        &mut self,
        volume: usize,
        first_sector: u64,
        bytes: &[u8],
        since: u64,
    ) -> Result<(), Finding> {
        self.tick();
        let mut whole = Vec::new();
        for (sector, bytes) in (first_sector..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
            let Some(known) = self.sector(volume, sector) else { continue };
            let version = self.version(volume, sector, bytes)?;
            if !self.allows(known, version, since) {
                return Err(self.refusal(volume, sector, known, version));
            }
            let last = self.last_write(known).filter(|&op| self.op(op).whole);
            whole.extend(last.map(|op| (op, self.op(op).value == version)));
            whole.dedup();
        }
        self.check_whole(volume, &whole)
    }

    /// Checks that sectors may read as zeroes, of which block status has said at some time since `since` that they do.
    pub fn check_hole(&mut self, volume: usize, sectors: Range<u64>, since: u64) -> Result<(), Finding> {
        self.tick();
        for zone in 0..self.volumes[volume].zones.len() {
            let zone = self.volumes[volume].zones[zone].sectors.clone();
            for sector in zone.start.max(sectors.start)..zone.end.min(sectors.end) {
                let Some(known) = self.sector(volume, sector) else { continue };
                if !self.allows(known, ZEROES, since) {
                    let Finding(text) = self.refusal(volume, sector, known, ZEROES);
                    return Err(Finding(format!("block status says hole; {text}")));
                }
            }
        }
        Ok(())
    }

    pub(super) fn sector(&self, volume: usize, sector: u64) -> Option<&Sector> {
        let zone = self.volumes[volume].zones.iter().find(|zone| zone.sectors.contains(&sector))?;
        zone.content.get((sector - zone.sectors.start) as usize)
    }

    pub(super) fn version(&self, volume: usize, sector: u64, bytes: &[u8]) -> Result<u64, Finding> {
        content::version(bytes, self.seed, volume, sector).map_err(|foreign| {
            let found = match foreign.says {
                Some([seed, tag, place, version]) => {
                    let other = tag & 0xffff;
                    format!("that of seed {seed}, volume {other}, sector {place}, version {version}")
                }
                None => "a mixture".to_owned(),
            };
            Finding(format!("volume {volume}, sector {sector} holds foreign data: {found}"))
        })
    }

    /// Whether a read that was submitted at `since` and is over now may return `version`.
    pub(super) fn allows(&self, sector: &Sector, version: u64, since: u64) -> bool {
        let over = |op: &&OpId| {
            let op = self.op(**op);
            op.acknowledged && op.ended.is_some_and(|ended| ended < since)
        };
        let base = match sector.base {
            Base::Unknown => true,
            Base::Version(base) => base == version,
        };
        if base && !sector.ops.iter().any(|op| over(&op)) {
            return true;
        }
        let mut sources = sector.ops.iter().filter(|op| self.op(**op).value == version);
        sources.any(|&source| !sector.ops.iter().filter(over).any(|&later| self.is_before(source, later)))
    }

    fn refusal(&self, volume: usize, sector: u64, known: &Sector, version: u64) -> Finding {
        let mut text = format!("volume {volume}, sector {sector} holds version {version}");
        text += &format!("; its base is {:?}", known.base);
        for &op in known.ops.iter().rev().take(6) {
            text += &format!("; {}", self.describe(op));
        }
        Finding(text)
    }
}
