//! The table at the end of a packed chunk: what each piece of it is, so that it can be checked and moved again.

use quarry_types::LogAddress;

use crate::{FormatError, Reader, Writer};

const MAGIC: u64 = u64::from_le_bytes(*b"QRYPACKD");
const VERSION: u16 = 2;
const NAME: &str = "packed chunk's table";
const ITEM_BYTES: usize = 8 + 4 + 4;

/// One survivor: a block or a node, with the address that it keeps for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackedItem {
    /// Where it was written first.
    pub address: LogAddress,
    /// Sectors of it.
    pub sectors: u32,
    /// CRC-32C of all of them.
    pub checksum: u32,
}

impl PackedItem {
    /// Sectors that hold nothing, between survivors that were moved here at different times.
    pub fn filler(sectors: u32) -> Self {
        Self { address: LogAddress(0), sectors, checksum: 0 }
    }

    /// Whether it is no survivor.
    pub fn is_filler(&self) -> bool {
        self.address == LogAddress(0)
    }
}

/// The bytes of a table of `items`, which are in the order in which they lie in the chunk.
pub fn encode(items: &[PackedItem]) -> Vec<u8> {
    let mut writer = Writer::new(MAGIC, VERSION);
    writer.u32(items.len() as u32);
    for item in items {
        writer.u64(item.address.0).u32(item.sectors).u32(item.checksum);
    }
    writer.finish()
}

/// Bytes of a table of `count` items.
pub fn encoded_bytes(count: usize) -> usize {
    crate::bytes::PREFIX_BYTES + 4 + count * ITEM_BYTES
}

/// Reads a table that fills `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Vec<PackedItem>, FormatError> {
    let mut reader = Reader::new(NAME, MAGIC, VERSION, bytes)?;
    let count = reader.count(ITEM_BYTES)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(PackedItem {
            address: LogAddress(reader.u64()?),
            sectors: reader.u32()?,
            checksum: reader.u32()?,
        });
    }
    reader.finish()?;
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back() {
        let items: Vec<_> = (1..50)
            .map(|n| PackedItem { address: LogAddress(n * 8), sectors: 8, checksum: n as u32 })
            .collect();
        let mut items = items;
        items.insert(7, PackedItem::filler(16));
        let bytes = encode(&items);
        assert_eq!(bytes.len(), encoded_bytes(items.len()));
        assert_eq!(decode(&bytes), Ok(items));
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
