//! Persistent reservations over the catalog: what `quarry_target` asks for before it answers an initiator.

use std::sync::Arc;

use futures::future::BoxFuture;
use quarry_catalog::{
    Catalog, Change, HeldRecord, RegistrationRecord, ReservationKindRecord, ReservationRecord,
};
use quarry_target::{
    Initiator, Registration, Reservation, ReservationKey, ReservationKind, ReservationState,
    ReservationStore, Reservations, StoreError,
};
use quarry_types::VolumeId;
use tokio::runtime::Handle;

/// Writes to the catalog on threads of the control plane that may block. Cores wait for them without blocking.
struct CatalogReservations {
    catalog: Arc<dyn Catalog>,
    runtime: Handle,
}

/// The reservations of a node as its catalog has them. Called on the control plane's runtime.
pub fn open(catalog: Arc<dyn Catalog>) -> quarry_catalog::Result<Reservations> {
    let kept = catalog.reservations()?;
    let store = CatalogReservations { catalog, runtime: Handle::current() };
    let reservations = Reservations::new(Arc::new(store));
    for record in kept {
        let volume = record.volume_id;
        reservations.restore(volume, restored(record));
    }
    Ok(reservations)
}

impl ReservationStore for CatalogReservations {
    fn save(&self, volume: VolumeId, state: ReservationState) -> BoxFuture<'static, Result<(), StoreError>> {
        let is_empty = state.registrations.is_empty() && state.reservation.is_none();
        let change = match is_empty || !state.persists {
            true => Change::DeleteReservation(volume),
            false => Change::PutReservation(kept(volume, &state)),
        };
        let catalog = self.catalog.clone();
        // Begun at once: whoever asked may go away, and the next one asks only after this one is done.
        let saving = self.runtime.spawn_blocking(move || catalog.commit(&[change]));
        Box::pin(async move { Ok(saving.await??) })
    }
}

fn kept(volume: VolumeId, state: &ReservationState) -> ReservationRecord {
    let registration = |registration: &Registration| RegistrationRecord {
        initiator: registration.initiator.to_string(),
        key: registration.key.0,
    };
    let held = |reservation: &Reservation| HeldRecord {
        kind: kept_kind(reservation.kind),
        holder: reservation.holder.to_string(),
    };
    ReservationRecord {
        volume_id: volume,
        registrations: state.registrations.iter().map(registration).collect(),
        held: state.reservation.as_ref().map(held),
    }
}

fn restored(record: ReservationRecord) -> ReservationState {
    let initiator = |text: String| Initiator(text.into());
    let registration = |record: RegistrationRecord| Registration {
        initiator: initiator(record.initiator),
        key: ReservationKey(record.key),
    };
    let held = |record: HeldRecord| Reservation {
        kind: restored_kind(record.kind),
        holder: initiator(record.holder),
    };
    ReservationState {
        generation: 0,
        persists: true,
        registrations: record.registrations.into_iter().map(registration).collect(),
        reservation: record.held.map(held),
    }
}

fn kept_kind(kind: ReservationKind) -> ReservationKindRecord {
    match kind {
        ReservationKind::WriteExclusive => ReservationKindRecord::WriteExclusive,
        ReservationKind::ExclusiveAccess => ReservationKindRecord::ExclusiveAccess,
        ReservationKind::WriteExclusiveRegistrants => ReservationKindRecord::WriteExclusiveRegistrants,
        ReservationKind::ExclusiveAccessRegistrants => ReservationKindRecord::ExclusiveAccessRegistrants,
        ReservationKind::WriteExclusiveAll => ReservationKindRecord::WriteExclusiveAll,
        ReservationKind::ExclusiveAccessAll => ReservationKindRecord::ExclusiveAccessAll,
    }
}

fn restored_kind(kind: ReservationKindRecord) -> ReservationKind {
    match kind {
        ReservationKindRecord::WriteExclusive => ReservationKind::WriteExclusive,
        ReservationKindRecord::ExclusiveAccess => ReservationKind::ExclusiveAccess,
        ReservationKindRecord::WriteExclusiveRegistrants => ReservationKind::WriteExclusiveRegistrants,
        ReservationKindRecord::ExclusiveAccessRegistrants => ReservationKind::ExclusiveAccessRegistrants,
        ReservationKindRecord::WriteExclusiveAll => ReservationKind::WriteExclusiveAll,
        ReservationKindRecord::ExclusiveAccessAll => ReservationKind::ExclusiveAccessAll,
    }
}

#[cfg(test)]
mod tests {
    use quarry_catalog::RedbCatalog;
    use quarry_target::{Action, Notice, ReservationError, Watcher};
    use tempfile::TempDir;

    use super::*;

    struct Nobody;

    impl Watcher for Nobody {
        fn notice(&self, _: Notice) {}
    }

    fn initiator(text: &str) -> Initiator {
        Initiator(text.into())
    }

    fn opened(directory: &TempDir) -> (Arc<dyn Catalog>, Reservations) {
        let catalog: Arc<dyn Catalog> = Arc::new(RedbCatalog::open(directory.path()).expect("it opens"));
        let reservations = open(catalog.clone()).expect("it can be read");
        (catalog, reservations)
    }

    fn register(persists: bool) -> Action {
        let new_key = ReservationKey(7);
        Action::Register { new_key, ignore_existing: true, persists: Some(persists) }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_to_survive_is_durable_before_it_is_answered() {
        let directory = TempDir::new().expect("a directory");
        let (volume, other) = (VolumeId::from_random(1), VolumeId::from_random(2));
        let (us, them) = (initiator("iqn.a,i,0x01"), initiator("iqn.b,i,0x02"));
        let (catalog, reservations) = opened(&directory);
        let of = reservations.of(volume);
        let key = ReservationKey(7);
        of.perform(&us, ReservationKey(0), register(true)).await.expect("a registration");
        of.perform(&them, ReservationKey(0), register(true)).await.expect("a registration");
        for kind in ReservationKind::ALL {
            of.perform(&us, key, Action::Reserve { kind }).await.expect("nobody holds it");
            let record = catalog.reservations().expect("it can be read").remove(0);
            assert_eq!(restored(record), ReservationState { generation: 0, ..of.state() }, "{kind:?}");
            if kind != ReservationKind::ExclusiveAccessAll {
                of.perform(&us, key, Action::Release { kind }).await.expect("it is theirs");
            }
        }
        reservations
            .of(other)
            .perform(&us, ReservationKey(0), register(false))
            .await
            .expect("a registration");
        let expected = of.state();
        drop((catalog, reservations, of));

        let (catalog, reservations) = opened(&directory);
        let of = reservations.of(volume);
        assert_eq!(of.state(), ReservationState { generation: 0, ..expected });
        assert_eq!(reservations.of(other).state(), ReservationState::default(), "it was not to survive");
        let stranger = of.attach(initiator("iqn.c,i,0x03"), Arc::new(Nobody));
        assert!(!stranger.may_read() && of.attach(them, Arc::new(Nobody)).may_write());
        of.perform(&us, key, Action::Clear).await.expect("it is registered");
        assert_eq!(catalog.reservations().expect("it can be read"), []);
    }

    #[test]
    fn what_cannot_be_kept_does_not_count() {
        let directory = TempDir::new().expect("a directory");
        let new_runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (runtime, core) = (new_runtime(), new_runtime());
        let (_catalog, reservations) = runtime.block_on(async { opened(&directory) });
        // The node stops: nothing is written any more.
        runtime.shutdown_background();
        let of = reservations.of(VolumeId::from_random(1));
        let us = initiator("iqn.a,i,0x01");
        let perform =
            |persists| core.block_on(of.perform(&us, ReservationKey(0), register(persists))).map(drop);
        assert_eq!(perform(true), Err(ReservationError::NotKept));
        assert_eq!(of.state(), ReservationState::default());
        assert_eq!(perform(false), Ok(()), "it need not be kept");
    }
}
