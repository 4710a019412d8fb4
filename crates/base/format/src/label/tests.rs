use std::mem::{offset_of, size_of};

use proptest::prelude::*;
use quarry_types::limits::{COPIES_MAX, DEVICE_BYTES_MIN, DEVICE_HEADER_BYTES, LOGS_MAX, SLOTS_WANTED_MIN};
use quarry_types::{DeviceId, LogId, PoolId, Protection};

use super::raw::{RawLabel, RawMember};
use super::*;
use crate::claim::CLAIM_BYTES;

const DOCUMENT: &str = include_str!("../../../../../docs/format/device.md");

fn member(index: u16, path: &str) -> Member {
    Member {
        device: DeviceId::from_bytes([0x10 + index as u8; 16]),
        index,
        size_bytes: 1 << 30,
        slots: 31,
        sector_bytes: 512,
        class: DeviceClass::Ssd,
        created_file: false,
        leaving: false,
        path: path.to_owned(),
    }
}

fn label() -> Label {
    Label {
        sequence: 7,
        state: LabelState::Ready,
        pool: PoolId::from_bytes([0xa0; 16]),
        pool_name: "tank".to_owned(),
        protection: Protection::Copies(2),
        segment_bytes: 32 << 20,
        tier_policy: TierPolicy::Automatic,
        log_policies: BTreeMap::from([
            (LogId(1), LogPolicy { protection: Some(Protection::Copies(1)), tier_policy: None }),
            (
                LogId(63),
                LogPolicy { protection: None, tier_policy: Some(TierPolicy::Pinned(DeviceClass::Hdd)) },
            ),
        ]),
        created_ms: 0x0198_0000_0000,
        device_index: 3,
        members: vec![
            member(0, "/dev/sdb"),
            Member { created_file: true, leaving: true, class: DeviceClass::Hdd, ..member(3, "/data") },
        ],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_stored_bytes_are_these() {
    let bytes = label().encode();
    let mut golden = vec![0; LABEL_BYTES];
    let mut put = |offset: usize, text: &str| {
        for (place, digits) in golden[offset..].iter_mut().zip(text.as_bytes().chunks(2)) {
            *place = u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
        }
    };
    put(
        0,
        "5155415252594456_03000000_3a1be859_0700000000000000_02_02_0300_0200_0400".replace('_', "").as_str(),
    );
    put(32, &"a0".repeat(16));
    put(48, &"13".repeat(16));
    put(64, "0000000098010000_0000000200000000_00100000".replace('_', "").as_str());
    put(96, "74616e6b");
    put(164, "01000000");
    put(412, "00000004");
    put(512, &"10".repeat(16));
    put(528, "0000004000000000_1f000000_00020000_0000_03_00_0800".replace('_', "").as_str());
    put(552, &hex(b"/dev/sdb"));
    put(752, &"13".repeat(16));
    put(768, "0000004000000000_1f000000_00020000_0300_04_03_0500".replace('_', "").as_str());
    put(792, &hex(b"/data"));
    let differs = (0..LABEL_BYTES).find(|&at| bytes[at] != golden[at]);
    assert_eq!(differs, None, "stored {}", hex(&bytes[..128]));
    assert_eq!(Label::decode(&golden), Ok(label()));
}

/// The rows of the table under `heading` in the document: (field, offset, size).
fn rows(heading: &str) -> Vec<(String, usize, usize)> {
    let section = DOCUMENT.split(heading).nth(1).unwrap_or_else(|| panic!("the document has no '{heading}'"));
    let section = section.split("\n#").next().expect("a section");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with('|')).map(cells);
    rows.filter_map(|row| Some((row[3].replace('`', ""), row[1].parse().ok()?, row[2].parse().ok()?)))
        .collect()
}

macro_rules! fields {
    ($raw:ty, $($field:ident),+) => {
        vec![$((stringify!($field).to_owned(), offset_of!($raw, $field), {
            fn size_of_field<T>(_: impl Fn(&$raw) -> &T) -> usize { size_of::<T>() }
            size_of_field(|raw| &raw.$field)
        })),+]
    };
}

#[test]
fn the_document_says_what_the_code_does() {
    let label = fields!(
        RawLabel,
        magic,
        version,
        checksum,
        sequence,
        state,
        copies,
        device_index,
        member_count,
        pool_name_length,
        pool,
        device,
        created_ms,
        segment_bytes,
        granule_bytes,
        code_data,
        code_parity,
        tier_policy,
        reserved,
        pool_name,
        log_policies,
        reserved_2,
        members,
        reserved_3
    );
    assert_eq!(rows("## The label"), label);
    let member = fields!(
        RawMember,
        device,
        size_bytes,
        slots,
        sector_bytes,
        index,
        class,
        flags,
        path_length,
        reserved,
        path
    );
    assert_eq!(rows("## A member"), member);
    let anchors = anchor_offset(LogId(0), 0) as usize;
    let end = anchor_offset(LogId(LOGS_MAX - 1), ANCHORS_PER_LOG - 1) as usize + ANCHOR_BYTES;
    let regions = [
        ("label", LABEL_COPY_OFFSETS[0] as usize, LABEL_BYTES),
        ("reserved", LABEL_BYTES, LABEL_COPY_OFFSETS[1] as usize - LABEL_BYTES),
        ("label copy", LABEL_COPY_OFFSETS[1] as usize, LABEL_BYTES),
        (
            "reserved",
            LABEL_COPY_OFFSETS[1] as usize + LABEL_BYTES,
            LABEL_COPY_OFFSETS[1] as usize - LABEL_BYTES,
        ),
        ("anchors", anchors, end - anchors),
        ("claim", CLAIM_OFFSET as usize, CLAIM_BYTES),
        ("reserved", end + CLAIM_BYTES, DEVICE_HEADER_BYTES as usize - end - CLAIM_BYTES),
    ]
    .map(|(name, offset, size)| (name.to_owned(), offset, size));
    assert_eq!(rows("## The device"), regions);
}

#[test]
fn a_label_of_a_full_pool_keeps_every_member() {
    let members = (0..DEVICES_MAX as u16).map(|index| member(index, &"/p".repeat(100))).collect();
    let full = Label { members, ..label() };
    assert_eq!(Label::decode(&full.encode()), Ok(full));
}

#[test]
fn a_long_path_keeps_its_end_and_is_no_path_any_more() {
    let long = format!("/{}/end", "ä".repeat(200));
    let members = vec![member(0, &long), member(3, "/data")];
    let read = Label::decode(&Label { members, ..label() }.encode()).expect("valid");
    let path = &read.members[0].path;
    assert!(path.len() <= PATH_BYTES_MAX && path.starts_with('…') && path.ends_with("ää/end"), "{path}");
}

/// The bytes with another version and the code of `protection`, and a right checksum.
fn with_version(label: &Label, version: u8, code: [u8; 2]) -> Vec<u8> {
    let mut bytes = label.encode();
    bytes[8] = version;
    bytes[84..86].copy_from_slice(&code);
    bytes[12..16].fill(0);
    let checksum = crate::crc32c(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn labels_of_the_versions_before_are_read() {
    for version in [1, 2] {
        assert_eq!(Label::decode(&with_version(&label(), version, [0, 0])), Ok(label()));
    }
    for version in [0, 4] {
        let read = Label::decode(&with_version(&label(), version, [0, 0]));
        assert_eq!(read, Err(LabelError::Version { found: version.into() }));
    }
}

#[test]
fn copies_and_code_of_a_label_agree() {
    let members: Vec<Member> = (0..3).map(|index| member(index, "/d")).collect();
    let coded =
        Label { protection: Protection::Coded { data: 2, parity: 1 }, device_index: 0, members, ..label() };
    assert_eq!(Label::decode(&coded.encode()), Ok(coded.clone()));
    for code in [[2, 2], [1, 1], [9, 1], [2, 0], [0, 1]] {
        let read = Label::decode(&with_version(&coded, 3, code));
        assert_eq!(read, Err(LabelError::Invalid { rule: LabelRule::Protection }), "{code:?}");
    }
}

#[test]
fn each_broken_rule_is_found() {
    let with = |change: &dyn Fn(&mut Label)| {
        let mut label = label();
        change(&mut label);
        label.check()
    };
    type Change = &'static dyn Fn(&mut Label);
    const TOO_MANY: LogPolicy = LogPolicy { protection: Some(Protection::Copies(3)), tier_policy: None };
    let cases: [(LabelRule, Change); 17] = [
        (LabelRule::MemberCount, &|label| label.members.clear()),
        (LabelRule::MemberCount, &|label| label.members = (0..65).map(|index| member(index, "/d")).collect()),
        (LabelRule::Protection, &|label| label.protection = Protection::Copies(3)),
        (LabelRule::Protection, &|label| label.protection = Protection::Coded { data: 2, parity: 1 }),
        (LabelRule::Protection, &|label| _ = label.log_policies.insert(LogId(2), TOO_MANY)),
        (LabelRule::LogPolicies, &|label| _ = label.log_policies.insert(LogId(0), LogPolicy::default())),
        (LabelRule::LogPolicies, &|label| {
            let policy = label.log_policies[&LogId(1)];
            label.log_policies.insert(LogId(LOGS_MAX), policy);
        }),
        (LabelRule::PoolName, &|label| label.pool_name.clear()),
        (LabelRule::PoolName, &|label| label.pool_name = "x".repeat(64)),
        (LabelRule::SegmentBytes, &|label| label.segment_bytes = 0),
        (LabelRule::SegmentBytes, &|label| label.segment_bytes = 3 << 20),
        (LabelRule::SegmentBytes, &|label| label.segment_bytes = 64 << 20),
        (LabelRule::MemberOrder, &|label| label.members[0].index = 3),
        (LabelRule::MemberOrder, &|label| label.members[0].device = label.members[1].device),
        (LabelRule::SectorBytes, &|label| label.members[0].sector_bytes = 8192),
        (LabelRule::Slots, &|label| label.members[0].slots = 32),
        (LabelRule::NotAMember, &|label| label.device_index = 1),
    ];
    assert_eq!(with(&|_| ()), Ok(()));
    for (rule, change) in cases {
        assert_eq!(with(change), Err(rule));
    }
}

#[test]
fn what_is_not_a_label_is_told_apart() {
    let good = label().encode();
    let with = |offset: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[offset] = byte;
        Label::decode(&bytes)
    };
    assert_eq!(Label::decode(&good[1..]), Err(LabelError::Length { length: LABEL_BYTES - 1 }));
    assert_eq!(Label::decode(&[0; LABEL_BYTES]), Err(LabelError::Magic));
    assert_eq!(with(0, 0), Err(LabelError::Magic));
    let Err(LabelError::Checksum { computed, .. }) = with(8, 9) else {
        panic!("the checksum covers the version")
    };
    let mut newer = good.clone();
    newer[8] = 9;
    newer[12..16].copy_from_slice(&computed.to_le_bytes());
    assert_eq!(Label::decode(&newer), Err(LabelError::Version { found: 9 }));
    assert!(matches!(with(LABEL_BYTES - 1, 1), Err(LabelError::Checksum { .. })));
}

#[test]
fn anchors_do_not_overlap_and_stay_in_front_of_the_slots() {
    let offsets: Vec<u64> =
        (0..LOGS_MAX).flat_map(|log| [0, 1].map(|which| anchor_offset(LogId(log), which))).collect();
    assert!(offsets.windows(2).all(|pair| pair[0] + ANCHOR_BYTES as u64 == pair[1]));
    assert!(offsets[0] >= LABEL_COPY_OFFSETS[1] + LABEL_BYTES as u64);
    assert!(offsets.last().unwrap() + ANCHOR_BYTES as u64 <= slot_offset(0, SEGMENT_BYTES_DEFAULT));
}

#[test]
fn segments_are_small_enough_for_the_smallest_device() {
    for (sizes, segment_bytes, slots) in [
        (vec![DEVICE_BYTES_MIN], SEGMENT_BYTES_MIN, 31),
        (vec![DEVICE_BYTES_MIN, 1 << 50], SEGMENT_BYTES_MIN, 31),
        (vec![(64 << 20) + DEVICE_HEADER_BYTES], SEGMENT_BYTES_MIN, 64),
        (vec![1 << 30], SEGMENT_BYTES_MIN, 1023),
        (vec![(32 << 30) + DEVICE_HEADER_BYTES - 1], 16 << 20, 2047),
        (vec![(32 << 30) + DEVICE_HEADER_BYTES, 4 << 40], SEGMENT_BYTES_DEFAULT, 1024),
        (vec![20 << 40], SEGMENT_BYTES_DEFAULT, 655_359),
    ] {
        let chosen = segment_bytes_for(sizes.iter().copied());
        assert_eq!(chosen, segment_bytes, "{sizes:?}");
        assert_eq!(slots_for(sizes[0], chosen), slots, "{sizes:?}");
        assert!(u64::from(slots) >= SLOTS_WANTED_MIN || chosen == SEGMENT_BYTES_MIN);
    }
    assert_eq!(slots_for(0, SEGMENT_BYTES_MIN), 0);
    assert_eq!(slots_for(u64::MAX, SEGMENT_BYTES_MIN), u32::MAX);
}

fn any_member(index: u16) -> impl Strategy<Value = Member> {
    let class = prop::sample::select(vec![
        DeviceClass::Pmem,
        DeviceClass::Nvme,
        DeviceClass::Ssd,
        DeviceClass::Hdd,
        DeviceClass::Object,
        DeviceClass::Unknown,
    ]);
    (any::<u128>(), 1u64 << 25..1 << 55, 9u32..=12, class, any::<[bool; 2]>(), "[/a-zé]{0,100}").prop_map(
        move |(id, size_bytes, sector_bits, class, [created_file, leaving], path)| Member {
            device: DeviceId::from_random(id),
            index,
            size_bytes,
            slots: slots_for(size_bytes, SEGMENT_BYTES_DEFAULT),
            sector_bytes: 1 << sector_bits,
            class,
            created_file,
            leaving,
            path,
        },
    )
}

fn any_label() -> impl Strategy<Value = Label> {
    let members =
        (1..=DEVICES_MAX as u16).prop_flat_map(|count| (0..count).map(any_member).collect::<Vec<_>>());
    let state = prop::sample::select(vec![LabelState::Forming, LabelState::Ready, LabelState::Ended]);
    let tier_policy = prop::sample::select(vec![
        TierPolicy::Automatic,
        TierPolicy::Pinned(DeviceClass::Nvme),
        TierPolicy::Pinned(DeviceClass::Hdd),
    ]);
    let of_log = (
        0..LOGS_MAX,
        any::<bool>(),
        prop::sample::select(vec![
            None,
            Some(TierPolicy::Automatic),
            Some(TierPolicy::Pinned(DeviceClass::Object)),
        ]),
    );
    let of_log = of_log.prop_map(|(log, is_kept, tier_policy)| {
        let protection = (is_kept || tier_policy.is_none()).then_some(Protection::Copies(1));
        (LogId(log), LogPolicy { protection, tier_policy })
    });
    let log_policies = prop::collection::vec(of_log, 0..9).prop_map(BTreeMap::from_iter);
    let state = (state, tier_policy, log_policies);
    (any::<u64>(), state, any::<u128>(), "[a-z]{1,63}", any::<u64>(), any::<prop::sample::Index>(), members)
        .prop_map(
            |(sequence, (state, tier_policy, log_policies), pool, pool_name, created_ms, own, members)| {
                Label {
                    sequence,
                    state,
                    pool: PoolId::from_random(pool),
                    pool_name,
                    protection: match members.len() {
                        count @ 3..=11 => Protection::Coded { data: (count - 1).min(8) as u8, parity: 1 },
                        count => Protection::Copies(count.min(COPIES_MAX) as u8),
                    },
                    segment_bytes: SEGMENT_BYTES_DEFAULT,
                    tier_policy,
                    log_policies,
                    created_ms,
                    device_index: members[own.index(members.len())].index,
                    members,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_label_reads_as_it_was_written(label in any_label()) {
        prop_assert_eq!(Label::decode(&label.encode()), Ok(label));
    }

    #[test]
    fn a_changed_byte_is_never_a_label(label in any_label(), at in 0..LABEL_BYTES, flip in 1u8..) {
        let mut bytes = label.encode();
        bytes[at] ^= flip;
        prop_assert!(Label::decode(&bytes).is_err());
    }

    #[test]
    fn arbitrary_fields_under_a_right_checksum_never_panic(
        head in prop::collection::vec(any::<u8>(), 400), members in prop::collection::vec(any::<u8>(), 2000),
    ) {
        let mut bytes = label().encode();
        bytes[16..416].copy_from_slice(&head);
        bytes[512..2512].copy_from_slice(&members);
        if let Err(LabelError::Checksum { computed, .. }) = Label::decode(&bytes) {
            bytes[12..16].copy_from_slice(&computed.to_le_bytes());
        }
        let decoded = Label::decode(&bytes);
        let decodes_or_breaks_a_rule = matches!(decoded, Ok(_) | Err(LabelError::Invalid { .. }));
        prop_assert!(decodes_or_breaks_a_rule);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2 * LABEL_BYTES)) {
        prop_assert!(Label::decode(&bytes).is_err());
    }
}
