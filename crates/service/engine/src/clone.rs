//! Clone a snapshot, roll a volume back to one, promote a clone.

use std::rc::Rc;

use quarry_format::record::{Record, SnapshotHead, VolumeHead};
use quarry_types::{KeyId, SnapshotCounter, SnapshotId, VolumeId, VolumeSettings};

use crate::hold::Hold;
use crate::snapshots::{Kind, NewSnapshot};
use crate::volume::VolumeState;
use crate::{Engine, EngineError};

/// What is cloned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloneOf {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A volume as it is now.
    Volume(VolumeId),
}

impl Engine {
    /// Makes a volume with the content of a snapshot or of a volume; durable on return. O(1). That the name is free is for the
    /// caller to know.
    pub async fn clone_volume(&self, of: CloneOf, id: VolumeId, name: &str) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let head = |size_bytes: u64, (settings, key): (VolumeSettings, KeyId)| VolumeHead {
            number: self.new_volume_number(),
            id,
            name: name.to_owned(),
            size_bytes,
            created_s: self.env.clock.wall().as_secs(),
            settings,
            key,
        };
        match of {
            CloneOf::Snapshot(id) => {
                let snapshot = self.find_snapshot(id)?;
                let owner = self.volumes.get(snapshot.head.borrow().volume);
                let settings = owner.map(|owner| owner.head.borrow().settings.of_clone());
                let key = snapshot.head.borrow().key;
                let head = head(snapshot.head.borrow().size_bytes, (settings.unwrap_or_default(), key));
                self.append_and_flush(Record::VolumeClone { head, snapshot: snapshot.number }).await
            }
            CloneOf::Volume(origin) => {
                let origin = self.find(origin)?;
                // One record for both: a hidden snapshot on which only one thing stands would be dissolved.
                let fork = |snapshot: SnapshotHead| {
                    let settings = origin.head.borrow().settings.of_clone();
                    Record::VolumeFork { head: head(snapshot.size_bytes, (settings, snapshot.key)), snapshot }
                };
                let new =
                    NewSnapshot { id: SnapshotId(id.0), name: String::new(), locked_until_s: 0, set: None };
                self.append_snapshot(&origin, new, Kind::Hidden, fork).await?;
                Ok(self.log.flush().await?)
            }
        }
    }

    /// Gives a volume the content and the size that a snapshot has; durable on return. The snapshot is the volume's own or one
    /// that it stands on. Other snapshots stay as they are.
    pub async fn roll_back_volume(&self, id: VolumeId, to: SnapshotId) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let volume = self.find(id)?;
        let snapshot = self.find_snapshot(to)?;
        let is_own = snapshot.head.borrow().volume == volume.number;
        if !is_own && !self.stands_on(&volume, snapshot.number) {
            return Err(EngineError::NoSnapshot { snapshot: to });
        }
        let _held = Hold::begin(volume.clone());
        self.log.room().await;
        let record = Record::VolumeRollback { volume: volume.number, snapshot: snapshot.number };
        let appended = self.log.append_record(record);
        // Together with the append: whoever has read a part of a block before must read it again.
        volume.rollbacks.set(volume.rollbacks.get() + 1);
        appended.await?;
        // It may map less now, so that more is kept for it.
        self.space.update(self);
        Ok(self.log.flush().await?)
    }

    /// A clone takes over the snapshots that it stands on from the volume that has them; durable on return. So that volume can
    /// be deleted, and the clone keeps its history.
    pub async fn promote_volume(&self, id: VolumeId) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let volume = self.find(id)?;
        let name = volume.head.borrow().name.clone();
        let Some(base) = self.volumes.base_of(&volume) else {
            return Err(EngineError::NoClone { volume: name });
        };
        let owner = base.head.borrow().volume;
        let mut next = Some(base);
        let own = self.snapshots_of(&volume);
        while let Some(snapshot) = next.filter(|snapshot| snapshot.head.borrow().volume == owner) {
            let head = snapshot.head.borrow();
            let is_same = |other: &Rc<crate::snapshot::SnapshotState>| other.head.borrow().name == head.name;
            if !head.hidden && !head.moment && own.iter().any(is_same) {
                return Err(EngineError::SnapshotExists { volume: name, name: head.name.clone() });
            }
            next = self.volumes.snapshot(snapshot.parent.get());
        }
        self.append_and_flush(Record::VolumePromote { volume: volume.number, owner }).await
    }

    fn stands_on(&self, volume: &VolumeState, number: SnapshotCounter) -> bool {
        let mut next = volume.parent.get();
        while next > number {
            next = self.volumes.snapshot(next).map_or(SnapshotCounter(0), |snapshot| snapshot.parent.get());
        }
        next == number
    }
}
