use proptest::prelude::*;
use quarry_format::node::Method;
use quarry_types::Compression;
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};

use crate::{Bypass, ExpandError, Reducer, expand};

/// A block of which the first `random` bytes are like chance, and the rest are the same.
fn block(random: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..BLOCK_BYTES).map(|at| if at < random { next() } else { 7 }).collect()
}

#[test]
fn half_random_blocks_take_about_half() {
    let mut reducer = Reducer::default();
    for (compression, method) in [(Compression::Lz4, Method::Lz4), (Compression::Zstd, Method::Zstd)] {
        let (made, stored) = reducer.reduce(compression, &block(2048, 5)).expect("compressible");
        assert_eq!((made, stored.len()), (method, 5 * SECTOR_BYTES));
        let (_, stored) = reducer.reduce(compression, &block(0, 5)).expect("compressible");
        assert_eq!(stored.len(), SECTOR_BYTES);
        assert_eq!(reducer.reduce(compression, &block(BLOCK_BYTES, 5)), None);
        assert_eq!(reducer.reduce(compression, &block(3600, 5)), None, "less than a sector is gained");
    }
    assert_eq!(reducer.reduce(Compression::Off, &block(0, 5)), None);
}

proptest! {
    #[test]
    fn what_was_made_smaller_comes_back(
        random in 0usize..BLOCK_BYTES, seed in any::<u64>(), zstd in any::<bool>(), flip in 0usize..BLOCK_BYTES,
    ) {
        let compression = if zstd { Compression::Zstd } else { Compression::Lz4 };
        let (mut reducer, original) = (Reducer::default(), block(random, seed));
        let Some((method, stored)) = reducer.reduce(compression, &original) else { return Ok(()) };
        prop_assert!(stored.len().is_multiple_of(SECTOR_BYTES) && stored.len() < BLOCK_BYTES);
        let mut stored = stored.to_vec();
        let mut back = vec![0xee; BLOCK_BYTES];
        prop_assert_eq!(expand(method, &stored, &mut back), Ok(()));
        prop_assert!(back == original);
        // Whatever the bytes are, the answer is a block or an error.
        let at = flip % stored.len();
        stored[at] ^= 0x41;
        let _ = expand(method, &stored, &mut back);
        stored.truncate(1);
        prop_assert!(expand(method, &stored, &mut back).is_err());
    }
}

#[test]
fn what_is_no_stored_block_is_an_error() {
    let mut back = vec![0; BLOCK_BYTES];
    let huge = [0xff, 0xff, 1, 2];
    assert_eq!(expand(Method::Lz4, &huge, &mut back), Err(ExpandError::Length { length: 0xffff, stored: 4 }));
    assert_eq!(expand(Method::AsIs, &[0; 512], &mut back), Err(ExpandError::Short { bytes: 512 }));
    assert_eq!(expand(Method::Zstd, &[4, 0, 1, 2, 3, 4], &mut back), Err(ExpandError::Damaged));
    let mut short = vec![0; 512];
    let length = lz4_flex::block::compress_into(&[9; 100], &mut short[2..]).expect("fits");
    short[..2].copy_from_slice(&(length as u16).to_le_bytes());
    assert_eq!(expand(Method::Lz4, &short, &mut back), Err(ExpandError::Short { bytes: 100 }));
}

#[test]
fn what_never_works_is_tried_ever_more_rarely_and_what_works_again_at_once() {
    let mut bypass = Bypass::default();
    let tried = (0..10_000).filter(|_| {
        let tries = bypass.tries();
        if tries {
            bypass.note(false);
        }
        tries
    });
    let tried = tried.count();
    assert!((30..100).contains(&tried), "{tried} of 10,000");
    while !bypass.tries() {}
    bypass.note(true);
    for _ in 0..3 {
        assert!(bypass.tries());
        bypass.note(false);
    }
    assert!(bypass.tries());
}
