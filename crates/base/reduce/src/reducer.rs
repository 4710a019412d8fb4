//! Compressing one block.

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use quarry_format::node::Method;
use quarry_types::Compression;
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};

use crate::expand::LENGTH_BYTES;

/// The level of Zstandard: what is denser costs several times as much on blocks of this size and gains little.
const ZSTD_LEVEL: i32 = 1;
/// The most that is stored: with less gained than a sector, the block stays as it is.
const STORED_BYTES_MAX: usize = BLOCK_BYTES - SECTOR_BYTES;

/// Compresses blocks, one at a time; it keeps the tables that this takes.
pub struct Reducer {
    table: CompressTable,
    zstd: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

impl Default for Reducer {
    fn default() -> Self {
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("memory for one context");
        let scratch = LENGTH_BYTES
            + get_maximum_output_size(BLOCK_BYTES).max(zstd::zstd_safe::compress_bound(BLOCK_BYTES));
        Self { table: CompressTable::small(), zstd, scratch: vec![0; scratch] }
    }
}

impl Reducer {
    /// The stored form of a block, whole sectors, and how it was made; `None` when that would not be at least a sector shorter.
    pub fn reduce(&mut self, compression: Compression, block: &[u8]) -> Option<(Method, &[u8])> {
        assert_eq!(block.len(), BLOCK_BYTES, "blocks are compressed one by one");
        let target = &mut self.scratch[LENGTH_BYTES..];
        let (method, length) = match compression {
            Compression::Off => return None,
            Compression::Lz4 => (Method::Lz4, compress_into_with_table(block, target, &mut self.table).ok()?),
            Compression::Zstd => (Method::Zstd, self.zstd.compress_to_buffer(block, target).ok()?),
        };
        let used = LENGTH_BYTES + length;
        let stored = used.next_multiple_of(SECTOR_BYTES);
        if stored > STORED_BYTES_MAX {
            return None;
        }
        self.scratch[..LENGTH_BYTES].copy_from_slice(&(length as u16).to_le_bytes());
        self.scratch[used..stored].fill(0);
        Some((method, &self.scratch[..stored]))
    }
}
