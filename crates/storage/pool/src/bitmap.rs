//! A fixed-size bitmap with counting: which granules of a segment live, which of them its runs kept.

use std::ops::Range;

/// Bits, one a granule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bitmap {
    words: Box<[u64]>,
    ones: u32,
}

impl Bitmap {
    /// `bits` bits (a multiple of 64), all zero.
    pub fn new(bits: u32) -> Self {
        assert!(bits.is_multiple_of(64), "bitmaps are whole words");
        Self { words: vec![0; bits as usize / 64].into_boxed_slice(), ones: 0 }
    }

    /// The bitmap with these words.
    pub fn from_words(words: Vec<u64>) -> Self {
        let ones = words.iter().map(|word| word.count_ones()).sum();
        Self { words: words.into_boxed_slice(), ones }
    }

    /// Its words, lowest bits first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many bits there are.
    pub fn bits(&self) -> u32 {
        self.words.len() as u32 * 64
    }

    /// How many bits are one.
    pub fn ones(&self) -> u32 {
        self.ones
    }

    /// Whether bit `index` is one; bits beyond the end are zero.
    pub fn get(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Sets bits `[index, index + count)` to one.
    pub fn set(&mut self, index: u32, count: u32) {
        self.for_each_word(index, count, |word, mask| {
            let changed = (mask & !*word).count_ones();
            *word |= mask;
            i64::from(changed)
        });
    }

    /// Sets bits `[index, index + count)` to zero.
    pub fn clear(&mut self, index: u32, count: u32) {
        self.for_each_word(index, count, |word, mask| {
            let changed = (mask & *word).count_ones();
            *word &= !mask;
            -i64::from(changed)
        });
    }

    fn for_each_word(&mut self, index: u32, count: u32, mut change: impl FnMut(&mut u64, u64) -> i64) {
        let (mut at, end) = (index, index + count);
        let mut ones = i64::from(self.ones);
        while at < end {
            let bits = (64 - at % 64).min(end - at);
            let mask = if bits == 64 { u64::MAX } else { ((1 << bits) - 1) << (at % 64) };
            ones += change(&mut self.words[at as usize / 64], mask);
            at += bits;
        }
        self.ones = ones as u32;
    }

    /// How many of the bits in `range` are one.
    pub fn count(&self, range: Range<u32>) -> u32 {
        let (mut at, mut ones) = (range.start, 0);
        while at < range.end {
            let bits = (64 - at % 64).min(range.end - at);
            let word = self.words[at as usize / 64] >> (at % 64);
            ones += if bits == 64 { word } else { word & ((1 << bits) - 1) }.count_ones();
            at += bits;
        }
        ones
    }

    /// Sets every bit that is one in `other`, which is as long.
    pub fn unite(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            self.ones += (other & !*word).count_ones();
            *word |= other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(changes in prop::collection::vec((any::<bool>(), 0u32..512, 0u32..200), 0..40)) {
            let mut bitmap = Bitmap::new(512);
            let mut model = [false; 512];
            for (set, index, count) in changes {
                let count = count.min(512 - index);
                if set { bitmap.set(index, count) } else { bitmap.clear(index, count) }
                model[index as usize..(index + count) as usize].fill(set);
                prop_assert_eq!(bitmap.ones() as usize, model.iter().filter(|&&bit| bit).count());
            }
            for index in 0..512 {
                prop_assert_eq!(bitmap.get(index), model[index as usize]);
                let end = (index * 7 + 13) % 513;
                let range = index.min(end)..index.max(end);
                let count = model[range.start as usize..range.end as usize].iter().filter(|&&bit| bit).count();
                prop_assert_eq!(bitmap.count(range) as usize, count);
            }
            let mut united = Bitmap::new(512);
            united.set(100, 50);
            united.unite(&bitmap);
            for index in 0..512 {
                prop_assert_eq!(united.get(index), model[index as usize] || (100..150).contains(&index));
            }
            prop_assert_eq!(united.ones(), united.count(0..512));
            prop_assert_eq!(Bitmap::from_words(bitmap.words().to_vec()), bitmap);
        }
    }
}
