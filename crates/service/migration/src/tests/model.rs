//! What hosts have written, and what may be there.
//!
//! Each block has one host, which gives its writes rising versions. So whatever is there is one of a range of versions.

use std::cell::RefCell;

use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};

/// What one block may hold.
#[derive(Clone, Debug)]
struct Block {
    offset: u64,
    bytes: usize,
    /// The oldest version that may be there: acknowledged, or seen.
    floor: u64,
    /// The same after a power failure.
    durable: u64,
    issued: u64,
}

/// All blocks that hosts use.
pub struct Model(RefCell<Vec<Block>>);

/// Versions that are discards: until one was answered, what was discarded is undefined on most devices.
pub fn is_discard(version: u64) -> bool {
    version % 10 == 5
}

/// Every fifth version is zeroes.
pub fn content(block: usize, version: u64, bytes: usize) -> Vec<u8> {
    if version.is_multiple_of(5) {
        return vec![0; bytes];
    }
    let words = (0..bytes / 8).map(|at| (version << 32) ^ ((block as u64) << 16) ^ at as u64);
    words.flat_map(u64::to_le_bytes).collect()
}

impl Model {
    /// Blocks at these offsets of a volume of `size_bytes`, all of them zeroes.
    pub fn new(offsets: &[u64], size_bytes: u64) -> Self {
        let block = |&offset: &u64| Block {
            offset,
            bytes: (size_bytes - offset).min(BLOCK_BYTES as u64) as usize,
            floor: 0,
            durable: 0,
            issued: 0,
        };
        Self(RefCell::new(offsets.iter().map(block).collect()))
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Where a block is.
    pub fn place(&self, block: usize) -> (u64, usize) {
        let blocks = self.0.borrow();
        (blocks[block].offset, blocks[block].bytes)
    }

    /// The version of a write that is about to be sent.
    pub fn issue(&self, block: usize) -> u64 {
        let block = &mut self.0.borrow_mut()[block];
        block.issued += 1;
        block.issued
    }

    /// It was answered.
    pub fn acknowledge(&self, block: usize, version: u64, fua: bool) {
        let block = &mut self.0.borrow_mut()[block];
        block.floor = block.floor.max(version);
        if fua {
            block.durable = block.durable.max(version);
        }
    }

    /// What a flush that is sent now will make durable.
    pub fn floors(&self) -> Vec<u64> {
        self.0.borrow().iter().map(|block| block.floor).collect()
    }

    pub fn flushed(&self, floors: &[u64]) {
        for (block, &floor) in self.0.borrow_mut().iter_mut().zip(floors) {
            block.durable = block.durable.max(floor);
        }
    }

    pub fn power_failed(&self) {
        self.0.borrow_mut().iter_mut().for_each(|block| block.floor = block.durable);
    }

    /// What may be compared with: only where it is known what is there.
    pub fn known(&self, block: usize) -> Option<u64> {
        let blocks = self.0.borrow();
        (blocks[block].floor == blocks[block].issued).then_some(blocks[block].floor)
    }

    /// Judges what was read of a block, sector by sector, for a write under way shows in some first: no sector is older than
    /// `floor`, what stood when the read was sent.
    pub fn seen(&self, block: usize, floor: u64, found: &[u8], when: &str) {
        let state = &mut self.0.borrow_mut()[block];
        if (floor + 1..=state.issued).any(is_discard) {
            return;
        }
        let mut whole = None;
        for (number, sector) in found.chunks(SECTOR_BYTES).enumerate() {
            let range = number * SECTOR_BYTES..number * SECTOR_BYTES + sector.len();
            let is_here = |version: &u64| content(block, *version, state.bytes)[range.clone()] == *sector;
            let Some(version) = (floor..=state.issued).rev().find(is_here) else {
                let (at, issued) = (state.offset, state.issued);
                panic!(
                    "{when}: sector {number} of block {block} at {at} holds none of the versions {floor} to {issued}"
                );
            };
            whole = if number == 0 { Some(version) } else { whole.filter(|&first| first == version) };
        }
        if let Some(version) = whole.filter(|version| !version.is_multiple_of(5)) {
            state.floor = state.floor.max(version);
        }
    }

    pub fn floor(&self, block: usize) -> u64 {
        self.0.borrow()[block].floor
    }
}
