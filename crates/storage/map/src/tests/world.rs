//! A map, its model, and the books on what lives and what died.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;

use quarry_env::Executor;
use quarry_format::node::{Entry, NodeRef, NodeSlots};
use quarry_types::{BlockIndex, KeyId, LogAddress, SnapshotCounter, VolumeId};

use super::store::TestStore;
use crate::{Lookup, MapExtent, MergeError, MergeOutcome, NodeCache, Run, Runs, VolumeMap, drop_step};

type Model = BTreeMap<BlockIndex, Entry>;
type Merged = Rc<RefCell<Option<Result<MergeOutcome, MergeError>>>>;

/// Addresses that were given out and those that were reported dead.
#[derive(Default)]
pub struct Books {
    appended: BTreeSet<LogAddress>,
    dead: BTreeSet<LogAddress>,
}

impl Books {
    fn dies(&mut self, address: LogAddress) {
        assert!(self.appended.contains(&address), "{address:?} died and never lived");
        assert!(self.dead.insert(address), "{address:?} died twice");
    }

    fn living(&self) -> BTreeSet<LogAddress> {
        self.appended.difference(&self.dead).copied().collect()
    }
}

pub struct World {
    pub executor: Executor,
    pub map: Rc<VolumeMap>,
    pub cache: Rc<NodeCache>,
    pub store: Rc<TestStore>,
    pub model: Rc<RefCell<Model>>,
    pub books: Books,
    detached: Vec<NodeRef>,
    merged: Merged,
    birth: u32,
}

impl World {
    pub fn new(seed: u64, turns_max: u64, cache_bytes: usize) -> Self {
        let mut bits = seed;
        let pick = move |count: usize| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 33) as usize % count
        };
        Self {
            executor: Executor::new(|| ()).with_pick_next(Box::new(pick)),
            map: Rc::new(VolumeMap::new(VolumeId::from_random(7), None)),
            cache: Rc::new(NodeCache::new(cache_bytes)),
            store: TestStore::new(seed, turns_max),
            model: Rc::default(),
            books: Books::default(),
            detached: Vec::new(),
            merged: Rc::default(),
            birth: 0,
        }
    }

    /// Runs one future to its end, and whatever else is ready.
    pub fn run<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        self.executor.spawner().spawn(async move { *slot.borrow_mut() = Some(future.await) }).detach();
        self.finish();
        result.take().expect("nothing waits for ever")
    }

    /// Runs until no task is ready.
    pub fn finish(&mut self) {
        while self.executor.run(1000) > 0 {}
    }

    pub fn new_entry(&mut self) -> Entry {
        let address = self.store.addresses.next();
        self.books.appended.insert(address);
        let birth = SnapshotCounter(self.birth);
        Entry { address, checksum: address.0 as u32, birth, key: KeyId(0), stored_sectors: 8, flags: 0 }
    }

    pub fn insert(&mut self, block: BlockIndex) {
        let entry = self.new_entry();
        self.model.borrow_mut().insert(block, entry);
        if let Some(dead) = self.map.insert(block, entry) {
            self.books.dies(dead.address);
        }
    }

    pub fn insert_run(&mut self, first_block: BlockIndex, count: u64) {
        let entries: Vec<_> = (0..count).map(|_| self.new_entry()).collect();
        self.model.borrow_mut().extend((first_block..).zip(entries.iter().copied()));
        self.map.insert_run(first_block, entries, |dead| self.books.dies(dead.address));
    }

    pub fn unmap(&mut self, range: Range<BlockIndex>) {
        self.model.borrow_mut().extract_if(range.clone(), |_, _| true).for_each(drop);
        self.map.unmap(range, &mut |dead| self.books.dies(dead.address));
    }

    /// Looks a range up, now if all is in memory and in a task of its own in any case, and compares when it ends.
    pub fn look_up(&mut self, range: Range<BlockIndex>) {
        if let Lookup::Ready(runs) = self.map.lookup(range.clone(), &self.cache) {
            assert_eq!(runs, expected_runs(&self.model.borrow(), range.clone()));
        }
        let (map, cache, store, model) =
            (self.map.clone(), self.cache.clone(), self.store.clone(), self.model.clone());
        let look = async move {
            let runs = map.resolve(range.clone(), &cache, &*store).await.expect("the store is sound");
            assert_eq!(runs, expected_runs(&model.borrow(), range));
        };
        self.executor.spawner().spawn(look).detach();
    }

    pub fn extents(&mut self, range: Range<BlockIndex>, extents_max: usize) {
        let (map, cache, store) = (self.map.clone(), self.cache.clone(), self.store.clone());
        let asked = range.clone();
        let extents = async move { map.extents(asked, extents_max, &cache, &*store).await };
        let extents = self.run(extents).expect("the store is sound");
        assert_eq!(extents, expected_extents(&self.model.borrow(), range, extents_max));
    }

    pub fn begin_merge(&mut self) {
        self.birth += 1;
        self.map.freeze(SnapshotCounter(self.birth));
        let (map, cache, store, merged) =
            (self.map.clone(), self.cache.clone(), self.store.clone(), self.merged.clone());
        let merge = async move {
            let result = map.merge(&*store, &cache).await;
            *merged.borrow_mut() = Some(result);
        };
        self.executor.spawner().spawn(merge).detach();
    }

    /// Ends the merge that runs, if one does: installs it, or gives it up when that is wanted or it failed.
    pub fn end_merge(&mut self, install: bool) {
        if !self.map.is_frozen() {
            return;
        }
        self.finish();
        let before = self.map.root();
        match self.merged.take().expect("a merge ends") {
            Ok(outcome) if install => self.install(outcome),
            Ok(outcome) => self.abandon(&outcome.new_nodes),
            Err(error) => {
                assert!(self.store.appends_left.get().is_some(), "only a full store fails: {error}");
                self.abandon(&error.wasted);
            }
        }
        let living = self.reachable(before.filter(|_| !install));
        assert!(install || living.is_subset(&self.books.living()));
        self.check_liveness();
    }

    fn install(&mut self, outcome: MergeOutcome) {
        self.books.appended.extend(outcome.new_nodes.iter().map(|(address, _)| *address));
        outcome.dead_entries.iter().for_each(|dead| self.books.dies(dead.address));
        for dead in &outcome.dead_nodes {
            self.books.dies(dead.address);
            self.cache.forget(dead.address);
        }
        self.detached.extend(outcome.detached);
        let retired = self.map.install(outcome.root);
        self.run(retired.release());
        self.drain();
    }

    fn abandon(&mut self, wasted: &[(LogAddress, u8)]) {
        self.books.appended.extend(wasted.iter().map(|(address, _)| *address));
        wasted.iter().for_each(|(address, _)| self.books.dies(*address));
        self.map.abandon(&mut |dead| self.books.dies(dead.address));
    }

    /// Credits what was detached, in small steps.
    fn drain(&mut self) {
        while !self.detached.is_empty() {
            let (cache, store, mut pending) =
                (self.cache.clone(), self.store.clone(), self.detached.split_off(0));
            let step = async move {
                let (mut entries, mut nodes) = (Vec::new(), Vec::new());
                drop_step(&*store, &cache, &mut pending, 5, &mut entries, &mut nodes).await.expect("sound");
                (pending, entries, nodes)
            };
            let (pending, entries, nodes) = self.run(step);
            assert!(nodes.len() <= 5);
            self.detached = pending;
            entries.iter().for_each(|dead| self.books.dies(dead.address));
            nodes.iter().for_each(|dead| self.books.dies(dead.address));
        }
    }

    /// Every address of a tree.
    fn reachable(&self, root: Option<NodeRef>) -> BTreeSet<LogAddress> {
        let mut found = BTreeSet::new();
        let mut pending: Vec<_> = root.into_iter().collect();
        while let Some(reference) = pending.pop() {
            assert!(found.insert(reference.address), "a tree has no node twice");
            let node = self.store.node(reference.address);
            assert_eq!(
                (node.level(), node.mapped(), node.sectors()),
                (reference.level, reference.mapped, reference.sectors)
            );
            match &node.slots {
                NodeSlots::Leaf(entries) => {
                    entries.values().iter().for_each(|entry| assert!(found.insert(entry.address)));
                }
                NodeSlots::Interior { children, .. } => pending.extend(children.values()),
            }
        }
        found
    }

    /// What was appended and has not died is what the tree and the overlay hold, no more and no less.
    pub fn check_liveness(&self) {
        let mut living = self.reachable(self.map.root());
        let state = self.map.state();
        assert!(state.frozen.is_none());
        let _ = state.active.for_each_entry(&(0..BlockIndex::MAX), |_, entry| {
            assert!(living.insert(entry.address), "an entry of the overlay is in no tree");
            std::ops::ControlFlow::<()>::Continue(())
        });
        assert_eq!(living, self.books.living());
        if state.active.is_empty() {
            assert_eq!(self.map.mapped_blocks(), self.model.borrow().len() as u64);
        }
    }
}

fn expected_runs(model: &Model, range: Range<BlockIndex>) -> Runs {
    let mut runs = Runs::new();
    let mut position = range.start;
    for (&block, &entry) in model.range(range.clone()) {
        if position < block {
            runs.push(Run::Hole { blocks: block - position });
        }
        runs.push(Run::Data(entry));
        position = block + 1;
    }
    if position < range.end {
        runs.push(Run::Hole { blocks: range.end - position });
    }
    runs
}

fn expected_extents(model: &Model, range: Range<BlockIndex>, extents_max: usize) -> Vec<MapExtent> {
    let mut extents: Vec<MapExtent> = Vec::new();
    let mut position = range.start;
    for run in expected_runs(model, range) {
        let (blocks, mapped) = match run {
            Run::Data(_) => (1, true),
            Run::Hole { blocks } => (blocks, false),
        };
        let start = position;
        position += blocks;
        match extents.last_mut() {
            Some(last) if last.mapped == mapped => last.blocks.end = position,
            _ => extents.push(MapExtent { blocks: start..position, mapped }),
        }
    }
    extents.truncate(extents_max);
    extents
}
