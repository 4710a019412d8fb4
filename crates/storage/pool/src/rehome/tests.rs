use proptest::prelude::*;

use super::*;

const GRANULE: usize = 4096;

fn pieces(sectors: &[(u32, u32)]) -> Vec<(u32, Expected)> {
    sectors.iter().map(|&(sector, sectors)| (sector, Expected { sectors, checksum: 0 })).collect()
}

#[test]
fn near_pieces_are_copied_at_once_and_far_ones_apart() {
    let contents = Contents { pieces: pieces(&[(0, 8), (9, 1), (200, 8), (2000, 8)]), whole_to_sector: None };
    let windows = windows(&contents, GRANULE);
    let ranges: Vec<_> = windows.iter().map(|window| window.bytes.clone()).collect();
    assert_eq!(ranges, [0..106_496, 1_024_000..1_028_096]);
    assert_eq!(windows[0].pieces, 0..3);
}

#[test]
fn all_of_a_segment_that_a_recovery_may_read_is_copied() {
    let contents = Contents { pieces: pieces(&[(4000, 8)]), whole_to_sector: Some(9001) };
    let windows = windows(&contents, GRANULE);
    let mut at = 0;
    for window in &windows {
        assert!(window.bytes.start == at && window.bytes.len() <= WINDOW_BYTES, "{:?}", window.bytes);
        at = window.bytes.end;
    }
    assert_eq!(at, (9001 * SECTOR_BYTES).next_multiple_of(GRANULE));
    assert_eq!(windows.iter().map(|window| window.pieces.len()).sum::<usize>(), 1);
}

proptest! {
    /// Each piece lies whole in the window that verifies it; windows are whole granules in order, and what two of them share is what
    /// the end of one piece and the beginning of the next share.
    #[test]
    fn every_piece_is_in_its_window(
        steps in prop::collection::vec((prop_oneof![0u32..20, 0u32..2000], 1u32..65), 1..200),
        whole in any::<bool>(),
    ) {
        let (mut all, mut at) = (Vec::new(), 0);
        for (gap, sectors) in steps {
            all.push((at + gap, sectors));
            at += gap + sectors;
        }
        let contents = Contents { pieces: pieces(&all), whole_to_sector: whole.then_some(at) };
        let (mut next_piece, mut end) = (0, 0);
        for window in windows(&contents, GRANULE) {
            prop_assert!(window.bytes.start % GRANULE == 0 && window.bytes.end % GRANULE == 0);
            prop_assert!(window.bytes.start + GRANULE >= end && window.bytes.end > end);
            prop_assert!(!whole || window.bytes.start <= end);
            prop_assert_eq!(window.pieces.start, next_piece);
            for (sector, piece) in &contents.pieces[window.pieces.clone()] {
                let start = offset_of(*sector);
                prop_assert!(window.bytes.start <= start && start + piece.bytes() <= window.bytes.end);
            }
            (next_piece, end) = (window.pieces.end, window.bytes.end);
        }
        prop_assert_eq!(next_piece, contents.pieces.len());
    }
}
