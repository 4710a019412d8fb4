//! A device label with bytes changed and the checksum that belongs to it: what decodes keeps every rule, and decodes to the same when it is
//! encoded again.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use quarry_format::crc32c;
use quarry_format::label::{DeviceClass, Label, LabelState, LogPolicy, Member, TierPolicy, slots_for};
use quarry_types::{DeviceId, LogId, PoolId, Protection};

const SEGMENT_BYTES: u64 = 32 << 20;
const CHECKSUM: std::ops::Range<usize> = 12..16;

fn sample() -> Label {
    let member = |index: u16| Member {
        device: DeviceId::from_bytes([index as u8 + 1; 16]),
        index,
        size_bytes: 1 << 30,
        slots: slots_for(1 << 30, SEGMENT_BYTES),
        sector_bytes: 512,
        class: DeviceClass::Ssd,
        created_file: false,
        leaving: false,
        path: "/dev/sdb".to_owned(),
    };
    let policy = LogPolicy { protection: Some(Protection::Copies(1)), tier_policy: None };
    Label {
        sequence: 7,
        state: LabelState::Ready,
        pool: PoolId::from_bytes([9; 16]),
        pool_name: "tank".to_owned(),
        protection: Protection::Copies(2),
        segment_bytes: SEGMENT_BYTES,
        tier_policy: TierPolicy::Automatic,
        log_policies: BTreeMap::from([(LogId(1), policy)]),
        created_ms: 1,
        device_index: 1,
        members: (0..3).map(member).collect(),
    }
}

/// Without the paths: one that is too long or no text becomes another one, which says as much.
fn without_hints(mut label: Label) -> Label {
    label.members.iter_mut().for_each(|member| member.path.clear());
    label
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = sample().encode();
    for edit in data.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        // Magic and checksum are left alone: nothing without them is looked at.
        if (8..bytes.len()).contains(&place) {
            bytes[place] = edit[2];
        }
    }
    bytes[CHECKSUM].fill(0);
    let checksum = crc32c(&bytes);
    bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    if let Ok(label) = Label::decode(&bytes) {
        assert_eq!(label.check(), Ok(()));
        let again = Label::decode(&label.encode()).expect("it keeps every rule");
        assert_eq!(without_hints(again), without_hints(label));
    }
});
