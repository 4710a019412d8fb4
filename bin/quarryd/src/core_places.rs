//! What one core knows of places: its volumes outside of pools, the ways that lead to volumes that have moved, and those that move.
//!
//! Invariants:
//! - Whoever holds a volume holds a [`Route`] to it, so that it can move. Of the ways to one volume that lead nowhere else there is
//!   one on its core; a volume that moves takes that one with it.
//! - A volume moves on the core where it is. Its destination may be on another core: then that core is asked by message, for the volume
//!   in that pool and not for the way to it, which may lead back here.
//! - A pool may have something of a volume that does not count: the destination before the switch, the source after it. Every core
//!   knows of it, and nobody who asks for the volume gets it.
//! - Once a volume has gone to another core, a way on this one leads there until the node ends: exports are known by their core.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use quarry_catalog::PlaceRecord;
use quarry_engine::EngineVolume;
use quarry_env::{JoinHandle, OpenMode};
use quarry_image::{ImageError, ImageOptions, ImageStats, ImageVolume};
use quarry_migration::{Frozen, Migration, MigrationError, Options, Progress, Route};
use quarry_network_disk::limits::LATE_TIME_MAX;
use quarry_node_api::{ErrorKind, NodeError};
use quarry_types::limits::NETWORK_SCHEMES;
use quarry_types::{LogId, PoolId, VolumeId};
use quarry_volume::Volume;

use crate::causes::whole;
use crate::core_state::CoreState;
use crate::cores::Cores;

/// How often a copy that has to wait looks whether it is still wanted.
const LATE_POLL: Duration = Duration::from_millis(100);

/// What a way is to be kept for.
enum Way {
    /// For those who hold it.
    Held(Weak<Route>),
    /// For those who will ask for it, too.
    Kept(Rc<Route>),
}

/// A volume that moves.
struct Moving {
    migration: Migration,
    from: Origin,
    /// The destination, where that is a device, and its path.
    to_device: Option<(ImageVolume, PathBuf)>,
    /// The destination, where that is a pool of this core.
    to_volume: Option<Rc<EngineVolume>>,
    /// Where the destination is, where that is a pool of another core.
    to_core: Option<(PoolId, LogId, usize)>,
    run_after: Duration,
    running: RefCell<Option<JoinHandle<()>>>,
    outcome: RefCell<Option<Result<(), MigrationError>>>,
    frozen: RefCell<Option<Frozen>>,
}

/// The source of a volume that moves.
enum Origin {
    Pool(Rc<EngineVolume>),
    Device(ImageVolume),
}

impl Origin {
    async fn changes_end(&self) {
        match self {
            Self::Pool(volume) => volume.changes_end().await,
            Self::Device(volume) => volume.changes_end().await,
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Places {
    images: RefCell<BTreeMap<VolumeId, ImageVolume>>,
    ways: RefCell<BTreeMap<VolumeId, Way>>,
    /// Where something of a volume lies that does not count.
    uncounted: RefCell<BTreeMap<VolumeId, PlaceRecord>>,
    moving: RefCell<BTreeMap<VolumeId, Rc<Moving>>>,
}

/// Where a volume is to go, for the core where it is.
pub enum Destination {
    /// To a log of a pool, which has a volume with its id.
    Pool { pool: PoolId, log: LogId, core: usize },
    /// To a device.
    Device { path: PathBuf, options: ImageOptions, made: bool },
}

/// How far a volume that moves is.
#[derive(Clone, Debug)]
pub struct MoveStatus {
    pub size_bytes: u64,
    pub progress: Progress,
    pub is_running: bool,
    /// How the last run has ended.
    pub outcome: Option<Result<(), String>>,
}

impl Places {
    /// The way to a volume that this core knows already.
    pub fn way(&self, id: VolumeId) -> Option<Rc<Route>> {
        match self.ways.borrow().get(&id)? {
            Way::Held(route) => route.upgrade(),
            Way::Kept(route) => Some(route.clone()),
        }
    }

    /// Makes a way to a volume that has none.
    pub fn lay(&self, id: VolumeId, volume: Rc<dyn Volume>) -> Rc<Route> {
        let route = Route::new(volume);
        let mut ways = self.ways.borrow_mut();
        ways.retain(|_, way| {
            matches!(way, Way::Kept(_)) || matches!(way, Way::Held(route) if route.strong_count() > 0)
        });
        ways.insert(id, Way::Held(Rc::downgrade(&route)));
        route
    }

    /// What this place has of the volume does not count; without a place, everything does.
    pub fn set_uncounted(&self, id: VolumeId, place: Option<PlaceRecord>) {
        match place {
            Some(place) => _ = self.uncounted.borrow_mut().insert(id, place),
            None => _ = self.uncounted.borrow_mut().remove(&id),
        }
    }

    /// Whether what this log has of the volume is the volume.
    pub fn counts(&self, id: VolumeId, (pool, log): (PoolId, LogId)) -> bool {
        self.uncounted.borrow().get(&id).is_none_or(|place| !place.has(pool, log))
    }

    /// Makes a way to a volume that is there also when nobody holds it.
    fn keep(&self, id: VolumeId, volume: Rc<dyn Volume>) -> Rc<Route> {
        let route = self.lay(id, volume);
        self.ways.borrow_mut().insert(id, Way::Kept(route.clone()));
        route
    }

    /// A volume in image mode of this core.
    pub fn image(&self, id: VolumeId) -> Option<ImageVolume> {
        self.images.borrow().get(&id).cloned()
    }

    /// Takes a volume in image mode in.
    pub fn add_image(&self, id: VolumeId, image: ImageVolume) {
        self.images.borrow_mut().insert(id, image);
    }

    /// Lets go of a volume in image mode, and of the way to it. Its device is closed when the last operation has ended.
    pub fn remove_image(&self, id: VolumeId) {
        if let Some(image) = self.images.borrow_mut().remove(&id) {
            image.close();
        }
        self.forget(id);
    }

    /// The volume is gone.
    pub fn forget(&self, id: VolumeId) {
        self.ways.borrow_mut().remove(&id);
    }

    /// What hosts have done with the volumes in image mode, and what is wrong with each.
    pub fn image_stats(&self) -> Vec<(VolumeId, ImageStats, Option<String>)> {
        let images = self.images.borrow();
        images.iter().map(|(id, image)| (*id, image.stats(), image.failure())).collect()
    }

    /// Every volume in image mode of this core.
    pub fn images(&self) -> Vec<(VolumeId, ImageVolume)> {
        self.images.borrow().iter().map(|(id, image)| (*id, image.clone())).collect()
    }

    fn moving(&self, id: VolumeId) -> Result<Rc<Moving>, NodeError> {
        let moving = self.moving.borrow().get(&id).cloned();
        moving.ok_or_else(|| NodeError::new(ErrorKind::Conflict, "the volume does not move on its core"))
    }

    /// Ends what is under way; afterwards no device outside of pools is open.
    pub async fn close(&self) {
        let moving = std::mem::take(&mut *self.moving.borrow_mut());
        for moving in moving.into_values() {
            moving.migration.stop();
            let running = moving.running.take();
            if let Some(running) = running {
                running.await;
            }
        }
        std::mem::take(&mut *self.images.borrow_mut()).into_values().for_each(|image| image.close());
        self.ways.borrow_mut().clear();
    }
}

impl CoreState {
    /// Opens a device as a volume; it is not served yet.
    pub async fn open_image(
        &self,
        path: PathBuf,
        options: ImageOptions,
        make_bytes: Option<u64>,
    ) -> Result<ImageVolume, NodeError> {
        let (what, read_only) = (format!("device '{}' cannot be used", path.display()), options.read_only);
        let mode = match make_bytes {
            Some(size_bytes) => OpenMode::Create { size_bytes },
            None if read_only => OpenMode::Probe,
            None => OpenMode::Exclusive,
        };
        let unavailable = |error: std::io::Error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::StorageFull => ErrorKind::NoSpace,
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::ResourceBusy => ErrorKind::InUse,
                _ => ErrorKind::Unavailable,
            };
            NodeError::new(kind, what.clone()).caused_by(&error)
        };
        let disk = self.env.disks.open(&path, mode).await.map_err(unavailable)?;
        ImageVolume::new(self.env.clone(), disk, options).map_err(|error| {
            let refused = |kind| NodeError::new(kind, what.clone()).caused_by(&error);
            match error {
                ImageError::AnotherDisk { .. } => refused(ErrorKind::Conflict)
                    .with_next_step("Attach that disk there again: it is tried again every few seconds."),
                _ => refused(ErrorKind::Invalid),
            }
        })
    }

    /// Opens a device as a volume of this core; says how large that is, in bytes, and what the disk is called.
    ///
    /// With `hold_back` no change is sent to a device behind a network before what another process has sent has landed.
    pub async fn serve_image(
        self: Rc<Self>,
        path: PathBuf,
        options: ImageOptions,
        hold_back: bool,
    ) -> Result<(u64, Option<String>), NodeError> {
        let id = options.id;
        let changes_after = self.after_late_changes(hold_back && is_behind_network(&path));
        let image = self.open_image(path, ImageOptions { changes_after, ..options }, None).await?;
        let found = (image.info().size_bytes, image.identity());
        self.places.add_image(id, image);
        Ok(found)
    }

    /// When nothing can come from another process any more, where that is to be waited for.
    fn after_late_changes(&self, is_due: bool) -> Duration {
        if is_due { self.env.clock.now() + LATE_TIME_MAX } else { Duration::ZERO }
    }

    /// Serves a volume of this core from now on over both its place and `destination`, and keeps them equal where it was copied. Says what
    /// the destination's disk is called, if it is one.
    pub async fn begin_move(
        &self,
        cores: Cores,
        id: VolumeId,
        from: Option<(PoolId, LogId)>,
        destination: Destination,
        (copied_bytes, rate_bytes_per_s): (u64, Option<u64>),
        is_resumed: bool,
    ) -> Result<Option<String>, NodeError> {
        let gone = || NodeError::new(ErrorKind::Unavailable, "the volume is not where it was");
        let from = match from {
            Some((pool, log)) => Origin::Pool(self.engine(pool, log)?.volume(id).map_err(|_| gone())?),
            None => Origin::Device(self.places.image(id).ok_or_else(gone)?),
        };
        // What the move itself does is not what hosts do, and what hosts do counts once, at the source.
        let (source, copied): (Rc<dyn Volume>, Rc<dyn Volume>) = match &from {
            Origin::Pool(volume) => (volume.clone(), Rc::new(volume.apart())),
            Origin::Device(volume) => (Rc::new(volume.clone()), Rc::new(volume.apart())),
        };
        let (mut to_device, mut to_volume, mut to_core, mut made_device) = (None, None, None, false);
        let into_pool = matches!(destination, Destination::Pool { .. });
        let to: Rc<dyn Volume> = match destination {
            Destination::Pool { pool, log, core } if core == self.index => {
                let volume = self.engine(pool, log)?.volume(id).map_err(|_| gone())?;
                let apart = Rc::new(volume.apart());
                to_volume = Some(volume);
                apart
            }
            Destination::Pool { pool, log, core } => {
                to_core = Some((pool, log, core));
                self.ways_to_others(&cores).volume_in_pool(id, core, source.info(), (pool, log))
            }
            Destination::Device { path, options, made } => {
                let size_bytes = source.info().size_bytes;
                made_device = made;
                let image = self.open_image(path.clone(), options, made.then_some(size_bytes)).await?;
                let apart = Rc::new(image.apart());
                to_device = Some((image, path));
                apart
            }
        };
        // A volume that was just made, or a file: but not when some of it was copied by another life.
        let destination_is_blank = copied_bytes == 0 && (into_pool || made_device);
        let options = Options { copied_bytes, destination_is_blank, rate_bytes_per_s };
        let migration = Migration::new(self.env.clone(), source, to, options).copying_by(copied);
        migration.set_turns(Rc::new(self.qos.clone()));
        // What is compared must not change by something that another process has sent.
        let is_late = to_device.as_ref().is_some_and(|(image, _)| image.is_behind_network())
            || matches!(&from, Origin::Device(image) if image.is_behind_network());
        let run_after = self.after_late_changes(is_resumed && is_late);
        self.places.take_over(id, migration.clone());
        let moving = Moving {
            migration,
            from,
            to_device,
            to_volume,
            to_core,
            run_after,
            running: RefCell::default(),
            outcome: RefCell::default(),
            frozen: RefCell::default(),
        };
        let identity = moving.to_device.as_ref().and_then(|(image, _)| image.identity());
        self.places.moving.borrow_mut().insert(id, Rc::new(moving));
        Ok(identity)
    }

    /// Copies and compares, or goes on with it.
    pub fn run_move(&self, id: VolumeId) -> Result<(), NodeError> {
        let moving = self.places.moving(id)?;
        moving.outcome.take();
        let (task, clock) = (moving.clone(), self.env.clock.clone());
        let running = self.env.spawner.spawn(async move {
            while clock.now() < task.run_after && !task.migration.is_stopped() {
                clock.sleep(LATE_POLL).await;
            }
            task.from.changes_end().await;
            let outcome = task.migration.run().await;
            *task.outcome.borrow_mut() = Some(outcome);
            // A task does not cancel itself.
            if let Some(running) = task.running.take() {
                running.detach();
            }
        });
        *moving.running.borrow_mut() = Some(running);
        Ok(())
    }

    /// How far a volume that moves is; `None` for one that does not.
    pub fn move_status(&self, id: VolumeId) -> Option<MoveStatus> {
        let moving = self.places.moving(id).ok()?;
        let outcome = moving.outcome.borrow().clone();
        Some(MoveStatus {
            size_bytes: moving.migration.info().size_bytes,
            progress: moving.migration.progress(),
            is_running: moving.running.borrow().is_some(),
            outcome: outcome.map(|outcome| outcome.map_err(|error| whole(&error))),
        })
    }

    /// Fails where the path of the device to which a volume moves does not lead to it any more: nobody would find again what is on it.
    pub async fn check_move_path(&self, id: VolumeId) -> Result<(), NodeError> {
        let moving = self.places.moving(id)?;
        let Some((image, path)) = &moving.to_device else { return Ok(()) };
        let is_there = image.is_at(path).await;
        if is_there.map_err(|error| NodeError::new(ErrorKind::Unavailable, whole(&error)))? {
            return Ok(());
        }
        let what = format!(
            "'{}' does not lead any more to the device to which the volume moves: it was deleted, renamed or replaced",
            path.display()
        );
        Err(NodeError::new(ErrorKind::Conflict, what))
    }

    /// Holds every change back and makes both places survive power loss. Says whether they are equal; if not, or when the new one is not
    /// where it will be looked for, changes go on.
    pub async fn freeze_move(&self, id: VolumeId) -> Result<bool, NodeError> {
        let moving = self.places.moving(id)?;
        let frozen = moving.migration.freeze().await;
        if !frozen.is_equal() {
            return Ok(false);
        }
        let flushed = frozen.flush().await;
        flushed.map_err(|error| NodeError::new(ErrorKind::Unavailable, whole(&error)))?;
        self.check_move_path(id).await?;
        *moving.frozen.borrow_mut() = Some(frozen);
        Ok(true)
    }

    /// Lets changes go on in both places.
    pub fn thaw_move(&self, id: VolumeId) {
        if let Ok(moving) = self.places.moving(id) {
            moving.frozen.take();
        }
    }

    /// Sends everything to the new place: that is what counts by now. Changes are held back.
    pub async fn finish_move(&self, cores: Cores, id: VolumeId) -> Result<(), NodeError> {
        let moving = self.places.moving(id)?;
        self.places.images.borrow_mut().remove(&id);
        let place: Rc<dyn Volume> = match (&moving.to_device, moving.to_core) {
            (Some((image, _)), _) => {
                self.places.add_image(id, image.clone());
                Rc::new(image.clone())
            }
            (None, Some((pool, log, core))) => {
                cores.call(core, move |state| async move { state.arrive(pool, log, id) }).await??;
                self.ways_to_others(&cores).volume_on(id, core, moving.migration.info())
            }
            (None, None) => match &moving.to_volume {
                Some(volume) => volume.clone(),
                None => moving.migration.destination(),
            },
        };
        let is_elsewhere = moving.to_core.is_some();
        self.end_move(id, &moving, place, is_elsewhere).await?;
        if let Origin::Device(image) = &moving.from {
            image.close();
        }
        Ok(())
    }

    /// Sends everything to the old place again, for good.
    pub async fn give_up_move(&self, id: VolumeId) -> Result<(), NodeError> {
        let moving = self.places.moving(id)?;
        moving.migration.stop();
        let running = moving.running.take();
        if let Some(running) = running {
            running.await;
        }
        let frozen = moving.migration.freeze().await;
        *moving.frozen.borrow_mut() = Some(frozen);
        self.end_move(id, &moving, moving.migration.source(), false).await?;
        if let Some((image, _)) = &moving.to_device {
            image.close();
        }
        Ok(())
    }

    async fn end_move(
        &self,
        id: VolumeId,
        moving: &Moving,
        place: Rc<dyn Volume>,
        is_elsewhere: bool,
    ) -> Result<(), NodeError> {
        let frozen = moving.frozen.take();
        let frozen =
            frozen.ok_or_else(|| NodeError::new(ErrorKind::Internal, "changes were not held back"))?;
        let route = match is_elsewhere {
            true => self.places.keep(id, place),
            false => self.places.lay(id, place),
        };
        frozen.end(route);
        moving.migration.reads_end().await;
        self.places.moving.borrow_mut().remove(&id);
        Ok(())
    }

    /// A volume that this core has now in one of its pools: the way to it does not lead to another core any more.
    fn arrive(&self, pool: PoolId, log: LogId, id: VolumeId) -> Result<(), NodeError> {
        let before = self.places.way(id);
        let gone =
            || NodeError::new(ErrorKind::Internal, "the volume is not on the core to which it has moved");
        let volume = self.engine_volume(pool, log, id).ok_or_else(gone)?;
        let route = self.places.lay(id, volume);
        if let Some(before) = before {
            before.lead_to(route);
        }
        Ok(())
    }
}

impl Places {
    /// Everybody who holds the volume, and everybody who asks for it, gets to `migration` from now on.
    fn take_over(&self, id: VolumeId, migration: Migration) {
        let before = self.way(id);
        let route = self.keep(id, Rc::new(migration));
        if let Some(before) = before {
            before.lead_to(route);
        }
    }
}

fn is_behind_network(path: &Path) -> bool {
    let text = path.to_string_lossy();
    NETWORK_SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}
