//! Power fails at every step of making, changing and ending a pool. Whatever is left is a whole pool or none.

use std::cell::Cell;
use std::rc::Rc;

use quarry_device::{
    DeviceClass, FormatRequest, Label, OpenError, OpenedMembers, end_pool, format_devices, open_members,
};
use quarry_env::Env;
use quarry_env_sim::{DiskId, DiskImage, FaultKind, Verb, World};
use quarry_format::label::{LABEL_BYTES, LABEL_COPY_OFFSETS};

use super::{POOL, make, path, paths, request, run, world};

const DISKS: usize = 3;
/// Every how many steps a seed other than the first crashes.
const STRIDE: usize = 5;
/// Making a pool takes some hundred steps, so a few histories hit much.
const SEEDS: u64 = 6;
/// A torn label is a rare event in a short history.
const LABEL_SEEDS: u64 = 48;

async fn open(env: &Env) -> Result<OpenedMembers, OpenError> {
    open_members(env, POOL, &paths(DISKS)).await
}

/// What the disks hold when the work begins.
fn prepared(prepare: impl FnOnce(&World, &[DiskId])) -> Vec<DiskImage> {
    let (world, disks) = world(0, DISKS);
    prepare(&world, &disks);
    disks.iter().map(|&disk| world.image(disk)).collect()
}

/// Starts `work` over these disks, lets `steps` steps happen, and fails the power. Returns the world and whether the
/// work had been done by then.
fn crash_after<Fut: Future<Output = ()> + 'static>(
    (seed, steps): (u64, usize),
    images: &[DiskImage],
    script: &dyn Fn(&World, DiskId),
    work: impl FnOnce(Env) -> Fut,
) -> (World, bool) {
    let (world, disks) = world(seed, DISKS);
    for (&disk, image) in disks.iter().zip(images) {
        world.set_image(disk, image);
        script(&world, disk);
    }
    let process = world.process(1);
    let done = Rc::new(Cell::new(false));
    let (work, is_done) = (work(process.env(0)), done.clone());
    process
        .spawn(0, async move {
            work.await;
            is_done.set(true);
        })
        .detach();
    for _ in 0..steps {
        if done.get() || !world.step() {
            break;
        }
    }
    world.power_fail();
    (world, done.get())
}

/// Crashes at every step of the first seed and at some steps of others, until the work is done before the crash;
/// `judge` says whether what is left is right.
fn enumerate<Fut: Future<Output = ()> + 'static>(
    seeds: u64,
    images: &[DiskImage],
    script: &dyn Fn(&World, DiskId),
    work: impl Fn(Env) -> Fut,
    judge: impl Fn(&World, bool),
) {
    let mut crashes = 0;
    for seed in 0..seeds {
        let stride = if seed == 0 { 1 } else { STRIDE };
        for steps in (seed as usize % STRIDE..).step_by(stride) {
            let (world, done) = crash_after((seed, steps), images, script, &work);
            judge(&world, done);
            crashes += 1;
            if done {
                break;
            }
        }
    }
    assert!(crashes > 50, "only {crashes} crashes");
}

fn no_script(_: &World, _: DiskId) {}

fn is_whole(opened: &OpenedMembers) -> bool {
    opened.devices.len() == DISKS && opened.missing.is_empty() && opened.failures.is_empty()
}

async fn make_again(env: Env) {
    let again = FormatRequest { force: true, ..request(paths(DISKS)) };
    drop(format_devices(&env, &again).await.expect("usable again with force"));
    assert!(open(&env).await.is_ok_and(|opened| is_whole(&opened)));
}

#[test]
fn an_interrupted_creation_leaves_a_whole_pool_or_none() {
    let work = async |env: Env| drop(make(&env, DISKS).await);
    let refusals = Cell::new(0u32);
    let judge = |world: &World, done: bool| {
        let left = run(world, async |env: Env| open(&env).await.map(|opened| is_whole(&opened)));
        match left {
            Ok(whole) => assert!(whole, "{}", world.report()),
            Err(OpenError::Forming { .. } | OpenError::NoDevice { .. }) if !done => {
                refusals.set(refusals.get() + 1);
                // Making it again takes as long as all the rest: not every time.
                if refusals.get().is_multiple_of(8) {
                    run(world, make_again);
                }
            }
            Err(error) => panic!("{error}: {}", world.report()),
        }
    };
    enumerate(SEEDS, &prepared(|_, _| {}), &no_script, work, judge);
}

#[test]
fn an_interrupted_forced_creation_never_mixes_two_pools() {
    let other = quarry_types::PoolId::from_random(7);
    let images = prepared(|world, _| {
        let old = FormatRequest { pool: other, ..request(paths(DISKS)) };
        run(world, async move |env: Env| drop(format_devices(&env, &old).await.expect("blank")));
    });
    let work = async |env: Env| {
        let forced = FormatRequest { force: true, ..request(paths(DISKS)) };
        drop(format_devices(&env, &forced).await.expect("forced"));
    };
    let judge = |world: &World, done: bool| {
        let new = run(world, async |env: Env| open(&env).await.map(|opened| is_whole(&opened)));
        let new_is_whole = matches!(new, Ok(true));
        assert!(new_is_whole || (!done && new.is_err()), "{new:?}: {}", world.report());
        if new_is_whole {
            let old =
                run(world, async move |env: Env| open_members(&env, other, &paths(DISKS)).await.is_ok());
            assert!(!old, "both pools exist: {}", world.report());
        }
    };
    enumerate(SEEDS, &images, &no_script, work, judge);
}

#[test]
fn an_interrupted_end_never_looks_like_missing_devices() {
    let images = prepared(pool);
    let work = async |env: Env| {
        let opened = open(&env).await.expect("a pool");
        end_pool(&env, opened.devices).await.expect("ended");
    };
    let judge = |world: &World, done: bool| {
        let left = run(world, async |env: Env| open(&env).await.map(|opened| is_whole(&opened)));
        let right = match left {
            Ok(whole) => whole && !done,
            Err(OpenError::Ended { .. }) => !done,
            Err(OpenError::NoDevice { .. }) => true,
            Err(_) => false,
        };
        assert!(right, "{left:?}: {}", world.report());
    };
    enumerate(SEEDS, &images, &no_script, work, judge);
}

fn pool(world: &World, _: &[DiskId]) {
    run(world, async |env: Env| drop(make(&env, DISKS).await));
}

/// A label that differs from this one in three sectors, so that a torn write is neither of them.
fn successor(label: &Label) -> Label {
    let mut newer = Label { sequence: label.sequence + 1, ..label.clone() };
    let class = [DeviceClass::Object, DeviceClass::Pmem][newer.sequence as usize % 2];
    newer.members.iter_mut().for_each(|member| member.class = class);
    newer
}

fn damage(world: &World, disk: DiskId, copy: usize) {
    world.poke(disk, LABEL_COPY_OFFSETS[copy] + 600, &[0xff; 8]);
}

/// With one copy damaged beforehand on each disk, power fails during repair and update.
#[test]
fn an_interrupted_label_update_leaves_a_valid_label() {
    for damaged in [None, Some(0), Some(1)] {
        let images = prepared(|world, disks| {
            pool(world, disks);
            for &disk in disks {
                damaged.into_iter().for_each(|copy| damage(world, disk, copy));
            }
        });
        let work = async |env: Env| {
            for device in open(&env).await.expect("a pool").devices {
                device.write_label(successor(&device.label())).await.expect("written");
            }
        };
        let judge = |world: &World, done: bool| {
            let opened = run(world, async |env: Env| {
                let opened = open(&env).await?;
                Ok::<_, OpenError>((is_whole(&opened), opened.devices[0].label().sequence))
            });
            let sequences = if done { 3..=3 } else { 2..=3 };
            let right = matches!(&opened, Ok((true, sequence)) if sequences.contains(sequence));
            assert!(right, "{opened:?}: {}", world.report());
            for disk in (0..DISKS).map(|index| world.disk(path(index)).expect("a disk")) {
                let copies = LABEL_COPY_OFFSETS.map(|offset| {
                    let mut bytes = vec![0; LABEL_BYTES];
                    world.peek(disk, offset, &mut bytes);
                    Label::decode(&bytes).expect("repaired")
                });
                assert_eq!(copies[0], copies[1]);
            }
        };
        enumerate(LABEL_SEEDS, &images, &no_script, work, judge);
    }
}

/// A label write that fails half-way, is tried again, and then the power fails.
#[test]
fn a_failed_label_update_can_be_tried_again_at_any_risk() {
    for copy in [0, 1] {
        let script = |world: &World, disk| {
            let range = LABEL_COPY_OFFSETS[copy]..LABEL_COPY_OFFSETS[copy] + 1;
            world.script_fault(disk, FaultKind::WriteError, Verb::Write, range, 0);
        };
        let work = async |env: Env| {
            for device in open(&env).await.expect("a pool").devices {
                let newer = successor(&device.label());
                device.write_label(newer.clone()).await.expect_err("the scripted fault");
                device.write_label(successor(&newer)).await.expect("the second try");
            }
        };
        let judge = |world: &World, _: bool| {
            let whole = run(world, async |env: Env| {
                // The scripted fault may not have happened yet: then it befalls an update of this opening.
                let _ = open(&env).await;
                open(&env).await.map(|opened| is_whole(&opened))
            });
            assert!(matches!(whole, Ok(true)), "{whole:?}: {}", world.report());
        };
        enumerate(LABEL_SEEDS, &prepared(pool), &script, work, judge);
    }
}
