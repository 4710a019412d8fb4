//! A cache disk: records of slow devices on a fast one, in regions, each with a table of what it holds. Nothing there is the only copy of
//! anything, and what is read there is compared with the checksums of the map.

use quarry_types::{Incarnation, LogAddress, LogId, PoolId};

use crate::{FormatError, Reader, Writer, crc32c};

const LABEL_MAGIC: u64 = u64::from_le_bytes(*b"QRYCACHE");
const REGION_MAGIC: u64 = u64::from_le_bytes(*b"QRYCREGN");
const VERSION: u16 = 1;
const LABEL_NAME: &str = "label of a cache disk";
const REGION_NAME: &str = "region of a cache disk";
const ENTRIES_NAME: &str = "entries of a region of a cache disk";

/// Bytes of the label, at the start of the disk, and of a region's head, at the start of the region.
pub const CACHE_BLOCK_BYTES: usize = 4096;
/// Where the first region begins.
pub const CACHE_REGIONS_OFFSET: u64 = 1 << 20;
/// The smallest region.
pub const CACHE_REGION_BYTES_MIN: u32 = 1 << 20;
/// The largest region.
pub const CACHE_REGION_BYTES_MAX: u32 = 64 << 20;
/// Regions are as small as a size allows that gives no more than so many of them.
const REGIONS_WANTED: u64 = 1024;
/// The most regions of a disk; what lies behind them is not used.
pub const CACHE_REGIONS_MAX: usize = 1 << 16;
/// Such a part of a region is for its head and entries.
const TABLE_PART: u32 = 64;
/// Bytes of an entry.
pub const CACHE_ENTRY_BYTES: usize = 16;

/// What a cache disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheLabel {
    /// A random number: regions of a former label are none of this one.
    pub disk: u128,
    /// Bytes of a region, a power of two.
    pub region_bytes: u32,
    /// How many regions there are.
    pub regions: u32,
}

impl CacheLabel {
    /// The label of a disk of `size_bytes`, or `None` where it has not even room for two regions.
    pub fn for_disk(disk: u128, size_bytes: u64) -> Option<Self> {
        let usable = size_bytes.checked_sub(CACHE_REGIONS_OFFSET)?;
        let wanted = (usable / REGIONS_WANTED).next_power_of_two();
        let region_bytes = wanted.clamp(CACHE_REGION_BYTES_MIN.into(), CACHE_REGION_BYTES_MAX.into()) as u32;
        let regions = (usable / u64::from(region_bytes)).min(CACHE_REGIONS_MAX as u64) as u32;
        (regions >= 2).then_some(Self { disk, region_bytes, regions })
    }

    /// Where a region begins.
    pub fn offset(&self, region: u32) -> u64 {
        CACHE_REGIONS_OFFSET + u64::from(region) * u64::from(self.region_bytes)
    }

    /// Where the records of a region begin in it, in bytes: behind head and entries.
    pub fn table_bytes(&self) -> u32 {
        self.region_bytes / TABLE_PART
    }

    /// The most entries of a region.
    pub fn entries_max(&self) -> usize {
        (self.table_bytes() as usize - CACHE_BLOCK_BYTES) / CACHE_ENTRY_BYTES
    }

    /// The bytes, [`CACHE_BLOCK_BYTES`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(LABEL_MAGIC, VERSION);
        writer.raw(&self.disk.to_le_bytes()).u32(self.region_bytes).u32(self.regions);
        writer.raw(&vec![0; CACHE_BLOCK_BYTES - writer.len()]);
        writer.finish()
    }

    /// Reads a label that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(LABEL_NAME, LABEL_MAGIC, VERSION, bytes)?;
        let disk = u128::from_le_bytes(reader.id()?);
        let region_bytes = reader.u32()?;
        if !region_bytes.is_power_of_two()
            || !(CACHE_REGION_BYTES_MIN..=CACHE_REGION_BYTES_MAX).contains(&region_bytes)
        {
            return Err(reader.field("region_bytes", region_bytes.into()));
        }
        let regions = reader.u32()?;
        if !(2..=CACHE_REGIONS_MAX as u32).contains(&regions) {
            return Err(reader.field("regions", regions.into()));
        }
        reader.zero("padding", reader.remaining())?;
        Ok(Self { disk, region_bytes, regions })
    }

    /// Whether these bytes, the first of a disk, are a label of ours, whatever has become of it.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&LABEL_MAGIC.to_le_bytes())
    }
}

/// Whose records a region holds. Written when all of them are durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheRegion {
    /// [`CacheLabel::disk`].
    pub disk: u128,
    /// The pool.
    pub pool: PoolId,
    /// The log.
    pub log: LogId,
    /// The opening of the log that wrote it.
    pub incarnation: Incarnation,
    /// Rises with each region that is begun on the disk.
    pub sequence: u64,
    /// How many entries there are.
    pub entries: u32,
    /// CRC-32C of all of them.
    pub entries_checksum: u32,
}

impl CacheRegion {
    /// The bytes, [`CACHE_BLOCK_BYTES`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(REGION_MAGIC, VERSION);
        writer.raw(&self.disk.to_le_bytes()).raw(&self.pool.to_bytes()).u16(self.log.0);
        writer.u64(self.incarnation.0).u64(self.sequence).u32(self.entries).u32(self.entries_checksum);
        writer.raw(&vec![0; CACHE_BLOCK_BYTES - writer.len()]);
        writer.finish()
    }

    /// Reads the head of a region, which fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(REGION_NAME, REGION_MAGIC, VERSION, bytes)?;
        let disk = u128::from_le_bytes(reader.id()?);
        let (pool, log) = (PoolId::from_bytes(reader.id()?), LogId(reader.u16()?));
        let (incarnation, sequence) = (Incarnation(reader.u64()?), reader.u64()?);
        let (entries, entries_checksum) = (reader.u32()?, reader.u32()?);
        reader.zero("padding", reader.remaining())?;
        Ok(Self { disk, pool, log, incarnation, sequence, entries, entries_checksum })
    }
}

/// A record in a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheEntry {
    /// The record.
    pub address: LogAddress,
    /// Where it begins in the region, in sectors.
    pub sector: u32,
    /// Its length in sectors.
    pub sectors: u32,
}

impl CacheEntry {
    /// The bytes of entries, [`CACHE_ENTRY_BYTES`] each.
    pub fn encode_all(entries: &[Self]) -> Vec<u8> {
        let bytes = |entry: &Self| {
            let mut bytes = [0; CACHE_ENTRY_BYTES];
            bytes[..8].copy_from_slice(&entry.address.0.to_le_bytes());
            bytes[8..12].copy_from_slice(&entry.sector.to_le_bytes());
            bytes[12..].copy_from_slice(&entry.sectors.to_le_bytes());
            bytes
        };
        entries.iter().flat_map(bytes).collect()
    }

    /// Reads the entries of a region from `bytes`, which begin with them.
    pub fn decode_all(region: &CacheRegion, bytes: &[u8]) -> Result<Vec<Self>, FormatError> {
        let needed = (region.entries as usize).saturating_mul(CACHE_ENTRY_BYTES);
        let Some(bytes) = bytes.get(..needed) else {
            return Err(FormatError::Short { structure: ENTRIES_NAME, needed, available: bytes.len() });
        };
        let (found, computed) = (region.entries_checksum, crc32c(bytes));
        if found != computed {
            return Err(FormatError::Checksum { structure: ENTRIES_NAME, found, computed });
        }
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        let entry = |bytes: &[u8]| Self {
            address: LogAddress(u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))),
            sector: word(&bytes[8..12]),
            sectors: word(&bytes[12..]),
        };
        Ok(bytes.chunks_exact(CACHE_ENTRY_BYTES).map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(entries: u32, entries_checksum: u32) -> CacheRegion {
        CacheRegion {
            disk: 7,
            pool: PoolId::from_random(1),
            log: LogId(3),
            incarnation: Incarnation(2),
            sequence: 9,
            entries,
            entries_checksum,
        }
    }

    #[test]
    fn labels_and_regions_come_back_and_damage_is_noticed() {
        let label = CacheLabel::for_disk(7, 3 << 30).unwrap();
        let region = region(5, 1);
        let (of_label, of_region) = (label.encode(), region.encode());
        assert_eq!((of_label.len(), of_region.len()), (CACHE_BLOCK_BYTES, CACHE_BLOCK_BYTES));
        assert_eq!((CacheLabel::decode(&of_label), CacheRegion::decode(&of_region)), (Ok(label), Ok(region)));
        assert!(CacheLabel::is_one(&of_label) && !CacheLabel::is_one(&of_region));
        for index in 0..CACHE_BLOCK_BYTES {
            let damaged = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                bytes[index] ^= 1;
                bytes
            };
            assert!(CacheLabel::decode(&damaged(&of_label)).is_err());
            assert!(CacheRegion::decode(&damaged(&of_region)).is_err());
        }
    }

    #[test]
    fn a_label_has_regions_within_the_disk() {
        for size_bytes in [0, 1 << 20, 2 << 20, (3 << 20) - 1] {
            assert_eq!(CacheLabel::for_disk(1, size_bytes), None);
        }
        for size_bytes in [3 << 20, 64 << 20, 1 << 30, 100 << 30, 1 << 40, 1 << 50] {
            let label = CacheLabel::for_disk(1, size_bytes).unwrap();
            assert!(label.offset(label.regions) <= size_bytes, "{label:?}");
            assert_eq!(CacheLabel::decode(&label.encode()), Ok(label));
        }
    }

    #[test]
    fn entries_come_back_and_damage_is_noticed() {
        let entry =
            |number: u64| CacheEntry { address: LogAddress(number << 33), sector: number as u32, sectors: 8 };
        let entries: Vec<CacheEntry> = (0..100).map(entry).collect();
        let mut bytes = CacheEntry::encode_all(&entries);
        let region = region(100, crc32c(&bytes));
        bytes.extend([0; 64]);
        assert_eq!(CacheEntry::decode_all(&region, &bytes), Ok(entries));
        assert!(CacheEntry::decode_all(&CacheRegion { entries: u32::MAX, ..region }, &bytes).is_err());
        assert!(CacheEntry::decode_all(&CacheRegion { entries: 99, ..region }, &bytes).is_err());
        bytes[777] ^= 4;
        assert!(CacheEntry::decode_all(&region, &bytes).is_err());
    }
}
