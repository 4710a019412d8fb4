//! The reservations of all volumes of a node, and how they survive power loss.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::future::BoxFuture;
use quarry_types::VolumeId;

use super::ReservationState;
use super::shared::VolumeReservations;

/// Why a store could not keep a state.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// Keeps reservations that are to survive power loss.
pub trait ReservationStore: Send + Sync {
    /// Keeps `state` for `volume` in place of what was kept before; [`ReservationState::default`] for nothing. Complete when
    /// it survives power loss. Called from any core, for one volume one call after the other.
    fn save(&self, volume: VolumeId, state: ReservationState) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// A store for nodes without one: nothing that is to survive power loss can be reserved.
struct NoStore;

impl ReservationStore for NoStore {
    fn save(&self, _: VolumeId, _: ReservationState) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async { Err("this node keeps no reservations".into()) })
    }
}

struct Inner {
    store: Arc<dyn ReservationStore>,
    are_kept: bool,
    volumes: Mutex<BTreeMap<VolumeId, Arc<VolumeReservations>>>,
}

/// The table. Clones are the same one. Asked when a session first uses a volume, not by I/O.
#[derive(Clone)]
pub struct Reservations(Arc<Inner>);

impl Default for Reservations {
    fn default() -> Self {
        Self::with(Arc::new(NoStore), false)
    }
}

impl Reservations {
    /// An empty table, whose states are kept in `store` where they are to survive power loss.
    pub fn new(store: Arc<dyn ReservationStore>) -> Self {
        Self::with(store, true)
    }

    fn with(store: Arc<dyn ReservationStore>, are_kept: bool) -> Self {
        Self(Arc::new(Inner { store, are_kept, volumes: Mutex::default() }))
    }

    /// Whether states can survive power loss at all.
    pub fn are_kept(&self) -> bool {
        self.0.are_kept
    }

    fn volumes(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Arc<VolumeReservations>>> {
        self.0.volumes.lock().expect("nothing panics while it holds the table of reservations")
    }

    /// Takes in what a store has kept of a volume, before anybody uses it.
    pub fn restore(&self, volume: VolumeId, state: ReservationState) {
        // SPC-5 6.14.2: the generation is 0 after power on.
        let state = ReservationState { generation: 0, ..state };
        let restored = VolumeReservations::new(volume, self.0.store.clone(), state);
        self.volumes().insert(volume, restored);
    }

    /// The reservations of a volume.
    pub fn of(&self, volume: VolumeId) -> Arc<VolumeReservations> {
        let new = || VolumeReservations::new(volume, self.0.store.clone(), ReservationState::default());
        self.volumes().entry(volume).or_insert_with(new).clone()
    }

    /// Forgets a volume that was deleted.
    pub fn remove(&self, volume: VolumeId) {
        self.volumes().remove(&volume);
    }
}
