//! A map, its model, and the books on what lives and what died.

mod checks;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;

use quarry_env::Executor;
use quarry_format::detached::{Detached, Floor};
use quarry_format::node::{Entry, Mapped, Method, NodeRef};
use quarry_types::{BlockIndex, KeyId, LogAddress, SnapshotCounter, Tag, VolumeId};

use super::store::TestStore;
use crate::{
    Dissolved, Lookup, MapExtent, MergeError, MergeOutcome, NodeCache, Run, Runs, Version, VolumeMap,
    dissolve_step, drop_step,
};

type Model = BTreeMap<BlockIndex, Entry>;
type Checkpointed = Rc<RefCell<Option<Result<Checkpoint, MergeError>>>>;

/// What a checkpoint has found and not made count yet.
struct Checkpoint {
    merged: Vec<(Rc<Version>, MergeOutcome)>,
    dropped: Vec<(Rc<Version>, Floor)>,
    dissolved: Option<Dissolved>,
}

/// A snapshot; hidden once it was deleted.
struct Snapshot {
    version: Rc<Version>,
    model: Model,
    parent: u32,
    hidden: bool,
}

/// A volume.
struct Head {
    map: Rc<VolumeMap>,
    model: Rc<RefCell<Model>>,
    parent: u32,
}

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
    parent: u32,
    clones: Vec<Head>,
    snapshots: BTreeMap<u32, Snapshot>,
    /// Versions of heads that are gone, and the snapshots on which they stood.
    dropped: Vec<(Rc<Version>, u32)>,
    /// Those that the merge under way takes.
    dropping: Vec<(Rc<Version>, u32)>,
    dissolving: Option<(u32, BlockIndex)>,
    detached: Vec<Detached>,
    merging: bool,
    checkpoint: Checkpointed,
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
            map: Rc::new(VolumeMap::new(Version::merged(None))),
            cache: Rc::new(NodeCache::new(cache_bytes)),
            store: TestStore::new(seed, turns_max),
            model: Rc::default(),
            books: Books::default(),
            parent: 0,
            clones: Vec::new(),
            snapshots: BTreeMap::new(),
            dropped: Vec::new(),
            dropping: Vec::new(),
            dissolving: None,
            detached: Vec::new(),
            merging: false,
            checkpoint: Rc::default(),
            birth: 1,
        }
    }

    pub fn is_merging(&self) -> bool {
        self.merging
    }

    pub fn root(&self) -> Option<NodeRef> {
        self.map.below().root().expect("the newest version is merged")
    }

    /// Bytes of everything that waits for a merge.
    pub fn pending_bytes(&self) -> usize {
        self.map.active_bytes() + self.map.below().pending_bytes()
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
        let (key, checksum) = (KeyId(u16::from(address.0.is_multiple_of(3))), address.0 as u32);
        Entry { address, checksum, birth, key, stored_sectors: 8, method: Method::AsIs }
    }

    pub fn insert(&mut self, block: BlockIndex) {
        let entry = self.new_entry();
        self.model.borrow_mut().insert(block, entry);
        if let Some(dead) = self.map.insert(block, mapped(entry)) {
            self.books.dies(dead.address);
        }
    }

    pub fn insert_run(&mut self, first_block: BlockIndex, count: u64) {
        let entries: Vec<_> = (0..count).map(|_| self.new_entry()).collect();
        let all: Vec<_> = entries.iter().map(|&entry| mapped(entry)).collect();
        self.model.borrow_mut().extend((first_block..).zip(entries.iter().copied()));
        self.map.insert_run(first_block, all, |dead| self.books.dies(dead.address));
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

    /// What still belongs to snapshot `parent` or older ones.
    fn floor(&self, parent: u32) -> Floor {
        match self.dissolving {
            Some((number, cursor)) if number == parent => {
                let before = SnapshotCounter(self.snapshots[&number].parent);
                Floor { before, cursor, from: SnapshotCounter(parent) }
            }
            _ => Floor::at(SnapshotCounter(parent)),
        }
    }

    /// A snapshot of the main volume.
    pub fn snapshot(&mut self) -> u32 {
        let number = self.birth;
        let version = self.map.freeze(SnapshotCounter(number)).0;
        let model = self.model.borrow().clone();
        self.snapshots.insert(number, Snapshot { version, model, parent: self.parent, hidden: false });
        (self.parent, self.birth) = (number, number + 1);
        number
    }

    fn visible(&self, pick: usize) -> Option<u32> {
        let visible: Vec<u32> = self
            .snapshots
            .iter()
            .filter(|(_, snapshot)| !snapshot.hidden)
            .map(|(&number, _)| number)
            .collect();
        (!visible.is_empty()).then(|| visible[pick % visible.len()])
    }

    pub fn delete_snapshot(&mut self, pick: usize) {
        if let Some(number) = self.visible(pick) {
            self.snapshots.get_mut(&number).expect("it is there").hidden = true;
        }
    }

    /// A clone of a snapshot, with some changes of its own.
    pub fn clone_snapshot(&mut self, pick: usize, blocks: Range<BlockIndex>) {
        let Some(number) = self.visible(pick) else { return };
        let snapshot = &self.snapshots[&number];
        let map = Rc::new(VolumeMap::new(snapshot.version.clone()));
        let model = Rc::new(RefCell::new(snapshot.model.clone()));
        self.clones.push(Head { map, model, parent: number });
        self.swap_with_clone(pick);
        let middle = blocks.start + (blocks.end - blocks.start) / 2;
        self.insert(middle);
        self.unmap(blocks);
        self.insert(middle);
    }

    /// The main volume becomes a clone and a clone the main volume.
    pub fn swap_with_clone(&mut self, pick: usize) {
        if self.clones.is_empty() {
            return;
        }
        let count = self.clones.len();
        let clone = &mut self.clones[pick % count];
        std::mem::swap(&mut self.map, &mut clone.map);
        std::mem::swap(&mut self.model, &mut clone.model);
        std::mem::swap(&mut self.parent, &mut clone.parent);
    }

    pub fn delete_clone(&mut self, pick: usize) {
        if self.clones.is_empty() {
            return;
        }
        let clone = self.clones.remove(pick % self.clones.len());
        let below = clone.map.replace(Version::merged(None), &mut |dead| self.books.dies(dead.address));
        clone.model.borrow_mut().clear();
        self.dropped.push((below, clone.parent));
    }

    /// The main volume goes back to a snapshot.
    pub fn roll_back(&mut self, pick: usize) {
        let Some(number) = self.visible(pick) else { return };
        let version = self.snapshots[&number].version.clone();
        let below = self.map.replace(version, &mut |dead| self.books.dies(dead.address));
        self.dropped.push((below, self.parent));
        self.parent = number;
        self.model.replace(self.snapshots[&number].model.clone());
    }

    pub fn begin_merge(&mut self) {
        self.merging = true;
        self.dropping = std::mem::take(&mut self.dropped);
        let dropped: Vec<_> =
            self.dropping.iter().map(|(version, parent)| (version.clone(), self.floor(*parent))).collect();
        let heads: Vec<_> = std::iter::once((self.map.clone(), self.parent))
            .chain(self.clones.iter().map(|clone| (clone.map.clone(), clone.parent)))
            .map(|(map, parent)| (map.freeze(SnapshotCounter(self.birth)).0, parent))
            .collect();
        let holders = self.snapshots.values().map(|snapshot| (snapshot.version.clone(), snapshot.parent));
        let mut pending: Vec<(Rc<Version>, Floor)> = Vec::new();
        for (version, parent) in holders.chain(heads.iter().cloned()).chain(self.dropping.iter().cloned()) {
            let mut chain = Vec::new();
            let mut next = Some(version);
            while let Some(version) = next.filter(|version| version.is_pending()) {
                if pending.iter().any(|(known, _)| Rc::ptr_eq(known, &version)) {
                    break;
                }
                next = version.below();
                chain.push((version, self.floor(parent)));
            }
            pending.extend(chain.into_iter().rev());
        }
        let children = |number: u32| {
            let snapshots = self.snapshots.values().map(|snapshot| (&snapshot.version, snapshot.parent));
            let all = snapshots.chain(heads.iter().map(|(version, parent)| (version, *parent)));
            let on_it = all.filter(|(_, parent)| *parent == number).map(|(version, _)| version.clone());
            on_it.collect::<Vec<_>>()
        };
        if self.dissolving.is_none() {
            let can_go = |(number, snapshot): (&u32, &Snapshot)| {
                (snapshot.hidden && children(*number).len() < 2).then_some((*number, 0))
            };
            self.dissolving = self.snapshots.iter().find_map(can_go);
        }
        let dissolving = self.dissolving.map(|(number, cursor)| {
            let snapshot = &self.snapshots[&number];
            (snapshot.version.clone(), children(number).first().cloned(), snapshot.parent, cursor)
        });
        let (cache, store, checkpoint) = (self.cache.clone(), self.store.clone(), self.checkpoint.clone());
        let work = async move {
            let mut merged = Vec::new();
            for (version, floor) in pending {
                let outcome = version.merge(VolumeId::from_random(7), floor, &*store, &cache).await;
                match outcome {
                    Ok(outcome) => {
                        version.prepare(outcome.root);
                        merged.push((version, outcome));
                    }
                    Err(mut error) => {
                        for (version, outcome) in merged {
                            version.unprepare();
                            error.wasted.extend(outcome.new_nodes);
                        }
                        *checkpoint.borrow_mut() = Some(Err(error));
                        return;
                    }
                }
            }
            let mut dissolved = None;
            if let Some((version, child, parent, cursor)) = dissolving {
                let root = |version: Rc<Version>| version.root().expect("everything is merged");
                let roots = (root(version), child.and_then(root));
                let floor = SnapshotCounter(parent);
                let step = dissolve_step(&*store, &cache, roots, floor, cursor, &mut 20).await;
                dissolved = Some(step.expect("the store is sound"));
            }
            *checkpoint.borrow_mut() = Some(Ok(Checkpoint { merged, dropped, dissolved }));
        };
        self.executor.spawner().spawn(work).detach();
    }

    /// Ends the merge that runs, if one does: installs it, or gives it up when that is wanted or it failed.
    pub fn end_merge(&mut self, install: bool) {
        if !std::mem::take(&mut self.merging) {
            return;
        }
        self.finish();
        match self.checkpoint.take().expect("a merge ends") {
            Ok(checkpoint) if install => self.install(checkpoint),
            Ok(Checkpoint { merged, .. }) => {
                merged.iter().for_each(|(version, _)| version.unprepare());
                let wasted =
                    merged.into_iter().flat_map(|(_, outcome)| outcome.new_nodes).collect::<Vec<_>>();
                self.abandon(&wasted);
            }
            Err(error) => {
                assert!(self.store.appends_left.get().is_some(), "only a full store fails: {error}");
                self.abandon(&error.wasted);
            }
        }
        self.check_liveness();
    }

    fn node_dies(&mut self, node: &NodeRef) {
        self.books.dies(node.address);
        self.cache.forget(node.address);
    }

    fn install(&mut self, Checkpoint { merged, dropped, dissolved }: Checkpoint) {
        for (version, outcome) in merged {
            self.books.appended.extend(outcome.new_nodes.iter().map(|(address, _)| *address));
            outcome.dead_entries.iter().for_each(|dead| self.books.dies(dead.address));
            outcome.dead_nodes.iter().for_each(|dead| self.node_dies(dead));
            self.detached.extend(outcome.detached);
            let retired = version.install();
            self.run(retired.release());
        }
        self.dropping.clear();
        for (version, floor) in dropped {
            let node = version.root().expect("it is merged");
            self.detached.extend(node.map(|node| Detached { node, first_block: 0, floor }));
        }
        if let Some(dissolved) = dissolved {
            dissolved.dead_entries.iter().for_each(|dead| self.books.dies(dead.address));
            dissolved.dead_nodes.iter().for_each(|dead| self.node_dies(dead));
            let (number, _) = self.dissolving.expect("one is under way");
            self.dissolving = dissolved.cursor.map(|cursor| (number, cursor));
            if dissolved.cursor.is_none() {
                self.remove_snapshot(number);
            }
        }
        self.drain();
    }

    fn remove_snapshot(&mut self, number: u32) {
        let gone = self.snapshots.remove(&number).expect("it was dissolved");
        let parents = self.snapshots.values_mut().map(|snapshot| &mut snapshot.parent);
        let parents = parents.chain(self.clones.iter_mut().map(|clone| &mut clone.parent));
        let parents = parents.chain(self.dropped.iter_mut().map(|(_, parent)| parent));
        for parent in parents.chain(std::iter::once(&mut self.parent)) {
            if *parent == number {
                *parent = gone.parent;
            }
        }
    }

    fn abandon(&mut self, wasted: &[(LogAddress, u8)]) {
        self.books.appended.extend(wasted.iter().map(|(address, _)| *address));
        wasted.iter().for_each(|(address, _)| self.books.dies(*address));
        self.dropped.append(&mut self.dropping);
        let maps = std::iter::once(&self.map).chain(self.clones.iter().map(|clone| &clone.map));
        maps.for_each(|map| map.thaw(&mut |dead| self.books.dies(dead.address)));
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
}

fn expected_runs(model: &Model, range: Range<BlockIndex>) -> Runs {
    let mut runs = Runs::new();
    let mut position = range.start;
    for (&block, &entry) in model.range(range.clone()) {
        if position < block {
            runs.push(Run::Hole { blocks: block - position });
        }
        runs.push(Run::Data(mapped(entry)));
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

/// An entry with the tag that belongs to it: every third one is encrypted.
pub fn mapped(entry: Entry) -> Mapped {
    let tag = if entry.is_encrypted() { Tag([entry.address.0 as u8; 16]) } else { Tag::NONE };
    Mapped { entry, tag }
}
