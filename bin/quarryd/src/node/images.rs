//! Volumes in image mode: devices of somebody else, served as they are.
//!
//! The catalog is all that tells of them. It also says whether somebody may have sent changes to the device and not waited for
//! them (`in_use`): a server has no fence that we use, so who opens such a device then holds changes back until what is late has landed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use quarry_api_types::{
    AdoptVolume, Compression, Deduplication, EventKind, EventSeverity, ImageState, Name, ReadCache, Volume,
    VolumeImage,
};
use quarry_catalog::{Catalog, Change, ImageRecord, PlaceRecord};
use quarry_device::{Content, Probe, probe};
use quarry_image::ImageOptions;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::VolumeId;
use quarry_types::limits::BLOCK_BYTES;

use super::pools::path_error_kind;
use super::volumes::{check_count, check_new_name};
use super::{DataNode, now};

/// A volume in image mode, and whether it is served.
#[derive(Clone)]
pub(super) struct ImageEntry {
    pub(super) record: ImageRecord,
    pub(super) core: usize,
    pub(super) opened: std::result::Result<(), String>,
    /// Why it takes no writes, although its device is open.
    pub(super) failure: Option<String>,
    /// Whether somebody was told that it is not well.
    pub(super) is_reported: bool,
}

impl ImageEntry {
    pub(super) fn new(record: ImageRecord, core: usize, opened: std::result::Result<(), String>) -> Self {
        Self { record, core, opened, failure: None, is_reported: false }
    }

    /// What is wrong with it.
    pub(super) fn trouble(&self) -> Option<String> {
        self.opened.as_ref().err().cloned().or_else(|| self.failure.clone())
    }
}

/// The volumes in image mode that the catalog knows, which are not open yet.
pub(super) fn known(catalog: &dyn Catalog, cores: usize) -> Result<BTreeMap<VolumeId, ImageEntry>> {
    let records = catalog.images().map_err(|error| super::catalog_error(&error))?;
    let entry = |(number, record): (usize, ImageRecord)| {
        let opened = Err("it was not opened yet".to_owned());
        (record.id, ImageEntry::new(record, number % cores, opened))
    };
    Ok(records.into_iter().enumerate().map(entry).collect())
}

/// What its device is opened with.
pub(super) fn options(record: &ImageRecord) -> ImageOptions {
    ImageOptions {
        id: record.id,
        name: record.name.to_string(),
        size_bytes: Some(record.size_bytes),
        identity: record.identity.clone(),
        durability: record.durability.into(),
        read_only: record.read_only,
        changes_after: std::time::Duration::ZERO,
    }
}

impl DataNode {
    pub(super) fn images(&self) -> RwLockReadGuard<'_, BTreeMap<VolumeId, ImageEntry>> {
        self.images.read().expect("nobody panics with this lock: a panic ends the process")
    }

    pub(super) fn images_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<VolumeId, ImageEntry>> {
        self.images.write().expect("nobody panics with this lock: a panic ends the process")
    }

    pub(super) fn image_named(&self, name: &Name) -> Option<ImageEntry> {
        self.images().values().find(|entry| entry.record.name == *name).cloned()
    }

    pub(super) async fn adopt(&self, request: AdoptVolume) -> Result<Volume> {
        request.check()?;
        let all = self.volumes_of(None).await?;
        check_new_name(self, &all, &request.name)?;
        check_count(self, &all)?;
        let what = || NodeError::new(ErrorKind::Conflict, format!("volume '{}' was not made", request.name));
        let path = self.device_path(&request.device).await?;
        if let Probe::Disk(found) = self.look_at(&path).await?
            && let Content::Quarry(label) = &found.content
        {
            let cause = format!("'{}' is a device of pool '{}'", request.device, label.pool_name);
            return Err(what()
                .with_cause(cause)
                .with_next_step("Its volumes are reached through that pool."));
        }
        let core = self.images().len() % self.cores.count();
        let mut record = ImageRecord {
            id: VolumeId(uuid::Uuid::new_v4()),
            name: request.name.clone(),
            device: path.display().to_string(),
            identity: None,
            size_bytes: 0,
            read_only: request.read_only,
            durability: request.durability,
            in_use: true,
            created: now(),
        };
        let options = ImageOptions { size_bytes: None, ..options(&record) };
        let opened = self.cores.call(core, move |state| state.serve_image(path, options, false)).await?;
        (record.size_bytes, record.identity) = opened?;
        let id = record.id;
        if let Err(error) = self.commit(vec![Change::PutImage(record.clone())]).await {
            self.cores.call(core, move |state| async move { state.places.remove_image(id) }).await?;
            return Err(error);
        }
        self.images_mut().insert(id, ImageEntry::new(record, core, Ok(())));
        self.describe_volume(&request.name).await
    }

    /// A device that is free for a volume, or for a volume to move to. A link stays one: what is under
    /// `/dev/disk/by-id` names the same disk after the next start of the machine, what it leads to may not.
    pub(super) async fn device_path(&self, device: &str) -> Result<PathBuf> {
        let canonical = self.canonical(Path::new(device)).await?;
        let of_pools = self.devices_in_use().into_values().collect();
        self.check_unused(device, &canonical, of_pools).await?;
        self.check_unused(device, &canonical, self.devices_outside()).await?;
        Ok(PathBuf::from(device))
    }

    /// Fails for a device that a volume in image mode lies on, or a volume is moving to: a pool must not take it.
    pub(super) async fn check_not_outside(&self, devices: &[String]) -> Result<()> {
        for device in devices {
            let path = self.canonical(Path::new(device)).await?;
            self.check_unused(device, &path, self.devices_outside()).await?;
        }
        Ok(())
    }

    /// Devices outside of pools that are in use.
    fn devices_outside(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> =
            self.images().values().map(|entry| PathBuf::from(&entry.record.device)).collect();
        for entry in self.migrations().values() {
            for place in [&entry.record.from, &entry.record.to] {
                if let PlaceRecord::Device(device) = place {
                    all.push(PathBuf::from(device));
                }
            }
        }
        all
    }

    async fn check_unused(&self, device: &str, path: &Path, taken: Vec<PathBuf>) -> Result<()> {
        for other in taken {
            let (one, path) = (other.clone(), path.to_owned());
            let is_same =
                self.cores.call(0, move |state| async move { state.env.disks.is_same(&one, &path) });
            if is_same.await? {
                let what = format!("device '{device}' is in use by this node already");
                return Err(NodeError::new(ErrorKind::Conflict, what)
                    .with_next_step("`quarry device list` and `quarry volume list` show by what."));
            }
        }
        Ok(())
    }

    async fn canonical(&self, path: &Path) -> Result<PathBuf> {
        let path = path.to_owned();
        // What is not there, or not there yet, has no other name.
        self.cores.call(0, move |state| async move { state.env.disks.canonical(&path).unwrap_or(path) }).await
    }

    /// What is on a device.
    pub(super) async fn look_at(&self, path: &Path) -> Result<Probe> {
        let (shown, path) = (path.display().to_string(), path.to_owned());
        let probed = self.cores.call(0, move |state| async move { probe(&state.env, &path).await }).await?;
        match probed {
            Ok(Probe::Directory { .. }) => {
                let what = format!("'{shown}' is a directory, not a device");
                Err(NodeError::new(ErrorKind::Contradictory, what))
            }
            Ok(probe) => Ok(probe),
            Err(error) => {
                let what = format!("device '{shown}' cannot be looked at");
                let next_step = "See to it that the node reaches the device, then try again.";
                Err(NodeError::new(path_error_kind(&error), what).caused_by(&error).with_next_step(next_step))
            }
        }
    }

    pub(super) async fn release(&self, name: &Name) -> Result<()> {
        let Some(entry) = self.image_named(name) else {
            self.find_to_look_at(name).await?;
            let what = format!("volume '{name}' lies in a pool, not on a device of its own");
            return Err(NodeError::new(ErrorKind::Unsupported, what).with_next_step(format!(
                "Move it to a device first, `quarry volume migrate {name} --to-device PATH`; or delete it."
            )));
        };
        let id = entry.record.id;
        self.check_at_rest(id, name.as_str())?;
        self.check_unexported(|record| record.volume_id == id)?;
        self.commit(vec![Change::DeleteImage(id)]).await?;
        self.images_mut().remove(&id);
        self.cores.call(entry.core, move |state| async move { state.places.remove_image(id) }).await?;
        self.forget_reservations([id]).await;
        Ok(())
    }

    /// Opens the devices of all volumes in image mode, and serves their exports.
    pub async fn open_images(&self) {
        let ids: Vec<VolumeId> = self.images().keys().copied().collect();
        for id in ids {
            self.open_image(id).await;
        }
    }

    /// Opens the device of a volume that is not served, if it can be opened now.
    pub(super) async fn open_image(&self, id: VolumeId) {
        let Some(entry) = self.images().get(&id).cloned() else { return };
        let opened = self.try_open_image(&entry).await.map_err(|error| error.to_string());
        let is_open = opened.is_ok();
        if let Some(entry) = self.images_mut().get_mut(&id) {
            entry.record.in_use |= is_open;
            match opened {
                Ok(identity) => (entry.record.identity, entry.opened) = (identity, Ok(())),
                Err(reason) => entry.opened = Err(reason),
            }
        }
        if is_open {
            self.offer_exports_of(id).await;
        }
    }

    /// Looks whether the volumes in image mode are well, and tells what has changed.
    pub(super) async fn watch_images(&self) -> Result<()> {
        let mut failures = BTreeMap::new();
        for core in 0..self.cores.count() {
            let stats = self.cores.call(core, |state| async move { state.places.image_stats() }).await?;
            failures.extend(stats.into_iter().filter_map(|(id, _, failure)| Some((id, failure?))));
        }
        let changed: Vec<ImageEntry> = {
            let mut images = self.images_mut();
            let look = |(id, entry): (&VolumeId, &mut ImageEntry)| {
                entry.failure = failures.get(id).cloned();
                let is_changed = entry.trouble().is_some() != entry.is_reported;
                entry.is_reported ^= is_changed;
                is_changed.then(|| entry.clone())
            };
            images.iter_mut().filter_map(look).collect()
        };
        for entry in changed {
            self.tell_state(&entry).await;
        }
        Ok(())
    }

    async fn tell_state(&self, entry: &ImageEntry) {
        let (name, device) = (&entry.record.name, &entry.record.device);
        let Some(reason) = entry.trouble() else {
            let message = format!("volume '{name}' is served again");
            return self.tell(EventSeverity::Info, EventKind::ImageOnline, name, message, None).await;
        };
        let message = format!("volume '{name}' in image mode is not served as it should be");
        let next = match &entry.opened {
            Err(_) => format!("Bring '{device}' back; it is tried again every few seconds."),
            Ok(()) => format!("See to '{device}', then restart quarryd: it opens it anew."),
        };
        let why = Some((reason, next));
        self.tell(EventSeverity::Critical, EventKind::ImageOffline, name, message, why).await;
    }

    /// Says what its disk is called.
    async fn try_open_image(&self, entry: &ImageEntry) -> Result<Option<String>> {
        let record = &entry.record;
        let (path, options, hold_back) = (PathBuf::from(&record.device), options(record), record.in_use);
        self.commit(vec![Change::PutImage(ImageRecord { in_use: true, ..record.clone() })]).await?;
        let opening = self.cores.call(entry.core, move |state| state.serve_image(path, options, hold_back));
        let (_, identity) = opening.await??;
        if identity != record.identity {
            // Whoever took it over did not note it yet.
            let record = ImageRecord { in_use: true, identity: identity.clone(), ..record.clone() };
            self.commit(vec![Change::PutImage(record)]).await?;
        }
        Ok(identity)
    }

    /// Lets go of all devices of volumes in image mode: nothing is on its way to them any more.
    pub(super) async fn close_images(&self) -> Result<()> {
        if self.images().values().any(|entry| entry.opened.is_ok()) {
            self.watch_images().await?;
        }
        for core in 0..self.cores.count() {
            self.cores.call(core, |state| async move { state.places.close().await }).await?;
        }
        let free = |entry: &ImageEntry| ImageRecord { in_use: false, ..entry.record.clone() };
        let changes: Vec<Change> = {
            let images = self.images();
            // What was sent to a server that was given up may land yet.
            let well = images.values().filter(|entry| entry.trouble().is_none());
            well.map(|entry| Change::PutImage(free(entry))).collect()
        };
        if changes.is_empty() { Ok(()) } else { self.commit(changes).await }
    }

    /// A volume in image mode, for people.
    pub(super) fn describe_image(&self, entry: &ImageEntry) -> Volume {
        let ImageEntry { record, core, .. } = entry;
        let reason = entry.trouble();
        let state = if reason.is_none() { ImageState::Online } else { ImageState::Offline };
        let (device, read_only) = (record.device.clone(), record.read_only);
        Volume {
            id: record.id,
            name: record.name.clone(),
            pool: None,
            protection: None,
            own_protection: false,
            tier: None,
            own_tier: false,
            image: Some(VolumeImage { device, read_only, state, reason }),
            migration: self.describe_migration(record.id),
            size_bytes: record.size_bytes,
            durability: record.durability,
            used_bytes: record.size_bytes,
            quota_bytes: None,
            reserved_bytes: 0,
            compression: Compression::Off,
            deduplication: Deduplication::Off,
            read_cache: ReadCache::Off,
            history_s: 0,
            history: None,
            encrypted: false,
            locked: false,
            block_bytes: BLOCK_BYTES as u32,
            core: *core as u16,
            exported: self.is_served(record.id),
            snapshots: 0,
            origin: None,
            group: None,
            qos: self.qos_of(record.id),
            qos_status: None,
        }
    }
}
