//! Every stretch in one read, and reads within their bounds.

use std::sync::Arc;

use proptest::prelude::*;
use quarry_types::{ChunkId, DeviceId, LogAddress, LogId, PoolId};

use super::*;

use crate::{DeviceStatus, Expected, Geometry, PoolShared, Purpose};

fn chunks(count: u64) -> Vec<Rc<Chunk>> {
    let geometry = Geometry { granule_bytes: 512, segment_bytes: 32 << 20 };
    let device = DeviceStatus {
        class: quarry_format::label::DeviceClass::Ssd,
        index: 0,
        id: DeviceId::from_random(1),
        path: "/dev/0".into(),
        slots: 64,
        leaving: false,
        failure: None,
    };
    let shared = Arc::new(PoolShared::new(
        PoolId::from_random(2),
        "tank".into(),
        crate::policies::Policies::new(quarry_types::Protection::Copies(1)),
        geometry,
        vec![device],
    ));
    let chunk = |id| {
        Rc::new(
            Chunk::allocate(&shared, LogId(0), ChunkId(id), (1, Purpose::Image, 0)).expect("there is room"),
        )
    };
    (0..count).map(chunk).collect()
}

fn wanted(sectors: u32) -> Wanted {
    let expected = Expected { sectors, checksum: 0 };
    Wanted { address: LogAddress(0), expected }
}

fn stretch(chunk: &Rc<Chunk>, sector: u32, sectors: u32, index: usize) -> Stretch {
    Stretch::new(chunk, sector, index, &wanted(sectors))
}

/// The (first, end) sectors of the reads of stretches of one chunk.
fn reads_of(places: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let chunk = &chunks(1)[0];
    let mut stretches: Vec<Stretch> =
        (0..).zip(places).map(|(index, &(sector, sectors))| stretch(chunk, sector, sectors, index)).collect();
    coalesce(&mut stretches).map(span).map(|sectors| (sectors.start, sectors.end)).collect()
}

#[test]
fn small_gaps_are_bridged_in_any_order() {
    assert_eq!(reads_of(&[(40, 8), (0, 8), (16, 8)]), [(0, 48)]);
    assert_eq!(reads_of(&[(0, 64), (64 + 64, 64)]), [(0, 192)], "a gap of 32 KiB");
    assert_eq!(reads_of(&[(0, 64), (64 + 65, 64)]), [(0, 64), (129, 193)], "a longer one");
}

#[test]
fn little_is_not_read_for_the_sake_of_much_else() {
    assert_eq!(reads_of(&[(0, 8), (56, 8)]), [(0, 64)], "four times what is wanted");
    assert_eq!(reads_of(&[(0, 8), (57, 8)]), [(0, 8), (57, 65)]);
}

#[test]
fn a_read_over_gaps_ends_at_its_bound() {
    let places: Vec<(u32, u32)> = (0..100).map(|index| (index * 80, 40)).collect();
    let reads = reads_of(&places);
    assert_eq!(reads[0], (0, 25 * 80 + 40));
    assert_eq!(reads.len(), 4);
    assert_eq!(reads_of(&[(0, 10_000)]).len(), 1, "what has no gap is not cut");
}

#[test]
fn what_lies_right_behind_is_part_of_a_stretch() {
    let chunk = &chunks(1)[0];
    let mut stretch = Stretch::new(chunk, 0, 0, &wanted(2));
    assert!(stretch.take_up(chunk, 2, &wanted(8)));
    assert!(!stretch.take_up(chunk, 11, &wanted(8)), "not right behind");
    assert_eq!((stretch.end_sector(), stretch.records()), (10, 0..2));
}

proptest! {
    #[test]
    fn reads_hold_every_stretch_once_within_their_bounds(
        places in prop::collection::vec((0usize..3, 0u32..2000, 1u32..40), 1..100),
    ) {
        let chunks = chunks(3);
        let mut stretches: Vec<Stretch> = (0..)
            .zip(&places)
            .map(|(index, &(chunk, granule, sectors))| stretch(&chunks[chunk], granule * 8, sectors, index))
            .collect();
        let mut seen = vec![0; places.len()];
        for read in coalesce(&mut stretches) {
            let covered = span(read);
            let wanted: u32 = read.iter().map(|stretch| stretch.sectors).sum();
            prop_assert!(covered.len() <= BRIDGED_FACTOR_MAX * wanted as usize);
            prop_assert!(read.len() == 1 || covered.len() * SECTOR_BYTES <= BRIDGED_BYTES_MAX);
            for stretch in read {
                prop_assert!(Rc::ptr_eq(&stretch.chunk, &read[0].chunk));
                prop_assert!(covered.start <= stretch.sector && stretch.end_sector() <= covered.end);
                seen[stretch.records().start] += 1;
            }
        }
        prop_assert!(seen.iter().all(|&times| times == 1));
    }
}
