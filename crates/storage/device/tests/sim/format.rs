//! Making a pool: what is refused, what is left after a failure, how large files in directories become.

use std::collections::BTreeMap;
use std::time::Duration;

use quarry_device::{
    Content, DeviceClass, FormatError, FormatRequest, JoinRequest, LabelState, Probe, format_devices,
    prepare_to_join, probe,
};
use quarry_env::{DiskKind, Env};
use quarry_env_sim::{DirectorySpec, DiskSpec, FaultKind, Latency, Verb, World};
use quarry_format::label::{LABEL_COPY_OFFSETS, anchor_offset};
use quarry_types::{LogId, Protection};

use super::{DISK_BYTES, make, path, paths, request, run, world};

fn refusal(world: &World, request: FormatRequest) -> String {
    run(world, async move |env: Env| format_devices(&env, &request).await.map(drop).expect_err("refused"))
        .to_string()
}

fn content(world: &World, index: usize) -> Content {
    match run(world, async move |env: Env| probe(&env, &path(index)).await.expect("readable")) {
        Probe::Disk(disk) => disk.content,
        other => panic!("{other:?}"),
    }
}

fn directory(world: &World, name: &str, capacity_bytes: u64) {
    let files = DiskSpec { kind: DiskKind::File, ..DiskSpec::default() };
    world.add_directory(name, DirectorySpec { capacity_bytes, files });
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let (world, _) = world(1, 2);
    world.add_disk("/dev/small", DiskSpec::of_size(31 << 20));
    world.add_disk(
        "/dev/mounted",
        DiskSpec { in_use: Some("mounted on /".to_owned()), ..DiskSpec::default() },
    );
    directory(&world, "/full", 1 << 20);
    let with = |path: &str| vec![super::path(0), path.into()];
    let base = || request(paths(2));
    for (request, message) in [
        (request(Vec::new()), "a pool has 1 to 64 devices, and 0 are given"),
        (request(vec!["/x".into(); 65]), "a pool has 1 to 64 devices, and 65 are given"),
        (
            FormatRequest { protection: Protection::Copies(3), ..base() },
            "copies:3 needs 3 distinct devices, and 2 are given",
        ),
        (
            FormatRequest { protection: Protection::Coded { data: 2, parity: 1 }, ..base() },
            "ec:2+1 needs 3 distinct devices, and 2 are given",
        ),
        (FormatRequest { pool_name: String::new(), ..base() }, "cannot name a pool"),
        (request(with("/dev/none")), "/dev/none does not exist"),
        (request(with("/dev/small")), "/dev/small has 31 MiB, and a device needs 32 MiB or more"),
        (request(with("/dev/0")), "/dev/0 and /dev/0 are the same device"),
        (
            FormatRequest { force: true, ..request(with("/dev/mounted")) },
            "/dev/mounted is in use (mounted on /): release it first; --force does not help",
        ),
        (request(with("/full")), "/full has 1 MiB, and a device needs 32 MiB or more"),
        (
            FormatRequest { directory_file_bytes: Some(64 << 20), ..request(with("/full")) },
            "/full has 1 MiB free, too little for a file of 64 MiB",
        ),
    ] {
        let refused = refusal(&world, request);
        assert!(refused.contains(message), "{refused}");
        assert_eq!(content(&world, 0), Content::Empty);
    }
}

#[test]
fn a_device_of_an_open_pool_is_never_taken() {
    let (world, disks) = world(2, 2);
    let process = world.process(1);
    let devices = super::run_in(&world, &process, async |env: Env| make(&env, 2).await);
    let in_use = devices.iter().map(|device| (device.id(), device.path().to_owned())).collect();
    let forced = FormatRequest { force: true, in_use, ..request(vec![path(1)]) };
    let refused = refusal(&world, forced.clone());
    assert!(refused.contains("of a pool that is open here"), "{refused}");
    // Nor when nothing is left of its label.
    for offset in LABEL_COPY_OFFSETS {
        world.poke(disks[1], offset, &[0; 4096]);
    }
    let refused = refusal(&world, forced);
    assert!(refused.contains("of a pool that is open here"), "{refused}");
}

#[test]
fn a_label_says_what_the_device_is() {
    let (world, disks) = world(3, 2);
    let size_bytes = (100 << 20) + 5 * 512;
    world.add_disk("/dev/2", DiskSpec { size_bytes, latency: Latency::rotating(), ..DiskSpec::default() });
    world.poke(disks[0], anchor_offset(LogId(63), 1), b"stale");
    let forced = FormatRequest { protection: Protection::Copies(2), force: true, ..request(paths(3)) };
    run(&world, async move |env: Env| {
        let devices = format_devices(&env, &forced).await.expect("forced");
        let label = devices[2].label();
        assert_eq!(
            (label.state, label.protection, label.members.len()),
            (LabelState::Ready, Protection::Copies(2), 3)
        );
        assert_eq!(devices[2].size_bytes(), 100 << 20, "in whole granules");
        assert_eq!((devices[0].slots(), devices[2].slots()), (32, 99));
        assert_eq!(devices[0].label().own().class, DeviceClass::Nvme);
        assert_eq!(
            devices[2].label().own().class,
            DeviceClass::Ssd,
            "not rotational, says the system, however slow"
        );
        for (index, device) in (0..).zip(&devices) {
            assert_eq!((device.index(), &*device.label()), (index, &label.for_member(index)));
            assert_eq!(label.members[usize::from(index)].path, format!("/dev/{index}"));
        }
    });
    let mut anchor = [0; 5];
    world.peek(disks[0], anchor_offset(LogId(63), 1), &mut anchor);
    assert_eq!(anchor, [0; 5]);
}

#[test]
fn a_file_takes_nine_tenths_of_its_directory_or_what_was_asked_for() {
    let (world, _) = world(4, 0);
    directory(&world, "/big", 1 << 30);
    directory(&world, "/same", 1 << 30);
    let sizes = |directory_file_bytes| {
        let request = FormatRequest {
            pool: quarry_types::PoolId::from_random(9),
            directory_file_bytes,
            ..request(vec!["/big".into(), "/same".into()])
        };
        run(&world, async move |env: Env| {
            let devices = format_devices(&env, &request).await.expect("space enough");
            let sizes: Vec<u64> = devices.iter().map(|device| device.size_bytes()).collect();
            quarry_device::end_pool(&env, devices).await.expect("ended");
            sizes
        })
    };
    assert_eq!(sizes(None), [921 << 20; 2], "90 % of 1 GiB in whole MiB");
    assert_eq!(sizes(Some((64 << 20) + 7)), [64 << 20; 2], "and the first files are gone");
}

#[test]
fn a_failure_on_the_way_leaves_no_labels_and_no_files() {
    for (fault, verb) in [(FaultKind::WriteError, Verb::Write), (FaultKind::FlushError, Verb::Flush)] {
        for skip in 0..4 {
            let (world, disks) = world(5, 2);
            directory(&world, "/files", 1 << 30);
            let range = LABEL_COPY_OFFSETS[1]..LABEL_COPY_OFFSETS[1] + 512;
            world.script_fault(disks[1], fault, verb, range, skip);
            let mut all = paths(2);
            all.push("/files".into());
            let failed = refusal(&world, request(all));
            assert!(failed.starts_with("/dev/1: cannot "), "{fault:?} {skip}: {failed}");
            let last_write = verb == Verb::Write && skip == 0;
            for index in if last_write { 0..1 } else { 0..2 } {
                assert_eq!(content(&world, index), Content::Empty, "{fault:?} {skip}: {failed}");
            }
            let free_bytes =
                run(&world, async |env: Env| env.disks.free_bytes("/files".as_ref()).expect("there"));
            assert_eq!(free_bytes, 1 << 30, "the file is removed");
        }
    }
}

#[test]
fn a_scan_shows_everything_and_stops_at_nothing() {
    let (world, disks) = world(6, 2);
    world.add_disk("/dev/a", DiskSpec { in_use: Some("mounted on /".to_owned()), ..DiskSpec::default() });
    world.add_disk("/dev/b", DiskSpec::default());
    world.add_disk(
        "/dev/c",
        DiskSpec { rotational: Some(true), latency: Latency::rotating(), ..DiskSpec::default() },
    );
    run(&world, async |env: Env| drop(make(&env, 1).await));
    world.poke(disks[1], 1080, b"\x53\xef");
    world.poke(disks[1], 1024, &[1]);
    world.fail_disk(world.disk("/dev/b").expect("a disk"));
    let found = run(&world, async |env: Env| quarry_device::scan(&env).await.expect("a scan"));
    let lines: Vec<String> = found
        .iter()
        .map(|device| {
            let disk = device.disk.as_ref().map(|disk| disk.content.describe());
            let what = disk.unwrap_or_else(|error| format!("{} failed", error.operation));
            format!("{} {what} {:?} {:?}", device.path.display(), device.class, device.in_use)
        })
        .collect();
    let pool = super::POOL;
    assert_eq!(
        lines,
        [
            format!("/dev/0 a device of Quarry pool 'tank' ({pool}) Nvme None"),
            "/dev/1 ext2 file system Nvme None".to_owned(),
            "/dev/a nothing Nvme Some(\"mounted on /\")".to_owned(),
            "/dev/b open it failed Unknown None".to_owned(),
            "/dev/c nothing Hdd None".to_owned(),
        ]
    );
    assert_eq!(DISK_BYTES, found[0].disk.as_ref().expect("readable").geometry.size_bytes);
}

#[test]
fn an_error_names_what_is_to_be_done() {
    let missing = FormatError::Missing { path: "/data/new".into() };
    assert_eq!(
        missing.to_string(),
        "/data/new does not exist: to use a new file, make it first (truncate -s 10G /data/new), or name an existing \
         directory and let Quarry make a file in it"
    );
}

/// Whoever asks for something with a path that hangs is told, and nothing lands late on what is made of it afterwards.
#[test]
fn a_path_that_does_not_answer_is_refused_after_a_while() {
    let (world, disks) = world(31, 2);
    let process = world.process(1);
    let pool = super::run_in(&world, &process, async |env: Env| make(&env, 1).await).remove(0);
    let label = pool.label();
    let join = |world: &World| {
        let (label, before) = (label.clone(), world.now());
        let joined = super::run_in(world, &process, async move |env: Env| {
            let request = JoinRequest {
                path: path(1),
                directory_file_bytes: None,
                force: true,
                in_use: BTreeMap::new(),
            };
            prepare_to_join(&env, &label, &request).await.map(drop).map_err(|error| text(&error))
        });
        (joined, world.now() - before)
    };
    // While it is looked at.
    world.hang_disk(disks[1]);
    let (joined, took) = join(&world);
    let refused = joined.expect_err("it hangs");
    assert!(refused.contains("/dev/1") && refused.contains("has not answered for 45 s"), "{refused}");
    assert!(took < Duration::from_secs(50), "{took:?}");
    world.release_disk(disks[1]);
    // While it is written to: what it was sent is waited for.
    world.script_fault(disks[1], FaultKind::Hang, Verb::Write, 0..DISK_BYTES, 2);
    let refused = join(&world).0.expect_err("it hangs");
    assert!(refused.contains("prepare it") && refused.contains("has not answered for 45 s"), "{refused}");
    assert!(world.is_hanging(disks[1]));
    assert!(join(&world).0.is_err());
    world.release_disk(disks[1]);
    join(&world).0.expect("it answers again");
    world.kill(&process);
}

/// An error with what is below it.
fn text(error: &dyn std::error::Error) -> String {
    let below = error.source().map(text).unwrap_or_default();
    format!("{error}: {below}")
}
