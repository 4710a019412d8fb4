//! The table of a chunk with parity: what decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::chunk::CHUNK_HEADER_BYTES;
use quarry_format::parity::{CodedMember, ParityTable};
use quarry_types::ChunkId;

fuzz_target!(|data: &[u8]| {
    let member = CodedMember { chunk: ChunkId(1), sectors: 8, header: [1; CHUNK_HEADER_BYTES] };
    let sample = ParityTable { parity: 1, index: 0, members: vec![member.clone(), member] }.encode();
    let granule = |table: &[u8]| [&[0; CHUNK_HEADER_BYTES], table].concat();
    if let Ok(table) = ParityTable::decode(&granule(&quarry_fuzz::sealed(&sample, data))) {
        assert_eq!(ParityTable::decode(&granule(&table.encode())), Ok(table));
    }
});
