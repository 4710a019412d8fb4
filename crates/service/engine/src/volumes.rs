//! The volumes and snapshots of one log, and what the tail has done to liveness since the last checkpoint began.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};

use quarry_env::Signal;
use quarry_format::detached::Floor;
use quarry_format::node::{Entry, NODE_BYTES_MAX, NODE_SLOTS};
use quarry_format::record::{SnapshotHead, VolumeHead};
use quarry_map::{NodeCache, Version, VolumeMap};
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};
use quarry_types::{BlockIndex, KeyId, LogAddress, SnapshotCounter, SnapshotId, VolumeId, VolumeNumber};
use quarry_volume::FiguresSeen;
use rustc_hash::FxBuildHasher;

use crate::duplicates::Duplicates;
use crate::keys::Keys;
use crate::references::References;
use crate::snapshot::SnapshotState;
use crate::space::with_overhead;
use crate::volume::VolumeState;

/// A record's place and its length in sectors.
pub(crate) type Extent = (LogAddress, u32);

/// See the module.
///
/// Snapshots and volumes form a tree: each stands on the snapshot that was taken last in its line, its *parent*. A snapshot
/// that is deleted stays in the tree, hidden, until at most one thing stands on it; then it is *dissolved*, one at a time.
#[derive(Default)]
pub(crate) struct Volumes {
    by_number: RefCell<HashMap<VolumeNumber, Rc<VolumeState>, FxBuildHasher>>,
    snapshots: RefCell<BTreeMap<SnapshotCounter, Rc<SnapshotState>>>,
    /// Versions that wait for a merge, older ones first. Those that nobody has any more are passed over.
    pending: RefCell<Vec<Pending>>,
    /// What volumes that were deleted or rolled back have left.
    dropped: RefCell<Vec<Dropped>>,
    /// Mapped blocks of those that a checkpoint has taken over and not installed.
    dropping_blocks: RefCell<Vec<u64>>,
    /// The snapshot that is being dissolved, and the first block that is not done.
    pub(crate) dissolving: Cell<Option<(SnapshotCounter, BlockIndex)>>,
    /// Records that live, in the order in which they counted; not in the segment table yet.
    tail_live: RefCell<Vec<Extent>>,
    tail_live_sectors: Cell<u64>,
    /// Records that died in an overlay; still live in the segment table.
    pub(crate) dead: RefCell<Vec<Extent>>,
    /// What the nodes of all maps take at most.
    map_bytes_max: Cell<u64>,
    /// What merging everything that has counted so far would write at most: a leaf for each block. More than what the log has for
    /// these blocks where they are compressed, or holes.
    pub(crate) merge_bytes: Cell<u64>,
    pub(crate) next_number: Cell<u32>,
    /// The number of the next snapshot.
    pub(crate) next_snapshot: Cell<SnapshotCounter>,
    pub(crate) keys: Rc<Keys>,
    /// Records with several references.
    pub(crate) references: References,
    /// Blocks that are recognised when they are written again; nothing before the first volume wants that.
    pub(crate) duplicates: RefCell<Option<Duplicates>>,
    /// The nodes in memory, once the engine runs.
    pub(crate) cache: OnceCell<Rc<NodeCache>>,
    /// What hosts have done with volumes and snapshots that are gone.
    retired: RefCell<FiguresSeen>,
    /// Raised when something died or a volume went, so that space may be gained.
    pub(crate) freed: Signal,
}

/// A version that waits for a merge.
#[derive(Clone)]
pub(crate) struct Pending {
    version: Weak<Version>,
    /// The volume in whose line it is.
    pub(crate) volume: VolumeId,
    /// The snapshot on which it stands.
    pub(crate) parent: SnapshotCounter,
    map_bytes_max: u64,
}

/// A version on which no volume stands any more, though a snapshot may.
#[derive(Clone)]
pub(crate) struct Dropped {
    pub(crate) version: Rc<Version>,
    /// The snapshot on which it stands.
    pub(crate) parent: SnapshotCounter,
}

/// What the tail has done since the checkpoint before.
pub(crate) struct Tail {
    pub(crate) live: Vec<Extent>,
    pub(crate) dead: Vec<Extent>,
    pub(crate) dropped: Vec<Dropped>,
}

/// Where an entry's record lies.
pub(crate) fn extent_of(entry: &Entry) -> Extent {
    (entry.address, u32::from(entry.stored_sectors))
}

impl Volumes {
    /// Every volume, by number.
    pub(crate) fn all(&self) -> Vec<Rc<VolumeState>> {
        let mut all: Vec<_> = self.by_number.borrow().values().cloned().collect();
        all.sort_by_key(|volume| volume.number);
        all
    }

    pub(crate) fn get(&self, number: VolumeNumber) -> Option<Rc<VolumeState>> {
        self.by_number.borrow().get(&number).cloned()
    }

    pub(crate) fn find(&self, id: VolumeId) -> Option<Rc<VolumeState>> {
        self.by_number.borrow().values().find(|volume| volume.id == id).cloned()
    }

    pub(crate) fn insert(&self, head: VolumeHead, version: Rc<Version>, parent: SnapshotCounter) {
        self.next_number.set(self.next_number.get().max(head.number.0 + 1));
        self.map_bytes_max.set(self.map_bytes_max.get() + map_bytes_max(&head));
        let volume = Rc::new(VolumeState::new(head, VolumeMap::new(version), parent));
        self.by_number.borrow_mut().insert(volume.number, volume);
    }

    pub(crate) fn remove(&self, number: VolumeNumber) -> Option<Rc<VolumeState>> {
        let removed = self.by_number.borrow_mut().remove(&number)?;
        let bytes = map_bytes_max(&removed.head.borrow());
        self.map_bytes_max.set(self.map_bytes_max.get() - bytes);
        removed.deleted.set(true);
        self.retire(&removed);
        Some(removed)
    }

    /// What hosts have done with it stays in the sum.
    fn retire(&self, volume: &VolumeState) {
        let mut seen = volume.figures.look();
        seen.in_flight = 0;
        *self.retired.borrow_mut() += &seen;
    }

    /// What hosts have done with all volumes and snapshots that there are or were.
    pub(crate) fn figures(&self) -> FiguresSeen {
        let mut sum = self.retired.borrow().clone();
        self.by_number.borrow().values().for_each(|volume| sum += &volume.figures.look());
        self.snapshots.borrow().values().for_each(|snapshot| sum += &snapshot.reader.figures.look());
        sum
    }

    pub(crate) fn resize(&self, volume: &VolumeState, size_bytes: u64) {
        let mut head = volume.head.borrow_mut();
        let others = self.map_bytes_max.get() - map_bytes_max(&head);
        head.size_bytes = size_bytes;
        self.map_bytes_max.set(others + map_bytes_max(&head));
    }

    /// Bytes that are kept for volumes with a reservation and not used yet, with what storing them takes besides.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let volumes = self.by_number.borrow();
        let tracked = volumes.values().filter(|volume| volume.usage.is_tracked());
        let kept = tracked.map(|volume| {
            with_overhead(volume.usage.unused_bytes(&volume.head.borrow().settings, &volume.map))
        });
        kept.sum()
    }

    /// Every snapshot, by number, hidden ones too.
    pub(crate) fn snapshots(&self) -> Vec<Rc<SnapshotState>> {
        self.snapshots.borrow().values().cloned().collect()
    }

    pub(crate) fn snapshot(&self, number: SnapshotCounter) -> Option<Rc<SnapshotState>> {
        self.snapshots.borrow().get(&number).cloned()
    }

    /// The snapshot of another volume on which a clone stands; its own snapshots may lie between.
    pub(crate) fn base_of(&self, volume: &VolumeState) -> Option<Rc<SnapshotState>> {
        let mut next = self.snapshot(volume.parent.get());
        while let Some(own) = next.as_ref().filter(|snapshot| snapshot.head.borrow().volume == volume.number)
        {
            next = self.snapshot(own.parent.get());
        }
        next
    }

    /// A snapshot that is not hidden.
    pub(crate) fn find_snapshot(&self, id: SnapshotId) -> Option<Rc<SnapshotState>> {
        let snapshots = self.snapshots.borrow();
        let is_it = |snapshot: &&Rc<SnapshotState>| snapshot.id == id && !snapshot.head.borrow().hidden;
        snapshots.values().find(is_it).cloned()
    }

    pub(crate) fn insert_snapshot(&self, head: SnapshotHead, version: Rc<Version>, parent: SnapshotCounter) {
        let owner =
            self.get(head.volume).map_or_else(String::new, |volume| volume.head.borrow().name.clone());
        self.next_snapshot.set(self.next_snapshot.get().max(head.number.next()));
        let snapshot = Rc::new(SnapshotState::new(head, &owner, version, parent));
        self.snapshots.borrow_mut().insert(snapshot.number, snapshot);
    }

    /// Makes a version of what a volume shows now.
    pub(crate) fn freeze(&self, volume: &VolumeState) -> Rc<Version> {
        let (version, is_new) = volume.map.freeze(self.next_snapshot.get());
        if is_new {
            self.pending.borrow_mut().push(Pending {
                version: Rc::downgrade(&version),
                volume: volume.id,
                parent: volume.parent.get(),
                map_bytes_max: map_bytes_max(&volume.head.borrow()),
            });
        }
        version
    }

    /// The versions that wait for a merge, older ones first.
    pub(crate) fn pending(&self) -> Vec<(Rc<Version>, Pending)> {
        let mut pending = self.pending.borrow_mut();
        pending.retain(|pending| pending.version().is_some());
        pending.iter().filter_map(|pending| Some((pending.version()?, pending.clone()))).collect()
    }

    /// Whether a volume keeps a history, or moments are left of one.
    pub(crate) fn has_history(&self) -> bool {
        let keeps = |volume: &Rc<VolumeState>| volume.head.borrow().settings.history_s > 0;
        let is_moment = |snapshot: &Rc<SnapshotState>| {
            let head = snapshot.head.borrow();
            head.moment && !head.hidden
        };
        self.by_number.borrow().values().any(keeps) || self.snapshots.borrow().values().any(is_moment)
    }

    /// What of the things that stand on `parent` still belongs to a snapshot.
    pub(crate) fn floor(&self, parent: SnapshotCounter) -> Floor {
        match self.dissolving.get() {
            Some((number, cursor)) if number == parent => {
                let before =
                    self.snapshot(number).map_or(SnapshotCounter(0), |snapshot| snapshot.parent.get());
                Floor { before, cursor, from: parent }
            }
            _ => Floor::at(parent),
        }
    }

    /// Whether a hidden snapshot can be dissolved, or is being so.
    pub(crate) fn can_dissolve(&self) -> bool {
        if self.dissolving.get().is_some() {
            return true;
        }
        self.standing_on_hidden().iter().any(|&(_, standing)| standing < 2)
    }

    /// The hidden snapshots, and how many volumes and snapshots stand on each.
    pub(crate) fn standing_on_hidden(&self) -> Vec<(Rc<SnapshotState>, usize)> {
        let snapshots = self.snapshots.borrow();
        let hidden = snapshots.values().filter(|snapshot| snapshot.head.borrow().hidden);
        let mut hidden: Vec<_> = hidden.map(|snapshot| (snapshot.clone(), 0)).collect();
        if hidden.is_empty() {
            return hidden;
        }
        let mut standing: BTreeMap<SnapshotCounter, usize> = BTreeMap::new();
        let volumes = self.by_number.borrow();
        let parents = volumes.values().map(|volume| volume.parent.get());
        parents.chain(snapshots.values().map(|snapshot| snapshot.parent.get())).for_each(|parent| {
            *standing.entry(parent).or_default() += 1;
        });
        for (snapshot, count) in &mut hidden {
            *count = standing.get(&snapshot.number).copied().unwrap_or(0);
        }
        hidden
    }

    /// Mapped blocks of each version on which no volume stands any more and that no installed checkpoint knows of.
    pub(crate) fn dropped_blocks(&self) -> Vec<u64> {
        let mut blocks = self.dropping_blocks.borrow().clone();
        blocks.extend(self.dropped.borrow().iter().map(Dropped::mapped_blocks));
        blocks
    }

    /// A checkpoint has installed what it had taken over.
    pub(crate) fn note_installed(&self) {
        self.dropping_blocks.borrow_mut().clear();
    }

    /// Takes snapshots that were dissolved out of the tree: what stands on one stands on its parent now. Says on what instead of
    /// each.
    pub(crate) fn remove_snapshots(
        &self,
        numbers: &[SnapshotCounter],
    ) -> BTreeMap<SnapshotCounter, SnapshotCounter> {
        let mut parents = BTreeMap::new();
        for number in numbers {
            if let Some(gone) = self.snapshots.borrow_mut().remove(number) {
                self.retire(&gone.reader);
                parents.insert(*number, gone.parent.get());
            }
        }
        // A parent is older than what stands on it: from the oldest on, each leads to one that is there.
        let gone: Vec<SnapshotCounter> = parents.keys().copied().collect();
        for number in gone {
            let parent = parents[&number];
            parents.insert(number, parents.get(&parent).copied().unwrap_or(parent));
        }
        if parents.is_empty() {
            return parents;
        }
        let move_up = |on: SnapshotCounter| parents.get(&on).copied().unwrap_or(on);
        self.snapshots.borrow().values().for_each(|other| other.parent.set(move_up(other.parent.get())));
        self.by_number.borrow().values().for_each(|volume| volume.parent.set(move_up(volume.parent.get())));
        self.dropped.borrow_mut().iter_mut().for_each(|dropped| dropped.parent = move_up(dropped.parent));
        self.pending.borrow_mut().iter_mut().for_each(|pending| pending.parent = move_up(pending.parent));
        parents
    }

    /// Notes a version on which no volume stands any more.
    pub(crate) fn drop_version(&self, version: Rc<Version>, parent: SnapshotCounter) {
        self.dropped.borrow_mut().push(Dropped { version, parent });
        self.freed.raise();
    }

    pub(crate) fn overlay_bytes(&self) -> usize {
        let active: usize = self.by_number.borrow().values().map(|volume| volume.map.active_bytes()).sum();
        let pending = self.pending.borrow();
        let pending = pending.iter().filter_map(Pending::version).map(|version| version.pending_bytes());
        let lists = self.tail_live.borrow().len() + self.dead.borrow().len();
        active + pending.sum::<usize>() + lists * size_of::<Extent>()
    }

    /// Memory of what deduplication knows.
    pub(crate) fn deduplication_bytes(&self) -> usize {
        let duplicates = self.duplicates.borrow();
        self.references.memory_bytes() + duplicates.as_ref().map_or(0, Duplicates::memory_bytes)
    }

    /// Bytes that the nodes of all maps take at most, with the headers of their batches: what one checkpoint can write.
    pub(crate) fn map_bytes_max(&self) -> u64 {
        let pending = self.pending.borrow();
        let waiting = pending.iter().filter(|pending| pending.version().is_some());
        self.map_bytes_max.get() + waiting.map(|pending| pending.map_bytes_max).sum::<u64>()
    }

    pub(crate) fn tail_live_bytes(&self) -> u64 {
        self.tail_live_sectors.get() * SECTOR_BYTES as u64
    }

    /// What a checkpoint that begins now takes over.
    pub(crate) fn take_tail(&self) -> Tail {
        self.tail_live_sectors.set(0);
        self.references.freeze();
        *self.dropping_blocks.borrow_mut() =
            self.dropped.borrow().iter().map(Dropped::mapped_blocks).collect();
        Tail { live: self.tail_live.take(), dead: self.dead.take(), dropped: self.dropped.take() }
    }

    /// Gives back what a checkpoint that failed had taken.
    pub(crate) fn put_back_tail(&self, tail: Tail) {
        self.references.thaw();
        let sectors: u64 = tail.live.iter().map(|(_, sectors)| u64::from(*sectors)).sum();
        self.tail_live_sectors.set(self.tail_live_sectors.get() + sectors);
        prepend(&self.tail_live, tail.live);
        prepend(&self.dead, tail.dead);
        prepend(&self.dropped, tail.dropped);
        self.dropping_blocks.borrow_mut().clear();
    }

    /// A record changes so many leaves of a volume at most.
    pub(crate) fn note_merge(&self, volume: &VolumeState, leaves: u64) {
        let bytes = leaves * node_bytes_max(volume.head.borrow().key);
        self.merge_bytes.set(self.merge_bytes.get() + bytes);
    }

    pub(crate) fn record_live(&self, address: LogAddress, sectors: u32) {
        let mut live = self.tail_live.borrow_mut();
        self.tail_live_sectors.set(self.tail_live_sectors.get() + u64::from(sectors));
        if let Some((start, length)) = live.last_mut()
            && start.0 + u64::from(*length) == address.0
            && start.segment() == address.segment()
        {
            *length += sectors;
        } else {
            live.push((address, sectors));
        }
    }
}

impl Dropped {
    fn mapped_blocks(&self) -> u64 {
        self.version.mapped_blocks() + self.version.pending_entries() as u64
    }
}

impl Pending {
    fn version(&self) -> Option<Rc<Version>> {
        self.version.upgrade().filter(|version| version.is_pending())
    }
}

fn prepend<T>(list: &RefCell<Vec<T>>, mut first: Vec<T>) {
    let mut list = list.borrow_mut();
    first.append(&mut list);
    *list = first;
}

/// Bytes of a node at most: a leaf of encrypted blocks has their tags, too.
fn node_bytes_max(key: KeyId) -> u64 {
    let bytes = if key.0 == 0 { BLOCK_BYTES } else { NODE_BYTES_MAX.next_multiple_of(SECTOR_BYTES) };
    bytes as u64
}

/// Bytes that the nodes of a volume's map take at most: a leaf for each group of blocks, a node for each group
/// of nodes, and a sixteenth for the headers of the batches.
fn map_bytes_max(head: &VolumeHead) -> u64 {
    let mut nodes = 0;
    let mut below = head.size_bytes.div_ceil(BLOCK_BYTES as u64);
    while below > 1 || nodes == 0 {
        below = below.div_ceil(NODE_SLOTS as u64).max(1);
        nodes += below;
    }
    nodes * node_bytes_max(head.key) / 16 * 17
}
