use crate::{CommandBuilder, CompletionEntry, Status};

use super::*;

const PLAIN: Link = Link { header_digest: false, data_digest: false, host_alignment: 0 };
const DIGESTS: Link = Link { header_digest: true, data_digest: true, host_alignment: 0 };

fn common(kind: u8, flags: u8, header_bytes: u8, data_offset: u8, bytes: u32) -> Common {
    Common { kind, flags, header_bytes, data_offset, bytes }
}

#[test]
fn valid_pdus_have_a_layout() {
    let layout =
        |header, data: Range<usize>, has_data_digest, bytes| Layout { header, data, has_data_digest, bytes };
    let table = [
        (common(4, 0, 72, 0, 72), PLAIN, layout(72, 72..72, false, 72)),
        (common(4, 0, 72, 72, 72 + 512), PLAIN, layout(72, 72..584, false, 584)),
        (common(4, 0, 72, 128, 128 + 512), PLAIN, layout(72, 128..640, false, 640)),
        (common(4, 1, 72, 0, 76), DIGESTS, layout(76, 76..76, false, 76)),
        (common(4, 3, 72, 76, 76 + 512 + 4), DIGESTS, layout(76, 76..588, true, 592)),
        (common(6, 7, 24, 28, 28 + 8 + 4), DIGESTS, layout(28, 28..36, true, 40)),
        (common(2, 0, 24, 0, 24 + 72), DIGESTS, layout(24, 24..96, false, 96)),
    ];
    for (common, link, expected) in table {
        assert_eq!(common.check_from_host(&link, 8192), Ok(expected), "{common:?}");
    }
}

#[test]
fn wrong_pdus_are_named() {
    let limit = Fatal { status: FatalStatus::DataLimit, information: 4 };
    let table = [
        (common(8, 0, 72, 0, 72), PLAIN, Fatal::field(0)),
        (common(5, 0, 24, 0, 24), PLAIN, Fatal::field(0)),
        (common(0, 0, 128, 0, 128), PLAIN, Fatal::because(FatalStatus::Sequence)),
        (common(4, 0, 71, 0, 72), PLAIN, Fatal::field(2)),
        (common(4, 1, 72, 0, 76), PLAIN, Fatal::field(1)),
        (common(4, 0, 72, 0, 72), DIGESTS, Fatal::field(1)),
        (common(4, 0, 72, 0, 71), PLAIN, Fatal::field(3)),
        (common(4, 0, 72, 72, 72 + 8193), PLAIN, limit),
        (common(4, 0, 72, 72, u32::MAX), PLAIN, limit),
        (common(4, 0, 72, 73, 72 + 512), PLAIN, Fatal::field(3)),
        (common(4, 0, 72, 68, 72 + 512), PLAIN, Fatal::field(3)),
        (common(4, 1, 72, 76, 76 + 512 + 4), DIGESTS, Fatal::field(1)),
        (common(6, 0, 24, 24, 24), PLAIN, Fatal::field(4)),
        (common(6, 3, 24, 28, 3), DIGESTS, Fatal::field(4)),
        (common(2, 0, 24, 0, 24 + 129), PLAIN, Fatal::field(4)),
        (common(2, 0, 25, 0, 24), PLAIN, Fatal::field(2)),
    ];
    for (common, link, fatal) in table {
        assert_eq!(common.check_from_host(&link, 8192), Err(fatal), "{common:?}");
    }
}

#[test]
fn what_is_put_is_understood_by_the_other_side() {
    for link in [PLAIN, DIGESTS, Link { host_alignment: 31, ..DIGESTS }] {
        let mut out = [0xEE; C2H_HEADER_BYTES_MAX];
        let header = DataHeader { command: 7, tag: 3, offset: 512, length: 4096 };
        let puts: [(usize, Common); 2] = [
            {
                let length = put_h2c_data(&mut out, &header, true, &link);
                (length, Common::decode(&out))
            },
            {
                let length = put_command(&mut out, &CommandBuilder::new(1, 9).build(), 512, &link);
                (length, Common::decode(&out))
            },
        ];
        for (length, common) in puts {
            let layout = common.check_from_host(&link, 8192).unwrap();
            assert_eq!((layout.header, layout.data.start), (length, length));
        }
        let start = put_c2h_data(&mut out, &header, true, &link);
        let layout = Common::decode(&out).check_from_controller(&link, 4096).unwrap();
        assert_eq!((layout.data.start, layout.data.len()), (start, 4096));
        assert_eq!(start % ((usize::from(link.host_alignment) + 1) * 4), 0);
        assert_eq!((DataHeader::decode(&out), check_header_digest(&out, &layout, &link)), (header, Ok(())));
        let entry = CompletionEntry {
            result: 1 << 40,
            submission_head: 5,
            queue: 1,
            command: 9,
            status: Status::LBA_OUT_OF_RANGE,
        };
        put_response(&mut out, &entry, &link);
        let layout = Common::decode(&out).check_from_controller(&link, 0).unwrap();
        assert_eq!(CompletionEntry::decode(&out[8..24]), entry);
        assert_eq!(check_header_digest(&out, &layout, &link), Ok(()));
        out[9] ^= 1;
        assert_eq!(check_header_digest(&out, &layout, &link).is_err(), link.header_digest);
    }
}

#[test]
fn a_connection_is_initialized() {
    let request = InitializeRequest { link: Link { host_alignment: 3, ..DIGESTS }, ready_to_transfer_max: 0 };
    assert_eq!(InitializeRequest::decode(&request.encode()), Ok(request));
    let response = InitializeResponse { link: DIGESTS, data_bytes_max: 1 << 20 };
    assert_eq!(InitializeResponse::decode(&response.encode()), Ok(response));
    let unsupported = Fatal { status: FatalStatus::Unsupported, information: 8 };
    let sequence = Fatal::because(FatalStatus::Sequence);
    let table = [
        (0, 4, sequence),
        (2, 127, Fatal::field(2)),
        (4, 129, Fatal::field(4)),
        (8, 1, unsupported),
        (10, 32, Fatal::field(10)),
    ];
    for (at, value, fatal) in table {
        let mut bytes = request.encode();
        bytes[at] = value;
        assert_eq!(InitializeRequest::decode(&bytes), Err(fatal), "{at}");
    }
}

#[test]
fn a_termination_repeats_what_was_wrong() {
    let mut out = [0; 256];
    let length = put_termination(&mut out, kind::CONTROLLER_TERMINATION, &Fatal::field(2), &[7; 72]);
    assert_eq!(length, 96);
    assert_eq!(out[..14], [3, 0, 24, 0, 96, 0, 0, 0, 1, 0, 2, 0, 0, 0]);
    assert_eq!(out[24..96], [7; 72]);
    assert_eq!(put_termination(&mut out, kind::CONTROLLER_TERMINATION, &Fatal::field(2), &[7; 200]), 152);
}
