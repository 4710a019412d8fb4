//! What a record does when it counts: to the map of its volume, to the tree of snapshots, and to what lives.

use std::ops::Range;

use quarry_format::node::{Entry, Mapped, Method};
use quarry_format::record::{Record, SharedBlock, SnapshotHead, StoredBlock};
use quarry_log::{Applied, Apply};
use quarry_map::Version;
use quarry_reduce::Fingerprint;
use quarry_types::limits::{BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES};
use quarry_types::{SnapshotCounter, VolumeNumber};

use crate::volume::VolumeState;
use crate::volumes::{Volumes, extent_of};

impl Apply for Volumes {
    fn apply(&self, applied: Applied<'_>) {
        match applied {
            Applied::Write { volume, first_block, address, birth, key, checksums } => {
                let stored_sectors = (BLOCK_BYTES / SECTOR_BYTES) as u8;
                let entry = Entry { address, checksum: 0, birth, key, stored_sectors, method: Method::AsIs };
                self.write(volume, first_block, entry, checksums);
            }
            Applied::Stored { volume, first_block, mapped, marks } => {
                self.write_stored(volume, first_block, mapped, marks);
            }
            Applied::Other(record) => self.apply_record(record),
        }
    }
}

impl Volumes {
    fn write(&self, volume: VolumeNumber, first_block: u64, entry: Entry, checksums: &[u32]) {
        let Some(volume) = self.get(volume) else { return };
        self.record_live(entry.address, BLOCK_SECTORS * checksums.len() as u32);
        self.count_mapped(&volume, first_block..first_block + checksums.len() as u64);
        self.note_merge(&volume, checksums.len() as u64);
        let entries = checksums.iter().zip(0..).map(|(&checksum, index)| {
            let address = entry.address.plus(BLOCK_SECTORS * index);
            Mapped::from(Entry { address, checksum, ..entry })
        });
        let mut dead = self.dead.borrow_mut();
        volume.map.insert_run(first_block, entries, |old| dead.push(extent_of(&old)));
    }

    fn write_stored(
        &self,
        volume: VolumeNumber,
        first_block: u64,
        mapped: &[Mapped],
        marks: &[Option<Fingerprint>],
    ) {
        let Some(volume) = self.get(volume) else { return };
        for Mapped { entry, .. } in mapped {
            self.record_live(entry.address, u32::from(entry.stored_sectors));
        }
        self.map_blocks(&volume, first_block, mapped);
        if let Some(duplicates) = self.duplicates.borrow_mut().as_mut() {
            let marked = mapped.iter().zip(marks).filter_map(|(mapped, mark)| Some((mapped, (*mark)?)));
            marked.for_each(|(mapped, fingerprint)| duplicates.insert(fingerprint, *mapped));
        }
    }

    /// Blocks that are there already get one more reference each.
    fn write_shared(&self, volume: VolumeNumber, first_block: u64, mapped: &[Mapped]) {
        let Some(volume) = self.get(volume) else {
            return mapped.iter().for_each(|mapped| self.references.cancel(mapped.entry.address));
        };
        mapped.iter().for_each(|mapped| self.references.count(mapped.entry.address));
        self.map_blocks(&volume, first_block, mapped);
    }

    fn map_blocks(&self, volume: &VolumeState, first_block: u64, mapped: &[Mapped]) {
        self.count_mapped(volume, first_block..first_block + mapped.len() as u64);
        self.note_merge(volume, mapped.len() as u64);
        let mut dead = self.dead.borrow_mut();
        volume.map.insert_run(first_block, mapped.iter().copied(), |old| dead.push(extent_of(&old)));
    }

    fn zero(&self, volume: VolumeNumber, first_block: u64, blocks: u64) {
        let Some(volume) = self.get(volume) else { return };
        self.count_unmapped(&volume, first_block..first_block + blocks);
        // Those at its ends; what lies between goes as a whole.
        self.note_merge(&volume, blocks.min(2));
        let mut dead = self.dead.borrow_mut();
        volume.map.unmap(first_block..first_block + blocks, &mut |old| dead.push(extent_of(&old)));
    }

    fn apply_record(&self, record: &Record) {
        match record {
            Record::Zero { volume, first_block, blocks } => self.zero(*volume, *first_block, *blocks),
            Record::VolumeCreate(head) => {
                if self.get(head.number).is_none() {
                    self.insert(head.clone(), Version::merged(None), SnapshotCounter(0));
                }
            }
            Record::VolumeResize { volume, size_bytes } => {
                if let Some(volume) = self.get(*volume) {
                    volume.changed.set(true);
                    self.resize(&volume, *size_bytes);
                }
            }
            Record::VolumeDelete { volume } => self.delete(*volume),
            Record::VolumeRename { volume, name } => {
                if let Some(volume) = self.get(*volume) {
                    volume.head.borrow_mut().name.clone_from(name);
                }
            }
            Record::KeyWrap(key) => self.keys.wrap(key),
            Record::KeyForget { key } => {
                self.keys.forget(*key);
                self.duplicates.borrow_mut().iter_mut().for_each(|duplicates| duplicates.forget_key(*key));
            }
            Record::WriteShared { volume, first_block, birth, key, blocks } => {
                let mapped = |SharedBlock { address, stored }: &SharedBlock| {
                    let StoredBlock { method, sectors, checksum, tag } = *stored;
                    let (address, birth, key, stored_sectors) = (*address, *birth, *key, sectors);
                    Mapped { entry: Entry { address, checksum, birth, key, stored_sectors, method }, tag }
                };
                let mapped: Vec<Mapped> = blocks.iter().map(mapped).collect();
                self.write_shared(*volume, *first_block, &mapped);
            }
            Record::VolumeChange { volume, settings } => {
                if let Some(volume) = self.get(*volume) {
                    // A window that begins begins with what there is.
                    volume.changed.set(true);
                    volume.head.borrow_mut().settings = *settings;
                    volume.usage.follow(settings, &volume.map);
                }
            }
            Record::VolumeClone { head, snapshot } => {
                let origin = self.snapshot(*snapshot);
                if let (Some(origin), None) = (origin, self.get(head.number)) {
                    self.insert(head.clone(), origin.version.clone(), *snapshot);
                }
            }
            Record::VolumeFork { head, snapshot } => {
                self.take_snapshot(snapshot);
                let origin = self.snapshot(snapshot.number);
                if let (Some(origin), None) = (origin, self.get(head.number)) {
                    self.insert(head.clone(), origin.version.clone(), snapshot.number);
                }
            }
            Record::VolumeRollback { volume, snapshot } => self.roll_back(*volume, *snapshot),
            Record::VolumePromote { volume, owner } => self.promote(*volume, *owner),
            Record::SnapshotCreate(head) => self.take_snapshot(head),
            Record::SnapshotChange { snapshot, name, locked_until_s } => {
                if let Some(snapshot) = self.snapshot(*snapshot) {
                    let mut head = snapshot.head.borrow_mut();
                    head.name.clone_from(name);
                    head.locked_until_s = *locked_until_s;
                }
            }
            Record::SnapshotSettle { snapshot } => {
                if let Some(snapshot) = self.snapshot(*snapshot)
                    && let Some(set) = &mut snapshot.head.borrow_mut().set
                {
                    set.settled = true;
                }
            }
            Record::SnapshotDelete { snapshot } => {
                if let Some(snapshot) = self.snapshot(*snapshot) {
                    snapshot.hide();
                    // Moments go every second: what they held is credited by checkpoints that come anyway.
                    if !snapshot.head.borrow().moment {
                        self.freed.raise();
                    }
                }
            }
            Record::Write { .. } | Record::WriteStored { .. } | Record::Node { .. } => {}
        }
    }

    fn count_mapped(&self, volume: &VolumeState, blocks: Range<u64>) {
        volume.changed.set(true);
        if volume.usage.is_tracked() {
            volume.usage.maps(blocks, &volume.map, self.cache.get().map(|cache| &**cache));
        }
    }

    fn count_unmapped(&self, volume: &VolumeState, blocks: Range<u64>) {
        volume.changed.set(true);
        if volume.usage.is_tracked() && !blocks.is_empty() {
            volume.usage.unmaps(blocks, &volume.map, self.cache.get().map(|cache| &**cache));
        }
    }

    fn delete(&self, number: VolumeNumber) {
        let Some(volume) = self.remove(number) else { return };
        let mut dead = self.dead.borrow_mut();
        let below = volume.map.retire(&mut |old| dead.push(extent_of(&old)));
        drop(dead);
        self.drop_version(below, volume.parent.get());
    }

    fn take_snapshot(&self, head: &SnapshotHead) {
        if let Some(volume) = self.get(head.volume) {
            let version = self.freeze(&volume);
            self.insert_snapshot(head.clone(), version, volume.parent.get());
            if head.moment {
                volume.changed.set(false);
                volume.missed_from_s.set(None);
            }
            volume.parent.set(head.number);
        }
    }

    fn roll_back(&self, number: VolumeNumber, to: SnapshotCounter) {
        let (Some(volume), Some(snapshot)) = (self.get(number), self.snapshot(to)) else { return };
        let mut dead = self.dead.borrow_mut();
        let below = volume.map.replace(snapshot.version.clone(), &mut |old| dead.push(extent_of(&old)));
        drop(dead);
        volume.usage.restart(&volume.map);
        volume.changed.set(true);
        self.drop_version(below, volume.parent.replace(to));
        let size_bytes = snapshot.head.borrow().size_bytes;
        self.resize(&volume, size_bytes);
    }

    /// The owner is named, because a snapshot of it may have been dissolved since, here or at a replay, and what stands in its
    /// place be somebody else's.
    fn promote(&self, number: VolumeNumber, owner: VolumeNumber) {
        let Some(volume) = self.get(number) else { return };
        self.get(owner).iter().for_each(|owner| owner.changed.set(true));
        let mut next = self.base_of(&volume);
        while let Some(snapshot) = next.filter(|snapshot| snapshot.head.borrow().volume == owner) {
            snapshot.head.borrow_mut().volume = number;
            next = self.snapshot(snapshot.parent.get());
        }
    }
}
