//! Take, change and delete snapshots; show them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use quarry_format::record::{Record, SnapshotHead, SnapshotSet};
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};
use quarry_types::{SnapshotCounter, SnapshotId, VolumeId};

use crate::hold::Hold;
use crate::snapshot::SnapshotState;
use crate::volume::VolumeState;
use crate::{Engine, EngineError, EngineVolume};

/// From so many versions on top of a volume's tree on, each of which every read may have to look at, a checkpoint is due.
const LAYERS_WANTED_MAX: usize = 4;
/// With so many a snapshot waits for the checkpoint.
const LAYERS_MAX: usize = 256;
/// Figures are brought up to date for those who look at snapshots at most this often.
const COUNTED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Map nodes that are read to tell what a snapshot holds alone.
const UNSHARED_NODES_MAX: usize = 4096;

/// A snapshot to be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its name, unique in its volume.
    pub name: String,
    /// Nobody deletes it before this time, in seconds since 1970; 0 when it is not locked.
    pub locked_until_s: u64,
    /// The snapshots that are taken with it, if it is not taken alone.
    pub set: Option<SnapshotSet>,
}

/// What a snapshot is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotLabel {
    /// Its id.
    pub id: SnapshotId,
    /// Its name, unique in its volume.
    pub name: String,
    /// Nobody deletes it before this time, in seconds since 1970; 0 when it is not locked.
    pub locked_until_s: u64,
}

/// Who sees a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Its owner, by its name.
    Named,
    /// Nobody: only something else stands on it.
    Hidden,
    /// Who asks for its volume as it was then.
    Moment,
}

/// A snapshot as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotStatus {
    /// Its id.
    pub id: SnapshotId,
    /// Its name.
    pub name: String,
    /// The volume to which it belongs.
    pub volume: VolumeId,
    /// Its place in the order in which the snapshots of the volume were taken.
    pub number: SnapshotCounter,
    /// Size of the volume when it was taken.
    pub size_bytes: u64,
    /// Seconds since 1970 at which it was taken.
    pub created_s: u64,
    /// Nobody deletes it before this time, in seconds since 1970; 0 when it is not locked.
    pub locked_until_s: u64,
    /// The snapshots that were taken with it.
    pub set: Option<SnapshotSet>,
    /// Bytes of data that it refers to, shared or not.
    pub referenced_bytes: u64,
    /// Bytes of data that nothing else refers to: what deleting it would free. `None` where telling takes too long.
    pub unique_bytes: Option<u64>,
    /// Clones that stand on it.
    pub clones: usize,
}

impl Engine {
    /// Takes a snapshot of a volume; durable on return. O(1): nothing is copied, written or read, whatever the volume's size.
    pub async fn create_snapshot(&self, volume: VolumeId, new: NewSnapshot) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let volume = self.find(volume)?;
        self.check_name(&volume, &new.name)?;
        self.append_snapshot(&volume, new, Kind::Named, Record::SnapshotCreate).await?;
        Ok(self.log.flush().await?)
    }

    /// Appends the record that `in_record` makes of a new snapshot; it counts on return.
    pub(crate) async fn append_snapshot(
        &self,
        volume: &Rc<VolumeState>,
        new: NewSnapshot,
        kind: Kind,
        in_record: impl FnOnce(SnapshotHead) -> Record,
    ) -> Result<(), EngineError> {
        let layers = volume.map.below().layers();
        if layers >= LAYERS_MAX {
            self.checkpoint().await?;
        } else if layers >= LAYERS_WANTED_MAX {
            self.layered.set(true);
            self.wake.raise();
        }
        let charge = self.admit("snapshot", BLOCK_BYTES as u64).await?;
        let appended = self.log.append_record(in_record(self.new_snapshot_head(volume, new, kind)?));
        drop(charge);
        Ok(appended.await?)
    }

    /// What describes a new snapshot. The caller appends it in the same step: the order of numbers is that of the log.
    pub(crate) fn new_snapshot_head(
        &self,
        volume: &VolumeState,
        new: NewSnapshot,
        kind: Kind,
    ) -> Result<SnapshotHead, EngineError> {
        let number = self.birth.get();
        if number.0 == u32::MAX {
            return Err(EngineError::TooManySnapshots);
        }
        self.birth.set(number.next());
        let NewSnapshot { id, name, locked_until_s, set } = new;
        Ok(SnapshotHead {
            number,
            id,
            volume: volume.number,
            name,
            size_bytes: volume.head.borrow().size_bytes,
            key: volume.head.borrow().key,
            created_s: if kind == Kind::Moment { self.moment_s() } else { self.now_s() },
            locked_until_s,
            hidden: kind == Kind::Hidden,
            moment: kind == Kind::Moment,
            missed_from_s: None,
            set,
        })
    }

    /// Gives a snapshot another name, or locks it for longer; durable on return.
    pub async fn change_snapshot(
        &self,
        id: SnapshotId,
        name: Option<String>,
        locked_until_s: Option<u64>,
    ) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let snapshot = self.find_snapshot(id)?;
        let now = snapshot.head.borrow().clone();
        if let (Some(name), Some(volume)) = (&name, self.volumes.get(now.volume))
            && *name != now.name
        {
            self.check_name(&volume, name)?;
        }
        let is_locked = now.locked_until_s > self.now_s();
        if let Some(until_s) = locked_until_s.filter(|&until_s| is_locked && until_s < now.locked_until_s) {
            tracing::warn!(snapshot = %id, until_s, "refused to shorten a lock");
            return Err(EngineError::Locked { name: now.name, until_s: now.locked_until_s });
        }
        let record = Record::SnapshotChange {
            snapshot: snapshot.number,
            name: name.unwrap_or(now.name),
            locked_until_s: locked_until_s.unwrap_or(now.locked_until_s),
        };
        self.append_and_flush(record).await
    }

    /// Deletes a snapshot; durable on return. What nothing else refers to is credited by the checkpoints that follow.
    pub async fn delete_snapshot(&self, id: SnapshotId) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let snapshot = self.find_snapshot(id)?;
        self.check_unlocked(&snapshot)?;
        self.append_and_flush(Record::SnapshotDelete { snapshot: snapshot.number }).await
    }

    /// The snapshots of a volume, oldest first.
    pub async fn snapshots(&self, volume: VolumeId) -> Result<Vec<SnapshotStatus>, EngineError> {
        let volume = self.find(volume)?;
        self.merge_for_counting().await;
        let clones = self.clones();
        let mut all = Vec::new();
        for snapshot in self.snapshots_of(&volume) {
            all.push(self.snapshot_status(&snapshot, &clones).await);
        }
        Ok(all)
    }

    /// What the snapshots of a volume are called, oldest first: all that can be told of them without counting.
    pub fn snapshot_labels(&self, volume: VolumeId) -> Result<Vec<SnapshotLabel>, EngineError> {
        let volume = self.find(volume)?;
        let label = |snapshot: Rc<SnapshotState>| {
            let head = snapshot.head.borrow();
            SnapshotLabel { id: head.id, name: head.name.clone(), locked_until_s: head.locked_until_s }
        };
        Ok(self.snapshots_of(&volume).into_iter().map(label).collect())
    }

    /// One snapshot.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<SnapshotStatus, EngineError> {
        Ok(self.snapshot_status(&self.find_snapshot(id)?, &self.clones()).await)
    }

    /// Brings what was written into the trees, by which is counted what a snapshot holds alone; not for everybody who asks.
    /// When that fails the figures are those of the last checkpoint.
    async fn merge_for_counting(&self) {
        let now = self.env.clock.now();
        let is_recent = self.merged_for_counting.get().is_some_and(|last| now < last + COUNTED_AGAIN_AFTER);
        if self.tail_bytes() == 0 || is_recent || self.volumes.snapshots().is_empty() {
            return;
        }
        self.merged_for_counting.set(Some(now));
        if let Err(error) = self.checkpoint().await {
            tracing::warn!(log = %self.store.log, %error, "figures of snapshots are those of the last checkpoint");
        }
    }

    /// The snapshot of a volume that has this name.
    pub fn snapshot_named(&self, volume: VolumeId, name: &str) -> Result<Option<SnapshotId>, EngineError> {
        let volume = self.find(volume)?;
        let snapshots = self.snapshots_of(&volume).into_iter();
        let named = snapshots.filter(|snapshot| snapshot.head.borrow().name == name);
        Ok(named.map(|snapshot| snapshot.id).next())
    }

    /// A snapshot as a volume that nobody writes to.
    pub fn snapshot_volume(self: &Rc<Self>, id: SnapshotId) -> Result<Rc<EngineVolume>, EngineError> {
        let state = self.find_snapshot(id)?.reader.clone();
        Ok(Rc::new(EngineVolume::new(self.clone(), state)))
    }

    /// The volume of a snapshot; `None` when either is not there.
    pub fn volume_of_snapshot(&self, id: SnapshotId) -> Option<VolumeId> {
        let volume = self.find_snapshot(id).ok()?.head.borrow().volume;
        Some(self.volumes.get(volume)?.id)
    }

    /// Holds the writes of a volume back, so that it can be snapshotted at one point in time with others.
    pub fn hold(&self, volume: VolumeId) -> Result<Hold, EngineError> {
        Ok(Hold::begin(self.find(volume)?))
    }

    /// The members of sets that this log has. A set of which no member, in whatever log, is settled was never taken: its members
    /// are to be forgotten before anybody sees them. Those of others are to be settled.
    pub fn set_members(&self) -> Vec<(SnapshotId, SnapshotSet)> {
        let all = self.volumes.snapshots().into_iter();
        let visible = all.filter(|snapshot| !snapshot.head.borrow().hidden);
        visible.filter_map(|snapshot| Some((snapshot.id, snapshot.head.borrow().set?))).collect()
    }

    /// Notes that all members of a snapshot's set were taken; durable on return.
    pub async fn settle_snapshot(&self, id: SnapshotId) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let snapshot = self.find_snapshot(id)?.number;
        self.append_and_flush(Record::SnapshotSettle { snapshot }).await
    }

    /// Deletes a member of a set that was never completed, locked or not.
    ///
    /// # Errors
    /// [`EngineError::Locked`] for any other snapshot.
    pub async fn forget_snapshot(&self, id: SnapshotId) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let snapshot = self.find_snapshot(id)?;
        if snapshot.head.borrow().set.is_none_or(|set| set.settled) {
            self.check_unlocked(&snapshot)?;
        }
        self.append_and_flush(Record::SnapshotDelete { snapshot: snapshot.number }).await
    }

    /// The snapshots of a volume that have a name, oldest first.
    pub(crate) fn snapshots_of(&self, volume: &VolumeState) -> Vec<Rc<SnapshotState>> {
        let is_its = |snapshot: &Rc<SnapshotState>| {
            let head = snapshot.head.borrow();
            head.volume == volume.number && !head.hidden && !head.moment
        };
        self.volumes.snapshots().into_iter().filter(is_its).collect()
    }

    pub(crate) fn find_snapshot(&self, id: SnapshotId) -> Result<Rc<SnapshotState>, EngineError> {
        self.volumes.find_snapshot(id).ok_or(EngineError::NoSnapshot { snapshot: id })
    }

    pub(crate) fn check_unlocked(&self, snapshot: &SnapshotState) -> Result<(), EngineError> {
        let head = snapshot.head.borrow();
        if head.locked_until_s > self.now_s() {
            return Err(EngineError::Locked { name: head.name.clone(), until_s: head.locked_until_s });
        }
        Ok(())
    }

    fn check_name(&self, volume: &VolumeState, name: &str) -> Result<(), EngineError> {
        let is_taken = |snapshot: &Rc<SnapshotState>| snapshot.head.borrow().name == name;
        if self.snapshots_of(volume).iter().any(is_taken) {
            let volume = volume.head.borrow().name.clone();
            return Err(EngineError::SnapshotExists { volume, name: name.to_owned() });
        }
        Ok(())
    }

    pub(crate) fn now_s(&self) -> u64 {
        self.env.clock.wall().as_secs()
    }

    /// How many clones stand on each snapshot that has some.
    fn clones(&self) -> BTreeMap<SnapshotCounter, usize> {
        let mut clones = BTreeMap::new();
        for base in self.volumes.all().into_iter().filter_map(|volume| self.volumes.base_of(&volume)) {
            *clones.entry(base.number).or_default() += 1;
        }
        clones
    }

    async fn snapshot_status(
        &self,
        snapshot: &Rc<SnapshotState>,
        clones: &BTreeMap<SnapshotCounter, usize>,
    ) -> SnapshotStatus {
        let head = snapshot.head.borrow().clone();
        SnapshotStatus {
            id: head.id,
            name: head.name,
            volume: self.volumes.get(head.volume).map_or(VolumeId::from_bytes([0; 16]), |volume| volume.id),
            number: head.number,
            size_bytes: head.size_bytes,
            created_s: head.created_s,
            locked_until_s: head.locked_until_s,
            set: head.set,
            referenced_bytes: snapshot.referenced_bytes(),
            unique_bytes: self.unique_bytes(snapshot).await,
            clones: clones.get(&snapshot.number).copied().unwrap_or(0),
        }
    }

    /// What a snapshot holds alone, as of the last checkpoint.
    async fn unique_bytes(&self, snapshot: &SnapshotState) -> Option<u64> {
        let root = snapshot.version.root()?;
        let snapshots = self.volumes.snapshots().into_iter();
        let snapshots = snapshots.filter(|other| other.parent.get() == snapshot.number);
        let volumes = self.volumes.all().into_iter().filter(|volume| volume.parent.get() == snapshot.number);
        let standing =
            snapshots.map(|other| other.version.clone()).chain(volumes.map(|volume| volume.map.below()));
        let others: Vec<_> = standing.map(|version| version.newest_root()).collect();
        let floor = snapshot.parent.get();
        let mut budget_nodes = UNSHARED_NODES_MAX;
        let roots = (root, &others[..]);
        let unshared =
            quarry_map::unshared_entries(&self.nodes, &self.cache, roots, floor, &mut budget_nodes)
                .await
                .ok()??;
        let references = &self.volumes.references;
        let alone = unshared.iter().filter(|entry| !references.is_shared(entry.address));
        Some(alone.map(|entry| u64::from(entry.stored_sectors) * SECTOR_BYTES as u64).sum())
    }
}
