//! What a connection asks for next: everything that NBD can, at any alignment, often on top of what was just written.

use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::content::SECTOR_BYTES;
use super::model::BLOCK_BYTES;

const SECTOR: u64 = SECTOR_BYTES as u64;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// One part of the region in so many gets half of the requests, so that overwrites and overlaps are common.
const HOT_PART: u64 = 32;

/// How often each command is sent, in parts of their sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mix {
    /// Reads, verified at once.
    pub read: u32,
    /// Writes, a tenth of them with FUA.
    pub write: u32,
    /// Write zeroes, half of them with NO_HOLE.
    pub write_zeroes: u32,
    /// Trims.
    pub trim: u32,
    /// Flushes.
    pub flush: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { read: 25, write: 60, write_zeroes: 6, trim: 6, flush: 3 }
    }
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    Read(Range<u64>),
    Write { range: Range<u64>, fua: bool },
    WriteZeroes { range: Range<u64>, fua: bool, no_hole: bool },
    Trim(Range<u64>),
    Flush,
}

impl Operation {
    /// The bytes that it is about.
    pub fn range(&self) -> Range<u64> {
        match self {
            Self::Read(range) | Self::Trim(range) => range.clone(),
            Self::Write { range, .. } | Self::WriteZeroes { range, .. } => range.clone(),
            Self::Flush => 0..0,
        }
    }
}

/// Chooses requests inside `region`.
pub struct Plan {
    pub random: ChaCha8Rng,
    pub region: Range<u64>,
    pub mix: Mix,
}

impl Plan {
    /// The next request.
    pub fn next(&mut self) -> Operation {
        let Mix { read, write, write_zeroes, trim, flush } = self.mix;
        let mut choice = self.random.random_range(0..read + write + write_zeroes + trim + flush);
        let mut falls_to = |parts: u32| {
            let falls = choice < parts;
            choice = choice.wrapping_sub(parts);
            falls
        };
        if falls_to(read) {
            Operation::Read(self.range())
        } else if falls_to(write) {
            Operation::Write { range: self.range(), fua: self.random.random_bool(0.1) }
        } else if falls_to(write_zeroes) {
            let fua = self.random.random_bool(0.1);
            Operation::WriteZeroes { range: self.range(), fua, no_hole: self.random.random_bool(0.5) }
        } else if falls_to(trim) {
            Operation::Trim(self.range())
        } else {
            Operation::Flush
        }
    }

    /// 512 B to 1 MiB: half of them whole blocks, a quarter inside a block, the rest at any sector.
    fn range(&mut self) -> Range<u64> {
        let (unit, length) = match self.random.random_range(0..100) {
            0..40 => (BLOCK, BLOCK * self.random.random_range(1..=16)),
            40..50 => (BLOCK, BLOCK * self.random.random_range(1..=128)),
            50..75 => (SECTOR, SECTOR * self.random.random_range(1..8)),
            75..97 => (SECTOR, SECTOR * self.random.random_range(1..=256)),
            _ => (SECTOR, SECTOR * self.random.random_range(1..=2048)),
        };
        let total = self.region.end - self.region.start;
        let length = length.min(total);
        let room = total - length;
        let room = if self.random.random_bool(0.5) { room / HOT_PART } else { room };
        let start = self.region.start + self.random.random_range(0..=room) / unit * unit;
        start..start + length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn requests_lie_inside_the_region_on_sectors_and_are_of_all_kinds() {
        let region = BLOCK * 3..BLOCK * 3 + (4 << 20);
        let random = ChaCha8Rng::seed_from_u64(1);
        let mut plan = Plan { random, region: region.clone(), mix: Mix::default() };
        let mut seen = [0; 5];
        for _ in 0..5000 {
            let (kind, range) = match plan.next() {
                Operation::Read(range) => (0, range),
                Operation::Write { range, .. } => (1, range),
                Operation::WriteZeroes { range, .. } => (2, range),
                Operation::Trim(range) => (3, range),
                Operation::Flush => {
                    seen[4] += 1;
                    continue;
                }
            };
            seen[kind] += 1;
            assert!(region.start <= range.start && range.start < range.end && range.end <= region.end);
            assert!(range.start.is_multiple_of(SECTOR) && range.end.is_multiple_of(SECTOR));
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
    }
}
