//! Volumes that move: begun, shown, given up. How they go on is in `migration_steps`.
//!
//! The catalog says which of the two places counts (`MigrationPhaseRecord`), and it says so before anything is made at the new
//! place, and until nothing is left at the place that does not count: so nothing is forgotten, whatever ends the node.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use quarry_api_types::{
    ChangeVolume, EventKind, EventSeverity, JobKind, MigrateVolume, MigrationState, Name, ObjectKind, Volume,
    VolumeMigration,
};
use quarry_catalog::{Catalog, Change, MigrationPhaseRecord, MigrationRecord, PlaceRecord};
use quarry_device::{Content, LogPolicy, Probe};
use quarry_events::NewEvent;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::{ByteSize, LogId, PoolId, VolumeId, VolumeSettings};

use super::engine_error::engine_error;
use super::logs::changed;
use super::places::Located;
use super::works::{self, Work};
use super::{DataNode, OpenPool, now};
use crate::core_places::MoveStatus;

/// Most volumes that move at the same time.
const MIGRATIONS_MAX: usize = 16;

/// A volume that moves.
#[derive(Clone)]
pub(super) struct MigrationEntry {
    pub(super) record: MigrationRecord,
    /// The core where both places are kept equal, while they are.
    pub(super) core: Option<usize>,
    /// Another life of the node has begun it: what that has sent to a device may still be on its way.
    pub(super) is_resumed: bool,
    /// Why it waits.
    pub(super) waits_for: Option<String>,
    /// Why it does not go on by itself.
    pub(super) stopped: Option<String>,
    pub(super) status: Option<MoveStatus>,
}

impl MigrationEntry {
    pub(super) fn new(record: MigrationRecord, is_resumed: bool) -> Self {
        Self { record, core: None, is_resumed, waits_for: None, stopped: None, status: None }
    }
}

/// The volumes that the catalog says were moving when the node ended.
pub(super) fn known(catalog: &dyn Catalog) -> Result<BTreeMap<VolumeId, MigrationEntry>> {
    let records = catalog.migrations().map_err(|error| super::catalog_error(&error))?;
    Ok(records.into_iter().map(|record| (record.volume_id, MigrationEntry::new(record, true))).collect())
}

/// A place to which a volume is to go, looked at.
struct Destination {
    place: PlaceRecord,
    made_device: bool,
    /// The log and its core, in a pool.
    log: Option<(PoolId, LogId, usize)>,
}

impl DataNode {
    pub(super) fn migrations(&self) -> RwLockReadGuard<'_, BTreeMap<VolumeId, MigrationEntry>> {
        self.migrations.read().expect("nobody panics with this lock: a panic ends the process")
    }

    pub(super) fn migrations_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<VolumeId, MigrationEntry>> {
        self.migrations.write().expect("nobody panics with this lock: a panic ends the process")
    }

    pub(super) async fn migrate(&self, name: &Name, request: MigrateVolume) -> Result<Volume> {
        request.check()?;
        let located = self.locate(name).await?;
        let id = located.id();
        let entry = self.migrations().get(&id).cloned();
        if let Some(entry) = entry {
            return self.go_on(name, &entry, &request).await;
        }
        self.check_leaves(name, &located, &request).await?;
        let destination = self.destination(name, &located, &request).await?;
        self.begin(name, &located, destination, &request).await
    }

    /// Begins to move a volume to another log of its pool, which keeps it otherwise.
    pub(super) async fn migrate_to_log(&self, name: &Name, (log, core): (LogId, usize)) -> Result<()> {
        let located = self.locate(name).await?;
        let Located::Pool(found) = &located else { return Ok(()) };
        let request = MigrateVolume::default();
        let place = PlaceRecord::Log(found.pool, log);
        let destination = Destination { place, made_device: false, log: Some((found.pool, log, core)) };
        self.begin(name, &located, destination, &request).await.map(drop)
    }

    /// Whether a volume can move to another log of its pool.
    pub(super) async fn check_moves_inside(&self, name: &Name) -> Result<()> {
        self.check_leaves(name, &self.locate(name).await?, &MigrateVolume::default()).await
    }

    /// Whether a request asks for what a volume moves inside its pool for already. Then it goes on, if it has stopped.
    pub(super) async fn go_on_inside(&self, name: &Name, request: &ChangeVolume) -> Result<bool> {
        let found = self.find_to_look_at(name).await?;
        let Some(entry) = self.migrations().get(&found.status.id).cloned() else { return Ok(false) };
        let PlaceRecord::Log(pool, log) = entry.record.to else { return Ok(false) };
        let (protection, tier) = (request.protection, request.tier);
        let others = ChangeVolume { protection: None, tier: None, qos: None, ..request.clone() };
        let is_begun = entry.record.phase == MigrationPhaseRecord::Copying && pool == found.pool;
        if !is_begun || others != ChangeVolume::default() {
            return Ok(false);
        }
        let shared = self.opened_pool(pool)?.shared;
        if changed(shared.log_policy(found.log), protection, tier) != shared.log_policy(log) {
            return Ok(false);
        }
        self.run_again(&entry).await?;
        Ok(true)
    }

    async fn begin(
        &self,
        name: &Name,
        located: &Located,
        destination: Destination,
        request: &MigrateVolume,
    ) -> Result<Volume> {
        let id = located.id();
        if self.migrations().len() >= MIGRATIONS_MAX {
            let what = format!("{MIGRATIONS_MAX} volumes move already, which is the most");
            return Err(NodeError::new(ErrorKind::NoSpace, what).with_next_step("Wait until one is there."));
        }
        let record = MigrationRecord {
            volume_id: id,
            volume: name.clone(),
            from: place_of(located),
            to: destination.place.clone(),
            phase: MigrationPhaseRecord::Copying,
            copied_bytes: 0,
            made_device: destination.made_device,
            made_file: None,
            to_identity: None,
            history_s: history_of(located),
            rate_bytes_per_s: request.rate_bytes_per_s,
            begun: now(),
        };
        let job = (JobKind::Migration, name.to_string(), record.begun);
        self.commit_begin(job, vec![Change::PutMigration(record.clone())]).await?;
        self.migrations_mut().insert(id, MigrationEntry::new(record, false));
        self.tell_uncounted(id).await?;
        let begun = match self.make_destination(name, located, &destination, request).await {
            Ok(()) => self.install(id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = begun {
            self.give_up(id).await?;
            return Err(error);
        }
        let to = self.to_in_words(&destination.place);
        self.tell(
            EventSeverity::Info,
            EventKind::MigrationStarted,
            name,
            format!("volume '{name}' moves {to}"),
            None,
        )
        .await;
        self.describe_volume(name).await
    }

    /// A migration that has stopped, or waits, goes on.
    async fn go_on(&self, name: &Name, entry: &MigrationEntry, request: &MigrateVolume) -> Result<Volume> {
        let is_same = match (&entry.record.to, request) {
            (PlaceRecord::Pool(id) | PlaceRecord::Log(id, _), MigrateVolume { to_pool: Some(pool), .. }) => {
                self.pool_entry(pool)?.record.id == *id
            }
            (PlaceRecord::Device(device), MigrateVolume { to_device: Some(wanted), .. }) => device == wanted,
            _ => false,
        };
        if !is_same || entry.record.phase != MigrationPhaseRecord::Copying {
            let to = self.to_in_words(&entry.record.to);
            let what = format!("volume '{name}' moves already, {to}");
            return Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(format!(
                "Wait for it, or give that up: `quarry volume migrate {name} --cancel`."
            )));
        }
        self.run_again(entry).await?;
        self.describe_volume(name).await
    }

    async fn run_again(&self, entry: &MigrationEntry) -> Result<()> {
        let id = entry.record.volume_id;
        if let Some(core) = entry.core.filter(|_| entry.stopped.is_some()) {
            let running = self.cores.call(core, move |state| async move {
                state.check_move_path(id).await?;
                state.run_move(id)
            });
            running.await??;
        }
        if let Some(entry) = self.migrations_mut().get_mut(&id) {
            entry.stopped = None;
        }
        Ok(())
    }

    /// Whether the volume can leave where it is, and everything of it that is wanted goes with it.
    async fn check_leaves(&self, name: &Name, located: &Located, request: &MigrateVolume) -> Result<()> {
        let refused = |cause: String, next_step: String| {
            let what = format!("volume '{name}' cannot be migrated as it is");
            Err(NodeError::new(ErrorKind::Conflict, what).with_cause(cause).with_next_step(next_step))
        };
        let found = match located {
            Located::Device(image) => {
                let offline = |reason: &String| {
                    NodeError::new(ErrorKind::Unavailable, format!("volume '{name}' is offline"))
                        .with_cause(reason)
                };
                return image.opened.as_ref().map(drop).map_err(offline);
            }
            Located::Pool(found) => found,
        };
        if found.status.locked {
            let what = format!("volume '{name}' is encrypted, and its key is not there");
            return Err(NodeError::new(ErrorKind::Unavailable, what)
                .with_next_step("Open the keyring: `quarry keyring unlock`."));
        }
        if let Some(group) = self.groups_by_volume().get(&found.status.id) {
            let next = format!("Take it out of the group first: `quarry group remove {group} {name}`.");
            return refused(
                format!("it is in group '{group}', whose volumes are snapshotted together"),
                next,
            );
        }
        let snapshots = self.snapshots_of(found).await?;
        if let Some(locked) = snapshots.iter().find(|snapshot| snapshot.locked_until.is_some()) {
            let next = "Wait until the lock has ended.".to_owned();
            return refused(format!("its snapshot '{}' is locked, and would be lost", locked.name), next);
        }
        let has_history = found.status.history.is_some() || !snapshots.is_empty();
        if has_history && !request.drop_history {
            let next = match request.to_pool.is_some() || request.to_device.is_some() {
                true => "Add --drop-history to give them up.".to_owned(),
                false => format!(
                    "It shares what holds them with other volumes. Give them up (`quarry snapshot delete`, `quarry volume set {name} --history 0`), or make a volume that is kept so and copy the data."
                ),
            };
            let what = match (snapshots.len(), found.status.history.is_some()) {
                (0, _) => "its history stays".to_owned(),
                (1, false) => "its snapshot stays".to_owned(),
                (count, false) => format!("its {count} snapshots stay"),
                (1, true) => "its snapshot and its history stay".to_owned(),
                (count, true) => format!("its {count} snapshots and its history stay"),
            };
            let cause = format!("{what} behind and would be lost");
            return refused(cause, next);
        }
        let id = found.status.id;
        self.check_unexported(|record| record.volume_id == id && record.snapshot.is_some())
    }

    /// Looks at the place where the volume is to go.
    async fn destination(
        &self,
        name: &Name,
        located: &Located,
        request: &MigrateVolume,
    ) -> Result<Destination> {
        let size_bytes = size_of(located);
        if let Some(pool) = &request.to_pool {
            let (entry, OpenPool { shared, .. }) = self.open_entry(pool)?;
            if matches!(located, Located::Pool(found) if found.pool == shared.id) {
                let what = format!("volume '{name}' is in pool '{pool}' already");
                return Err(NodeError::new(ErrorKind::Conflict, what));
            }
            let policy = match located {
                Located::Pool(found) => self.opened_pool(found.pool)?.shared.log_policy(found.log),
                Located::Device(_) => LogPolicy::default(),
            };
            let limit = self.overcommit_limit(located.id());
            self.check_growth((shared.id, limit), self.weighed(shared.id, policy.protection, size_bytes)?)
                .await?;
            if let Located::Pool(found) = located {
                self.check_comes(found, shared.id, policy).await?;
            }
            // Where it is served it is written without a message between cores.
            let (log, core) = self.log_for(shared.id, policy, Some(located.core())).await?;
            let place = PlaceRecord::Log(entry.record.id, log);
            return Ok(Destination { place, made_device: false, log: Some((shared.id, log, core)) });
        }
        let device = request.to_device.as_deref().unwrap_or_default();
        let path = self.device_path(device).await?;
        let made_device = self.check_device_content(&path, size_bytes, request.force).await?;
        Ok(Destination { place: PlaceRecord::Device(path.display().to_string()), made_device, log: None })
    }

    /// Whether a device may be overwritten; says whether it has to be made first.
    async fn check_device_content(&self, path: &Path, size_bytes: u64, force: bool) -> Result<bool> {
        let shown = path.display();
        let found = match self.look_at(path).await? {
            Probe::Missing => return Ok(true),
            Probe::Directory { .. } => return Ok(false),
            Probe::Disk(found) => found,
        };
        if found.geometry.size_bytes < size_bytes {
            let what = format!(
                "device '{shown}' has {}, and the volume {}",
                ByteSize(found.geometry.size_bytes),
                ByteSize(size_bytes)
            );
            return Err(NodeError::new(ErrorKind::NoSpace, what)
                .with_next_step("Use a device that is as large as the volume, or larger."));
        }
        let may_overwrite = match &found.content {
            Content::Empty => true,
            Content::Foreign { .. } => force,
            Content::Quarry(_) => false,
        };
        if may_overwrite {
            return Ok(false);
        }
        let what = format!("device '{shown}' holds {}, which would be lost", found.content.describe());
        let next = match found.content {
            Content::Quarry(_) => "Use another device.",
            _ => "Use another device, or add --force to overwrite it.",
        };
        Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(next))
    }

    /// Makes the volume in the new pool, under a name of its own until it counts. A device is made when it is opened.
    async fn make_destination(
        &self,
        name: &Name,
        located: &Located,
        destination: &Destination,
        request: &MigrateVolume,
    ) -> Result<()> {
        let Some((pool, log, core)) = destination.log else { return Ok(()) };
        let (id, size_bytes, before) = (located.id(), size_of(located), settings_of(located));
        let settings = VolumeSettings {
            compression: request.compression.map_or(before.compression, Into::into),
            deduplication: request.deduplication.map_or(before.deduplication, Into::into),
            history_s: 0,
            ..before
        };
        let is_encrypted = matches!(located, Located::Pool(found) if found.status.key.is_some());
        let key = match request.encrypted.unwrap_or(is_encrypted) {
            true => Some(self.new_key(name).await?),
            false => None,
        };
        let (what, hidden) = (format!("volume '{name}' was not made in its new pool"), hidden_name(id));
        let created = self.cores.call(core, move |state| async move {
            let engine = state.engine(pool, log)?;
            let made = engine.create_volume(id, &hidden, size_bytes, settings, key).await;
            made.map_err(|error| engine_error(what, &error))
        });
        created.await?
    }

    pub(super) async fn cancel(&self, name: &Name) -> Result<Volume> {
        let id = self.locate(name).await?.id();
        let record = self.migrations().get(&id).map(|entry| entry.record.clone());
        match record.map(|record| record.phase) {
            None => {
                Err(NodeError::new(ErrorKind::Conflict, format!("volume '{name}' is not being migrated"))
                    .with_next_step("`quarry volume show` shows where it is."))
            }
            Some(MigrationPhaseRecord::Switched) => {
                let what = format!("volume '{name}' is at its new place already, and leaves the old one");
                Err(NodeError::new(ErrorKind::Conflict, what))
            }
            Some(MigrationPhaseRecord::Cancelled) => self.describe_volume(name).await,
            Some(MigrationPhaseRecord::Copying) => {
                self.give_up(id).await?;
                let message = format!("volume '{name}' stays where it is");
                self.tell(EventSeverity::Info, EventKind::MigrationCancelled, name, message, None).await;
                self.describe_volume(name).await
            }
        }
    }

    pub(super) async fn tell(
        &self,
        severity: EventSeverity,
        kind: EventKind,
        volume: &Name,
        message: String,
        why_and_next: Option<(String, String)>,
    ) {
        let (cause, next_step) = why_and_next.unzip();
        let object = volume.to_string();
        let event =
            NewEvent { severity, kind, object_kind: ObjectKind::Volume, object, message, cause, next_step };
        self.record(vec![event], Vec::new()).await;
    }

    pub(super) fn to_in_words(&self, place: &PlaceRecord) -> String {
        match place {
            PlaceRecord::Pool(id) | PlaceRecord::Log(id, _) => match self.pools().get(id) {
                Some(entry) => format!("to pool '{}'", entry.record.name),
                None => "to a pool that is gone".to_owned(),
            },
            PlaceRecord::Device(device) => format!("to device '{device}'"),
        }
    }

    /// How far a volume is, if it moves.
    pub(super) fn describe_migration(&self, id: VolumeId) -> Option<VolumeMigration> {
        let entry = self.migrations().get(&id)?.clone();
        let record = &entry.record;
        let (to_pool, to_device) = match &record.to {
            PlaceRecord::Pool(id) | PlaceRecord::Log(id, _) => {
                (self.pools().get(id).map(|entry| entry.record.name.clone()), None)
            }
            PlaceRecord::Device(device) => (None, Some(device.clone())),
        };
        let size_bytes = self.size_of_moving(&entry);
        let progress = entry.status.as_ref().map(|status| status.progress).unwrap_or_default();
        let copied_bytes = progress.copied_bytes.max(record.copied_bytes);
        let state = match record.phase {
            MigrationPhaseRecord::Switched => MigrationState::Switched,
            MigrationPhaseRecord::Cancelled => MigrationState::Cancelling,
            MigrationPhaseRecord::Copying if entry.stopped.is_some() => MigrationState::Stopped,
            MigrationPhaseRecord::Copying if entry.core.is_none() => MigrationState::Waiting,
            MigrationPhaseRecord::Copying if size_bytes.is_none_or(|size| copied_bytes < size) => {
                MigrationState::Copying
            }
            MigrationPhaseRecord::Copying => MigrationState::Verifying,
        };
        let bytes_per_s = (progress.read_bytes as f64 / progress.time.as_secs_f64().max(0.001)) as u64;
        let left = |size: u64| (2 * size).saturating_sub(copied_bytes + progress.verified_bytes);
        Some(VolumeMigration {
            to_pool,
            to_device,
            state,
            reason: entry.stopped.or(entry.waits_for),
            copied_bytes,
            verified_bytes: progress.verified_bytes,
            repaired_bytes: progress.repaired_bytes,
            bytes_per_s,
            left_s: size_bytes.filter(|_| bytes_per_s > 0).map(|size| left(size) / bytes_per_s),
            rate_bytes_per_s: record.rate_bytes_per_s,
        })
    }

    /// The volumes that move, as work.
    pub(super) fn migration_works(&self) -> Vec<Work> {
        let entries: Vec<MigrationEntry> = self.migrations().values().cloned().collect();
        let work = |entry: &MigrationEntry| {
            let MigrationRecord { volume, volume_id, begun, .. } = &entry.record;
            let described = self.describe_migration(*volume_id)?;
            Some(works::migration(volume, *begun, self.size_of_moving(entry), &described))
        };
        entries.iter().filter_map(work).collect()
    }

    fn size_of_moving(&self, entry: &MigrationEntry) -> Option<u64> {
        entry.status.as_ref().map(|status| status.size_bytes)
    }
}

/// Its name in a pool where it does not count yet.
pub(super) fn hidden_name(id: VolumeId) -> String {
    format!("migrating.{}", id.0.simple())
}

fn place_of(located: &Located) -> PlaceRecord {
    match located {
        Located::Pool(found) => PlaceRecord::Log(found.pool, found.log),
        Located::Device(image) => PlaceRecord::Device(image.record.device.clone()),
    }
}

fn size_of(located: &Located) -> u64 {
    match located {
        Located::Pool(found) => found.status.size_bytes,
        Located::Device(image) => image.record.size_bytes,
    }
}

fn settings_of(located: &Located) -> VolumeSettings {
    match located {
        Located::Pool(found) => found.status.settings,
        Located::Device(image) => {
            VolumeSettings { durability: image.record.durability.into(), ..VolumeSettings::default() }
        }
    }
}

fn history_of(located: &Located) -> u32 {
    settings_of(located).history_s
}

#[cfg(test)]
mod tests;
