//! What identifies and describes volumes and snapshots, but for their maps: in records and in images.

use quarry_types::{
    KeyId, SnapshotCounter, SnapshotId, SnapshotSetId, VolumeId, VolumeNumber, VolumeSettings,
};

use crate::{FormatError, Reader, Writer, settings};

/// What identifies and describes a volume, but not its map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeHead {
    /// Number in its log.
    pub number: VolumeNumber,
    /// Id for ever.
    pub id: VolumeId,
    /// Name.
    pub name: String,
    /// Size.
    pub size_bytes: u64,
    /// Seconds since 1970 at which it was created.
    pub created_s: u64,
    /// What it promises and how it stores its data.
    pub settings: VolumeSettings,
    /// The data key under which it is encrypted, 0 for clear text. Clones have that of their origin.
    pub key: KeyId,
}

/// What identifies and describes a snapshot, but not its map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotHead {
    /// Number in its log, which also says what is older than it.
    pub number: SnapshotCounter,
    /// Id for ever.
    pub id: SnapshotId,
    /// The volume to which it belongs.
    pub volume: VolumeNumber,
    /// Name, unique in its volume; empty for a moment and for one that was hidden from the start.
    pub name: String,
    /// Size of the volume when it was taken.
    pub size_bytes: u64,
    /// The data key of the volume.
    pub key: KeyId,
    /// Seconds since 1970 at which it was taken.
    pub created_s: u64,
    /// Nobody deletes it before this time, in seconds since 1970; 0 when it is not locked.
    pub locked_until_s: u64,
    /// Only other things stand on it; its owner does not see it.
    pub hidden: bool,
    /// It is a second of the volume's history: it has no name, and goes when the history's window has passed it.
    pub moment: bool,
    /// Of a moment: the first second, since 1970, for which one was due before it and not taken.
    pub missed_from_s: Option<u64>,
    /// The snapshots that were taken with it, if it was not taken alone.
    pub set: Option<SnapshotSet>,
}

/// Snapshots of several volumes at one point in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotSet {
    /// Id for ever.
    pub id: SnapshotSetId,
    /// How many snapshots were to belong to it.
    pub members: u16,
    /// All of them were taken. A set of which no member says so was never taken.
    pub settled: bool,
}

impl VolumeHead {
    /// Bytes of one without a name.
    pub(crate) const BYTES_MIN: usize = 4 + 16 + 8 + settings::BYTES + 8 + 2 + 2;

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u32(self.number.0).raw(&self.id.to_bytes()).u64(self.size_bytes);
        writer.u64(self.created_s);
        settings::encode(&self.settings, writer);
        writer.u16(self.key.0).text(&self.name);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            number: VolumeNumber(reader.u32()?),
            id: VolumeId::from_bytes(reader.id()?),
            size_bytes: reader.u64()?,
            created_s: reader.u64()?,
            settings: settings::decode(reader)?,
            key: KeyId(reader.u16()?),
            name: reader.text()?,
        })
    }
}

/// Flags of a snapshot.
const HIDDEN: u8 = 1;
const IN_SET: u8 = 2;
const SETTLED: u8 = 4;
const MOMENT: u8 = 8;
const MISSED: u8 = 16;

impl SnapshotHead {
    /// Bytes of one without a name.
    pub(crate) const BYTES_MIN: usize = 4 + 16 + 4 + 1 + 8 + 8 + 8 + 2 + 2;

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u32(self.number.0).raw(&self.id.to_bytes()).u32(self.volume.0);
        let set = match self.set {
            None => 0,
            Some(SnapshotSet { settled: false, .. }) => IN_SET,
            Some(SnapshotSet { settled: true, .. }) => IN_SET | SETTLED,
        };
        let hidden = if self.hidden { HIDDEN } else { 0 };
        let moment = if self.moment { MOMENT } else { 0 };
        let missed = if self.missed_from_s.is_some() { MISSED } else { 0 };
        writer.u8(hidden | set | moment | missed);
        writer
            .u64(self.size_bytes)
            .u64(self.created_s)
            .u64(self.locked_until_s)
            .u16(self.key.0)
            .text(&self.name);
        if let Some(set) = self.set {
            writer.raw(&set.id.to_bytes()).u16(set.members);
        }
        if let Some(missed_from_s) = self.missed_from_s {
            writer.u64(missed_from_s);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let number = SnapshotCounter(reader.u32()?);
        let (id, volume) = (SnapshotId::from_bytes(reader.id()?), VolumeNumber(reader.u32()?));
        let flags = reader.u8()?;
        let known = HIDDEN | IN_SET | SETTLED | MOMENT | MISSED;
        if flags & !known != 0 || flags & (IN_SET | SETTLED) == SETTLED {
            return Err(reader.field("snapshot flags", u64::from(flags)));
        }
        let (size_bytes, created_s, locked_until_s) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let (key, name) = (KeyId(reader.u16()?), reader.text()?);
        let set = match flags & IN_SET {
            0 => None,
            _ => Some(SnapshotSet {
                id: SnapshotSetId::from_bytes(reader.id()?),
                members: reader.u16()?,
                settled: flags & SETTLED != 0,
            }),
        };
        let missed_from_s = if flags & MISSED == 0 { None } else { Some(reader.u64()?) };
        Ok(Self {
            number,
            id,
            volume,
            name,
            size_bytes,
            key,
            created_s,
            locked_until_s,
            hidden: flags & HIDDEN != 0,
            moment: flags & MOMENT != 0,
            missed_from_s,
            set,
        })
    }
}
