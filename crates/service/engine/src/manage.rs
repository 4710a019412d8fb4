//! Create, resize and delete volumes: records of the log like everything else.

use std::rc::Rc;
use std::time::Duration;

use quarry_format::batch::{Record, VolumeHead};
use quarry_types::limits::{SECTOR_BYTES, VOLUME_BYTES_MAX};
use quarry_types::{Durability, VolumeId, VolumeNumber};

use crate::volume::VolumeState;
use crate::{Engine, EngineError, EngineVolume};

fn check_size(size_bytes: u64) -> Result<(), EngineError> {
    let valid =
        size_bytes > 0 && size_bytes <= VOLUME_BYTES_MAX && size_bytes.is_multiple_of(SECTOR_BYTES as u64);
    if valid { Ok(()) } else { Err(EngineError::Size { size_bytes }) }
}

impl Engine {
    /// Creates an empty volume; durable on return. That the name is free is for the caller to know.
    pub async fn create_volume(
        &self,
        id: VolumeId,
        name: &str,
        size_bytes: u64,
        durability: Durability,
    ) -> Result<(), EngineError> {
        check_size(size_bytes)?;
        let number = VolumeNumber(self.volumes.next_number.get());
        self.volumes.next_number.set(number.0 + 1);
        let created_s = self.env.clock.wall().as_secs();
        let head = VolumeHead { number, id, name: name.to_owned(), size_bytes, durability, created_s };
        self.log.append_record(Record::VolumeCreate(head)).await?;
        Ok(self.log.flush().await?)
    }

    /// Grows a volume; durable on return.
    pub async fn resize_volume(&self, id: VolumeId, size_bytes: u64) -> Result<(), EngineError> {
        check_size(size_bytes)?;
        let volume = self.find(id)?;
        let now = volume.head.borrow().size_bytes;
        if size_bytes < now {
            return Err(EngineError::Shrink { size_bytes: now, wanted_bytes: size_bytes });
        }
        self.log.append_record(Record::VolumeResize { volume: volume.number, size_bytes }).await?;
        Ok(self.log.flush().await?)
    }

    /// Deletes a volume; durable on return. Its space is credited by the checkpoints that follow.
    pub async fn delete_volume(&self, id: VolumeId) -> Result<(), EngineError> {
        let volume = self.find(id)?;
        self.log.append_record(Record::VolumeDelete { volume: volume.number }).await?;
        self.log.flush().await?;
        self.wake.raise();
        Ok(())
    }

    /// A volume, to serve it.
    pub fn volume(self: &Rc<Self>, id: VolumeId) -> Result<Rc<EngineVolume>, EngineError> {
        Ok(Rc::new(EngineVolume { engine: self.clone(), state: self.find(id)? }))
    }

    fn find(&self, id: VolumeId) -> Result<Rc<VolumeState>, EngineError> {
        self.volumes.find(id).ok_or(EngineError::NoVolume { volume: id })
    }

    /// Waits until deleted volumes and discarded ranges have been credited, but no longer than `limit`; for tests and for
    /// orderly measurements.
    pub async fn settle_space(&self, limit: Duration) -> Result<(), EngineError> {
        let end = self.env.clock.now() + limit;
        loop {
            self.checkpoint().await?;
            if self.durable.borrow().detached.is_empty() || self.env.clock.now() >= end {
                return Ok(());
            }
        }
    }
}
