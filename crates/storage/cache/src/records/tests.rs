use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn address(number: u64) -> LogAddress {
    LogAddress(number * 8)
}

fn content(number: u64, bytes: usize) -> Vec<u8> {
    let mut all = number.to_le_bytes().repeat(bytes / 8);
    all[8..16].copy_from_slice(&(bytes as u64).to_le_bytes());
    all
}

/// Asks for a record as an engine does, and says whether it was there.
fn read(cache: &RecordCache, buffers: &BufferPool, number: u64) -> bool {
    let bytes = content(number, BLOCK_BYTES);
    match cache.find([address(number)].into_iter()) {
        Some(views) => {
            assert_eq!((views.len(), &views[0][..]), (1, &bytes[..]), "record {number}");
            true
        }
        None => {
            cache.note_read([(address(number), BLOCK_BYTES)].into_iter(), &[buffers.copy_of(&bytes)]);
            false
        }
    }
}

#[test]
fn what_is_read_twice_is_there_the_third_time() {
    let (cache, buffers) = (RecordCache::new(100 * RECORD_BYTES), BufferPool::default());
    let found: Vec<bool> = (0..4).map(|_| read(&cache, &buffers, 7)).collect();
    assert_eq!(found, [false, false, true, true]);
    let status = cache.status();
    assert_eq!((status.hits, status.misses, status.records), (2, 2, 1));
}

#[test]
fn reading_everything_once_drives_nothing_out() {
    let (cache, buffers) = (RecordCache::new(100 * RECORD_BYTES), BufferPool::default());
    for _ in 0..3 {
        (0..50).for_each(|number| _ = read(&cache, &buffers, number));
    }
    let kept: Vec<u64> = (0..50).filter(|&number| read(&cache, &buffers, number)).collect();
    assert!(kept.len() > 40, "{}", kept.len());
    (1000..20_000).for_each(|number| _ = read(&cache, &buffers, number));
    assert!(kept.iter().all(|&number| read(&cache, &buffers, number)), "a scan");
    // What is hot anew takes the places of what is not any more.
    let mut state = 1u64;
    for _ in 0..5000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        read(&cache, &buffers, 30_000 + (state >> 33) % 90);
    }
    let new = (30_000..30_090).filter(|&number| cache.find([address(number)].into_iter()).is_some()).count();
    assert!(new > 60, "{new}");
    assert!(cache.status().used_bytes <= 100 * RECORD_BYTES);
}

#[test]
fn long_reads_go_by_and_a_cache_without_memory_keeps_nothing() {
    let (cache, buffers) = (RecordCache::new(1000 * RECORD_BYTES), BufferPool::default());
    let long: Vec<(LogAddress, usize)> = (0..17).map(|number| (address(number), BLOCK_BYTES)).collect();
    let view = buffers.allocate_zeroed(17 * BLOCK_BYTES).freeze();
    for _ in 0..3 {
        assert!(cache.find(long.iter().map(|&(address, _)| address)).is_none());
        cache.note_read(long.iter().copied(), std::slice::from_ref(&view));
    }
    assert_eq!(cache.status(), RecordCacheStatus { budget_bytes: 1000 * RECORD_BYTES, ..Default::default() });
    let none = RecordCache::new(RECORD_BYTES - 1);
    assert!(!(0..4).any(|_| read(&none, &buffers, 1)));
    assert_eq!(none.status().records, 0);
}

#[test]
fn memory_goes_back_when_the_budget_shrinks_but_not_before_who_has_it() {
    let (cache, buffers) = (RecordCache::new(100 * RECORD_BYTES), BufferPool::default());
    for _ in 0..3 {
        (0..50).for_each(|number| _ = read(&cache, &buffers, number));
    }
    let held = cache.find([address(3)].into_iter()).expect("it is there");
    cache.set_budget(10 * RECORD_BYTES);
    assert_eq!(cache.status().records, 0);
    assert_eq!(&held[0][..], content(3, BLOCK_BYTES));
    cache.set_budget(10 * RECORD_BYTES);
    for _ in 0..3 {
        (0..5).for_each(|number| _ = read(&cache, &buffers, number));
    }
    assert!((1..=10).contains(&cache.status().records));
}

proptest! {
    /// Records of any length, in views that are cut anyhow at their edges: what is found is what was read there, and memory is bounded.
    #[test]
    fn whatever_is_found_is_what_was_read(
        reads in prop::collection::vec((0u64..40, 1usize..6, prop::collection::vec(any::<bool>(), 6)), 1..200),
        records_max in 1usize..20,
    ) {
        let (cache, buffers) = (RecordCache::new(records_max * RECORD_BYTES), BufferPool::default());
        // A record is as long as its number says: as in a log, for ever.
        let bytes_of = |number: u64| 512 * (1 + number as usize % 9);
        let mut known: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (first, count, cuts) in reads {
            let numbers: Vec<u64> = (first..first + count as u64).collect();
            numbers.iter().for_each(|&number| _ = known.insert(number, content(number, bytes_of(number))));
            if let Some(views) = cache.find(numbers.iter().map(|&number| address(number))) {
                prop_assert_eq!(views.len(), numbers.len());
                for (number, view) in numbers.iter().zip(&views) {
                    prop_assert_eq!(&view[..], &known[number][..]);
                }
                continue;
            }
            let mut views: Vec<Vec<u8>> = Vec::new();
            for (number, cut) in numbers.iter().zip(&cuts) {
                match views.last_mut() {
                    Some(last) if !cut => last.extend(&known[number]),
                    _ => views.push(known[number].clone()),
                }
            }
            let views: Vec<View> = views.iter().map(|bytes| buffers.copy_of(bytes)).collect();
            cache.note_read(numbers.iter().map(|&number| (address(number), bytes_of(number))), &views);
            prop_assert!(cache.status().records <= records_max);
        }
    }
}
