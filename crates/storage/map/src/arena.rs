//! Entries by number, kept in pages in order of arrival.

use quarry_format::node::Entry;

const PAGE_BITS: u32 = 8;
const PAGE_ENTRIES: usize = 1 << PAGE_BITS;

/// Entries by number. Nothing moves when it grows, and new entries lie side by side whatever their blocks are.
#[derive(Clone, Default, Debug)]
pub(crate) struct Arena {
    /// Each has room for [`PAGE_ENTRIES`]; all but the last are full.
    pages: Vec<Vec<Entry>>,
    /// Numbers that were given back.
    free: Vec<u32>,
}

fn place(number: u32) -> (usize, usize) {
    ((number >> PAGE_BITS) as usize, number as usize & (PAGE_ENTRIES - 1))
}

impl Arena {
    /// Keeps `entry`; returns its number.
    ///
    /// # Panics
    /// With more than 2^32 entries, 96 GiB of them.
    pub fn add(&mut self, entry: Entry) -> u32 {
        if let Some(number) = self.free.pop() {
            self.replace(number, entry);
            return number;
        }
        if self.pages.last().is_none_or(|page| page.len() == PAGE_ENTRIES) {
            self.pages.push(Vec::with_capacity(PAGE_ENTRIES));
        }
        let last = self.pages.len() - 1;
        let page = &mut self.pages[last];
        page.push(entry);
        u32::try_from(last << PAGE_BITS | (page.len() - 1))
            .expect("an overlay is far smaller than 2^32 entries")
    }

    pub fn get(&self, number: u32) -> &Entry {
        let (page, offset) = place(number);
        &self.pages[page][offset]
    }

    /// Puts another entry under a number; returns the one that was there.
    pub fn replace(&mut self, number: u32, entry: Entry) -> Entry {
        let (page, offset) = place(number);
        std::mem::replace(&mut self.pages[page][offset], entry)
    }

    /// Takes a number back; returns its entry.
    pub fn remove(&mut self, number: u32) -> Entry {
        self.free.push(number);
        *self.get(number)
    }

    pub fn bytes(&self) -> usize {
        let page_bytes = PAGE_ENTRIES * size_of::<Entry>() + size_of::<Vec<Entry>>();
        self.pages.len() * page_bytes + self.free.capacity() * size_of::<u32>()
    }

    /// Frees the last page when no number is in use any more; `false` once there is none.
    pub fn free_page(&mut self) -> bool {
        self.pages.pop().is_some()
    }
}
