//! Opening: what is refused and why, what is repaired, who is missing.

use std::rc::Rc;

use quarry_device::{
    DeviceState, Expected, Label, LabelState, OpenError, Operation, open_device, open_members,
};
use quarry_env::Env;
use quarry_env_sim::{DiskId, DiskSpec, FaultKind, Verb, World};
use quarry_format::label::{LABEL_BYTES, LABEL_COPY_OFFSETS};
use quarry_types::{DeviceId, PoolId};

use super::{POOL, make, path, paths, run, run_in, world};

fn label(world: &World, disk: DiskId, copy: usize) -> Label {
    let mut bytes = vec![0; LABEL_BYTES];
    world.peek(disk, LABEL_COPY_OFFSETS[copy], &mut bytes);
    Label::decode(&bytes).expect("a label")
}

fn write_label(world: &World, disk: DiskId, label: &Label) {
    for offset in LABEL_COPY_OFFSETS {
        world.poke(disk, offset, &label.encode());
    }
}

fn pool(seed: u64, count: usize) -> (World, Vec<DiskId>) {
    let (world, disks) = world(seed, count);
    run(&world, async move |env: Env| drop(make(&env, count).await));
    (world, disks)
}

fn open_one(world: &World, path: &'static str, expected: Expected) -> Result<DeviceId, OpenError> {
    run(world, async move |env: Env| {
        open_device(&env, path.as_ref(), expected).await.map(|device| device.id())
    })
}

#[test]
fn each_reason_not_to_open_is_told() {
    let (world, disks) = pool(1, 2);
    let nobody = Expected::default();
    let own = label(&world, disks[1], 0);
    world.add_disk("/dev/blank", DiskSpec::default());
    world.add_disk("/dev/tiny", DiskSpec::of_size(4096));
    world.poke(world.add_disk("/dev/ext", DiskSpec::default()), 1024, &[1; 60]);
    write_label(&world, world.add_disk("/dev/short", DiskSpec::of_size(32 << 20)), &own);
    let forming = Label { state: LabelState::Forming, ..own.clone() };
    write_label(&world, world.add_disk("/dev/forming", DiskSpec::default()), &forming);
    let ended = Label { state: LabelState::Ended, ..own.clone() };
    write_label(&world, world.add_disk("/dev/ended", DiskSpec::default()), &ended);
    let damaged = world.add_disk("/dev/damaged", DiskSpec::default());
    write_label(&world, damaged, &own);
    LABEL_COPY_OFFSETS.iter().for_each(|offset| world.rot(damaged, offset + 100, 3));

    let expect = |path, expected, message: &str| {
        let error = open_one(&world, path, expected).expect_err(path).to_string();
        assert!(error.contains(message), "{path}: {error}");
    };
    expect("/dev/none", nobody, "/dev/none does not exist");
    expect("/dev/blank", nobody, "no Quarry device: it holds nothing");
    expect("/dev/tiny", nobody, "too little for a label");
    expect("/dev/ext", nobody, "no Quarry device: it holds unknown data (first bytes, at 1024: 01 01");
    expect("/dev/short", nobody, "has 32 MiB only, and its label says 33 MiB");
    expect("/dev/forming", nobody, "the creation of pool 'tank' was interrupted");
    expect("/dev/ended", nobody, "pool 'tank' was deleted");
    expect(
        "/dev/damaged",
        nobody,
        "both copies of the label are damaged (first: Quarry label with a wrong checksum",
    );
    let other = Expected { pool: Some(PoolId::from_random(1)), device: None };
    expect("/dev/1", other, "belongs to pool 'tank'");
    let other = Expected { pool: Some(POOL), device: Some(DeviceId::from_random(1)) };
    expect("/dev/1", other, &format!("is device {}, not device", own.own().device));
    let right = Expected { pool: Some(POOL), device: Some(own.own().device) };
    assert_eq!(open_one(&world, "/dev/1", right).expect("the right one"), own.own().device);
}

#[test]
fn a_newer_label_is_left_alone() {
    let (world, disks) = pool(2, 1);
    let mut bytes = label(&world, disks[0], 0).encode();
    bytes[8] = 4;
    bytes[12..16].fill(0);
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes) as u32;
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    world.poke(disks[0], LABEL_COPY_OFFSETS[1], &bytes);
    let error = open_one(&world, "/dev/0", Expected::default()).expect_err("newer").to_string();
    assert_eq!(error, "/dev/0 has a label of version 4: it needs a newer Quarry than this");
    let mut left = vec![0; LABEL_BYTES];
    world.peek(disks[0], LABEL_COPY_OFFSETS[1], &mut left);
    assert!(left == bytes);
}

#[test]
fn an_unreadable_copy_is_no_obstacle_and_is_repaired() {
    for copy in [0, 1] {
        let (world, disks) = pool(3, 1);
        world.rot(disks[0], LABEL_COPY_OFFSETS[copy] + 700, 0);
        let range = LABEL_COPY_OFFSETS[copy]..LABEL_COPY_OFFSETS[copy] + 1;
        world.script_fault(disks[0], FaultKind::ReadError, Verb::Read, range, 0);
        open_one(&world, "/dev/0", Expected::default()).expect("the other copy is good");
        assert_eq!(label(&world, disks[0], 0), label(&world, disks[0], 1));
    }
}

#[test]
fn damaged_copies_of_an_open_devices_label_are_written_again() {
    let (world, disks) = pool(3, 1);
    let process = world.process(1);
    let opened = run_in(&world, &process, async |env: Env| {
        open_device(&env, "/dev/0".as_ref(), Expected::default()).await.expect("it is well")
    });
    let (device, whole) = (Rc::new(opened), label(&world, disks[0], 0));
    let mend = || {
        let device = device.clone();
        run_in(&world, &process, async move |_: Env| device.mend_label().await.expect("it can be written"))
    };
    assert_eq!(mend(), 0);
    world.rot(disks[0], LABEL_COPY_OFFSETS[1] + 700, 0);
    assert_eq!(mend(), 1);
    LABEL_COPY_OFFSETS.iter().for_each(|offset| world.poke(disks[0], *offset, &[0; LABEL_BYTES]));
    assert_eq!(mend(), 2);
    assert!([0, 1].into_iter().all(|copy| label(&world, disks[0], copy) == whole));
    let newer = Label { sequence: whole.sequence + 1, ..whole };
    write_label(&world, disks[0], &newer);
    assert_eq!((mend(), label(&world, disks[0], 0)), (0, newer), "who wrote a newer one knows more");
}

#[test]
fn members_are_found_by_what_one_label_says_and_the_rest_is_missing() {
    let (world, disks) = pool(4, 4);
    world.pull_disk(disks[2]);
    let (found, missing, failures) = run(&world, async |env: Env| {
        let opened = open_members(&env, POOL, &[path(1)]).await.expect("a pool");
        let found: Vec<u16> = opened.devices.iter().map(|device| device.index()).collect();
        let missing: Vec<String> = opened.missing.iter().map(|member| member.path.clone()).collect();
        (found, missing, opened.failures.len())
    });
    assert_eq!((found, missing, failures), (vec![0, 1, 3], vec!["/dev/2".to_owned()], 0));
}

#[test]
fn a_device_that_moved_is_entered_in_every_label() {
    let (world, disks) = pool(5, 2);
    let moved = world.add_disk("/dev/new", DiskSpec::of_size(super::DISK_BYTES));
    world.set_image(moved, &world.image(disks[1]));
    world.pull_disk(disks[1]);
    let open = async |env: Env| {
        let opened = open_members(&env, POOL, &[path(0), "/dev/new".into()]).await.expect("a pool");
        opened.devices.iter().map(|device| device.label().sequence).collect::<Vec<_>>()
    };
    assert_eq!(run(&world, open), [3, 3]);
    assert_eq!(label(&world, disks[0], 0).members[1].path, "/dev/new");
    assert_eq!(run(&world, open), [3, 3], "and only once");
    world.restore_disk(disks[1], false);
    let (sequences, failures) = run(&world, async |env: Env| {
        let opened = open_members(&env, POOL, &[path(0), "/dev/new".into(), path(1)]).await.expect("a pool");
        (opened.devices.len(), opened.failures.iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    assert_eq!(sequences, 2);
    assert_eq!(failures, ["/dev/new and /dev/1 carry the label of the same device"]);
}

#[test]
fn a_device_that_the_others_have_removed_stays_out() {
    let (world, disks) = pool(6, 3);
    let label = label(&world, disks[0], 0);
    let members = label.members[..2].to_vec();
    let smaller = Label { sequence: label.sequence + 1, members, ..label };
    write_label(&world, disks[0], &smaller);
    let (devices, failures) = run(&world, async |env: Env| {
        let opened = open_members(&env, POOL, &paths(3)).await.expect("a pool");
        let labels = opened.devices.iter().map(|device| device.label().members.len()).collect::<Vec<_>>();
        (labels, opened.failures.iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    assert_eq!(devices, [2, 2], "the second has caught up");
    assert_eq!(failures, ["/dev/2 is no longer a member of pool 'tank'"]);
}

#[test]
fn a_change_that_only_a_missing_device_has_seen_is_undone() {
    let (world, disks) = pool(8, 3);
    let label = label(&world, disks[0], 0);
    let members = label.members[..2].to_vec();
    // The power failed when the first of them had got it.
    write_label(&world, disks[0], &Label { sequence: label.sequence + 1, members, ..label });
    world.pull_disk(disks[0]);
    let members = async |env: Env| {
        let opened = open_members(&env, POOL, &paths(3)).await.expect("a pool");
        (opened.devices.len(), opened.devices[0].label().members.len())
    };
    assert_eq!(run(&world, members), (2, 3));
    // What was decided without it counts, whatever it says.
    world.restore_disk(disks[0], false);
    assert_eq!(run(&world, members), (3, 3));
}

#[test]
fn a_device_whose_label_cannot_be_written_is_left_out() {
    let (world, disks) = pool(7, 2);
    world.rot(disks[1], 0, 0);
    world.script_fault(disks[1], FaultKind::WriteError, Verb::Write, 0..1, 0);
    let opened = run(&world, async |env: Env| {
        let opened = open_members(&env, POOL, &paths(2)).await.expect("a pool");
        assert_eq!(opened.devices[0].state(), DeviceState::Healthy);
        (opened.devices.len(), opened.missing[0].index, opened.failures)
    });
    let (1, 1, failures) = opened else { panic!("{opened:?}") };
    assert!(
        matches!(&failures[0], OpenError::Device(error) if error.operation == Operation::Write),
        "{failures:?}"
    );
}

#[test]
fn devices_that_do_not_answer_are_waited_for_at_the_same_time() {
    let (world, disks) = pool(12, 5);
    for disk in &disks[1..4] {
        world.hang_disk(*disk);
    }
    let (found, missing, waited) = run(&world, async |env: Env| {
        let began = env.clock.now();
        let opened = open_members(&env, POOL, &paths(5)).await.expect("a pool");
        (opened.devices.len(), opened.missing.len(), env.clock.now() - began)
    });
    assert_eq!((found, missing), (2, 3));
    assert!((45..60).contains(&waited.as_secs()), "{waited:?}");
}
