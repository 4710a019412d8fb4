//! Entries by number, kept in pages in order of arrival.

use quarry_format::node::{Entry, Mapped, MappedRef};
use quarry_types::Tag;

const PAGE_BITS: u32 = 8;
const PAGE_ENTRIES: usize = 1 << PAGE_BITS;

/// Entries by number. Nothing moves when it grows, and new entries lie side by side whatever their blocks are.
#[derive(Clone, Default, Debug)]
pub(crate) struct Arena {
    /// Each has room for [`PAGE_ENTRIES`]; all but the last are full.
    pages: Vec<Vec<Entry>>,
    /// The tags of a page's entries, for each page that has an encrypted one.
    tags: Vec<Option<Box<[Tag; PAGE_ENTRIES]>>>,
    /// Numbers that were given back.
    free: Vec<u32>,
}

fn place(number: u32) -> (usize, usize) {
    ((number >> PAGE_BITS) as usize, number as usize & (PAGE_ENTRIES - 1))
}

impl Arena {
    /// Keeps an entry; returns its number.
    ///
    /// # Panics
    /// With more than 2^32 entries, 96 GiB of them.
    pub fn add(&mut self, mapped: Mapped) -> u32 {
        if let Some(number) = self.free.pop() {
            self.replace(number, mapped);
            return number;
        }
        if self.pages.last().is_none_or(|page| page.len() == PAGE_ENTRIES) {
            self.pages.push(Vec::with_capacity(PAGE_ENTRIES));
            self.tags.push(None);
        }
        let last = self.pages.len() - 1;
        let page = &mut self.pages[last];
        page.push(mapped.entry);
        let number = u32::try_from(last << PAGE_BITS | (page.len() - 1))
            .expect("an overlay is far smaller than 2^32 entries");
        self.set_tag(number, &mapped);
        number
    }

    fn set_tag(&mut self, number: u32, mapped: &Mapped) {
        if mapped.entry.is_encrypted() {
            let (page, offset) = place(number);
            self.tags[page].get_or_insert_with(|| Box::new([Tag::NONE; PAGE_ENTRIES]))[offset] = mapped.tag;
        }
    }

    fn entry(&self, number: u32) -> &Entry {
        let (page, offset) = place(number);
        &self.pages[page][offset]
    }

    pub fn get(&self, number: u32) -> MappedRef<'_> {
        let entry = self.entry(number);
        let tag = if entry.is_encrypted() { self.tag(number) } else { &Tag::NONE };
        MappedRef { entry, tag }
    }

    fn tag(&self, number: u32) -> &Tag {
        let (page, offset) = place(number);
        self.tags[page].as_ref().map_or(&Tag::NONE, |tags| &tags[offset])
    }

    /// Puts another entry under a number; returns the one that was there.
    pub fn replace(&mut self, number: u32, mapped: Mapped) -> Entry {
        self.set_tag(number, &mapped);
        let (page, offset) = place(number);
        std::mem::replace(&mut self.pages[page][offset], mapped.entry)
    }

    /// Takes a number back; returns its entry.
    pub fn remove(&mut self, number: u32) -> Entry {
        self.free.push(number);
        *self.entry(number)
    }

    pub fn bytes(&self) -> usize {
        let page_bytes = PAGE_ENTRIES * size_of::<Entry>() + size_of::<Vec<Entry>>();
        let tags = self.tags.iter().flatten().count() * size_of::<[Tag; PAGE_ENTRIES]>();
        self.pages.len() * page_bytes + tags + self.free.capacity() * size_of::<u32>()
    }

    /// Frees the last page when no number is in use any more; `false` once there is none.
    pub fn free_page(&mut self) -> bool {
        self.tags.pop();
        self.pages.pop().is_some()
    }
}
