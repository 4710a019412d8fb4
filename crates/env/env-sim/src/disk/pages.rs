//! Sparse content of a disk, shared by counting: what is readable, what is durable and what waits in between refer to
//! the same pages until one of them changes.

use std::rc::Rc;

pub(crate) const PAGE_BYTES: usize = 4096;
/// What a power failure keeps or loses as one.
pub(crate) const SECTOR_BYTES: usize = 512;
pub(crate) const PAGE_SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;
const LEAF_PAGES: usize = 512;

/// [`PAGE_BYTES`] bytes.
pub(crate) type Page = Rc<[u8]>;
type Leaf = Box<[Option<Page>; LEAF_PAGES]>;

/// Pages by number; those that were never written read as zeroes.
#[derive(Clone, Default)]
pub(crate) struct Pages {
    leaves: Vec<Option<Leaf>>,
    /// The numbers of all pages that exist, in order of birth.
    present: Vec<u64>,
}

impl Pages {
    pub(crate) fn get(&self, number: u64) -> Option<&Page> {
        let leaf = self.leaves.get(number as usize / LEAF_PAGES)?.as_ref()?;
        leaf[number as usize % LEAF_PAGES].as_ref()
    }

    fn slot(&mut self, number: u64) -> &mut Option<Page> {
        let leaf = number as usize / LEAF_PAGES;
        if self.leaves.len() <= leaf {
            self.leaves.resize_with(leaf + 1, || None);
        }
        let leaf = self.leaves[leaf].get_or_insert_with(|| Box::new([const { None }; LEAF_PAGES]));
        let slot = &mut leaf[number as usize % LEAF_PAGES];
        if slot.is_none() {
            self.present.push(number);
        }
        slot
    }

    pub(crate) fn set(&mut self, number: u64, page: Page) {
        debug_assert_eq!(page.len(), PAGE_BYTES);
        *self.slot(number) = Some(page);
    }

    /// The bytes of a page, to be changed; others who share the page keep what it was.
    pub(crate) fn modify(&mut self, number: u64) -> &mut [u8] {
        Rc::make_mut(self.slot(number).get_or_insert_with(|| Rc::from([0; PAGE_BYTES])))
    }

    /// Copies the sectors in `mask` of `from`, or zeroes.
    pub(crate) fn copy_sectors(&mut self, number: u64, mask: u8, from: Option<&Page>) {
        if mask == u8::MAX
            && let Some(page) = from
        {
            return self.set(number, page.clone());
        }
        let bytes = self.modify(number);
        for sector in sectors(mask) {
            let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            match from {
                Some(page) => bytes[range.clone()].copy_from_slice(&page[range]),
                None => bytes[range].fill(0),
            }
        }
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        let mut position = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = position as usize % PAGE_BYTES;
            let (part, behind) = rest.split_at_mut(rest.len().min(PAGE_BYTES - within));
            match self.get(position / PAGE_BYTES as u64) {
                Some(page) => part.copy_from_slice(&page[within..within + part.len()]),
                None => part.fill(0),
            }
            position += part.len() as u64;
            rest = behind;
        }
    }

    /// The numbers of the pages that were ever written.
    pub(crate) fn present(&self) -> &[u64] {
        &self.present
    }
}

/// The numbers of the bits in `mask`.
pub(crate) fn sectors(mask: u8) -> impl Iterator<Item = usize> {
    (0..PAGE_SECTORS).filter(move |sector| mask >> sector & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_pages_change_for_one_owner_only() {
        let mut one = Pages::default();
        one.modify(700)[5] = 1;
        let mut other = one.clone();
        other.modify(700)[5] = 2;
        let mut bytes = [9; 8];
        one.read(700 * 4096, &mut bytes);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 1, 0, 0]);
        other.read(700 * 4096, &mut bytes);
        assert_eq!(bytes[5], 2);
        other.copy_sectors(700, 0b1, one.get(700));
        other.read(700 * 4096, &mut bytes);
        assert_eq!(bytes[5], 1);
        assert_eq!(other.present(), [700]);
    }

    #[test]
    fn reads_cross_pages_and_holes() {
        let mut pages = Pages::default();
        pages.modify(1).fill(7);
        let mut bytes = vec![1; 3 * 4096];
        pages.read(2048, &mut bytes);
        assert!(bytes[..2048].iter().all(|&byte| byte == 0));
        assert!(bytes[2048..6144].iter().all(|&byte| byte == 7));
        assert!(bytes[6144..].iter().all(|&byte| byte == 0));
    }
}
