//! A set of sectors of one segment, with counting: which of them live, which of them its runs kept.
//!
//! It costs a bit a granule as long as whole granules are set and cleared. With the first part of a granule it becomes a bit a
//! sector: in segments that hold compressed blocks or small map nodes.

use std::borrow::Cow;
use std::ops::Range;

use quarry_format::label::GRANULE_SECTORS;

/// Sectors, by number.
#[derive(Clone, Debug)]
pub struct Bitmap {
    words: Box<[u64]>,
    /// Sectors that one bit stands for: one, or those of a granule.
    unit_sectors: u32,
    ones: u32,
}

/// A byte of a bitmap of granules, as the bits of their sectors.
fn spread(byte: u8) -> u64 {
    (0..8).filter(|bit| byte >> bit & 1 == 1).fold(0, |word, bit| word | 0xff << (8 * bit))
}

const _: () = assert!(GRANULE_SECTORS == 8, "a granule is a byte of sectors");

impl Bitmap {
    /// The empty set of a segment of so many sectors, a multiple of 64 granules.
    pub fn new(sectors: u32) -> Self {
        assert!(sectors.is_multiple_of(64 * GRANULE_SECTORS), "bitmaps are whole words");
        let words = vec![0; (sectors / GRANULE_SECTORS / 64) as usize].into_boxed_slice();
        Self { words, unit_sectors: GRANULE_SECTORS, ones: 0 }
    }

    /// The set that has these words in a segment of so many sectors; `None` when there are too few or too many.
    pub fn from_words(words: Vec<u64>, sectors: u32) -> Option<Self> {
        let bits = words.len() as u64 * 64;
        let unit_sectors = match u64::from(sectors) {
            fine if fine == bits => 1,
            coarse if coarse == bits * u64::from(GRANULE_SECTORS) => GRANULE_SECTORS,
            _ => return None,
        };
        let ones = words.iter().map(|word| word.count_ones()).sum::<u32>() * unit_sectors;
        Some(Self { words: words.into_boxed_slice(), unit_sectors, ones })
    }

    /// Its words, lowest bits first; a bit is a granule or a sector.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Sectors of the segment.
    pub fn sectors(&self) -> u32 {
        self.words.len() as u32 * 64 * self.unit_sectors
    }

    /// How many sectors are in it.
    pub fn ones(&self) -> u32 {
        self.ones
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    /// Whether a sector is in it; those beyond the end are not.
    pub fn get(&self, sector: u32) -> bool {
        let bit = sector / self.unit_sectors;
        self.words.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Adds sectors `[sector, sector + count)`.
    pub fn set(&mut self, sector: u32, count: u32) {
        self.for_each_word(sector, count, |word, mask| {
            let changed = (mask & !*word).count_ones();
            *word |= mask;
            i64::from(changed)
        });
    }

    /// Takes sectors `[sector, sector + count)` out.
    pub fn clear(&mut self, sector: u32, count: u32) {
        self.for_each_word(sector, count, |word, mask| {
            let changed = (mask & *word).count_ones();
            *word &= !mask;
            -i64::from(changed)
        });
    }

    fn for_each_word(&mut self, sector: u32, count: u32, mut change: impl FnMut(&mut u64, u64) -> i64) {
        if !(sector | count).is_multiple_of(self.unit_sectors) {
            self.refine();
        }
        // What a damaged map names beyond the end is nowhere.
        let end = sector.saturating_add(count).min(self.sectors());
        let (mut at, end) = (sector / self.unit_sectors, end / self.unit_sectors);
        let mut changed = 0;
        while at < end {
            let bits = (64 - at % 64).min(end - at);
            let mask = if bits == 64 { u64::MAX } else { ((1 << bits) - 1) << (at % 64) };
            changed += change(&mut self.words[at as usize / 64], mask);
            at += bits;
        }
        self.ones = (i64::from(self.ones) + changed * i64::from(self.unit_sectors)) as u32;
    }

    /// Becomes a bit a sector.
    fn refine(&mut self) {
        if self.unit_sectors > 1 {
            let bytes = self.words.iter().flat_map(|word| word.to_le_bytes());
            self.words = bytes.map(spread).collect();
            self.unit_sectors = 1;
        }
    }

    /// How many of the sectors in `range` are in it.
    pub fn count(&self, range: Range<u32>) -> u32 {
        // What a damaged map names beyond the end is nowhere.
        let range = range.start..range.end.min(self.sectors());
        if range.is_empty() {
            return 0;
        }
        let unit = self.unit_sectors;
        let whole = self.count_bits(range.start / unit..range.end / unit) * unit;
        // Parts of granules at both ends.
        let part = |sector: u32| if self.get(sector) { sector % unit } else { 0 };
        whole + part(range.end) - part(range.start)
    }

    fn count_bits(&self, range: Range<u32>) -> u32 {
        let (mut at, mut ones) = (range.start, 0);
        while at < range.end {
            let bits = (64 - at % 64).min(range.end - at);
            let word = self.words[at as usize / 64] >> (at % 64);
            ones += if bits == 64 { word } else { word & ((1 << bits) - 1) }.count_ones();
            at += bits;
        }
        ones
    }

    /// Adds every sector that is in `other`, of a segment of the same size.
    pub fn unite(&mut self, other: &Self) {
        if self.unit_sectors > other.unit_sectors {
            self.refine();
        }
        let mut other = Cow::Borrowed(other);
        if other.unit_sectors > self.unit_sectors {
            other.to_mut().refine();
        }
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            self.ones += (other & !*word).count_ones() * self.unit_sectors;
            *word |= other;
        }
    }

    /// How many sectors are in it and not in `other`, of a segment of the same size.
    pub fn count_without(&self, other: &Self) -> u32 {
        let mut both = other.clone();
        both.unite(self);
        both.ones - other.ones
    }
}

impl PartialEq for Bitmap {
    /// The same sectors, however they are written.
    fn eq(&self, other: &Self) -> bool {
        self.sectors() == other.sectors() && self.ones == other.ones && self.count_without(other) == 0
    }
}

impl Eq for Bitmap {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECTORS: u32 = 1024;

    fn change() -> impl Strategy<Value = (bool, u32, u32)> {
        let granules =
            (any::<bool>(), 0u32..128, 0u32..50).prop_map(|(set, first, count)| (set, 8 * first, 8 * count));
        let sectors = (any::<bool>(), 0u32..SECTORS, 0u32..20);
        prop_oneof![3 => granules, 1 => sectors]
    }

    fn bitmap_of(changes: &[(bool, u32, u32)]) -> (Bitmap, [bool; SECTORS as usize]) {
        let (mut bitmap, mut model) = (Bitmap::new(SECTORS), [false; SECTORS as usize]);
        for &(set, sector, count) in changes {
            let count = count.min(SECTORS - sector);
            if set {
                bitmap.set(sector, count)
            } else {
                bitmap.clear(sector, count)
            }
            model[sector as usize..(sector + count) as usize].fill(set);
            assert_eq!(bitmap.ones() as usize, model.iter().filter(|&&bit| bit).count());
        }
        (bitmap, model)
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(
            changes in prop::collection::vec(change(), 0..40),
            others in prop::collection::vec(change(), 0..4),
        ) {
            let (bitmap, model) = bitmap_of(&changes);
            for index in 0..SECTORS {
                prop_assert_eq!(bitmap.get(index), model[index as usize]);
                let end = (index * 7 + 13) % (SECTORS + 1);
                let range = index.min(end)..index.max(end);
                let count = model[range.start as usize..range.end as usize].iter().filter(|&&bit| bit).count();
                prop_assert_eq!(bitmap.count(range) as usize, count);
            }
            let (other, other_model) = bitmap_of(&others);
            let mut united = other.clone();
            united.unite(&bitmap);
            for index in 0..SECTORS {
                prop_assert_eq!(united.get(index), model[index as usize] || other_model[index as usize]);
            }
            prop_assert_eq!(united.ones(), united.count(0..SECTORS));
            prop_assert_eq!(bitmap.count_without(&other), united.ones() - other.ones());
            let back = Bitmap::from_words(bitmap.words().to_vec(), SECTORS).expect("its own words");
            prop_assert_eq!(&back, &bitmap);
            prop_assert!(Bitmap::from_words(vec![0; 5], SECTORS).is_none());
        }
    }

    #[test]
    fn it_stays_small_as_long_as_granules_are_whole() {
        let mut bitmap = Bitmap::new(SECTORS);
        bitmap.set(8, 64);
        bitmap.clear(16, 8);
        assert_eq!((bitmap.words().len(), bitmap.ones()), (2, 56));
        bitmap.clear(9, 1);
        assert_eq!((bitmap.words().len(), bitmap.ones()), (16, 55));
    }
}
