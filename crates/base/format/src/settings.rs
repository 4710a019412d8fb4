//! The settings of a volume: durability and read cache 1, compression 1, deduplication 1, quota 8, reserved 8, history 4.

use quarry_types::{Compression, Deduplication, Durability, ReadCache, VolumeSettings};

use crate::{FormatError, Reader, Writer};

/// Bytes of them.
pub(crate) const BYTES: usize = 1 + 1 + 1 + 8 + 8 + 4;

/// Bits of the first byte.
const ALWAYS_DURABLE: u8 = 1;
const NOT_IN_READ_CACHE: u8 = 2;

pub(crate) fn encode(settings: &VolumeSettings, writer: &mut Writer) {
    let always = if settings.durability == Durability::Always { ALWAYS_DURABLE } else { 0 };
    let uncached = if settings.read_cache == ReadCache::Off { NOT_IN_READ_CACHE } else { 0 };
    writer.u8(always | uncached);
    writer.u8(match settings.compression {
        Compression::Off => 0,
        Compression::Lz4 => 1,
        Compression::Zstd => 2,
    });
    writer.u8(match settings.deduplication {
        Deduplication::Off => 0,
        Deduplication::Verified => 1,
        Deduplication::Hashed => 2,
    });
    writer.u64(settings.quota_bytes).u64(settings.reserved_bytes).u32(settings.history_s);
}

pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<VolumeSettings, FormatError> {
    let flags = reader.u8()?;
    if flags & !(ALWAYS_DURABLE | NOT_IN_READ_CACHE) != 0 {
        return Err(reader.field("durability and read cache", u64::from(flags)));
    }
    Ok(VolumeSettings {
        durability: if flags & ALWAYS_DURABLE != 0 { Durability::Always } else { Durability::Flush },
        read_cache: if flags & NOT_IN_READ_CACHE != 0 { ReadCache::Off } else { ReadCache::On },
        compression: match reader.u8()? {
            0 => Compression::Off,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            other => return Err(reader.field("compression", u64::from(other))),
        },
        deduplication: match reader.u8()? {
            0 => Deduplication::Off,
            1 => Deduplication::Verified,
            2 => Deduplication::Hashed,
            other => return Err(reader.field("deduplication", u64::from(other))),
        },
        quota_bytes: reader.u64()?,
        reserved_bytes: reader.u64()?,
        history_s: reader.u32()?,
    })
}
