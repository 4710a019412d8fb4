//! Headers of PDUs of NVMe/TCP, from hosts and from controllers: a layout lies inside its PDU and inside the bounds, and what is
//! put is understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_nvme::{Connect};
use quarry_nvme_wire::{Command, DataPointer};
use quarry_nvme_wire::pdu::{
    COMMON_BYTES, Common, DataHeader, HEADER_BYTES, INITIALIZE_BYTES, InitializeRequest, InitializeResponse,
    Layout, Link, check_header_digest, kind, put_h2c_data,
};

const DATA_MAX: u32 = 1 << 20;

fn check(layout: &Layout) {
    assert!(layout.header <= layout.data.start && layout.data.start <= layout.data.end);
    assert!(layout.data.end <= layout.bytes && layout.data.len() <= DATA_MAX as usize);
    assert!(layout.bytes <= DATA_MAX as usize + 512);
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else { return };
    let link = Link { header_digest: first & 1 != 0, data_digest: first & 2 != 0, host_alignment: first >> 3 };
    if data.len() >= COMMON_BYTES {
        let common = Common::decode(data);
        for checked in [common.check_from_host(&link, DATA_MAX), common.check_from_controller(&link, DATA_MAX)] {
            let Ok(layout) = checked else { continue };
            check(&layout);
            if data.len() >= layout.header {
                let _ = check_header_digest(data, &layout, &link);
            }
        }
    }
    if data.len() >= HEADER_BYTES {
        let header = DataHeader::decode(data);
        if (1..=DATA_MAX).contains(&header.length) {
            let mut out = [0; 64];
            put_h2c_data(&mut out, &header, true, &link);
            let layout = Common::decode(&out).check_from_host(&link, DATA_MAX).expect("what is put is valid");
            assert_eq!((DataHeader::decode(&out), layout.data.len()), (header, header.length as usize));
            assert_eq!(out[0], kind::HOST_DATA);
        }
    }
    if let Some(bytes) = data.first_chunk::<INITIALIZE_BYTES>() {
        if let Ok(request) = InitializeRequest::decode(bytes) {
            assert_eq!(InitializeRequest::decode(&request.encode()), Ok(request));
        }
        let _ = InitializeResponse::decode(bytes);
    }
    if let Some((command, data)) = data.split_first_chunk() {
        let command = Command::new(*command);
        if let Ok(DataPointer::Capsule { length } | DataPointer::Host { length }) = command.data_pointer() {
            assert_eq!(length, command.dword(8));
        }
        let _ = Connect::decode(&command, data);
    }
});
