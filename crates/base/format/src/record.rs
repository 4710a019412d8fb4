//! Records: what happened to volumes and snapshots, in the order in which it happened.

use quarry_types::{KeyId, LogAddress, SnapshotCounter, Tag, VolumeId, VolumeNumber, VolumeSettings};

pub use crate::head::{SnapshotHead, SnapshotSet, VolumeHead};
use crate::node::Method;
use crate::{FormatError, Reader, Writer, settings};

/// One record of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Blocks were written; their bytes are the payload.
    Write {
        /// The volume.
        volume: VolumeNumber,
        /// The first block.
        first_block: u64,
        /// The log's snapshot counter.
        birth: SnapshotCounter,
        /// The data key, 0 for clear text.
        key: KeyId,
        /// CRC-32C of each block.
        checksums: Vec<u32>,
    },
    /// Blocks were written that are compressed, encrypted or both, or some of which are; their stored bytes are the payload.
    WriteStored {
        /// The volume.
        volume: VolumeNumber,
        /// The first block.
        first_block: u64,
        /// The log's snapshot counter.
        birth: SnapshotCounter,
        /// The data key, 0 for clear text.
        key: KeyId,
        /// Each block.
        blocks: Vec<StoredBlock>,
    },
    /// Blocks were written whose bytes records hold that are there already: each of them has one reference more.
    WriteShared {
        /// The volume.
        volume: VolumeNumber,
        /// The first block.
        first_block: u64,
        /// The log's snapshot counter: the birth of these references.
        birth: SnapshotCounter,
        /// The data key, 0 for clear text.
        key: KeyId,
        /// Where each block lies.
        blocks: Vec<SharedBlock>,
    },
    /// Blocks read as zeroes from here on.
    Zero {
        /// The volume.
        volume: VolumeNumber,
        /// The first block.
        first_block: u64,
        /// How many.
        blocks: u64,
    },
    /// A node of a map; its bytes are the payload. Recovery passes over it: only a checkpoint makes it count.
    Node {
        /// The volume.
        volume: VolumeId,
        /// Level in the tree, 0 for a leaf.
        level: u8,
        /// The first block that it maps.
        first_block: u64,
        /// Sectors of the node.
        sectors: u8,
        /// CRC-32C of these bytes.
        checksum: u32,
    },
    /// A volume came to be, empty.
    VolumeCreate(VolumeHead),
    /// A volume changed its size.
    VolumeResize {
        /// The volume.
        volume: VolumeNumber,
        /// Its new size.
        size_bytes: u64,
    },
    /// A volume is gone. Its snapshots are not.
    VolumeDelete {
        /// The volume.
        volume: VolumeNumber,
    },
    /// A volume has another name.
    VolumeRename {
        /// The volume.
        volume: VolumeNumber,
        /// Its new name.
        name: String,
    },
    /// A data key came to be, or is wrapped under another key-encryption key.
    KeyWrap(KeyRecord),
    /// Nothing uses a data key any more.
    KeyForget {
        /// The key.
        key: KeyId,
    },
    /// A volume has other settings.
    VolumeChange {
        /// The volume.
        volume: VolumeNumber,
        /// All of its settings.
        settings: VolumeSettings,
    },
    /// A volume came to be with the content of a snapshot.
    VolumeClone {
        /// The new volume.
        head: VolumeHead,
        /// The snapshot.
        snapshot: SnapshotCounter,
    },
    /// A volume came to be with the content that another one has now: a hidden snapshot of that one was taken and cloned, in one.
    VolumeFork {
        /// The new volume.
        head: VolumeHead,
        /// The snapshot.
        snapshot: SnapshotHead,
    },
    /// A volume has again the content and the size of a snapshot, its own or another's.
    VolumeRollback {
        /// The volume.
        volume: VolumeNumber,
        /// The snapshot.
        snapshot: SnapshotCounter,
    },
    /// A clone takes over the snapshots that it stands on from the volume that has them.
    VolumePromote {
        /// The clone.
        volume: VolumeNumber,
        /// The volume that has them, which may be gone.
        owner: VolumeNumber,
    },
    /// A snapshot was taken. Its number is the log's snapshot counter, which it raises.
    SnapshotCreate(SnapshotHead),
    /// A snapshot's name or lock has changed.
    SnapshotChange {
        /// The snapshot.
        snapshot: SnapshotCounter,
        /// Its name.
        name: String,
        /// Nobody deletes it before this time, in seconds since 1970.
        locked_until_s: u64,
    },
    /// All members of a snapshot's set were taken.
    SnapshotSettle {
        /// The snapshot.
        snapshot: SnapshotCounter,
    },
    /// A snapshot is gone for its owner. It is kept, hidden, as long as several volumes or snapshots stand on it.
    SnapshotDelete {
        /// The snapshot.
        snapshot: SnapshotCounter,
    },
}

/// Most bytes of a wrapped data key.
pub const WRAPPED_KEY_BYTES_MAX: usize = 1024;

/// A data key, encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// Its number in the log.
    pub key: KeyId,
    /// What the key-encryption key is called by the key store that holds it.
    pub name: String,
    /// The key under that one, as the key store makes it.
    pub wrapped: Vec<u8>,
    /// The key-encryption key before, as long as it may not be destroyed yet; else empty.
    pub previous: String,
}

impl KeyRecord {
    /// Bytes of one without a name.
    pub(crate) const BYTES_MIN: usize = 2 + 2 + 2 + 2;

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u16(self.key.0).u16(self.wrapped.len() as u16).raw(&self.wrapped);
        writer.text(&self.name).text(&self.previous);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let key = match reader.u16()? {
            0 => return Err(reader.field("key", 0)),
            key => KeyId(key),
        };
        let length = usize::from(reader.u16()?);
        if length > WRAPPED_KEY_BYTES_MAX {
            return Err(reader.field("wrapped key", length as u64));
        }
        let wrapped = reader.raw(length)?.to_vec();
        Ok(Self { key, wrapped, name: reader.text()?, previous: reader.text()? })
    }
}

/// One block as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoredBlock {
    /// How it was made smaller.
    pub method: Method,
    /// Its length.
    pub sectors: u8,
    /// CRC-32C of the stored bytes.
    pub checksum: u32,
    /// Proof that they are what was written; [`Tag::NONE`] without a key.
    pub tag: Tag,
}

/// One block that lies where another one was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedBlock {
    /// The record that holds it; never 0.
    pub address: LogAddress,
    /// As it is stored there.
    pub stored: StoredBlock,
}

const WRITE: u8 = 1;
const ZERO: u8 = 2;
const NODE: u8 = 3;
const VOLUME_CREATE: u8 = 4;
const VOLUME_RESIZE: u8 = 5;
const VOLUME_DELETE: u8 = 6;
const VOLUME_RENAME: u8 = 7;
const VOLUME_CLONE: u8 = 8;
const VOLUME_ROLLBACK: u8 = 9;
const VOLUME_PROMOTE: u8 = 10;
const SNAPSHOT_CREATE: u8 = 11;
const SNAPSHOT_CHANGE: u8 = 12;
const SNAPSHOT_DELETE: u8 = 13;
const SNAPSHOT_SETTLE: u8 = 14;
const VOLUME_FORK: u8 = 15;
const VOLUME_CHANGE: u8 = 16;
const WRITE_STORED: u8 = 17;
const KEY_WRAP: u8 = 18;
const KEY_FORGET: u8 = 19;
const WRITE_SHARED: u8 = 20;

/// Encodes a write without a [`Record`] of it.
pub(crate) fn encode_write(
    writer: &mut Writer,
    volume: VolumeNumber,
    first_block: u64,
    (birth, key): (SnapshotCounter, KeyId),
    checksums: &[u32],
) {
    let count = u16::try_from(checksums.len()).expect("a batch holds fewer than 65536 blocks");
    writer.u8(WRITE).u32(volume.0).u64(first_block).u32(birth.0).u16(key.0).u16(count);
    for checksum in checksums {
        writer.u32(*checksum);
    }
}

/// Encodes a write of stored blocks without a [`Record`] of it.
pub(crate) fn encode_stored(
    writer: &mut Writer,
    volume: VolumeNumber,
    first_block: u64,
    (birth, key): (SnapshotCounter, KeyId),
    blocks: &[StoredBlock],
) {
    let count = u16::try_from(blocks.len()).expect("a batch holds fewer than 65536 blocks");
    writer.u8(WRITE_STORED).u32(volume.0).u64(first_block).u32(birth.0).u16(key.0).u16(count);
    let mut bytes = [0; StoredBlock::BYTES + Tag::BYTES];
    for block in blocks {
        writer.raw(block.to_bytes(key, &mut bytes));
    }
}

fn decode_stored(reader: &mut Reader<'_>) -> Result<Record, FormatError> {
    let (volume, first_block) = (VolumeNumber(reader.u32()?), reader.u64()?);
    let (birth, key) = (SnapshotCounter(reader.u32()?), KeyId(reader.u16()?));
    let count = usize::from(reader.u16()?);
    let mut blocks = Vec::with_capacity(count.min(reader.remaining() / StoredBlock::BYTES));
    for _ in 0..count {
        blocks.push(StoredBlock::decode(reader, key)?);
    }
    Ok(Record::WriteStored { volume, first_block, birth, key, blocks })
}

fn decode_shared(reader: &mut Reader<'_>) -> Result<Record, FormatError> {
    let (volume, first_block) = (VolumeNumber(reader.u32()?), reader.u64()?);
    let (birth, key) = (SnapshotCounter(reader.u32()?), KeyId(reader.u16()?));
    let count = usize::from(reader.u16()?);
    let mut blocks = Vec::with_capacity(count.min(reader.remaining() / SharedBlock::BYTES));
    for _ in 0..count {
        let address = match reader.u64()? {
            0 => return Err(reader.field("shared record", 0)),
            address => LogAddress(address),
        };
        blocks.push(SharedBlock { address, stored: StoredBlock::decode(reader, key)? });
    }
    Ok(Record::WriteShared { volume, first_block, birth, key, blocks })
}

impl SharedBlock {
    /// Bytes of one in a record, without its tag.
    const BYTES: usize = 8 + StoredBlock::BYTES;

    /// Bytes of one in a record at most.
    pub const BYTES_MAX: usize = Self::BYTES + Tag::BYTES;
}

impl StoredBlock {
    fn decode(reader: &mut Reader<'_>, key: KeyId) -> Result<Self, FormatError> {
        let number = reader.u8()?;
        let method = Method::from_number(number).ok_or_else(|| reader.field("method", number.into()))?;
        let sectors = reader.u8()?;
        if !method.fits(sectors) {
            return Err(reader.field("stored sectors", sectors.into()));
        }
        let checksum = reader.u32()?;
        let tag = if key.0 == 0 { Tag::NONE } else { Tag(reader.id()?) };
        Ok(Self { method, sectors, checksum, tag })
    }

    /// Bytes of one in a record, without its tag.
    pub(crate) const BYTES: usize = 1 + 1 + 4;

    /// Bytes of one in a record.
    pub(crate) fn bytes(key: KeyId) -> usize {
        if key.0 == 0 { Self::BYTES } else { Self::BYTES + Tag::BYTES }
    }

    /// Its bytes in a record, with the tag if there is a key.
    pub(crate) fn to_bytes(self, key: KeyId, bytes: &mut [u8; Self::BYTES + Tag::BYTES]) -> &[u8] {
        bytes[0] = self.method as u8;
        bytes[1] = self.sectors;
        bytes[2..Self::BYTES].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[Self::BYTES..].copy_from_slice(&self.tag.0);
        &bytes[..Self::bytes(key)]
    }
}

impl Record {
    /// Bytes that it takes in a table.
    pub fn table_bytes(&self) -> usize {
        let mut writer = Writer::new(0, 0);
        let before = writer.len();
        self.encode(&mut writer);
        writer.len() - before
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self {
            Record::Write { volume, first_block, birth, key, checksums } => {
                encode_write(writer, *volume, *first_block, (*birth, *key), checksums);
            }
            Record::WriteStored { volume, first_block, birth, key, blocks } => {
                encode_stored(writer, *volume, *first_block, (*birth, *key), blocks);
            }
            Record::WriteShared { volume, first_block, birth, key, blocks } => {
                let count = u16::try_from(blocks.len()).expect("a batch names fewer than 65536 blocks");
                writer.u8(WRITE_SHARED).u32(volume.0).u64(*first_block).u32(birth.0).u16(key.0).u16(count);
                let mut bytes = [0; StoredBlock::BYTES + Tag::BYTES];
                for block in blocks {
                    writer.u64(block.address.0).raw(block.stored.to_bytes(*key, &mut bytes));
                }
            }
            Record::Zero { volume, first_block, blocks } => {
                writer.u8(ZERO).u32(volume.0).u64(*first_block).u64(*blocks);
            }
            Record::Node { volume, level, first_block, sectors, checksum } => {
                writer.u8(NODE).raw(&volume.to_bytes()).u8(*level).u64(*first_block);
                writer.u8(*sectors).u32(*checksum);
            }
            Record::VolumeCreate(head) => head.encode(writer.u8(VOLUME_CREATE)),
            Record::VolumeResize { volume, size_bytes } => {
                writer.u8(VOLUME_RESIZE).u32(volume.0).u64(*size_bytes);
            }
            Record::VolumeDelete { volume } => _ = writer.u8(VOLUME_DELETE).u32(volume.0),
            Record::VolumeRename { volume, name } => {
                writer.u8(VOLUME_RENAME).u32(volume.0).text(name);
            }
            Record::KeyWrap(key) => key.encode(writer.u8(KEY_WRAP)),
            Record::KeyForget { key } => _ = writer.u8(KEY_FORGET).u16(key.0),
            Record::VolumeChange { volume, settings } => {
                settings::encode(settings, writer.u8(VOLUME_CHANGE).u32(volume.0));
            }
            Record::VolumeClone { head, snapshot } => head.encode(writer.u8(VOLUME_CLONE).u32(snapshot.0)),
            Record::VolumeRollback { volume, snapshot } => {
                writer.u8(VOLUME_ROLLBACK).u32(volume.0).u32(snapshot.0);
            }
            Record::VolumeFork { head, snapshot } => {
                head.encode(writer.u8(VOLUME_FORK));
                snapshot.encode(writer);
            }
            Record::VolumePromote { volume, owner } => {
                writer.u8(VOLUME_PROMOTE).u32(volume.0).u32(owner.0);
            }
            Record::SnapshotCreate(head) => head.encode(writer.u8(SNAPSHOT_CREATE)),
            Record::SnapshotChange { snapshot, name, locked_until_s } => {
                writer.u8(SNAPSHOT_CHANGE).u32(snapshot.0).text(name).u64(*locked_until_s);
            }
            Record::SnapshotSettle { snapshot } => _ = writer.u8(SNAPSHOT_SETTLE).u32(snapshot.0),
            Record::SnapshotDelete { snapshot } => _ = writer.u8(SNAPSHOT_DELETE).u32(snapshot.0),
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(match reader.u8()? {
            WRITE => {
                let (volume, first_block) = (VolumeNumber(reader.u32()?), reader.u64()?);
                let (birth, key) = (SnapshotCounter(reader.u32()?), KeyId(reader.u16()?));
                let count = usize::from(reader.u16()?);
                let raw = reader.raw(4 * count)?;
                let checksums = raw
                    .chunks_exact(4)
                    .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
                    .collect();
                Record::Write { volume, first_block, birth, key, checksums }
            }
            WRITE_STORED => decode_stored(reader)?,
            WRITE_SHARED => decode_shared(reader)?,
            ZERO => Record::Zero {
                volume: VolumeNumber(reader.u32()?),
                first_block: reader.u64()?,
                blocks: reader.u64()?,
            },
            NODE => Record::Node {
                volume: VolumeId::from_bytes(reader.id()?),
                level: reader.u8()?,
                first_block: reader.u64()?,
                sectors: reader.u8()?,
                checksum: reader.u32()?,
            },
            VOLUME_CREATE => Record::VolumeCreate(VolumeHead::decode(reader)?),
            VOLUME_RESIZE => {
                Record::VolumeResize { volume: VolumeNumber(reader.u32()?), size_bytes: reader.u64()? }
            }
            VOLUME_DELETE => Record::VolumeDelete { volume: VolumeNumber(reader.u32()?) },
            VOLUME_RENAME => {
                Record::VolumeRename { volume: VolumeNumber(reader.u32()?), name: reader.text()? }
            }
            KEY_WRAP => Record::KeyWrap(KeyRecord::decode(reader)?),
            KEY_FORGET => Record::KeyForget { key: KeyId(reader.u16()?) },
            VOLUME_CHANGE => Record::VolumeChange {
                volume: VolumeNumber(reader.u32()?),
                settings: settings::decode(reader)?,
            },
            VOLUME_CLONE => Record::VolumeClone {
                snapshot: SnapshotCounter(reader.u32()?),
                head: VolumeHead::decode(reader)?,
            },
            VOLUME_ROLLBACK => Record::VolumeRollback {
                volume: VolumeNumber(reader.u32()?),
                snapshot: SnapshotCounter(reader.u32()?),
            },
            VOLUME_FORK => Record::VolumeFork {
                head: VolumeHead::decode(reader)?,
                snapshot: SnapshotHead::decode(reader)?,
            },
            VOLUME_PROMOTE => Record::VolumePromote {
                volume: VolumeNumber(reader.u32()?),
                owner: VolumeNumber(reader.u32()?),
            },
            SNAPSHOT_CREATE => Record::SnapshotCreate(SnapshotHead::decode(reader)?),
            SNAPSHOT_CHANGE => Record::SnapshotChange {
                snapshot: SnapshotCounter(reader.u32()?),
                name: reader.text()?,
                locked_until_s: reader.u64()?,
            },
            SNAPSHOT_SETTLE => Record::SnapshotSettle { snapshot: SnapshotCounter(reader.u32()?) },
            SNAPSHOT_DELETE => Record::SnapshotDelete { snapshot: SnapshotCounter(reader.u32()?) },
            other => return Err(reader.field("record kind", u64::from(other))),
        })
    }
}

/// One record of each kind.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Record> {
    use quarry_types::{Compression, Deduplication, Durability, ReadCache, SnapshotId, SnapshotSetId};

    let settings = VolumeSettings {
        durability: Durability::Always,
        compression: Compression::Zstd,
        deduplication: Deduplication::Hashed,
        read_cache: ReadCache::Off,
        history_s: 600,
        quota_bytes: 1 << 39,
        reserved_bytes: 1 << 38,
    };
    let head = VolumeHead {
        number: VolumeNumber(4),
        id: VolumeId::from_random(7),
        name: "disk-1".into(),
        size_bytes: 1 << 40,
        created_s: 12,
        settings,
        key: KeyId(5),
    };
    let (volume, snapshot) = (head.number, SnapshotCounter(9));
    let snapshot_head = SnapshotHead {
        number: snapshot,
        id: SnapshotId::from_random(8),
        volume,
        name: "before".into(),
        size_bytes: 1 << 40,
        key: KeyId(5),
        created_s: 13,
        locked_until_s: 99,
        hidden: false,
        moment: false,
        missed_from_s: None,
        set: None,
    };
    let moment = SnapshotHead { moment: true, name: String::new(), ..snapshot_head.clone() };
    let after_missed = SnapshotHead { missed_from_s: Some(11), ..moment.clone() };
    let small = StoredBlock { method: Method::Lz4, sectors: 3, checksum: 9, tag: Tag::NONE };
    let whole = StoredBlock { method: Method::AsIs, sectors: 8, ..small };
    let set = SnapshotSet { id: SnapshotSetId::from_random(3), members: 3, settled: false };
    let in_set = SnapshotHead { set: Some(set), hidden: true, ..snapshot_head.clone() };
    let settled = SnapshotHead { set: Some(SnapshotSet { settled: true, ..set }), ..snapshot_head.clone() };
    vec![
        Record::Write {
            volume: VolumeNumber(3),
            first_block: 77,
            birth: SnapshotCounter(2),
            key: KeyId(0),
            checksums: vec![1, 2, 3],
        },
        Record::WriteStored {
            volume,
            first_block: 5,
            birth: snapshot,
            key: KeyId(0),
            blocks: vec![small, whole],
        },
        Record::WriteStored {
            volume,
            first_block: 5,
            birth: snapshot,
            key: KeyId(2),
            blocks: vec![StoredBlock { tag: Tag([7; 16]), ..small }],
        },
        Record::WriteShared {
            volume,
            first_block: 5,
            birth: snapshot,
            key: KeyId(0),
            blocks: vec![
                SharedBlock { address: LogAddress(77), stored: small },
                SharedBlock { address: LogAddress(9 << 16), stored: whole },
            ],
        },
        Record::WriteShared {
            volume,
            first_block: 6,
            birth: snapshot,
            key: KeyId(2),
            blocks: vec![SharedBlock {
                address: LogAddress(88),
                stored: StoredBlock { tag: Tag([7; 16]), ..small },
            }],
        },
        Record::Zero { volume, first_block: 0, blocks: 1 << 30 },
        Record::Node { volume: head.id, level: 1, first_block: 128, sectors: 2, checksum: 5 },
        Record::Node { volume: head.id, level: 0, first_block: 128, sectors: 8, checksum: 6 },
        Record::VolumeCreate(head.clone()),
        Record::VolumeResize { volume, size_bytes: 1 << 41 },
        Record::VolumeDelete { volume },
        Record::VolumeRename { volume, name: "disk-2".into() },
        Record::KeyWrap(KeyRecord {
            key: KeyId(5),
            name: "vault/7".into(),
            wrapped: vec![3; 60],
            previous: "vault/6".into(),
        }),
        Record::KeyForget { key: KeyId(5) },
        Record::VolumeChange { volume, settings },
        Record::VolumeClone { head: head.clone(), snapshot },
        Record::VolumeFork { head, snapshot: in_set.clone() },
        Record::VolumeRollback { volume, snapshot },
        Record::VolumePromote { volume, owner: VolumeNumber(2) },
        Record::SnapshotCreate(snapshot_head),
        Record::SnapshotCreate(moment),
        Record::SnapshotCreate(after_missed),
        Record::SnapshotCreate(in_set),
        Record::SnapshotCreate(settled),
        Record::SnapshotSettle { snapshot },
        Record::SnapshotChange { snapshot, name: "after".into(), locked_until_s: 5 },
        Record::SnapshotDelete { snapshot },
    ]
}
