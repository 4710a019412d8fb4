//! The bytes of nodes, entries and references; the table is in `docs/format/node.md`.

use quarry_types::{KeyId, LogAddress, SECTOR_BYTES, SnapshotCounter, Tag, VolumeId};

use super::{
    Entry, Leaf, MAP_BLOCKS_MAX, Method, NODE_BYTES_MAX, NODE_LEVEL_MAX, NODE_SLOTS, Node, NodeRef,
    NodeSlots, SlotBits, Slots, lone, span_blocks,
};
use crate::label::GRANULE_SECTORS;
use crate::{FormatError, Reader, crc32c};

/// First eight bytes of a node.
pub const NODE_MAGIC: u64 = u64::from_le_bytes(*b"QRYNODE\0");
/// The version that this code writes and reads.
pub const NODE_VERSION: u16 = 3;
/// Bytes before the slots.
pub const NODE_HEADER_BYTES: usize = 64;
/// Bytes of an entry and of a reference.
const SLOT_BYTES: usize = 24;

/// Offsets of the header's fields.
pub(super) mod at {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8;
    pub const CHECKSUM: usize = 12;
    pub const LEVEL: usize = 16;
    pub const FLAGS: usize = 17;
    pub const COUNT: usize = 18;
    pub const TAGS: usize = 20;
    pub const RESERVED: usize = 22;
    pub const VOLUME: usize = 24;
    pub const FIRST_BLOCK: usize = 40;
    pub const PRESENT: usize = 48;
}

/// Offsets of an entry's fields.
pub(super) mod entry_at {
    pub const ADDRESS: usize = 0;
    pub const CHECKSUM: usize = 8;
    pub const BIRTH: usize = 12;
    pub const STORED_SECTORS: usize = 16;
    pub const METHOD: usize = 17;
    pub const KEY: usize = 18;
    pub const RESERVED: usize = 20;
}

/// Offsets of a reference's fields.
pub(super) mod ref_at {
    pub const ADDRESS: usize = 0;
    pub const CHECKSUM: usize = 8;
    pub const BIRTH: usize = 12;
    pub const DETAIL: usize = 16;
    pub const SECTORS: usize = 22;
    pub const LEVEL: usize = 23;
}

const STRUCTURE: &str = "map node";
/// What the checksum covers begins here.
const BODY: usize = at::LEVEL;
/// `detail` has six bytes.
const DETAIL_BITS: u32 = 48;

const _: () = assert!(at::PRESENT + NODE_SLOTS / 8 == NODE_HEADER_BYTES);
const _: () = assert!(MAP_BLOCKS_MAX < 1 << DETAIL_BITS);
const _: () = assert!(NODE_SLOTS <= 1 << lone::STORED_SECTORS_SHIFT);
const _: () = assert!(NODE_BYTES_MAX.div_ceil(SECTOR_BYTES) <= u8::MAX as usize);

fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&value);
}

fn take<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..offset + N].try_into().expect("the range has the array's length")
}

fn invalid(field: &'static str, found: u64) -> FormatError {
    FormatError::Field { structure: STRUCTURE, field, found }
}

fn require(kept: bool, field: &'static str, found: u64) -> Result<(), FormatError> {
    if kept { Ok(()) } else { Err(invalid(field, found)) }
}

/// Bytes of a node with `count` present slots, `tags` of them with a tag.
fn node_bytes(count: usize, tags: usize) -> usize {
    NODE_HEADER_BYTES + count * SLOT_BYTES + tags * Tag::BYTES
}

/// Sectors of a node with `count` present slots, `tags` of them with a tag: it fills the last granule that it touches if it would fill more than half of
/// it, and leaves it to others if not.
pub(super) fn sectors(count: usize, tags: usize) -> u8 {
    let sectors = node_bytes(count, tags).div_ceil(SECTOR_BYTES) as u32;
    let whole = sectors % GRANULE_SECTORS > GRANULE_SECTORS / 2;
    (if whole { sectors.next_multiple_of(GRANULE_SECTORS) } else { sectors }) as u8
}

impl Entry {
    /// Bytes of an entry.
    pub const BYTES: usize = SLOT_BYTES;

    /// The bytes of the entry in a leaf.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, entry_at::ADDRESS, self.address.0.to_le_bytes());
        put(&mut bytes, entry_at::CHECKSUM, self.checksum.to_le_bytes());
        put(&mut bytes, entry_at::BIRTH, self.birth.0.to_le_bytes());
        bytes[entry_at::STORED_SECTORS] = self.stored_sectors;
        bytes[entry_at::METHOD] = self.method as u8;
        put(&mut bytes, entry_at::KEY, self.key.0.to_le_bytes());
        bytes
    }

    /// The entry that [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// [`FormatError::Field`] for what no writer of this version writes.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, FormatError> {
        let number = bytes[entry_at::METHOD];
        let method = Method::from_number(number).ok_or_else(|| invalid("entry method", number.into()))?;
        let entry = Self {
            address: LogAddress(u64::from_le_bytes(take(bytes, entry_at::ADDRESS))),
            checksum: u32::from_le_bytes(take(bytes, entry_at::CHECKSUM)),
            birth: SnapshotCounter(u32::from_le_bytes(take(bytes, entry_at::BIRTH))),
            key: KeyId(u16::from_le_bytes(take(bytes, entry_at::KEY))),
            stored_sectors: bytes[entry_at::STORED_SECTORS],
            method,
        };
        require(entry.address.0 != 0, "entry address", 0)?;
        let stored = entry.stored_sectors;
        require(method.fits(stored), "entry stored sectors", stored.into())?;
        let reserved = u32::from_le_bytes(take(bytes, entry_at::RESERVED));
        require(reserved == 0, "entry reserved", reserved.into())?;
        Ok(entry)
    }
}

impl NodeRef {
    /// Bytes of a reference.
    pub const BYTES: usize = SLOT_BYTES;

    /// The bytes of the reference, in an interior node or wherever a root is kept.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        debug_assert!(self.detail < 1 << DETAIL_BITS);
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, ref_at::ADDRESS, self.address.0.to_le_bytes());
        put(&mut bytes, ref_at::CHECKSUM, self.checksum.to_le_bytes());
        put(&mut bytes, ref_at::BIRTH, self.birth.0.to_le_bytes());
        put(&mut bytes, ref_at::DETAIL, self.detail.to_le_bytes());
        bytes[ref_at::SECTORS] = self.sectors;
        bytes[ref_at::LEVEL] = self.level;
        bytes
    }

    /// The reference that [`Self::to_bytes`] gave; `None` for that of an absent node, which is all zero.
    ///
    /// # Errors
    /// [`FormatError::Field`] for what no writer of this version writes.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Option<Self>, FormatError> {
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let detail = u64::from_le_bytes(take(bytes, ref_at::DETAIL)) & ((1 << DETAIL_BITS) - 1);
        let node = Self {
            address: LogAddress(u64::from_le_bytes(take(bytes, ref_at::ADDRESS))),
            checksum: u32::from_le_bytes(take(bytes, ref_at::CHECKSUM)),
            birth: SnapshotCounter(u32::from_le_bytes(take(bytes, ref_at::BIRTH))),
            detail,
            sectors: bytes[ref_at::SECTORS],
            level: bytes[ref_at::LEVEL],
        };
        require(node.address.0 != 0, "node address", 0)?;
        if node.is_lone() {
            node.check_lone()?;
            return Ok(Some(node));
        }
        require(
            (1..=sectors(NODE_SLOTS, NODE_SLOTS)).contains(&node.sectors),
            "node sectors",
            node.sectors.into(),
        )?;
        require(node.level <= NODE_LEVEL_MAX, "node level", node.level.into())?;
        require((1..=span_blocks(node.level)).contains(&detail), "node mapped blocks", detail)?;
        Ok(Some(node))
    }

    /// Of a block that stands for its leaf: that it could be an entry.
    fn check_lone(&self) -> Result<(), FormatError> {
        let byte = |shift: u32| (self.detail >> shift) as u8;
        let (slot, stored) = (byte(0), byte(lone::STORED_SECTORS_SHIFT));
        let number = byte(lone::METHOD_SHIFT);
        let method = Method::from_number(number).ok_or_else(|| invalid("lone method", number.into()))?;
        require(self.level == 0, "lone level", self.level.into())?;
        require(usize::from(slot) < NODE_SLOTS, "lone slot", slot.into())?;
        require(method.fits(stored), "lone stored sectors", stored.into())?;
        require(self.detail >> lone::LONE_BITS == 0, "lone reserved", self.detail >> lone::LONE_BITS)
    }

    /// Length of the node in bytes.
    pub fn length_bytes(&self) -> usize {
        usize::from(self.sectors) * SECTOR_BYTES
    }
}

impl Node {
    /// Sectors that [`Self::encode`] fills.
    pub fn sectors(&self) -> u8 {
        sectors(self.count(), self.tags().len())
    }

    /// The tags behind the slots.
    fn tags(&self) -> &[Tag] {
        match &self.slots {
            NodeSlots::Leaf(leaf) => leaf.tags.values(),
            NodeSlots::Interior { .. } => &[],
        }
    }

    /// Writes the node into `bytes`, which has [`Self::sectors`] sectors; what the node leaves of them becomes zero.
    ///
    /// # Panics
    /// When `bytes` has another length.
    pub fn encode(&self, bytes: &mut [u8]) {
        let count = self.count();
        assert_eq!(bytes.len(), usize::from(self.sectors()) * SECTOR_BYTES, "a node fills whole sectors");
        let slots_end = node_bytes(count, 0);
        let end = node_bytes(count, self.tags().len());
        bytes[end..].fill(0);
        bytes[..NODE_HEADER_BYTES].fill(0);
        put(bytes, at::MAGIC, NODE_MAGIC.to_le_bytes());
        put(bytes, at::VERSION, NODE_VERSION.to_le_bytes());
        bytes[at::LEVEL] = self.level();
        put(bytes, at::COUNT, (count as u16).to_le_bytes());
        put(bytes, at::TAGS, (self.tags().len() as u16).to_le_bytes());
        put(bytes, at::VOLUME, self.volume.to_bytes());
        put(bytes, at::FIRST_BLOCK, self.first_block.to_le_bytes());
        let packed = bytes[NODE_HEADER_BYTES..slots_end].as_chunks_mut::<SLOT_BYTES>().0;
        let present = match &self.slots {
            NodeSlots::Leaf(Leaf { entries, .. }) => {
                packed.iter_mut().zip(entries.values()).for_each(|(bytes, entry)| *bytes = entry.to_bytes());
                entries.present()
            }
            NodeSlots::Interior { children, .. } => {
                packed.iter_mut().zip(children.values()).for_each(|(bytes, child)| *bytes = child.to_bytes());
                children.present()
            }
        };
        for (bytes, tag) in bytes[slots_end..end].as_chunks_mut().0.iter_mut().zip(self.tags()) {
            *bytes = tag.0;
        }
        for (offset, word) in [at::PRESENT, at::PRESENT + 8].into_iter().zip(present.words()) {
            put(bytes, offset, word.to_le_bytes());
        }
        let checksum = crc32c(&bytes[BODY..end]);
        put(bytes, at::CHECKSUM, checksum.to_le_bytes());
    }

    /// The node in `bytes`, which may go on with zeroes behind it.
    ///
    /// # Errors
    /// [`FormatError`] when the bytes are no node of this version, are damaged, or break an invariant of this module.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (count, tags) = counts(bytes)?;
        let (body, rest) = bytes.split_at(node_bytes(count, tags));
        let mut header = Reader::new(STRUCTURE, NODE_MAGIC, NODE_VERSION, body)?;
        let level = header.u8()?;
        header.zero("flags", at::COUNT - at::FLAGS)?;
        header.u16()?;
        header.u16()?;
        header.zero("reserved", at::VOLUME - at::RESERVED)?;
        let volume = VolumeId::from_bytes(header.id()?);
        let first_block = header.u64()?;
        let present = SlotBits::from_words([header.u64()?, header.u64()?]);
        require(rest.iter().all(|&byte| byte == 0), "trailing bytes", rest.len() as u64)?;
        require(level <= NODE_LEVEL_MAX, "level", level.into())?;
        require(first_block.is_multiple_of(span_blocks(level)), "first block", first_block)?;
        require(first_block < MAP_BLOCKS_MAX, "first block", first_block)?;
        let (packed, tags) = body[NODE_HEADER_BYTES..].split_at(count * SLOT_BYTES);
        let (packed, tags) = (packed.as_chunks::<SLOT_BYTES>().0, tags.as_chunks().0);
        let slots = match level {
            0 => NodeSlots::Leaf(leaf(unpack(present, packed, Entry::from_bytes)?, tags)?),
            _ => {
                NodeSlots::Interior { level, children: unpack(present, packed, |bytes| child(level, bytes))? }
            }
        };
        Ok(Self { volume, first_block, slots })
    }
}

/// The leaf of these entries, if there is a tag for each that is encrypted.
fn leaf(entries: Slots<Entry>, tags: &[[u8; Tag::BYTES]]) -> Result<Leaf, FormatError> {
    let mut encrypted = SlotBits::default();
    for (slot, _) in entries.iter().filter(|(_, entry)| entry.is_encrypted()) {
        encrypted.insert(slot);
    }
    let found = tags.len() as u64;
    let tags = Slots::from_parts(encrypted, tags.iter().map(|&tag| Tag(tag)).collect());
    Ok(Leaf { entries, tags: tags.ok_or_else(|| invalid("tags", found))? })
}

/// The numbers of present slots and of tags, once the bytes are known to be a node of this version and long enough for it.
fn counts(bytes: &[u8]) -> Result<(usize, usize), FormatError> {
    let short = |needed| FormatError::Short { structure: STRUCTURE, needed, available: bytes.len() };
    if bytes.len() < NODE_HEADER_BYTES {
        return Err(short(NODE_HEADER_BYTES));
    }
    let magic = u64::from_le_bytes(take(bytes, at::MAGIC));
    if magic != NODE_MAGIC {
        return Err(FormatError::Magic { structure: STRUCTURE, found: magic });
    }
    let version = u16::from_le_bytes(take(bytes, at::VERSION));
    if version != NODE_VERSION {
        return Err(FormatError::Version { structure: STRUCTURE, found: version, supported: NODE_VERSION });
    }
    let count = usize::from(u16::from_le_bytes(take(bytes, at::COUNT)));
    require((1..=NODE_SLOTS).contains(&count), "count", count as u64)?;
    let tags = usize::from(u16::from_le_bytes(take(bytes, at::TAGS)));
    let tags_max = if bytes[at::LEVEL] == 0 { count } else { 0 };
    require(tags <= tags_max, "tags", tags as u64)?;
    let needed = node_bytes(count, tags);
    if bytes.len() < needed { Err(short(needed)) } else { Ok((count, tags)) }
}

fn unpack<T>(
    present: SlotBits,
    packed: &[[u8; SLOT_BYTES]],
    decode: impl Fn(&[u8; SLOT_BYTES]) -> Result<T, FormatError>,
) -> Result<Slots<T>, FormatError> {
    let values = packed.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    let count = values.len() as u64;
    Slots::from_parts(present, values).ok_or_else(|| invalid("count", count))
}

fn child(level: u8, bytes: &[u8; SLOT_BYTES]) -> Result<NodeRef, FormatError> {
    let node = NodeRef::from_bytes(bytes)?.ok_or_else(|| invalid("node address", 0))?;
    require(node.level + 1 == level, "level of a child", node.level.into())?;
    Ok(node)
}
