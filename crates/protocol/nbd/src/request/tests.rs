use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms {
    style: Style::Structured,
    size_bytes: 1 << 20,
    payload_bytes_max: 128 << 10,
    read_only: false,
    block_status: true,
};

fn header(flags: u16, command: u16, offset: u64, length: u64) -> RequestHeader {
    RequestHeader { flags, command, cookie: 7, offset, length }
}

#[test]
fn requests_are_refused_as_proto_md_says() {
    use commands::{BLOCK_STATUS, CACHE, FLUSH, READ, TRIM, WRITE, WRITE_ZEROES};
    let (simple, extended) =
        (Terms { style: Style::Simple, ..TERMS }, Terms { style: Style::Extended, ..TERMS });
    let read_only = Terms { read_only: true, ..TERMS };
    let no_context = Terms { block_status: false, ..TERMS };
    let end = TERMS.size_bytes;
    let ok = None;
    for (terms, flags, command, offset, length, expected) in [
        (TERMS, 0, READ, 0, 512, ok),
        (TERMS, flag::DF | flag::FUA, READ, end - 512, 512, ok),
        (TERMS, 0, READ, 0, 0, ok),
        (TERMS, 0, READ, end, 512, Some(Errno::Invalid)),
        (TERMS, 0, READ, u64::MAX - 511, 512, Some(Errno::Invalid)),
        (TERMS, 0, READ, 1, 512, Some(Errno::Invalid)),
        (TERMS, 0, READ, 0, 513, Some(Errno::Invalid)),
        (TERMS, 0, READ, 0, 256 << 10, Some(Errno::Overflow)),
        (simple, 0, READ, 0, 256 << 10, Some(Errno::Invalid)),
        (simple, flag::DF, READ, 0, 512, Some(Errno::Invalid)),
        (TERMS, flag::NO_HOLE, READ, 0, 512, Some(Errno::Invalid)),
        (TERMS, 1 << 15, READ, 0, 512, Some(Errno::Invalid)),
        (TERMS, flag::FUA, WRITE, 0, 512, ok),
        (TERMS, 0, WRITE, end, 512, Some(Errno::NoSpace)),
        (TERMS, flag::PAYLOAD_LEN, WRITE, 0, 512, Some(Errno::Invalid)),
        (extended, flag::PAYLOAD_LEN, WRITE, 0, 512, ok),
        (extended, 0, WRITE, 0, 512, ok),
        (extended, flag::PAYLOAD_LEN, READ, 0, 512, Some(Errno::Invalid)),
        (read_only, 0, WRITE, 0, 512, Some(Errno::NotPermitted)),
        (read_only, 0, TRIM, 0, 512, Some(Errno::NotPermitted)),
        (read_only, 0, WRITE_ZEROES, 0, 512, Some(Errno::NotPermitted)),
        (read_only, 0, READ, 0, 512, ok),
        (read_only, 0, FLUSH, 0, 0, ok),
        (TERMS, flag::FUA, FLUSH, 0, 0, ok),
        (TERMS, 0, FLUSH, 512, 0, Some(Errno::Invalid)),
        (TERMS, 0, FLUSH, 0, 512, Some(Errno::Invalid)),
        (TERMS, flag::FUA, TRIM, 0, end, ok),
        (TERMS, 0, TRIM, 512, end, Some(Errno::Invalid)),
        (TERMS, flag::REQ_ONE, TRIM, 0, 512, Some(Errno::Invalid)),
        (TERMS, 0, WRITE_ZEROES, 0, end, ok),
        (TERMS, flag::NO_HOLE, WRITE_ZEROES, 0, 512, ok),
        (TERMS, flag::FAST_ZERO, WRITE_ZEROES, 0, 512, ok),
        (TERMS, flag::FAST_ZERO | flag::NO_HOLE, WRITE_ZEROES, 0, 512, Some(Errno::NotSupported)),
        (TERMS, 0, WRITE_ZEROES, 512, end, Some(Errno::NoSpace)),
        (TERMS, 0, CACHE, 0, end, ok),
        (TERMS, flag::DF, CACHE, 0, 512, Some(Errno::Invalid)),
        (TERMS, 0, CACHE, end, 512, Some(Errno::Invalid)),
        (TERMS, flag::REQ_ONE, BLOCK_STATUS, 0, end, ok),
        (TERMS, 0, BLOCK_STATUS, 0, 0, Some(Errno::Invalid)),
        (TERMS, 0, BLOCK_STATUS, end, 512, Some(Errno::Invalid)),
        (no_context, 0, BLOCK_STATUS, 0, 512, Some(Errno::Invalid)),
        (TERMS, flag::PAYLOAD_LEN, BLOCK_STATUS, 0, 12, Some(Errno::Invalid)),
        (extended, flag::PAYLOAD_LEN, BLOCK_STATUS, 0, 12, ok),
        (extended, flag::PAYLOAD_LEN, BLOCK_STATUS, 0, 16, Some(Errno::Invalid)),
        (TERMS, 0, 8, 0, 0, Some(Errno::Invalid)),
        (TERMS, 0, u16::MAX, 0, 0, Some(Errno::Invalid)),
    ] {
        let request = header(flags, command, offset, length);
        let found = terms.check(&request).err().map(|refusal| refusal.error);
        assert_eq!(found, expected, "{request:?} under {terms:?}");
    }
}

#[test]
fn the_place_where_a_range_leaves_the_volume_is_named() {
    let beyond = |offset, length| {
        TERMS.check(&header(0, commands::READ, offset, length)).expect_err("it is behind the end").beyond
    };
    assert_eq!(beyond((1 << 20) - 512, 1024), Some(1 << 20));
    assert_eq!(beyond(2 << 20, 512), Some(2 << 20));
    assert_eq!(TERMS.check(&header(0, commands::READ, 1, 1)).expect_err("unaligned").beyond, None);
}

#[test]
fn only_writes_and_flagged_requests_have_a_payload() {
    for (style, flags, command, expected) in [
        (Style::Simple, 0, commands::WRITE, 512),
        (Style::Structured, flag::PAYLOAD_LEN, commands::READ, 0),
        (Style::Extended, 0, commands::WRITE, 512),
        (Style::Extended, 0, commands::READ, 0),
        (Style::Extended, flag::PAYLOAD_LEN, commands::WRITE, 512),
        (Style::Extended, flag::PAYLOAD_LEN, commands::READ, 512),
    ] {
        assert_eq!(header(flags, command, 0, 512).payload_bytes(style), expected, "{style:?} {command}");
    }
}

#[test]
fn a_filtered_status_takes_its_range_from_the_payload() {
    let request = header(flag::PAYLOAD_LEN | flag::REQ_ONE, commands::BLOCK_STATUS, 512, 12);
    let payload = |length: u64, id: u32| [&length.to_be_bytes()[..], &id.to_be_bytes()].concat();
    let meant = request.with_status_payload(&payload(4096, CONTEXT_ID)).expect("our context");
    assert_eq!(meant, header(flag::REQ_ONE, commands::BLOCK_STATUS, 512, 4096));
    assert!(request.with_status_payload(&payload(4096, CONTEXT_ID + 1)).is_err());
    assert!(request.with_status_payload(&[]).is_err());
}

fn style() -> impl Strategy<Value = Style> {
    prop_oneof![Just(Style::Simple), Just(Style::Structured), Just(Style::Extended)]
}

proptest! {
    /// Whatever bytes arrive: no panic, and what is allowed lies inside the volume and is aligned.
    #[test]
    fn what_is_allowed_lies_inside_the_volume(
        style in style(),
        mut bytes in prop::array::uniform32(any::<u8>()),
        command in 0u16..10,
        flags in 0u16..64,
        offset in prop_oneof![any::<u64>(), (0u64..4096).prop_map(|sector| sector * 512)],
        length in prop_oneof![any::<u64>(), (0u64..4096).prop_map(|sector| sector * 512)],
    ) {
        let magic = if style == Style::Extended { 0x21e4_1c71u32 } else { 0x2560_9513 };
        prop_assert!(RequestHeader::decode(style, &bytes).is_err() || u32_at(&bytes, 0) == magic);
        bytes[..4].copy_from_slice(&magic.to_be_bytes());
        bytes[4..6].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&command.to_be_bytes());
        bytes[16..24].copy_from_slice(&offset.to_be_bytes());
        match style {
            Style::Extended => bytes[24..32].copy_from_slice(&length.to_be_bytes()),
            _ => bytes[24..28].copy_from_slice(&(length as u32).to_be_bytes()),
        }
        let request = RequestHeader::decode(style, &bytes).expect("the magic is right");
        prop_assert_eq!((request.flags, request.command, request.offset), (flags, command, offset));
        let terms = Terms { style, ..TERMS };
        if terms.check(&request).is_ok() && !request.is_filtered_status() && command != commands::DISC {
            prop_assert!(request.offset + request.length <= terms.size_bytes);
            prop_assert_eq!((request.offset | request.length) % 512, 0);
        }
    }
}
