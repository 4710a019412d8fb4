use quarry_types::VolumeId;

use super::*;
use crate::controller::Kind;
use crate::identity::Identity;
use quarry_nvme_wire::bytes::{u16_at, u32_at, u64_at};

fn facts(identity: &Identity, kind: Kind) -> ControllerFacts<'_> {
    let nqn = identity.nqn.as_str();
    ControllerFacts { id: 7, kind, identity, nqn, capsule_bytes: 16_384, compare_blocks_max: 128 }
}

#[test]
fn a_controller_says_what_hosts_check() {
    let identity = Identity::of_node("0000", "0.1.0");
    let page = controller(&facts(&identity, Kind::Io));
    assert_eq!(page.len(), 4096);
    assert_eq!(&page[24..31], b"Quarry ");
    assert_eq!((u16_at(&page, 78), u32_at(&page, 80), page[111]), (7, 0x2_0000, 1));
    assert_eq!(u16_at(&page, 320), 1, "keep-alive is there");
    assert_eq!((u16_at(&page, 266), u16_at(&page, 268)), (343, 353), "temperatures that are too high");
    assert_eq!((page[512], page[513]), (0x66, 0x44));
    assert!(u32_at(&page, 540) <= u32_at(&page, 516), "MNAN is at most NN, or Linux gives up");
    assert_eq!(u32_at(&page, 1792) * 16, 64 + 16_384);
    assert_eq!(u32_at(&page, 1796), 1);
    assert_eq!(u16_at(&page, 532), 127);
    assert!(page[768..].starts_with(b"nqn.2026-11.io.quarry:0000\0"));
    let discovery = controller(&facts(&identity, Kind::Discovery));
    assert_eq!((discovery[111], u32_at(&discovery, 92), u32_at(&discovery, 516)), (2, 1 << 31, 0));
}

#[test]
fn a_namespace_says_what_its_volume_can() {
    let volume = VolumeId::from_random(5);
    let facts = NamespaceFacts {
        volume,
        blocks: 2048,
        blocks_used: 8,
        compare_blocks_max: 128,
        ana_group: 3,
        read_only: true,
        keeps_reservations: true,
        ready: true,
    };
    let page = namespace(&facts);
    assert_eq!((u64_at(&page, 0), u64_at(&page, 8), u64_at(&page, 16)), (2048, 2048, 8));
    assert_eq!((page[99], u32_at(&page, 92)), (1, 3));
    assert_eq!((page[25], page[26], page[130]), (0, 0, 9), "one format, of 512 bytes");
    assert_eq!((u16_at(&page, 64), u16_at(&page, 66), u16_at(&page, 68)), (7, 7, 7));
    let forgetful = NamespaceFacts { keeps_reservations: false, ..facts };
    assert_eq!((page[31], namespace(&forgetful)[31], independent(&forgetful)[2]), (0xFF, 0xFE, 0xFE));
    let independent = independent(&facts);
    assert_eq!((independent[8], independent[14], u32_at(&independent, 4)), (1, 1, 3));
    let identity = descriptors(volume);
    assert_eq!((identity[0], identity[1]), (1, 8));
    assert_eq!((identity[12], identity[13]), (2, 16));
    assert_eq!((identity[32], identity[33], &identity[36..52]), (3, 16, &volume.to_bytes()[..]));
    assert_eq!((identity[52], identity[53], identity[56], identity[57]), (4, 1, 0, 0));
}

#[test]
fn a_list_goes_on_behind_an_id() {
    let ids = || [1, 5, 9].into_iter();
    let words = |page: Vec<u8>| [u32_at(&page, 0), u32_at(&page, 4), u32_at(&page, 8), u32_at(&page, 12)];
    assert_eq!(words(list(ids(), 0)), [1, 5, 9, 0]);
    assert_eq!(words(list(ids(), 5)), [9, 0, 0, 0]);
    assert_eq!(words(list(1..=5000, 0))[..2], [1, 2]);
    assert_eq!(u32_at(&list(1..=5000, 0), 4092), 1024);
}
