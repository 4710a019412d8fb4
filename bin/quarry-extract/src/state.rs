//! The volumes and snapshots of a log: as its image says, and what each record of the tail does to them (docs/format/log.md).

use std::collections::BTreeMap;

use quarry_format::batch::Batch;
use quarry_format::image::Image;
use quarry_format::node::{Entry, Mapped, Method};
use quarry_format::record::{KeyRecord, Record, SharedBlock, SnapshotHead, StoredBlock, VolumeHead};
use quarry_types::limits::BLOCK_SECTORS;
use quarry_types::{KeyId, LogAddress, SnapshotCounter, VolumeNumber};

use crate::layers::{LayerId, Layers};

/// A volume or a snapshot.
#[derive(Clone)]
pub struct Thing<Head> {
    pub head: Head,
    /// What it shows.
    pub layer: LayerId,
    /// The snapshot on which it stands; 0 for none.
    parent: SnapshotCounter,
}

/// See the module.
#[derive(Default)]
pub struct State {
    pub volumes: BTreeMap<VolumeNumber, Thing<VolumeHead>>,
    pub snapshots: BTreeMap<SnapshotCounter, Thing<SnapshotHead>>,
    pub keys: BTreeMap<KeyId, KeyRecord>,
    pub layers: Layers,
}

impl State {
    pub fn new(image: &Image) -> Self {
        let mut state = Self::default();
        for volume in &image.volumes {
            let layer = state.layers.on_tree(volume.root);
            let thing = Thing { head: volume.head.clone(), layer, parent: volume.parent };
            state.volumes.insert(volume.head.number, thing);
        }
        for snapshot in &image.snapshots {
            let layer = state.layers.on_tree(snapshot.root);
            let thing = Thing { head: snapshot.head.clone(), layer, parent: snapshot.parent };
            state.snapshots.insert(snapshot.head.number, thing);
        }
        state.keys.extend(image.keys.iter().map(|key| (key.key, key.clone())));
        state
    }

    /// Applies a batch that lies at `start`.
    pub fn apply(&mut self, batch: &Batch, start: LogAddress) {
        let mut layout = batch.layout();
        for record in &batch.records {
            match record {
                Record::Write { volume, first_block, birth, key, checksums } => {
                    let first = layout.place(BLOCK_SECTORS * checksums.len() as u32);
                    let sectors = (first..).step_by(BLOCK_SECTORS as usize);
                    let blocks = checksums.iter().zip(sectors).map(|(&checksum, sector)| {
                        let (address, birth, key) = (start.plus(sector), *birth, *key);
                        let (stored_sectors, method) = (BLOCK_SECTORS as u8, Method::AsIs);
                        Entry { address, checksum, birth, key, stored_sectors, method }.into()
                    });
                    self.write(*volume, *first_block, blocks.collect());
                }
                Record::WriteStored { volume, first_block, birth, key, blocks } => {
                    let blocks = blocks.iter().map(|&StoredBlock { method, sectors, checksum, tag }| {
                        let address = start.plus(layout.place(sectors.into()));
                        let (birth, key, stored_sectors) = (*birth, *key, sectors);
                        Mapped { entry: Entry { address, checksum, birth, key, stored_sectors, method }, tag }
                    });
                    let blocks = blocks.collect();
                    self.write(*volume, *first_block, blocks);
                }
                Record::WriteShared { volume, first_block, birth, key, blocks } => {
                    let blocks = blocks.iter().map(|&SharedBlock { address, stored }| {
                        let StoredBlock { method, sectors, checksum, tag } = stored;
                        let (birth, key, stored_sectors) = (*birth, *key, sectors);
                        Mapped { entry: Entry { address, checksum, birth, key, stored_sectors, method }, tag }
                    });
                    self.write(*volume, *first_block, blocks.collect());
                }
                Record::Node { sectors, .. } => _ = layout.place((*sectors).into()),
                other => self.apply_other(other),
            }
        }
    }

    fn write(&mut self, volume: VolumeNumber, first_block: u64, blocks: Vec<Mapped>) {
        let Some(volume) = self.volumes.get(&volume) else { return };
        let changes = self.layers.changes(volume.layer);
        (first_block..).zip(blocks).for_each(|(block, mapped)| changes.write(block, mapped));
    }

    fn apply_other(&mut self, record: &Record) {
        match record {
            Record::Zero { volume, first_block, blocks } => {
                if let Some(volume) = self.volumes.get(volume) {
                    self.layers.changes(volume.layer).zero(*first_block, *blocks);
                }
            }
            Record::VolumeCreate(head) => {
                let layer = self.layers.on_tree(None);
                let thing = Thing { head: head.clone(), layer, parent: SnapshotCounter(0) };
                self.volumes.entry(head.number).or_insert(thing);
            }
            Record::VolumeResize { volume, size_bytes } => {
                self.change(*volume, |volume| volume.head.size_bytes = *size_bytes);
            }
            Record::VolumeDelete { volume } => _ = self.volumes.remove(volume),
            Record::VolumeRename { volume, name } => {
                self.change(*volume, |volume| volume.head.name.clone_from(name));
            }
            Record::VolumeChange { volume, settings } => {
                self.change(*volume, |volume| volume.head.settings = *settings);
            }
            Record::VolumeClone { head, snapshot } => self.clone_volume(head, *snapshot),
            Record::VolumeFork { head, snapshot } => {
                self.take_snapshot(snapshot);
                self.clone_volume(head, snapshot.number);
            }
            Record::VolumeRollback { volume, snapshot } => self.roll_back(*volume, *snapshot),
            Record::VolumePromote { volume, owner } => self.promote(*volume, *owner),
            other => self.apply_to_snapshots(other),
        }
    }

    fn apply_to_snapshots(&mut self, record: &Record) {
        match record {
            Record::SnapshotCreate(head) => self.take_snapshot(head),
            Record::SnapshotChange { snapshot, name, locked_until_s } => {
                if let Some(snapshot) = self.snapshots.get_mut(snapshot) {
                    snapshot.head.name.clone_from(name);
                    snapshot.head.locked_until_s = *locked_until_s;
                }
            }
            Record::SnapshotSettle { snapshot } => {
                if let Some(set) = self.snapshots.get_mut(snapshot).and_then(|known| known.head.set.as_mut())
                {
                    set.settled = true;
                }
            }
            Record::SnapshotDelete { snapshot } => {
                if let Some(snapshot) = self.snapshots.get_mut(snapshot) {
                    snapshot.head.hidden = true;
                }
            }
            Record::KeyWrap(key) => _ = self.keys.insert(key.key, key.clone()),
            Record::KeyForget { key } => _ = self.keys.remove(key),
            _ => {}
        }
    }

    fn change(&mut self, volume: VolumeNumber, change: impl FnOnce(&mut Thing<VolumeHead>)) {
        if let Some(volume) = self.volumes.get_mut(&volume) {
            change(volume);
        }
    }

    fn clone_volume(&mut self, head: &VolumeHead, snapshot: SnapshotCounter) {
        let Some(layer) = self.snapshots.get(&snapshot).map(|origin| origin.layer) else { return };
        let thing = Thing { head: head.clone(), layer: self.layers.on(layer), parent: snapshot };
        self.volumes.entry(head.number).or_insert(thing);
    }

    fn take_snapshot(&mut self, head: &SnapshotHead) {
        let Some(volume) = self.volumes.get_mut(&head.volume) else { return };
        let (layer, parent) = (volume.layer, volume.parent);
        volume.layer = self.layers.on(layer);
        volume.parent = head.number;
        self.snapshots.insert(head.number, Thing { head: head.clone(), layer, parent });
    }

    fn roll_back(&mut self, volume: VolumeNumber, to: SnapshotCounter) {
        let (Some(volume), Some(snapshot)) = (self.volumes.get_mut(&volume), self.snapshots.get(&to)) else {
            return;
        };
        volume.layer = self.layers.on(snapshot.layer);
        volume.parent = to;
        volume.head.size_bytes = snapshot.head.size_bytes;
    }

    /// Gives the snapshots of `owner` on which a volume stands to the volume; its own may lie between.
    fn promote(&mut self, number: VolumeNumber, owner: VolumeNumber) {
        let Some(volume) = self.volumes.get(&number) else { return };
        let (mut next, mut seen_owner) = (volume.parent, false);
        while let Some(snapshot) = self.snapshots.get_mut(&next) {
            if snapshot.head.volume == owner {
                snapshot.head.volume = number;
                seen_owner = true;
            } else if seen_owner || snapshot.head.volume != number {
                return;
            }
            next = snapshot.parent;
        }
    }
}
