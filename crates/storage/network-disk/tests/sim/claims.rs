//! Two processes, one export.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Disk, OpenMode};
use quarry_env_sim::Process;
use quarry_format::claim::Claim;
use quarry_format::label::CLAIM_OFFSET;
use quarry_network_disk::{Host, Remotes, with_network_disks};

use super::server::Manner;
use super::{LIMIT, Stage, URI};

const SECOND: Duration = Duration::from_secs(1);

/// Opens and holds the export in a process; says how long that took.
fn hold(
    stage: &Stage,
    process: &Process,
    exports: &Remotes,
    core: usize,
) -> (Duration, Result<Rc<dyn Disk>, String>) {
    let env = with_network_disks(&process.env(core), exports);
    let began = stage.world.now();
    let opening = async move {
        let disk =
            env.disks.open(Path::new(URI), OpenMode::Exclusive).await.map_err(|error| error.to_string())?;
        disk.hold().await.map_err(|error| error.to_string())?;
        Ok(disk)
    };
    let held = stage.world.block_on(process, core, opening, LIMIT).expect("it comes to an end");
    (stage.world.now() - began, held)
}

fn stage(seed: u64) -> Stage {
    Stage::new(seed, 2 << 20, Manner::default())
}

#[test]
fn a_second_process_is_refused_while_the_first_lives_and_waits_for_nothing_when_it_has_ended_well() {
    let stage = stage(1);
    let (took, first) = hold(&stage, &stage.client, &stage.remotes, 0);
    assert!(took < SECOND, "nobody was there: {took:?}");
    let first = first.expect("held");
    let (took, other_core) = hold(&stage, &stage.client, &stage.remotes, 1);
    assert!(took < SECOND && other_core.is_ok(), "the claim is the process's");
    let (process, exports) = (stage.world.process(1), Remotes::new(1, Host::of_node([7; 16], "test")));
    let (took, refused) = hold(&stage, &process, &exports, 0);
    let message = refused.err().expect("refused");
    assert!(message.starts_with("another quarryd uses it"), "{message}");
    assert!(took < 5 * SECOND, "it is seen as soon as the claim is renewed: {took:?}");
    drop(first);
    stage.world.run_for(20 * SECOND).expect("no spin");
    assert!(hold(&stage, &process, &exports, 0).1.is_err(), "the other core still holds it");
    drop(other_core);
    stage.world.run_for(SECOND).expect("no spin");
    assert!(stage.remotes.are_closed());
    let (took, second) = hold(&stage, &process, &exports, 0);
    assert!(took < SECOND && second.is_ok(), "{took:?}");
}

#[test]
fn who_comes_after_a_process_that_died_waits_until_nothing_can_come_from_it() {
    let stage = stage(2);
    let first = hold(&stage, &stage.client, &stage.remotes, 0).1.expect("held");
    stage.world.run_for(15 * SECOND).expect("no spin");
    stage.world.kill(&stage.client);
    let (process, exports) = (stage.world.process(1), Remotes::new(1, Host::of_node([7; 16], "test")));
    let (took, second) = hold(&stage, &process, &exports, 0);
    assert!(second.is_ok() && took > 29 * SECOND && took < 35 * SECOND, "{took:?}");
    drop(first);
}

/// The claim is found to be another's: the device is given up, and nothing more is written.
#[test]
fn a_holder_that_has_lost_its_claim_gives_the_export_up() {
    let stage = stage(3);
    let disk = hold(&stage, &stage.client, &stage.remotes, 0).1.expect("held");
    take_over(&stage);
    stage.world.run_for(5 * SECOND).expect("no spin");
    let buffers = stage.client.env(0).buffers;
    let error = stage.run(0, async move { disk.write(0, vec![buffers.copy_of(&[1; 512])]).await });
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("another quarryd uses it"), "{error}");
    assert_eq!(stage.medium.borrow().bytes[0], 2, "what the other one has written");
}

/// A holder is cut off for longer than its lease, with a write on its way, and somebody takes over. When its way is open again it
/// looks at the claim before it repeats the write.
#[test]
fn a_holder_that_was_cut_off_sends_nothing_after_its_lease() {
    for seed in 0..20 {
        let stage = stage(seed);
        let disk = hold(&stage, &stage.client, &stage.remotes, 0).1.expect("held");
        stage.world.run_for(Duration::from_millis(7_000 + stage.world.below(3_000))).expect("no spin");
        stage.world.connections().into_iter().for_each(|connection| stage.world.set_frozen(connection, true));
        let (buffers, failed) = (stage.client.env(0).buffers, Rc::new(Cell::new(false)));
        let seen = failed.clone();
        stage
            .client
            .spawn(0, async move { seen.set(disk.write(0, vec![buffers.copy_of(&[1; 512])]).await.is_err()) })
            .detach();
        stage.world.run_for(9 * SECOND).expect("no spin");
        take_over(&stage);
        stage.world.run_for(60 * SECOND).expect("no spin");
        assert_eq!(stage.medium.borrow().bytes[0], 2, "seed {seed}: what the other one has written");
        assert!(failed.get(), "seed {seed}");
    }
}

/// Another process claims the export and writes, as far as its medium can tell.
fn take_over(stage: &Stage) {
    let claim = Claim { holder: 7, sequence: 1, is_held: true }.encode();
    let mut medium = stage.medium.borrow_mut();
    medium.bytes[CLAIM_OFFSET as usize..][..claim.len()].copy_from_slice(&claim);
    medium.bytes[..512].fill(2);
}
