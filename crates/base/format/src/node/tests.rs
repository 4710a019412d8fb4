//! Golden bytes, the table in the documentation, and what damaged or hostile bytes do.

use proptest::prelude::*;
use quarry_types::{LogId, SECTOR_BYTES, SegmentId, Tag};

use super::raw::{at, entry_at, ref_at};
use super::*;
use crate::{FormatError, crc32c};

const VOLUME: [u8; 16] =
    [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x46, 0x17, 0x98, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f];

fn entry(number: u32) -> Entry {
    Entry {
        address: LogAddress::new(SegmentId::new(LogId(1), u64::from(number) + 2), number * 8),
        checksum: 0xa0b0_c0d0 + number,
        birth: SnapshotCounter(7),
        key: KeyId(0),
        stored_sectors: 8,
        method: Method::AsIs,
    }
}

fn child(number: u32, level: u8) -> NodeRef {
    NodeRef {
        address: LogAddress::new(SegmentId::new(LogId(1), 5), number * 8),
        checksum: 0x0102_0304,
        birth: SnapshotCounter(9),
        detail: 1 + u64::from(number),
        sectors: 4,
        level,
    }
}

fn leaf(slots: impl IntoIterator<Item = usize>) -> Node {
    let mut entries = Slots::default();
    for slot in slots {
        entries.insert(slot, entry(slot as u32));
    }
    Node { volume: VolumeId::from_bytes(VOLUME), first_block: 256, slots: NodeSlots::Leaf(entries.into()) }
}

fn interior(level: u8, slots: impl IntoIterator<Item = usize>) -> Node {
    let mut children = Slots::default();
    for slot in slots {
        children.insert(slot, child(slot as u32, level - 1));
    }
    let slots = NodeSlots::Interior { level, children };
    Node { volume: VolumeId::from_bytes(VOLUME), first_block: span_blocks(level), slots }
}

/// A leaf of encrypted blocks.
fn encrypted_leaf(slots: impl IntoIterator<Item = usize>) -> Node {
    let mut node = leaf([]);
    let NodeSlots::Leaf(encrypted) = &mut node.slots else { unreachable!("it is a leaf") };
    for slot in slots {
        let NodeSlots::Leaf(clear) = leaf([slot]).slots else { unreachable!("it is a leaf") };
        let entry = Entry { key: KeyId(3), ..*clear.entries.get(slot).expect("it was put there") };
        encrypted.insert(slot, Mapped { entry, tag: Tag([slot as u8; 16]) });
    }
    node
}

fn encoded(node: &Node) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::from(node.sectors()) * SECTOR_BYTES];
    node.encode(&mut bytes);
    bytes
}

/// Makes changed bytes pass the checksum, as a faulty or hostile writer would.
fn seal(bytes: &mut [u8]) {
    let count = usize::from(u16::from_le_bytes([bytes[at::COUNT], bytes[at::COUNT + 1]]));
    let tags = usize::from(u16::from_le_bytes([bytes[at::TAGS], bytes[at::TAGS + 1]]));
    let end = (NODE_HEADER_BYTES + count * Entry::BYTES + tags * Tag::BYTES).min(bytes.len());
    let checksum = crc32c(&bytes[at::LEVEL..end]);
    bytes[at::CHECKSUM..at::CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_leaf_has_these_bytes() {
    let bytes = encoded(&leaf([1, 64]));
    // magic, version, padding, checksum; level, flags, count, reserved; volume, first block; present; then the slots.
    let golden = "5152594e4f4445000300000009d57fce\
        0000020000000000\
        101112131415461798191a1b1c1d1e1f0001000000000000\
        02000000000000000100000000000000\
        0800030000001000d1c0b0a0070000000800000000000000\
        000242000000100010c1b0a0070000000800000000000000";
    assert_eq!(hex(&bytes[..112]), golden);
    assert!(bytes[112..].iter().all(|&byte| byte == 0));
    assert_eq!(bytes.len(), 512);
}

#[test]
fn an_interior_node_has_these_bytes() {
    let bytes = encoded(&interior(1, [127]));
    // magic, version, padding, checksum; level, flags, count, reserved; volume, first block; present; then the slots.
    let golden = "5152594e4f444500030000008b5f2b4e\
        0100010000000000\
        101112131415461798191a1b1c1d1e1f0040000000000000\
        00000000000000000000000000000080\
        f80305000000100004030201090000008000000000000400";
    assert_eq!(hex(&bytes[..88]), golden);
}

/// Rows `| offset | size | field |` of the section under `heading`.
fn documented(heading: &str) -> Vec<(usize, usize)> {
    let document = include_str!("../../../../../docs/format/node.md");
    let section =
        document.split("\n## ").find(|section| section.starts_with(heading)).expect("the heading exists");
    let number = |cell: Option<&str>| cell?.trim().parse().ok();
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|');
        Some((number(cells.next())?, number(cells.next())?))
    });
    rows.collect()
}

#[test]
fn the_documentation_has_the_same_offsets() {
    let tables: [(&str, &[usize], usize); 3] = [
        (
            "Header",
            &[
                at::MAGIC,
                at::VERSION,
                at::VERSION + 2,
                at::CHECKSUM,
                at::LEVEL,
                at::FLAGS,
                at::COUNT,
                at::TAGS,
                at::RESERVED,
                at::VOLUME,
                at::FIRST_BLOCK,
                at::PRESENT,
            ],
            NODE_HEADER_BYTES,
        ),
        (
            "Entry",
            &[
                entry_at::ADDRESS,
                entry_at::CHECKSUM,
                entry_at::BIRTH,
                entry_at::STORED_SECTORS,
                entry_at::METHOD,
                entry_at::KEY,
                entry_at::RESERVED,
            ],
            Entry::BYTES,
        ),
        (
            "Reference",
            &[
                ref_at::ADDRESS,
                ref_at::CHECKSUM,
                ref_at::BIRTH,
                ref_at::DETAIL,
                ref_at::SECTORS,
                ref_at::LEVEL,
            ],
            NodeRef::BYTES,
        ),
    ];
    for (heading, offsets, end) in tables {
        let ends = offsets.iter().skip(1).copied().chain([end]);
        let rows: Vec<_> = offsets.iter().zip(ends).map(|(&offset, end)| (offset, end - offset)).collect();
        assert_eq!(documented(heading), rows, "{heading}");
    }
}

#[test]
fn nodes_survive_the_trip() {
    let nodes = [
        leaf([0]),
        leaf([5, 63, 64, 127]),
        leaf(0..128),
        interior(1, 0..128),
        interior(5, [1]),
        interior(3, [0, 9]),
        encrypted_leaf([5]),
        encrypted_leaf(0..128),
    ];
    for mut node in nodes {
        if node.level() == NODE_LEVEL_MAX {
            node.first_block = 0;
        }
        let bytes = encoded(&node);
        assert_eq!(Node::decode(&bytes), Ok(node.clone()));
        let mut padded = bytes.clone();
        padded.resize(8192, 0);
        assert_eq!(Node::decode(&padded), Ok(node));
    }
    // A small one shares its granule, a large one fills it.
    let sectors = |count| encoded(&leaf(0..count)).len() / SECTOR_BYTES;
    assert_eq!([1, 18, 19, 82, 83, 128].map(sectors), [1, 1, 2, 4, 8, 8]);
    assert_eq!(encoded(&encrypted_leaf(0..128)).len(), 11 * SECTOR_BYTES);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = encoded(&interior(2, [3, 80]));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Node::decode(&damaged).is_err(), "bit {bit}");
    }
    for length in 0..NODE_HEADER_BYTES + 2 * Entry::BYTES {
        let error = Node::decode(&bytes[..length]).expect_err("cut off");
        assert!(matches!(error, FormatError::Short { .. }), "{length}: {error}");
    }
}

#[test]
fn what_no_writer_writes_is_named() {
    let first = NODE_HEADER_BYTES;
    let leaf = encoded(&leaf([1, 64]));
    let parent = encoded(&interior(1, [4]));
    let cases: [(&[u8], usize, u8, &str); 22] = [
        (&leaf, at::LEVEL, 6, "level"),
        (&leaf, at::FLAGS, 1, "flags"),
        (&leaf, at::COUNT, 0, "count"),
        (&leaf, at::COUNT, 129, "count"),
        (&leaf, at::COUNT, 1, "trailing bytes"),
        (&leaf, at::RESERVED, 1, "reserved"),
        (&leaf, at::FIRST_BLOCK, 1, "first block"),
        (&leaf, at::FIRST_BLOCK + 6, 1, "first block"),
        (&leaf, at::PRESENT, 3, "count"),
        (&leaf, first + entry_at::STORED_SECTORS, 0, "entry stored sectors"),
        (&leaf, first + entry_at::STORED_SECTORS, 9, "entry stored sectors"),
        (&leaf, at::TAGS, 1, "tags"),
        (&leaf, at::TAGS, 3, "tags"),
        (&parent, at::TAGS, 1, "tags"),
        (&leaf, first + entry_at::METHOD, 1, "entry stored sectors"),
        (&leaf, first + entry_at::METHOD, 3, "entry method"),
        (&leaf, first + entry_at::KEY, 1, "tags"),
        (&leaf, first + entry_at::RESERVED, 1, "entry reserved"),
        (&parent, first + ref_at::SECTORS, 0, "lone stored sectors"),
        (&parent, first + ref_at::SECTORS, 12, "node sectors"),
        (&parent, first + ref_at::LEVEL, 1, "level of a child"),
        (&parent, first + ref_at::DETAIL + 2, 1, "node mapped blocks"),
    ];
    for (bytes, offset, value, expected) in cases {
        let mut changed = bytes.to_vec();
        changed[offset] = value;
        seal(&mut changed);
        match Node::decode(&changed) {
            Err(FormatError::Field { field, .. }) => assert_eq!(field, expected, "offset {offset}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn a_leaf_of_one_clear_block_is_a_reference() {
    let NodeSlots::Leaf(one) = leaf([127]).slots else { unreachable!("it is a leaf") };
    let lone = NodeRef::of_lone(&one).expect("one entry");
    assert!(lone.is_lone());
    assert_eq!((lone.level, lone.mapped()), (0, 1));
    let (slot, mapped) = lone.lone().expect("it is one");
    assert_eq!((slot, Some(&mapped.entry)), (127, one.entries.get(127)));
    let golden = "f8030500000010004fc1b0a0070000007f08000000000000";
    let bytes = lone.to_bytes();
    assert_eq!(hex(&bytes)[16..], golden[16..]);
    assert_eq!(NodeRef::from_bytes(&bytes), Ok(Some(lone)));
    for (offset, value, expected) in [
        (ref_at::LEVEL, 1, "lone level"),
        (ref_at::DETAIL, 128, "lone slot"),
        (ref_at::DETAIL + 1, 0, "lone stored sectors"),
        (ref_at::DETAIL + 1, 9, "lone stored sectors"),
        (ref_at::DETAIL + 2, 1, "lone stored sectors"),
        (ref_at::DETAIL + 2, 3, "lone method"),
        (ref_at::DETAIL + 3, 1, "lone reserved"),
        (ref_at::DETAIL + 5, 1, "lone reserved"),
    ] {
        let mut changed = bytes;
        changed[offset] = value;
        match NodeRef::from_bytes(&changed) {
            Err(FormatError::Field { field, .. }) => assert_eq!(field, expected, "offset {offset}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    for node in [leaf([]), leaf([3, 4]), encrypted_leaf([5])] {
        let NodeSlots::Leaf(leaf) = node.slots else { unreachable!("it is a leaf") };
        assert_eq!(NodeRef::of_lone(&leaf), None);
    }
    let mut parent = interior(1, [3]);
    let NodeSlots::Interior { children, .. } = &mut parent.slots else { unreachable!("it is interior") };
    children.insert(9, lone);
    assert_eq!(Node::decode(&encoded(&parent)), Ok(parent));
}

#[test]
fn an_absent_entry_is_never_stored() {
    for node in [encoded(&leaf([1])), encoded(&interior(1, [4]))] {
        let mut changed = node;
        changed[NODE_HEADER_BYTES..NODE_HEADER_BYTES + 8].fill(0);
        seal(&mut changed);
        assert!(matches!(Node::decode(&changed), Err(FormatError::Field { found: 0, .. })));
    }
}

#[test]
fn a_newer_version_is_refused_as_such() {
    let mut bytes = encoded(&leaf([1]));
    bytes[at::VERSION] = 4;
    assert!(matches!(Node::decode(&bytes), Err(FormatError::Version { found: 4, supported: 3, .. })));
    bytes[at::MAGIC] = 0;
    assert!(matches!(Node::decode(&bytes), Err(FormatError::Magic { .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(Node::decode(&bytes).is_err());
    }

    #[test]
    fn sealed_nonsense_never_panics(
        changes in proptest::collection::vec((0usize..600, any::<u8>()), 1..40),
        count in 0u8..24,
    ) {
        let mut bytes = encoded(&leaf([1, 64, 100]));
        bytes.resize(600, 0);
        for (offset, value) in changes {
            bytes[offset] = value;
        }
        bytes[..8].copy_from_slice(&NODE_MAGIC.to_le_bytes());
        bytes[at::VERSION..at::VERSION + 2].copy_from_slice(&NODE_VERSION.to_le_bytes());
        bytes[at::COUNT..at::COUNT + 2].copy_from_slice(&u16::from(count).to_le_bytes());
        seal(&mut bytes);
        if let Ok(node) = Node::decode(&bytes) {
            prop_assert_eq!(Node::decode(&encoded(&node)), Ok(node));
        }
    }

    #[test]
    fn slots_are_a_map(steps in proptest::collection::vec((0usize..128, 0usize..129, 0u8..4), 1..200)) {
        let mut slots = Slots::default();
        let mut model = std::collections::BTreeMap::new();
        for (number, (slot, other, verb)) in steps.into_iter().enumerate() {
            match verb {
                0 | 1 => prop_assert_eq!(slots.insert(slot, number), model.insert(slot, number)),
                2 => prop_assert_eq!(slots.remove(slot), model.remove(&slot)),
                _ => {
                    let mut removed = Vec::new();
                    slots.remove_range(slot..other.max(slot), |value| removed.push(value));
                    let gone: Vec<_> = model.range(slot..other.max(slot)).map(|(&slot, &value)| (slot, value)).collect();
                    gone.iter().for_each(|(slot, _)| { model.remove(slot); });
                    prop_assert_eq!(removed, gone.into_iter().map(|(_, value)| value).collect::<Vec<_>>());
                }
            }
            prop_assert!(slots.iter().map(|(slot, &value)| (slot, value)).eq(model.iter().map(|(&slot, &value)| (slot, value))));
            prop_assert!(slots.iter_from(other).map(|(slot, _)| slot).eq(model.range(other..).map(|(&slot, _)| slot)));
            prop_assert_eq!(slots.present().from(other).first(), model.range(other..).next().map(|(&slot, _)| slot));
            prop_assert_eq!(slots.get(slot), model.get(&slot));
            prop_assert_eq!(slots.len(), model.len());
        }
    }
}
