//! The entries of a leaf, and the tags of those that are encrypted: most volumes have none, and pay for none.

use std::ops::Range;

use quarry_types::Tag;

use super::{Entry, Slots};

/// An entry and its tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// The entry.
    pub entry: Entry,
    /// Its tag; [`Tag::NONE`] if it is not encrypted.
    pub tag: Tag,
}

/// An entry and its tag, where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedRef<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// Its tag; [`Tag::NONE`] if it is not encrypted.
    pub tag: &'a Tag,
}

impl From<Entry> for Mapped {
    /// An entry of a block that is not encrypted.
    fn from(entry: Entry) -> Self {
        debug_assert!(!entry.is_encrypted(), "what is encrypted has a tag");
        Self { entry, tag: Tag::NONE }
    }
}

impl From<MappedRef<'_>> for Mapped {
    fn from(MappedRef { entry, tag }: MappedRef<'_>) -> Self {
        Self { entry: *entry, tag: *tag }
    }
}

impl Entry {
    /// Whether the stored bytes are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.key.0 != 0
    }
}

/// The slots of a leaf. The slots with a tag are those of the entries that are encrypted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leaf {
    /// The entries.
    pub entries: Slots<Entry>,
    /// Tags of the encrypted ones.
    pub tags: Slots<Tag>,
}

impl Leaf {
    /// What `slot` holds.
    pub fn get(&self, slot: usize) -> Option<MappedRef<'_>> {
        let entry = self.entries.get(slot)?;
        Some(MappedRef { entry, tag: self.tag(slot, entry) })
    }

    /// The tag of the entry in `slot`.
    pub fn tag(&self, slot: usize, entry: &Entry) -> &Tag {
        if entry.is_encrypted() { self.tags.get(slot).unwrap_or(&Tag::NONE) } else { &Tag::NONE }
    }

    /// Sets `slot`; returns what it held.
    pub fn insert(&mut self, slot: usize, Mapped { entry, tag }: Mapped) -> Option<Entry> {
        if entry.is_encrypted() {
            self.tags.insert(slot, tag);
        } else {
            self.tags.remove(slot);
        }
        self.entries.insert(slot, entry)
    }

    /// Clears the slots of `range`, calling `removed` with each entry in slot order.
    pub fn remove_range(&mut self, range: Range<usize>, removed: impl FnMut(Entry)) {
        self.tags.remove_range(range.clone(), drop);
        self.entries.remove_range(range, removed);
    }

    /// Gives memory back that nothing uses.
    pub fn shrink_to_fit(&mut self) {
        self.entries.shrink_to_fit();
        self.tags.shrink_to_fit();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.tags.capacity() * size_of::<Tag>()
    }
}

impl From<Slots<Entry>> for Leaf {
    /// A leaf of blocks that are not encrypted.
    fn from(entries: Slots<Entry>) -> Self {
        debug_assert!(!entries.values().iter().any(Entry::is_encrypted), "what is encrypted has a tag");
        Self { entries, tags: Slots::default() }
    }
}
