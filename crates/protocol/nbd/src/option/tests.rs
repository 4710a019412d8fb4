use proptest::prelude::*;
use quarry_types::{Durability, VolumeId};
use quarry_volume::VolumeInfo;

use super::*;
use crate::constants::OPTION_REPLY_MAGIC;
use crate::wire::u64_at;

fn export() -> Export {
    let volume = VolumeInfo {
        id: VolumeId::from_random(1),
        name: "disk".to_owned(),
        size_bytes: 3 << 30,
        preferred_bytes: 4096,
        request_bytes_max: 32 << 20,
        compare_bytes_max: 64 << 10,
        atomic_bytes_max: 256 << 10,
        read_only: false,
        durability: Durability::Flush,
    };
    Export { name: "shown".to_owned(), volume, core: 0 }
}

/// The type and data of each reply to `option`.
fn replies(bytes: &[u8], option: u32) -> Vec<(u32, Vec<u8>)> {
    let (mut at, mut replies) = (0, Vec::new());
    while at < bytes.len() {
        assert_eq!((u64_at(bytes, at), u32_at(bytes, at + 8)), (OPTION_REPLY_MAGIC, option));
        let (kind, length) = (u32_at(bytes, at + 12), u32_at(bytes, at + 16) as usize);
        replies.push((kind, bytes[at + 20..at + 20 + length].to_vec()));
        at += 20 + length;
    }
    replies
}

#[test]
fn info_gives_what_was_asked_for_and_the_block_sizes() {
    let mut out = Vec::new();
    let request = InfoRequest { export: "", name: true, description: true };
    put_info(&mut out, options::INFO, &request, &export(), 0x8001, 1 << 20);
    let expected = [
        (reply::INFO, [&[0, 0][..], &(3u64 << 30).to_be_bytes(), &[0x80, 1]].concat()),
        (reply::INFO, b"\0\x01shown".to_vec()),
        (reply::INFO, b"\0\x02volume disk of 3 GiB".to_vec()),
        (reply::INFO, vec![0, 3, 0, 0, 2, 0, 0, 0, 16, 0, 0, 16, 0, 0]),
        (reply::ACK, vec![]),
    ];
    assert_eq!(replies(&out, options::INFO), expected);
}

#[test]
fn the_preferred_block_is_a_power_of_two_between_the_bounds() {
    for (wanted, payload_max, expected) in
        [(0, 32 << 20, 512), (4096, 32 << 20, 4096), (5000, 32 << 20, 8192), (1 << 31, 3 << 20, 2 << 20)]
    {
        assert_eq!(preferred_bytes(wanted, payload_max), expected, "{wanted} {payload_max}");
    }
}

#[test]
fn malformed_data_is_found() {
    let long = [&5000u32.to_be_bytes()[..], &[b'x'; 5000], &[0, 0]].concat();
    for (data, good) in [
        (&b"\0\0\0\x01a\0\0"[..], true),
        (b"\0\0\0\0\0\x01\0\x03", true),
        (b"\0\0\0\0\0\x01\x12\x34", true),
        (b"", false),
        (b"\0\0\0\x02a\0\0", false),
        (b"\xff\xff\xff\xffa\0\0", false),
        (b"\0\0\0\x01\xff\0\0", false),
        (b"\0\0\0\x01\0\0\0", false),
        (b"\0\0\0\0\0\x02\0\x03", false),
        (b"\0\0\0\0\0\0x", false),
        (&long, false),
    ] {
        assert_eq!(InfoRequest::decode(data).is_ok(), good, "{data:?}");
    }
    for (data, good) in [
        (&b"\0\0\0\x01a\0\0\0\0"[..], true),
        (b"\0\0\0\0\0\0\0\x01\0\0\0\x02b:", true),
        (b"\0\0\0\0\0\0\0\x02\0\0\0\x02b:", false),
        (b"\0\0\0\0\xff\xff\xff\xff", false),
        (b"\0\0\0\0\0\0\0\0x", false),
    ] {
        assert_eq!(ContextRequest::decode(data).is_ok(), good, "{data:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = InfoRequest::decode(&bytes);
        let _ = ContextRequest::decode(&bytes);
        let _ = text(&bytes);
    }

    /// Encoded by hand here, so that both directions must agree with proto.md.
    #[test]
    fn contexts_are_read_as_they_were_written(
        export in "[a-z/ ]{0,20}",
        queries in prop::collection::vec("[a-z:]{0,20}", 0..8),
    ) {
        let string = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
        let mut bytes = string(&export);
        bytes.extend((queries.len() as u32).to_be_bytes());
        queries.iter().for_each(|query| bytes.extend(string(query)));
        let request = ContextRequest::decode(&bytes);
        let queries = queries.iter().map(String::as_str).collect();
        prop_assert_eq!(request, Ok(ContextRequest { export: &export, queries }));
    }
}
