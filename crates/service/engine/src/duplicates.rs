//! Which blocks are there already: a table of fingerprints, in memory alone and of a fixed size.
//!
//! An entry says where a block lay when it was written; it may be dead since, which whoever finds it has to see to. It is used
//! for blocks under the same key only, as the key is part of the fingerprint. The table begins empty whenever the log is opened:
//! so blocks are compared with what was written since, as far as the table remembers.

use quarry_format::node::Mapped;
use quarry_reduce::{Fingerprint, Fingerprints};
use quarry_types::KeyId;

/// Places in which a fingerprint can be.
const WAYS: usize = 8;
/// Places of which memory is taken at once, when the first of them is used.
const PAGE: usize = 64 * WAYS;

/// See the module.
pub(crate) struct Duplicates {
    fingerprints: Fingerprints,
    /// [`WAYS`] places after each other are one set; a page is empty before its first use.
    pages: Vec<Vec<Place>>,
}

#[derive(Clone, Copy)]
struct Place {
    fingerprint: Fingerprint,
    mapped: Option<Mapped>,
    /// It was found since others looked for a place.
    used: bool,
}

const EMPTY: Place = Place { fingerprint: 0, mapped: None, used: false };

impl Duplicates {
    /// A table of about so many bytes.
    pub(crate) fn new(secret: [u8; 32], bytes: usize) -> Self {
        Self { fingerprints: Fingerprints::new(secret), pages: pages(bytes) }
    }

    /// Gives the table about so many bytes.
    pub(crate) fn set_budget(&mut self, bytes: usize) {
        let pages = pages(bytes);
        if pages.len() == self.pages.len() {
            return;
        }
        let before = std::mem::replace(&mut self.pages, pages);
        for place in before.into_iter().flatten() {
            if let Some(mapped) = place.mapped {
                self.insert(place.fingerprint, mapped);
            }
        }
    }

    pub(crate) fn fingerprints(&self) -> &Fingerprints {
        &self.fingerprints
    }

    /// Where a block of this fingerprint was written last, as far as is known.
    pub(crate) fn find(&mut self, fingerprint: Fingerprint) -> Option<Mapped> {
        let (page, set) = self.set(fingerprint);
        let set = self.pages[page].get_mut(set..set + WAYS)?;
        let found = set.iter_mut().find(|place| place.fingerprint == fingerprint)?;
        found.used = true;
        found.mapped
    }

    /// A block was written.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, mapped: Mapped) {
        let (page, set) = self.set(fingerprint);
        let page = &mut self.pages[page];
        if page.is_empty() {
            page.resize(PAGE, EMPTY);
        }
        let set = &mut page[set..set + WAYS];
        let is_its = |place: &Place| place.mapped.is_none() || place.fingerprint == fingerprint;
        let free = set.iter().position(is_its).or_else(|| set.iter().position(|place| !place.used));
        let index = free.unwrap_or_else(|| {
            set.iter_mut().for_each(|place| place.used = false);
            (fingerprint >> 64) as usize % WAYS
        });
        set[index] = Place { fingerprint, mapped: Some(mapped), used: false };
    }

    /// A key is gone, and another one may get its number.
    pub(crate) fn forget_key(&mut self, key: KeyId) {
        let is_its = |place: &&mut Place| place.mapped.is_some_and(|mapped| mapped.entry.key == key);
        self.pages.iter_mut().flatten().filter(is_its).for_each(|place| *place = EMPTY);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.pages.iter_mut().for_each(|page| *page = Vec::new());
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.pages.iter().map(|page| page.capacity() * size_of::<Place>()).sum()
    }

    /// The page of a fingerprint, and where in it its set begins.
    fn set(&self, fingerprint: Fingerprint) -> (usize, usize) {
        let sets = (self.pages.len() * PAGE / WAYS) as u64;
        let first = (fingerprint as u64 % sets) as usize * WAYS;
        (first / PAGE, first % PAGE)
    }
}

fn pages(bytes: usize) -> Vec<Vec<Place>> {
    vec![Vec::new(); (bytes / size_of::<Place>() / PAGE).max(1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_format::node::{Entry, Method};
    use quarry_types::{KeyId, LogAddress, SnapshotCounter};

    fn mapped(number: u64) -> Mapped {
        Mapped::from(Entry {
            address: LogAddress(number),
            checksum: 0,
            birth: SnapshotCounter(0),
            key: KeyId(0),
            stored_sectors: 8,
            method: Method::AsIs,
        })
    }

    #[test]
    fn it_remembers_the_newest_and_what_is_used() {
        let mut duplicates = Duplicates::new([0; 32], 0);
        // All of one set.
        let alike = |number: u64| u128::from(number) << 64 | 5;
        duplicates.insert(alike(1), mapped(1));
        duplicates.insert(alike(1), mapped(2));
        for number in 2..=100u64 {
            duplicates.insert(alike(number), mapped(number));
            assert_eq!(duplicates.find(alike(1)), Some(mapped(2)), "{number}");
        }
        let known = (1..=100).filter(|&number| duplicates.find(alike(number)).is_some()).count();
        assert_eq!(known, WAYS, "and no more");
    }

    #[test]
    fn it_takes_memory_as_it_is_used() {
        let mut duplicates = Duplicates::new([0; 32], 64 << 20);
        assert_eq!((duplicates.find(7), duplicates.memory_bytes()), (None, 0));
        duplicates.insert(7, mapped(1));
        assert!((1..64 << 10).contains(&duplicates.memory_bytes()));
        (0..1u64 << 20).for_each(|number| {
            duplicates.insert(u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), mapped(number + 1));
        });
        assert!((60 << 20..=64 << 20).contains(&duplicates.memory_bytes()), "{}", duplicates.memory_bytes());
    }

    #[test]
    fn what_was_under_a_key_goes_with_it() {
        let mut duplicates = Duplicates::new([0; 32], 1 << 20);
        let mut under = mapped(1);
        under.entry.key = KeyId(7);
        duplicates.insert(1, under);
        duplicates.insert(2, mapped(2));
        duplicates.forget_key(KeyId(7));
        assert_eq!((duplicates.find(1), duplicates.find(2)), (None, Some(mapped(2))));
        duplicates.clear();
        assert_eq!(duplicates.find(2), None);
    }

    #[test]
    fn it_keeps_what_it_knows_when_its_size_changes() {
        let mut duplicates = Duplicates::new([0; 32], 1 << 20);
        let fingerprint = |number: u64| u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (1..=1000u64).for_each(|number| duplicates.insert(fingerprint(number), mapped(number)));
        duplicates.set_budget(4 << 20);
        assert!((1..=1000u64).all(|number| duplicates.find(fingerprint(number)) == Some(mapped(number))));
    }
}
