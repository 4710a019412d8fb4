//! What the tail has changed in the maps: layers, one on the other, each of them frozen by a snapshot or still the top of a
//! volume. A layer stands on another one or on a tree of an image.

use std::collections::BTreeMap;
use std::ops::Range;

use quarry_format::node::{Mapped, NodeRef};

/// A layer, by its place in [`Layers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayerId(usize);

/// What a layer stands on.
#[derive(Clone, Copy, Debug)]
enum Base {
    Tree(Option<NodeRef>),
    Layer(LayerId),
}

struct Layer {
    base: Base,
    changes: Changes,
}

/// Every layer of a log.
#[derive(Default)]
pub struct Layers(Vec<Layer>);

impl Layers {
    /// A layer without changes on a tree.
    pub fn on_tree(&mut self, root: Option<NodeRef>) -> LayerId {
        self.push(Base::Tree(root))
    }

    /// A layer without changes on another one, which is frozen from then on.
    pub fn on(&mut self, base: LayerId) -> LayerId {
        self.push(Base::Layer(base))
    }

    fn push(&mut self, base: Base) -> LayerId {
        self.0.push(Layer { base, changes: Changes::default() });
        LayerId(self.0.len() - 1)
    }

    /// The changes of the top of a volume.
    pub fn changes(&mut self, LayerId(top): LayerId) -> &mut Changes {
        &mut self.0[top].changes
    }

    /// The tree at the bottom, and all changes above it as one.
    pub fn flatten(&self, top: LayerId) -> (Option<NodeRef>, Changes) {
        let (mut at, mut above) = (top, Vec::new());
        let root = loop {
            let layer = &self.0[at.0];
            above.push(&layer.changes);
            match layer.base {
                Base::Tree(root) => break root,
                Base::Layer(below) => at = below,
            }
        };
        let mut all = Changes::default();
        for changes in above.into_iter().rev() {
            for (&first, piece) in &changes.0 {
                all.put(first, piece.blocks, piece.mapped);
            }
        }
        (root, all)
    }
}

/// Some blocks: one that is mapped, or any number of holes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    blocks: u64,
    mapped: Option<Mapped>,
}

/// Changes of a map: blocks that were written, and ranges that became holes. They do not overlap.
#[derive(Default)]
pub struct Changes(BTreeMap<u64, Piece>);

impl Changes {
    /// A block was written.
    pub fn write(&mut self, block: u64, mapped: Mapped) {
        self.put(block, 1, Some(mapped));
    }

    /// Blocks became holes.
    pub fn zero(&mut self, first: u64, blocks: u64) {
        if blocks > 0 {
            self.put(first, blocks, None);
        }
    }

    fn put(&mut self, first: u64, blocks: u64, mapped: Option<Mapped>) {
        let end = first.saturating_add(blocks);
        // What begins before and reaches in: a range of holes, which loses its end or its middle.
        if let Some((&start, piece)) = self.0.range_mut(..first).next_back() {
            let piece_end = start + piece.blocks;
            if piece_end > first {
                piece.blocks = first - start;
                if piece_end > end {
                    self.0.insert(end, Piece { blocks: piece_end - end, mapped: None });
                }
            }
        }
        let inside: Vec<u64> = self.0.range(first..end).map(|(&start, _)| start).collect();
        for start in inside {
            let piece = self.0.remove(&start).expect("it was just seen");
            if start + piece.blocks > end {
                self.0.insert(end, Piece { blocks: start + piece.blocks - end, mapped: None });
            }
        }
        self.0.insert(first, Piece { blocks: end - first, mapped });
    }

    /// The parts of `range` that have changed, in order: what is mapped there now, nothing for holes.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, Option<Mapped>)> + '_ {
        let before = self.0.range(..range.start).next_back().map(|(&start, _)| start);
        let from = before.unwrap_or(range.start);
        self.0.range(from..range.end.max(from)).filter_map(move |(&start, piece)| {
            let part = start.max(range.start)..(start + piece.blocks).min(range.end);
            (part.start < part.end).then_some((part, piece.mapped))
        })
    }

    /// Whether all of `range` has become holes.
    pub fn is_hole(&self, range: Range<u64>) -> bool {
        let holes = self.within(range.clone()).filter(|(_, mapped)| mapped.is_none());
        holes.map(|(part, _)| part.end - part.start).sum::<u64>() == range.end - range.start
    }

    /// The first block from `from` on that is mapped.
    pub fn next_mapped(&self, from: u64) -> Option<u64> {
        self.0.range(from..).find(|(_, piece)| piece.mapped.is_some()).map(|(&block, _)| block)
    }
}

#[cfg(test)]
mod tests {
    use quarry_format::node::{Entry, Method};
    use quarry_types::{KeyId, LogAddress, SnapshotCounter};

    use super::*;

    fn mapped(number: u32) -> Mapped {
        let (address, birth) = (LogAddress(number.into()), SnapshotCounter(0));
        Entry { address, checksum: number, birth, key: KeyId(0), stored_sectors: 8, method: Method::AsIs }
            .into()
    }

    fn shown(changes: &Changes, range: Range<u64>) -> Vec<(Range<u64>, Option<u32>)> {
        changes
            .within(range)
            .map(|(part, mapped)| (part, mapped.map(|mapped| mapped.entry.checksum)))
            .collect()
    }

    #[test]
    fn later_changes_win() {
        let mut changes = Changes::default();
        changes.zero(10, 90);
        changes.write(20, mapped(1));
        changes.write(20, mapped(2));
        changes.zero(30, 10);
        changes.write(99, mapped(3));
        changes.write(100, mapped(4));
        assert_eq!(
            shown(&changes, 15..45),
            [(15..20, None), (20..21, Some(2)), (21..30, None), (30..40, None), (40..45, None)]
        );
        assert_eq!(shown(&changes, 98..200), [(98..99, None), (99..100, Some(3)), (100..101, Some(4))]);
        assert!(changes.is_hole(21..99) && !changes.is_hole(20..99) && !changes.is_hole(5..15));
        assert_eq!(
            (changes.next_mapped(0), changes.next_mapped(21), changes.next_mapped(101)),
            (Some(20), Some(99), None)
        );
        changes.zero(0, 1 << 40);
        assert_eq!(shown(&changes, 0..1 << 41), [(0..1 << 40, None)]);
    }

    /// Against an array, over all pairs of short ranges.
    #[test]
    fn changes_are_those_of_an_array() {
        for (a, b, c) in (0..6 * 6 * 6).map(|n| (n % 6, n / 6 % 6, n / 36)) {
            let (mut changes, mut array) = (Changes::default(), [None; 16]);
            for (number, first) in [(1, a), (2, b), (3, c)] {
                changes.zero(first, 4);
                changes.write(first + 2, mapped(number));
                (first..first + 4).for_each(|block| array[block as usize] = Some(None));
                array[first as usize + 2] = Some(Some(number));
            }
            let mut found = [None; 16];
            for (part, mapped) in shown(&changes, 0..16) {
                part.for_each(|block| found[block as usize] = Some(mapped));
            }
            assert_eq!(found, array);
        }
    }

    #[test]
    fn a_layer_shows_what_is_below_it() {
        let mut layers = Layers::default();
        let bottom = layers.on_tree(None);
        layers.changes(bottom).write(1, mapped(1));
        layers.changes(bottom).write(2, mapped(2));
        let (one, other) = (layers.on(bottom), layers.on(bottom));
        layers.changes(one).zero(1, 1);
        layers.changes(other).write(2, mapped(3));
        assert_eq!(shown(&layers.flatten(one).1, 0..9), [(1..2, None), (2..3, Some(2))]);
        assert_eq!(shown(&layers.flatten(other).1, 0..9), [(1..2, Some(1)), (2..3, Some(3))]);
        assert_eq!(shown(&layers.flatten(bottom).1, 0..9), [(1..2, Some(1)), (2..3, Some(2))]);
    }
}
