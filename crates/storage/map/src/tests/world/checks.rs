//! What must hold of a world: who lives, what every snapshot shows, and in what two of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use quarry_format::node::{NodeRef, NodeSlots};
use quarry_types::{BlockIndex, LogAddress};

use super::{Model, World, expected_extents, expected_runs};
use crate::overlay::Overlay;
use crate::version::Content;
use crate::{Version, VolumeMap, changes};

impl World {
    /// Every address of a version, each block's once.
    fn reachable(&self, version: &Version, found: &mut BTreeSet<LogAddress>) {
        let mut blocks = Vec::new();
        let mut pending: Vec<_> = match &*version.content() {
            Content::Merged(root) => root.iter().copied().collect(),
            Content::Pending(pending) => {
                self.reachable(&pending.below, found);
                self.in_overlay(&pending.overlay, found);
                return;
            }
        };
        let mut nodes = BTreeSet::new();
        while let Some(reference) = pending.pop() {
            if reference.is_lone() {
                blocks.push(reference.address);
                continue;
            }
            assert!(nodes.insert(reference.address), "a tree has no node twice");
            let node = self.store.node(reference.address);
            assert_eq!(
                (node.level(), node.mapped(), node.sectors()),
                (reference.level, reference.mapped(), reference.sectors)
            );
            match &node.slots {
                NodeSlots::Leaf(leaf) => {
                    blocks.extend(leaf.entries.values().iter().map(|entry| entry.address))
                }
                NodeSlots::Interior { children, .. } => pending.extend(children.values()),
            }
        }
        assert_eq!(blocks.iter().collect::<BTreeSet<_>>().len(), blocks.len(), "a tree has no block twice");
        found.extend(nodes);
        found.extend(blocks);
    }

    fn in_overlay(&self, overlay: &Overlay, found: &mut BTreeSet<LogAddress>) {
        let _ = overlay.for_each_entry(&(0..BlockIndex::MAX), |_, mapped| {
            assert!(found.insert(mapped.entry.address), "an entry of an overlay is nowhere else");
            std::ops::ControlFlow::<()>::Continue(())
        });
    }

    /// What was appended and has not died is what somebody holds, no more and no less.
    pub fn check_liveness(&self) {
        let mut living = BTreeSet::new();
        let mut versions: Vec<Rc<Version>> =
            self.snapshots.values().map(|snapshot| snapshot.version.clone()).collect();
        let maps = std::iter::once(&self.map).chain(self.clones.iter().map(|clone| &clone.map));
        versions.extend(maps.clone().map(|map| map.below()));
        versions.extend(self.dropped.iter().map(|(version, _)| version.clone()));
        let mut seen: Vec<Rc<Version>> = Vec::new();
        for version in versions {
            self.once(version, &mut seen);
        }
        seen.iter().for_each(|version| self.reachable_alone(version, &mut living));
        maps.for_each(|map| self.in_overlay(&map.state().active, &mut living));
        let books = self.books.living();
        match self.dissolving {
            None => assert_eq!(living, books),
            // A part of what the snapshot held is gone.
            Some(_) => assert!(living.is_superset(&books)),
        }
        if self.map.is_clean() {
            assert_eq!(self.map.mapped_blocks(), self.model.borrow().len() as u64);
        }
    }

    /// Puts a version and those below it on the list, each once.
    fn once(&self, version: Rc<Version>, seen: &mut Vec<Rc<Version>>) {
        if seen.iter().any(|known| Rc::ptr_eq(known, &version)) {
            return;
        }
        if let Some(below) = version.below() {
            self.once(below, seen);
        }
        seen.push(version);
    }

    fn reachable_alone(&self, version: &Version, found: &mut BTreeSet<LogAddress>) {
        match &*version.content() {
            Content::Merged(_) => self.reachable(version, found),
            Content::Pending(pending) => self.in_overlay(&pending.overlay, found),
        }
    }

    /// Nothing is left of anything.
    pub fn check_empty(&self) {
        assert!(self.snapshots.is_empty() && self.dropped.is_empty() && self.dissolving.is_none());
        assert_eq!(self.books.living(), BTreeSet::new());
    }

    /// Reads every snapshot and clone, and what differs between two snapshots.
    pub fn check_snapshots(&mut self) {
        let range = 0..quarry_format::node::MAP_BLOCKS_MAX;
        let snapshots: Vec<_> = self
            .snapshots
            .iter()
            .filter(|(_, snapshot)| !snapshot.hidden)
            .map(|(number, snapshot)| {
                (*number, Rc::new(VolumeMap::new(snapshot.version.clone())), snapshot.model.clone())
            })
            .collect();
        let clones = self.clones.iter().map(|clone| (0, clone.map.clone(), clone.model.borrow().clone()));
        for (_, map, model) in snapshots.iter().cloned().chain(clones.collect::<Vec<_>>()) {
            let blocks: Vec<BlockIndex> = model.keys().copied().collect();
            for block in blocks.into_iter().step_by(7) {
                let (map, cache, store) = (map.clone(), self.cache.clone(), self.store.clone());
                let look = async move { map.resolve(block..block + 9, &cache, &*store).await };
                let runs = self.run(look).expect("the store is sound");
                assert_eq!(runs, expected_runs(&model, block..block + 9));
            }
            let (cache, store, asked) = (self.cache.clone(), self.store.clone(), range.clone());
            let extents = self.run(async move { map.extents(asked, 1000, &cache, &*store).await });
            assert_eq!(extents.expect("the store is sound"), expected_extents(&model, range.clone(), 1000));
        }
        for pair in snapshots.windows(2) {
            let ((_, old, old_model), (_, new, new_model)) = (&pair[0], &pair[1]);
            if let (Some(old), Some(new)) = (old.below().root(), new.below().root()) {
                self.check_changes((old, old_model), (new, new_model));
            }
        }
    }

    fn check_changes(&mut self, old: (Option<NodeRef>, &Model), new: (Option<NodeRef>, &Model)) {
        let mut expected = BTreeMap::new();
        let address = |model: &Model, block: &BlockIndex| model.get(block).map(|entry| entry.address);
        for block in old.1.keys().chain(new.1.keys()) {
            if address(old.1, block) != address(new.1, block) {
                expected.insert(*block, new.1.contains_key(block));
            }
        }
        let (mut found, mut from) = (BTreeMap::new(), Some(0));
        while let Some(start) = from {
            let (cache, store, roots) = (self.cache.clone(), self.store.clone(), (old.0, new.0));
            let (changes, rest) =
                self.run(async move { changes(&*store, &cache, roots, start, 20).await }).expect("sound");
            for change in changes {
                found.extend(change.blocks.map(|block| (block, change.mapped)));
            }
            assert!(rest.is_none_or(|rest| rest > start), "it gets on");
            from = rest;
        }
        assert_eq!(found, expected);
    }
}
