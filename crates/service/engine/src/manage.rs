//! Create, resize and delete volumes: records of the log like everything else.

use std::rc::Rc;
use std::time::Duration;

use quarry_format::record::{Record, VolumeHead};
use quarry_types::limits::{SECTOR_BYTES, VOLUME_BYTES_MAX};
use quarry_types::{KeyId, VolumeId, VolumeNumber, VolumeSettings};

use crate::volume::VolumeState;
use crate::{Engine, EngineError, EngineVolume, NewKey};

fn check_size(size_bytes: u64) -> Result<(), EngineError> {
    let valid =
        size_bytes > 0 && size_bytes <= VOLUME_BYTES_MAX && size_bytes.is_multiple_of(SECTOR_BYTES as u64);
    if valid { Ok(()) } else { Err(EngineError::Size { size_bytes }) }
}

impl Engine {
    /// Creates an empty volume, encrypted if there is a key for it; durable on return. That the name is free is for the caller to know.
    pub async fn create_volume(
        &self,
        id: VolumeId,
        name: &str,
        size_bytes: u64,
        settings: VolumeSettings,
        encryption: Option<NewKey>,
    ) -> Result<(), EngineError> {
        check_size(size_bytes)?;
        let _managing = self.managing.lock().await;
        let key = match encryption {
            Some(new) => self.add_key(new).await?,
            None => KeyId(0),
        };
        let number = self.new_volume_number();
        let created_s = self.env.clock.wall().as_secs();
        let head = VolumeHead { number, id, name: name.to_owned(), size_bytes, created_s, settings, key };
        let created = self.append_and_flush(Record::VolumeCreate(head)).await;
        self.adding_key.set(None);
        self.space.update(self);
        created
    }

    pub(crate) fn new_volume_number(&self) -> VolumeNumber {
        let number = VolumeNumber(self.volumes.next_number.get());
        self.volumes.next_number.set(number.0 + 1);
        number
    }

    pub(crate) async fn append_and_flush(&self, record: Record) -> Result<(), EngineError> {
        self.log.room().await;
        self.log.append_record(record).await?;
        Ok(self.log.flush().await?)
    }

    /// Gives a volume another name; durable on return. That the name is free is for the caller to know.
    pub async fn rename_volume(&self, id: VolumeId, name: &str) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let volume = self.find(id)?.number;
        self.append_and_flush(Record::VolumeRename { volume, name: name.to_owned() }).await
    }

    /// Gives a volume other settings, which concern writes from now on; durable on return.
    pub async fn change_volume(&self, id: VolumeId, settings: VolumeSettings) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let volume = self.find(id)?.number;
        self.append_and_flush(Record::VolumeChange { volume, settings }).await?;
        // What is kept for it counts from now on.
        self.space.update(self);
        Ok(())
    }

    /// Grows a volume; durable on return.
    pub async fn resize_volume(&self, id: VolumeId, size_bytes: u64) -> Result<(), EngineError> {
        check_size(size_bytes)?;
        let _managing = self.managing.lock().await;
        let volume = self.find(id)?;
        let now = volume.head.borrow().size_bytes;
        if size_bytes < now {
            return Err(EngineError::Shrink { size_bytes: now, wanted_bytes: size_bytes });
        }
        self.append_and_flush(Record::VolumeResize { volume: volume.number, size_bytes }).await
    }

    /// Deletes a volume, and its snapshots where that is wanted; durable on return. Its space is credited by the checkpoints
    /// that follow. Clones of its snapshots live on.
    pub async fn delete_volume(&self, id: VolumeId, with_snapshots: bool) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        let volume = self.find(id)?;
        let snapshots = self.snapshots_of(&volume);
        snapshots.iter().try_for_each(|snapshot| self.check_unlocked(snapshot))?;
        if !snapshots.is_empty() && !with_snapshots {
            let volume = volume.head.borrow().name.clone();
            return Err(EngineError::HasSnapshots { volume, snapshots: snapshots.len() });
        }
        // The volume goes last: after a crash in between it is still there to be deleted.
        for snapshot in snapshots.into_iter().chain(self.moments_of(&volume)) {
            self.log.room().await;
            self.log.append_record(Record::SnapshotDelete { snapshot: snapshot.number }).await?;
        }
        self.append_and_flush(Record::VolumeDelete { volume: volume.number }).await?;
        self.wake.raise();
        Ok(())
    }

    /// A volume, to serve it.
    pub fn volume(self: &Rc<Self>, id: VolumeId) -> Result<Rc<EngineVolume>, EngineError> {
        Ok(Rc::new(EngineVolume::new(self.clone(), self.find(id)?)))
    }

    pub(crate) fn find(&self, id: VolumeId) -> Result<Rc<VolumeState>, EngineError> {
        self.volumes.find(id).ok_or(EngineError::NoVolume { volume: id })
    }

    /// Waits until deleted volumes and discarded ranges have been credited, but no longer than `limit`; for tests and for
    /// orderly measurements.
    pub async fn settle_space(&self, limit: Duration) -> Result<(), EngineError> {
        let end = self.env.clock.now() + limit;
        loop {
            self.checkpoint().await?;
            if !self.has_uncredited() || self.env.clock.now() >= end {
                return Ok(());
            }
        }
    }
}
