//! The settings of a volume: durability 1, compression 1, deduplication 1, quota 8, reserved 8, history 4.

use quarry_types::{Compression, Deduplication, Durability, VolumeSettings};

use crate::{FormatError, Reader, Writer};

/// Bytes of them.
pub(crate) const BYTES: usize = 1 + 1 + 1 + 8 + 8 + 4;

pub(crate) fn encode(settings: &VolumeSettings, writer: &mut Writer) {
    writer.u8(match settings.durability {
        Durability::Flush => 0,
        Durability::Always => 1,
    });
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
    Ok(VolumeSettings {
        durability: match reader.u8()? {
            0 => Durability::Flush,
            1 => Durability::Always,
            other => return Err(reader.field("durability", u64::from(other))),
        },
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
