//! Power failure: each sector of each write that no flush covers is kept or lost, and later writes may have reached the
//! medium before earlier ones.

use crate::dice::Dice;

use super::fate::Fate;
use super::medium::{Landed, Medium};
use super::pages::{PAGE_BYTES, Pages, SECTOR_BYTES, sectors};

/// How many un-flushed writes a power failure kept, lost and tore. A write that landed in two parts counts twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// Writes of which every sector survived (unless another one came on top).
    pub kept: u64,
    /// Writes of which nothing survived.
    pub lost: u64,
    /// Writes of which some sectors survived.
    pub torn: u64,
}

impl std::ops::AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.lost += other.lost;
        self.torn += other.torn;
    }
}

/// What a disk promises about power failures.
#[derive(Clone, Copy)]
pub(crate) struct CrashModel {
    /// Bytes that are kept or lost as one.
    pub(crate) atomic_bytes: u32,
    /// Chance that a sector breaks in the middle all the same.
    pub(crate) sector_tear: f64,
}

impl Medium {
    /// The power fails: what was not durable is judged, and reads see what is left.
    pub(crate) fn power_fail(&mut self, model: CrashModel, dice: &Dice) -> Losses {
        let mut waiting = self.take_waiting();
        let mood = dice.below(8);
        if mood >= 4 {
            dice.shuffle(&mut waiting);
        }
        let mut losses = Losses::default();
        for landed in &waiting {
            let (first, length) = extent(landed);
            let mut fate = match mood {
                0 => Fate::all(),
                1 => Fate::none(),
                _ => Fate::any(dice, first, length, model.atomic_bytes),
            };
            let (kept, of) = survive(&mut self.durable, landed, &mut fate, model, dice);
            match kept {
                0 => losses.lost += 1,
                _ if kept == of => losses.kept += 1,
                _ => losses.torn += 1,
            }
        }
        self.readable = self.durable.clone();
        losses
    }
}

/// First byte of a landing and the bytes to its last one.
fn extent(landed: &Landed) -> (u64, u64) {
    let sectors = landed.pieces.iter().flat_map(|piece| {
        sectors(piece.mask).map(|sector| piece.number * PAGE_BYTES as u64 + (sector * SECTOR_BYTES) as u64)
    });
    let (first, last) = sectors.fold((u64::MAX, 0), |(first, last), at| (first.min(at), last.max(at)));
    (first, last + SECTOR_BYTES as u64 - first)
}

/// Brings the sectors that `fate` keeps to the medium; returns how many of how many.
fn survive(
    durable: &mut Pages,
    landed: &Landed,
    fate: &mut Fate,
    model: CrashModel,
    dice: &Dice,
) -> (u32, u32) {
    let (mut kept, mut of) = (0, 0);
    for piece in &landed.pieces {
        let base = piece.number * PAGE_BYTES as u64;
        of += piece.mask.count_ones();
        let mut mask = 0u8;
        for sector in sectors(piece.mask) {
            if !fate.keeps(base + (sector * SECTOR_BYTES) as u64, dice) {
                continue;
            }
            if dice.chance(model.sector_tear) {
                let start = sector * SECTOR_BYTES;
                let end = start + 8 * dice.index(SECTOR_BYTES / 8);
                durable.modify(piece.number)[start..end].copy_from_slice(&piece.page[start..end]);
            } else {
                mask |= 1 << sector;
            }
        }
        kept += mask.count_ones();
        if mask != 0 {
            durable.copy_sectors(piece.number, mask, Some(&piece.page));
        }
    }
    (kept, of)
}
