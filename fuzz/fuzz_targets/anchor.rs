//! An anchor: what decodes decodes to the same when it is encoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::anchor::Anchor;
use quarry_types::{Incarnation, LogId, PoolId};

fuzz_target!(|data: &[u8]| {
    let sample = Anchor {
        pool: PoolId::from_random(1),
        log: LogId(1),
        sequence: 1,
        incarnation: Incarnation(1),
        image_bytes: 1,
        image_checksum: 1,
        chunks: Vec::new(),
    }
    .encode();
    let mut body = data.to_vec();
    body.resize(sample.len() - 16, 0);
    if let Ok(anchor) = Anchor::decode(&quarry_fuzz::sealed(&sample, &body)) {
        assert_eq!(Anchor::decode(&anchor.encode()), Ok(anchor));
    }
});
