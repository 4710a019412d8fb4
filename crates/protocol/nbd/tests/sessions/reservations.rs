//! What hosts of other protocols have reserved.

use futures::FutureExt;
use quarry_target::{Action, Initiator, ReservationKey, ReservationKind};

use crate::support::client::*;
use crate::support::protocol::*;
use crate::support::world::World;

const EPERM: u32 = 1;

/// Whether reads, and whether writes are done; what is not done is refused with EPERM, and the connection goes on.
fn rights(world: &mut World, client: &Client) -> (bool, bool) {
    let is_done = |said: Said| match said {
        Said::Error(error, _) => {
            assert_eq!(error, EPERM);
            false
        }
        _ => true,
    };
    let reads = [READ, CACHE, BLOCK_STATUS].map(|command| is_done(client.ask(world, 0, command, 0, 4096)));
    let changes = [
        client.ask_write(world, 0, 0, &[1; 4096]),
        client.ask(world, 0, TRIM, 0, 4096),
        client.ask(world, 0, WRITE_ZEROES, 0, 4096),
        client.ask(world, 0, FLUSH, 0, 0),
    ]
    .map(is_done);
    assert!(reads.iter().all(|read| *read == reads[0]) && changes.iter().all(|change| *change == changes[0]));
    (reads[0], changes[0])
}

#[test]
fn reservations_of_others_keep_a_client_out() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", 1 << 20);
    let other = world.volume("other", 1 << 20);
    let client = Client::open(&mut world, Style::Structured, "vol");
    let apart = Client::open(&mut world, Style::Structured, "other");
    let of = world.reservations.of(quarry_volume::Volume::info(&*volume).id);
    let (host, key) = (Initiator("iqn.a,i,0x01".into()), ReservationKey(7));
    let act = |key, action| {
        let acted = of.perform(&host, key, action).now_or_never().expect("nothing has to be kept");
        acted.map(drop).expect("it may");
    };
    let register = Action::Register { new_key: key, ignore_existing: true, persists: None };
    act(ReservationKey(0), register);
    assert_eq!(rights(&mut world, &client), (true, true), "a registration keeps nobody out");
    for kind in ReservationKind::ALL {
        act(key, Action::Reserve { kind });
        volume.calls.take();
        volume.records.set(true);
        let expected = (kind.lets_others_read(), false);
        assert_eq!(rights(&mut world, &client), expected, "{kind:?}");
        assert!(volume.calls.take().iter().all(|(verb, ..)| ["read", "extents"].contains(verb)), "{kind:?}");
        assert_eq!(rights(&mut world, &apart), (true, true), "another volume");
        act(key, Action::Release { kind });
        assert_eq!(rights(&mut world, &client), (true, true), "it was given back");
    }
    drop(other);
}

/// The payload is received to where it stays, while others go on.
#[test]
fn a_payload_that_comes_after_a_reservation_is_not_written() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", 1 << 20);
    let client = Client::open(&mut world, Style::Structured, "vol");
    let whole = write(Style::Structured, 0, 2, 0, &[7; 128 << 10]);
    client.wire.write(&whole[..4096]);
    world.run();
    let of = world.reservations.of(quarry_volume::Volume::info(&*volume).id);
    let (host, key) = (Initiator("iqn.a,i,0x01".into()), ReservationKey(7));
    let register = Action::Register { new_key: key, ignore_existing: true, persists: None };
    let reserve = Action::Reserve { kind: ReservationKind::WriteExclusive };
    for (key, action) in [(ReservationKey(0), register), (key, reserve)] {
        let acted = of.perform(&host, key, action).now_or_never().expect("nothing has to be kept");
        acted.expect("it may");
    }
    volume.records.set(true);
    client.wire.write(&whole[4096..]);
    world.run();
    let replies = client.replies(0);
    assert!(matches!(replies[..], [(2, Said::Error(EPERM, _))]), "{replies:?}");
    assert!(volume.calls.take().is_empty(), "nothing was written");
    // What it held is free again, and the connection goes on.
    assert_eq!(client.ask(&mut world, 0, READ, 0, 4096), Said::Data(0, vec![0; 4096]));
}
