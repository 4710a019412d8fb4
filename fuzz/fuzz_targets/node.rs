//! A map node: what decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::crc32c;
use quarry_format::node::{NODE_HEADER_BYTES, NODE_MAGIC, NODE_VERSION, Node};

fuzz_target!(|data: &[u8]| {
    let mut bytes = NODE_MAGIC.to_le_bytes().to_vec();
    bytes.extend_from_slice(&NODE_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(data);
    if bytes.len() < NODE_HEADER_BYTES {
        return;
    }
    // The checksum covers what the counts say: slots of 24 bytes and tags of 16.
    let count = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let end = (NODE_HEADER_BYTES + 24 * count(18) + 16 * count(20)).min(bytes.len());
    let checksum = crc32c(&bytes[16..end]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    if let Ok(node) = Node::decode(&bytes) {
        let mut again = vec![0; usize::from(node.sectors()) * 512];
        node.encode(&mut again);
        assert_eq!(Node::decode(&again), Ok(node));
        assert_eq!(again[..end], bytes[..end]);
    }
});
