//! A cache disk: its label, and the head and entries of a region. What decodes decodes to the same when it is encoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::cache_disk::{
    CACHE_BLOCK_BYTES, CACHE_REGIONS_OFFSET, CacheEntry, CacheLabel, CacheRegion,
};
use quarry_format::crc32c;
use quarry_types::{Incarnation, LogId, PoolId};

const BODY_BYTES: usize = CACHE_BLOCK_BYTES - 16;

fn region(entries: u32, entries_checksum: u32) -> CacheRegion {
    let (pool, log, incarnation) = (PoolId::from_random(1), LogId(1), Incarnation(1));
    CacheRegion { disk: 1, pool, log, incarnation, sequence: 1, entries, entries_checksum }
}

fuzz_target!(|data: &[u8]| {
    let (body, entries) = data.split_at(BODY_BYTES.min(data.len()));
    let mut body = body.to_vec();
    body.resize(BODY_BYTES, 0);
    let sample = CacheLabel::for_disk(1, 1 << 30).expect("it has room").encode();
    if let Ok(label) = CacheLabel::decode(&quarry_fuzz::sealed(&sample, &body)) {
        assert_eq!(CacheLabel::decode(&label.encode()), Ok(label));
        assert!(label.offset(0) == CACHE_REGIONS_OFFSET && label.entries_max() > 0);
        assert!(label.offset(label.regions) <= CACHE_REGIONS_OFFSET + (4 << 40));
    }
    if let Ok(region) = CacheRegion::decode(&quarry_fuzz::sealed(&region(0, 0).encode(), &body)) {
        assert_eq!(CacheRegion::decode(&region.encode()), Ok(region));
        // Whatever it says of their number.
        let region = CacheRegion { entries_checksum: crc32c(entries), ..region };
        _ = CacheEntry::decode_all(&region, entries);
    }
    let whole = entries.len() / 16 * 16;
    let region = region((whole / 16) as u32, crc32c(&entries[..whole]));
    let decoded = CacheEntry::decode_all(&region, entries).expect("they are whole");
    assert_eq!(CacheEntry::encode_all(&decoded), &entries[..whole]);
});
