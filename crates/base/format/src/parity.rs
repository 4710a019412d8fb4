//! What a chunk with parity says of its group: in its first granule, behind the chunk header, which says that it holds parity.
//!
//! The code covers what lies behind the first granules. These are rebuilt from here: the granule of a chunk with data is its header
//! and zeroes.

use quarry_types::ChunkId;
use quarry_types::limits::{
    CODE_DATA_MAX, CODE_DATA_MIN, CODE_PARITY_MAX, CODE_PARITY_MIN, SEGMENT_SECTORS_MAX,
};

use crate::chunk::CHUNK_HEADER_BYTES;
use crate::label::GRANULE_BYTES;
use crate::{FormatError, Reader, Writer};

const MAGIC: u64 = u64::from_le_bytes(*b"QRYPARTY");
const VERSION: u16 = 1;
const NAME: &str = "parity table";
const MEMBER_BYTES: usize = 8 + 4 + CHUNK_HEADER_BYTES;
/// Bytes of a table with the most members.
const BYTES_MAX: usize = crate::bytes::PREFIX_BYTES + 4 + 4 + CODE_DATA_MAX * MEMBER_BYTES + 1;

const _: () = assert!(CHUNK_HEADER_BYTES + BYTES_MAX <= GRANULE_BYTES as usize, "a granule holds it");

/// A chunk with data, as its group knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodedMember {
    /// The chunk.
    pub chunk: ChunkId,
    /// Sectors of it that count, its header included; behind them it counts as zeroes.
    pub sectors: u32,
    /// Its header.
    pub header: [u8; CHUNK_HEADER_BYTES],
}

/// What a chunk with parity says of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParityTable {
    /// Chunks with parity in the group.
    pub parity: u8,
    /// Which of them this is, from 0.
    pub index: u8,
    /// The chunks with data, in the order of the code.
    pub members: Vec<CodedMember>,
}

impl ParityTable {
    /// The bytes that lie behind the chunk header, without the zeroes to the end of the granule.
    ///
    /// # Panics
    /// With more members than a code has.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.members.len() <= CODE_DATA_MAX);
        let mut writer = Writer::new(MAGIC, VERSION);
        writer.u8(self.parity).u8(self.index).u32(self.members.len() as u32);
        for member in &self.members {
            writer.u64(member.chunk.0).u32(member.sectors).raw(&member.header);
        }
        writer.finish()
    }

    /// Reads the table from the first granule of a chunk.
    pub fn decode(granule: &[u8]) -> Result<Self, FormatError> {
        let (available, counts) = (granule.len(), CHUNK_HEADER_BYTES + crate::bytes::PREFIX_BYTES + 2);
        let short = FormatError::Short { structure: NAME, needed: counts + 4, available };
        let count = granule.get(counts..counts + 4).ok_or(short)?;
        let count = u32::from_le_bytes(count.try_into().expect("four bytes"));
        if !(CODE_DATA_MIN as u32..=CODE_DATA_MAX as u32).contains(&count) {
            return Err(FormatError::Field { structure: NAME, field: "members", found: count.into() });
        }
        let needed = counts + 4 + count as usize * MEMBER_BYTES;
        let bytes = granule.get(CHUNK_HEADER_BYTES..needed);
        let bytes = bytes.ok_or(FormatError::Short { structure: NAME, needed, available })?;
        let mut reader = Reader::new(NAME, MAGIC, VERSION, bytes)?;
        let (parity, index) = (reader.u8()?, reader.u8()?);
        if !(CODE_PARITY_MIN..=CODE_PARITY_MAX).contains(&usize::from(parity)) || index >= parity {
            return Err(reader.field("parity", u64::from(parity)));
        }
        let mut members = Vec::new();
        for _ in 0..reader.count(MEMBER_BYTES)? {
            let (chunk, sectors) = (ChunkId(reader.u64()?), reader.u32()?);
            if sectors > SEGMENT_SECTORS_MAX {
                return Err(reader.field("sectors", sectors.into()));
            }
            let header = reader.raw(CHUNK_HEADER_BYTES)?;
            members.push(CodedMember { chunk, sectors, header: header.try_into().expect("its length") });
        }
        reader.finish()?;
        Ok(Self { parity, index, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back_and_damage_is_noticed() {
        let member = |chunk| CodedMember { chunk: ChunkId(chunk), sectors: 2040, header: [chunk as u8; 128] };
        for count in [2, 8] {
            let table = ParityTable { parity: 3, index: 2, members: (1..=count).map(member).collect() };
            let mut granule = vec![0; GRANULE_BYTES as usize];
            let bytes = table.encode();
            granule[CHUNK_HEADER_BYTES..][..bytes.len()].copy_from_slice(&bytes);
            assert_eq!(ParityTable::decode(&granule), Ok(table));
            for index in (CHUNK_HEADER_BYTES..CHUNK_HEADER_BYTES + bytes.len()).step_by(5) {
                let mut damaged = granule.clone();
                damaged[index] ^= 4;
                assert!(ParityTable::decode(&damaged).is_err(), "{index}");
            }
            assert!((0..granule.len()).step_by(97).all(|cut| {
                ParityTable::decode(&granule[..cut]).is_err() || cut >= CHUNK_HEADER_BYTES + bytes.len()
            }));
        }
    }
}
