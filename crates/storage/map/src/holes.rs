//! A set of blocks as disjoint ranges.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use quarry_types::BlockIndex;

/// Estimate of what the tree needs per range, its nodes being two thirds full.
const RANGE_BYTES: usize = 32;

/// Blocks as ranges that neither overlap nor touch. Every operation takes O(log n) and what it removes.
#[derive(Clone, Default, Debug)]
pub struct Holes {
    /// End by start.
    ranges: BTreeMap<BlockIndex, BlockIndex>,
}

impl Holes {
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.ranges.len() * RANGE_BYTES
    }

    pub fn iter(&self) -> impl Iterator<Item = Range<BlockIndex>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// Adds `range`, which is not empty.
    pub fn insert(&mut self, range: Range<BlockIndex>) {
        let Range { mut start, mut end } = range;
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back() {
            if before_end >= end {
                return;
            }
            if before_end >= start {
                start = before;
            }
        }
        while let Some((&next, &next_end)) = self.ranges.range(start..=end).next_back() {
            end = end.max(next_end);
            self.ranges.remove(&next);
        }
        self.ranges.insert(start, end);
    }

    /// The range that holds `block`.
    fn around(&self, block: BlockIndex) -> Option<Range<BlockIndex>> {
        let (&start, &end) = self.ranges.range(..=block).next_back()?;
        (block < end).then_some(start..end)
    }

    pub fn contains(&self, block: BlockIndex) -> bool {
        self.around(block).is_some()
    }

    pub fn covers(&self, range: &Range<BlockIndex>) -> bool {
        self.around(range.start).is_some_and(|found| range.end <= found.end)
    }

    pub fn overlaps(&self, range: &Range<BlockIndex>) -> bool {
        self.ranges.range(..range.end).next_back().is_some_and(|(_, &end)| range.start < end)
    }

    /// Cuts `range` into the parts that are in the set (`true`) and those that are not, in order.
    pub fn cut<B>(
        &self,
        range: Range<BlockIndex>,
        mut part: impl FnMut(Range<BlockIndex>, bool) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut position = range.start;
        let first = self.around(range.start).map_or(range.start, |found| found.start);
        for (&start, &end) in self.ranges.range(first..range.end.max(first)) {
            let (start, end) = (start.max(range.start), end.min(range.end));
            if position < start {
                part(position..start, false)?;
            }
            part(start..end, true)?;
            position = end;
        }
        if position < range.end {
            part(position..range.end, false)?;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set(inserts in proptest::collection::vec((0u64..100, 1u64..20), 1..30), probe in (0u64..110, 1u64..30)) {
            let mut holes = Holes::default();
            let mut model = BTreeSet::new();
            for (start, length) in inserts {
                holes.insert(start..start + length);
                model.extend(start..start + length);
                let ranges: Vec<_> = holes.iter().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
                prop_assert!(ranges.into_iter().flatten().eq(model.iter().copied()));
            }
            let probe = probe.0..probe.0 + probe.1;
            prop_assert_eq!(holes.contains(probe.start), model.contains(&probe.start));
            prop_assert_eq!(holes.covers(&probe), probe.clone().all(|block| model.contains(&block)));
            prop_assert_eq!(holes.overlaps(&probe), probe.clone().any(|block| model.contains(&block)));
            let mut parts = Vec::new();
            let _ = holes.cut(probe.clone(), |part, inside| {
                parts.extend(part.map(|block| (block, inside)));
                ControlFlow::<()>::Continue(())
            });
            prop_assert!(parts.into_iter().eq(probe.map(|block| (block, model.contains(&block)))));
        }
    }
}
