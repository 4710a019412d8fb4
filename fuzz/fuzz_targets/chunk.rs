//! A chunk header: what decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::chunk::{CHUNK_HEADER_BYTES, ChunkContent, ChunkHeader};
use quarry_types::{ChunkId, LogId, PoolId};

fuzz_target!(|data: &[u8]| {
    let (pool, log, chunk) = (PoolId::from_random(1), LogId(1), ChunkId(1));
    let sample = ChunkHeader { pool, log, chunk, content: ChunkContent::Packed }.encode();
    let mut body = data.to_vec();
    body.resize(CHUNK_HEADER_BYTES - 16, 0);
    if let Ok(header) = ChunkHeader::decode(&quarry_fuzz::sealed(&sample, &body)) {
        assert_eq!(ChunkHeader::decode(&header.encode()), Ok(header));
    }
});
