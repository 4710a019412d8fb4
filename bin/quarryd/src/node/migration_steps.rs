//! How volumes that move go on: both places made one volume, the copy run, the switch, and what is left at the place that does not
//! count given up. Each step may be repeated: after a crash at any of them the node begins with it again.

use std::path::PathBuf;
use std::time::Duration;

use quarry_api_types::{EventKind, EventSeverity, JobKind, JobState};
use quarry_catalog::{Change, ImageRecord, MigrationPhaseRecord, MigrationRecord, PlaceRecord};
use quarry_engine::Engine;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::VolumeId;

use super::images::{ImageEntry, options};
use super::migrations::{MigrationEntry, hidden_name};
use super::places::{Located, uncounted_place};
use super::volumes::FoundVolume;
use super::{DataNode, now};
use crate::core_places::Destination;

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often devices that do not answer are tried again.
const RETRY_LOOKS: u32 = 20;
/// What is copied between two records of how far the copy is.
const RECORD_BYTES: u64 = 256 << 20;

impl DataNode {
    /// Makes everything that moves one volume over two places again, as far as both can be used. Nobody is served yet.
    pub async fn resume_migrations(&self) {
        let ids: Vec<VolumeId> = self.migrations().keys().copied().collect();
        for id in ids {
            if self.is_copying(id) {
                self.try_install(id).await;
            }
        }
    }

    fn is_copying(&self, id: VolumeId) -> bool {
        self.migrations().get(&id).is_some_and(|entry| entry.record.phase == MigrationPhaseRecord::Copying)
    }

    /// Tells every core where something of a volume lies that does not count.
    pub(super) async fn tell_uncounted(&self, id: VolumeId) -> Result<()> {
        let place = self.migrations().get(&id).map(|entry| uncounted_place(&entry.record).clone());
        for core in 0..self.cores.count() {
            let place = place.clone();
            self.cores.call(core, move |state| async move { state.places.set_uncounted(id, place) }).await?;
        }
        Ok(())
    }

    /// The same for all volumes that moved when the node ended. Before anybody is served.
    pub(super) async fn tell_all_uncounted(&self) -> Result<()> {
        let ids: Vec<VolumeId> = self.migrations().keys().copied().collect();
        for id in ids {
            self.tell_uncounted(id).await?;
        }
        Ok(())
    }

    /// Looks after volumes that move, and after devices that do not answer. Runs until the node ends.
    pub async fn tend_migrations(&self) {
        for look in 1u32.. {
            tokio::time::sleep(LOOK_EVERY).await;
            let ids: Vec<VolumeId> = self.migrations().keys().copied().collect();
            for id in ids {
                if let Err(error) = self.step(id, look).await {
                    tracing::warn!(volume = %id, %error, "a migration has to wait");
                }
            }
            if look.is_multiple_of(RETRY_LOOKS) {
                self.forget_unused_policies().await;
                let _changing = self.changing.lock().await;
                let closed = |entry: &&ImageEntry| entry.opened.is_err();
                let ids: Vec<VolumeId> =
                    self.images().values().filter(closed).map(|entry| entry.record.id).collect();
                for id in ids {
                    self.open_image(id).await;
                }
                if let Err(error) = self.watch_images().await {
                    tracing::debug!(%error, "the volumes in image mode could not be looked at");
                }
            }
        }
    }

    async fn step(&self, id: VolumeId, look: u32) -> Result<()> {
        let Some(entry) = self.migrations().get(&id).cloned() else { return Ok(()) };
        if entry.record.phase != MigrationPhaseRecord::Copying {
            if look.is_multiple_of(RETRY_LOOKS) || !entry.is_resumed {
                let _changing = self.changing.lock().await;
                return self.clear_up(id).await;
            }
            return Ok(());
        }
        let Some(core) = entry.core else {
            if look.is_multiple_of(RETRY_LOOKS) {
                let _changing = self.changing.lock().await;
                self.try_install(id).await;
            }
            return Ok(());
        };
        let status = self.cores.call(core, move |state| async move { state.move_status(id) }).await?;
        let Some(status) = status else { return Ok(()) };
        if let Some(entry) = self.migrations_mut().get_mut(&id) {
            entry.status = Some(status.clone());
        }
        self.note_progress(id, status.progress.copied_bytes).await?;
        match (status.is_running || entry.stopped.is_some(), status.outcome) {
            (true, _) => Ok(()),
            (false, None) => self.cores.call(core, move |state| async move { state.run_move(id) }).await?,
            (false, Some(Err(reason))) => {
                self.stop_migration(id, reason).await;
                Ok(())
            }
            (false, Some(Ok(()))) => {
                let _changing = self.changing.lock().await;
                if let Err(error) = self.switch(id, core).await {
                    self.stop_migration(id, error.to_string()).await;
                }
                Ok(())
            }
        }
    }

    /// Writes down how far the copy is, now and then: so much need not be written again after a restart.
    async fn note_progress(&self, id: VolumeId, copied_bytes: u64) -> Result<()> {
        let due = || {
            let record = self.migrations().get(&id)?.record.clone();
            let is_due = copied_bytes >= record.copied_bytes + RECORD_BYTES;
            (is_due && record.phase == MigrationPhaseRecord::Copying).then_some(record)
        };
        if due().is_none() {
            return Ok(());
        }
        let _changing = self.changing.lock().await;
        let Some(record) = due() else { return Ok(()) };
        self.put_migration(MigrationRecord { copied_bytes, ..record }, Vec::new()).await
    }

    async fn put_migration(&self, record: MigrationRecord, mut with: Vec<Change>) -> Result<()> {
        with.push(Change::PutMigration(record.clone()));
        self.commit(with).await?;
        if let Some(entry) = self.migrations_mut().get_mut(&record.volume_id) {
            entry.record = record;
        }
        Ok(())
    }

    async fn stop_migration(&self, id: VolumeId, reason: String) {
        let name = match self.migrations_mut().get_mut(&id) {
            Some(entry) if entry.stopped.is_none() => {
                entry.stopped = Some(reason.clone());
                entry.record.volume.clone()
            }
            _ => return,
        };
        let message = format!("volume '{name}' does not move on; it is served where it was");
        let next = format!(
            "See to the cause, then begin again as before: it goes on. Or `quarry volume migrate {name} --cancel`."
        );
        let why = Some((reason, next));
        self.tell(EventSeverity::Warning, EventKind::MigrationStopped, &name, message, why).await;
    }

    async fn try_install(&self, id: VolumeId) {
        let waits_for = self.install(id).await.err().map(|error| error.to_string());
        if let Some(entry) = self.migrations_mut().get_mut(&id) {
            entry.waits_for = waits_for;
        }
    }

    /// Serves the volume over both places from now on, on the core where it is.
    pub(super) async fn install(&self, id: VolumeId) -> Result<()> {
        let gone = || NodeError::new(ErrorKind::Conflict, "the volume is not being migrated any more");
        let MigrationEntry { record, is_resumed, .. } =
            self.migrations().get(&id).cloned().ok_or_else(gone)?;
        let located = self.locate(&record.volume).await?;
        let from = match &located {
            Located::Pool(found) => Some((found.pool, found.log)),
            Located::Device(image) => {
                let offline = |reason: &String| NodeError::new(ErrorKind::Unavailable, reason);
                image.opened.as_ref().map_err(offline)?;
                None
            }
        };
        if !self.is_made_file(&record).await? {
            let PlaceRecord::Device(path) = &record.to else { return Err(gone()) };
            let what = format!("another file lies at '{path}' than the one that was made for the volume");
            return Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(
                "Put that one back, and it goes on by itself; or cancel the migration, which leaves this one alone.",
            ));
        }
        let destination = self.destination_of(&record, &located, is_resumed).await?;
        let copied = (record.copied_bytes, record.rate_bytes_per_s);
        let (cores, core) = (self.cores.clone(), located.core());
        let beginning = self.cores.call(core, move |state| async move {
            state.begin_move(cores, id, from, destination, copied, is_resumed).await
        });
        let to_identity = beginning.await??;
        if let Some(entry) = self.migrations_mut().get_mut(&id) {
            entry.core = Some(core);
        }
        let made_file = match &record.made_file {
            Some(known) => Some(known.clone()),
            None => self.made_file_now(&record).await?,
        };
        if (&to_identity, &made_file) == (&record.to_identity, &record.made_file) {
            return Ok(());
        }
        // Before anything is copied: another life must not go on with another disk.
        self.put_migration(MigrationRecord { to_identity, made_file, ..record }, Vec::new()).await
    }

    async fn destination_of(
        &self,
        record: &MigrationRecord,
        located: &Located,
        is_resumed: bool,
    ) -> Result<Destination> {
        match &record.to {
            place @ (PlaceRecord::Pool(pool) | PlaceRecord::Log(pool, _)) => {
                let all = self.all_volumes_of(Some(*pool)).await?;
                let is_it = |found: &FoundVolume| {
                    found.status.id == record.volume_id && place.has(found.pool, found.log)
                };
                let found = all.into_iter().find(is_it);
                let absent = || {
                    NodeError::new(
                        ErrorKind::Unavailable,
                        "what was copied is not there: its pool is offline",
                    )
                };
                let FoundVolume { pool, log, core, .. } = found.ok_or_else(absent)?;
                Ok(Destination::Pool { pool, log, core })
            }
            PlaceRecord::Device(device) => {
                let options = options(&self.image_record(record, located));
                let made = record.made_device && !is_resumed;
                Ok(Destination::Device { path: PathBuf::from(device), options, made })
            }
        }
    }

    /// The volume as it will be on the device to which it moves.
    fn image_record(&self, record: &MigrationRecord, located: &Located) -> ImageRecord {
        let (size_bytes, durability) = match located {
            Located::Pool(found) => (found.status.size_bytes, found.status.settings.durability.into()),
            Located::Device(image) => (image.record.size_bytes, image.record.durability),
        };
        let device = match &record.to {
            PlaceRecord::Device(device) => device.clone(),
            PlaceRecord::Pool(pool) | PlaceRecord::Log(pool, _) => pool.to_string(),
        };
        let (id, name) = (record.volume_id, record.volume.clone());
        ImageRecord {
            id,
            name,
            device,
            identity: record.to_identity.clone(),
            size_bytes,
            read_only: false,
            durability,
            in_use: true,
            created: now(),
        }
    }

    /// Both places are equal: from now on the new one counts.
    async fn switch(&self, id: VolumeId, core: usize) -> Result<()> {
        let Some(MigrationEntry { record, .. }) = self.migrations().get(&id).cloned() else { return Ok(()) };
        if record.phase != MigrationPhaseRecord::Copying {
            return Ok(());
        }
        let located = self.locate(&record.volume).await?;
        let is_equal =
            self.cores.call(core, move |state| async move { state.freeze_move(id).await }).await??;
        if !is_equal {
            return self.cores.call(core, move |state| async move { state.run_move(id) }).await?;
        }
        let image = matches!(record.to, PlaceRecord::Device(_)).then(|| self.image_record(&record, &located));
        let change = match (&image, &located) {
            (Some(image), _) => vec![Change::PutImage(image.clone())],
            (None, Located::Device(_)) => vec![Change::DeleteImage(id)],
            (None, Located::Pool(_)) => Vec::new(),
        };
        let switched = MigrationRecord { phase: MigrationPhaseRecord::Switched, ..record };
        if let Err(error) = self.put_migration(switched.clone(), change).await {
            // Whatever was written down: both places stay equal, so either may count.
            self.cores.call(core, move |state| async move { state.thaw_move(id) }).await?;
            return Err(error);
        }
        match image {
            Some(record) => _ = self.images_mut().insert(id, ImageEntry::new(record, core, Ok(()))),
            None => _ = self.images_mut().remove(&id),
        }
        self.tell_uncounted(id).await?;
        let cores = self.cores.clone();
        self.cores.call(core, move |state| async move { state.finish_move(cores, id).await }).await??;
        self.spread_qos_soon().await;
        let name = switched.volume;
        let message = format!("volume '{name}' has moved {}", self.to_in_words(&switched.to));
        self.tell(EventSeverity::Info, EventKind::MigrationFinished, &name, message, None).await;
        self.clear_up(id).await
    }

    /// The volume stays where it is: that is written down first, and then nothing is done at the new place any more.
    pub(super) async fn give_up(&self, id: VolumeId) -> Result<()> {
        let Some(MigrationEntry { record, core, .. }) = self.migrations().get(&id).cloned() else {
            return Ok(());
        };
        // What lies at its path by now may be somebody else's.
        let made_device = record.made_device && self.is_at_its_path(&record, core).await?;
        let phase = MigrationPhaseRecord::Cancelled;
        self.put_migration(MigrationRecord { phase, made_device, ..record }, Vec::new()).await?;
        if let Some(core) = core {
            self.cores.call(core, move |state| async move { state.give_up_move(id).await }).await??;
        }
        self.clear_up(id).await
    }

    /// Whether the new place of a volume is where it was made. Where that is not known it is taken for somebody else's.
    async fn is_at_its_path(&self, record: &MigrationRecord, core: Option<usize>) -> Result<bool> {
        let Some(core) = core else {
            return Ok(record.made_file.is_some() && self.is_made_file(record).await?);
        };
        let id = record.volume_id;
        let checked =
            self.cores.call(core, move |state| async move { state.check_move_path(id).await }).await?;
        Ok(checked.is_ok())
    }

    /// Whether at the new place there is the file that was made for the volume, if that is known.
    async fn is_made_file(&self, record: &MigrationRecord) -> Result<bool> {
        let Some(made) = &record.made_file else { return Ok(true) };
        Ok(self.made_file_now(record).await?.is_none_or(|found| found == *made))
    }

    /// What tells the file that lies now where one was made for the volume from others.
    async fn made_file_now(&self, record: &MigrationRecord) -> Result<Option<String>> {
        let PlaceRecord::Device(device) = &record.to else { return Ok(None) };
        if !record.made_device {
            return Ok(None);
        }
        let path = PathBuf::from(device);
        self.cores
            .call(0, move |state| async move { state.env.disks.file_identity(&path).unwrap_or(None) })
            .await
    }

    /// Nothing is left at the place that does not count, then nothing says any more that the volume was on its way.
    async fn clear_up(&self, id: VolumeId) -> Result<()> {
        let Some(MigrationEntry { record, .. }) = self.migrations().get(&id).cloned() else { return Ok(()) };
        let (left, counts) = match record.phase {
            MigrationPhaseRecord::Copying => return Ok(()),
            MigrationPhaseRecord::Cancelled => (&record.to, &record.from),
            MigrationPhaseRecord::Switched => (&record.from, &record.to),
        };
        self.settle_in(counts, &record).await?;
        match left {
            PlaceRecord::Pool(_) | PlaceRecord::Log(..) => self.delete_from(left, id).await?,
            PlaceRecord::Device(device) if record.made_device && left == &record.to => {
                // Since that was written down somebody may have put another one there.
                if self.is_made_file(&record).await? {
                    self.remove_made(PathBuf::from(device)).await?;
                }
            }
            PlaceRecord::Device(_) => {}
        }
        let how = match record.phase {
            MigrationPhaseRecord::Cancelled => (JobState::Cancelled, "it stays where it was".to_owned()),
            _ => (JobState::Done, format!("it has moved {}", self.to_in_words(&record.to))),
        };
        let job = (JobKind::Migration, record.volume.as_str());
        self.commit_end(job, how, vec![Change::DeleteMigration(id)]).await?;
        self.migrations_mut().remove(&id);
        self.tell_uncounted(id).await
    }

    /// What a place in a pool has of a volume, whether it counts or not; fails while the pool is offline.
    async fn found_in(&self, place: &PlaceRecord, id: VolumeId) -> Result<Option<FoundVolume>> {
        let Some(pool) = place.pool() else { return Ok(None) };
        let entry = self.pools().get(&pool).cloned();
        if let Some(entry) = entry {
            let name = &entry.record.name;
            entry.opened.map_err(|reason| super::scrub::offline(name, &reason))?;
        }
        let all = self.all_volumes_of(Some(pool)).await?;
        Ok(all.into_iter().find(|found| found.status.id == id && place.has(found.pool, found.log)))
    }

    /// Gives a volume that has come into a pool its name and its history there.
    async fn settle_in(&self, place: &PlaceRecord, record: &MigrationRecord) -> Result<()> {
        let id = record.volume_id;
        let Some(found) = self.found_in(place, id).await? else { return Ok(()) };
        if found.status.name != hidden_name(id) {
            return Ok(());
        }
        let (name, history_s) = (record.volume.to_string(), record.history_s);
        let settings = quarry_types::VolumeSettings { history_s, ..found.status.settings };
        let what = format!("volume '{name}' did not get its name in its new pool");
        self.with_engine(&found, what, move |engine: std::rc::Rc<Engine>| async move {
            engine.change_volume(id, settings).await?;
            engine.rename_volume(id, &name).await
        })
        .await
    }

    async fn delete_from(&self, place: &PlaceRecord, id: VolumeId) -> Result<()> {
        let Some(found) = self.found_in(place, id).await? else { return Ok(()) };
        let snapshots = match found.status.snapshots {
            0 => Vec::new(),
            _ => self.snapshots_of(&found).await?,
        };
        let what = "what a volume that has moved has left was not deleted".to_owned();
        self.with_engine(&found, what, move |engine| async move { engine.delete_volume(id, true).await })
            .await?;
        self.forget_reservations(snapshots.into_iter().map(|snapshot| VolumeId(snapshot.id.0))).await;
        Ok(())
    }

    /// Removes the file that was made for a volume that does not come.
    async fn remove_made(&self, path: PathBuf) -> Result<()> {
        let removed = self.cores.call(0, move |state| async move {
            match state.env.disks.exists(&path) {
                true => state.env.disks.remove(&path),
                false => Ok(()),
            }
        });
        removed.await?.map_err(|error| {
            NodeError::new(ErrorKind::Unavailable, "the file that was made for a migration cannot be removed")
                .caused_by(&error)
        })
    }
}
