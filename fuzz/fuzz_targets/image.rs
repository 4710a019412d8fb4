//! A checkpoint image: what decodes decodes to the same when it is encoded again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use quarry_format::image::{Image, Position};
use quarry_types::{BatchNumber, Incarnation, LogId, PoolId, SegmentId, SnapshotCounter};

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let image = Image {
        pool: PoolId::from_random(1),
        log: LogId(1),
        incarnation: Incarnation(1),
        chunks_allocated: 1,
        replay_from: Position::default(),
        flushed_through: BatchNumber(1),
        next_segment: SegmentId::new(LogId(1), 1),
        next_volume: 1,
        birth: SnapshotCounter(1),
        chunks: Vec::new(),
        segments: Vec::new(),
        reserve: Vec::new(),
        volumes: Vec::new(),
        snapshots: Vec::new(),
        dissolving: None,
        detached: Vec::new(),
        keys: Vec::new(),
        salts: Vec::new(),
        shared: Vec::new(),
        owed: Vec::new(),
        groups: Vec::new(),
    };
    image.encode()
});

fuzz_target!(|data: &[u8]| {
    if let Ok(image) = Image::decode(&quarry_fuzz::sealed(&SAMPLE, data)) {
        assert_eq!(Image::decode(&image.encode()), Ok(image));
    }
});
