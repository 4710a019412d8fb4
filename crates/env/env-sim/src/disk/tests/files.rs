//! Paths, directories and full file systems.

use quarry_env::DiskKind;

use super::*;
use crate::{DirectorySpec, Verb};

fn with_directory() -> (World, Process) {
    let world = World::new(1, Config::default());
    world.add_disk(PATH, DiskSpec { in_use: Some("mounted at /".to_owned()), ..DiskSpec::default() });
    world.add_directory("/pool", DirectorySpec { capacity_bytes: 10 << 20, files: DiskSpec::default() });
    let process = world.process(1);
    (world, process)
}

#[test]
fn files_are_created_in_directories_and_take_their_space() {
    let (world, process) = with_directory();
    let disks = process.env(0).disks;
    let create = |path, size_bytes| open(&world, &process, path, OpenMode::Create { size_bytes });
    let kind = |result: io::Result<Rc<dyn Disk>>| result.map(drop).unwrap_err().kind();
    let disk = create("/pool/x", 6 << 20).unwrap();
    assert_eq!(disk.geometry().kind, DiskKind::File);
    assert_eq!(disk.geometry().size_bytes, 6 << 20);
    assert_eq!(disks.free_bytes("/pool".as_ref()).unwrap(), 4 << 20);
    assert_eq!(kind(create("/pool/x", 1 << 20)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(create("/pool/y", 5 << 20)), io::ErrorKind::StorageFull);
    assert_eq!(kind(create("/nowhere/y", 1 << 20)), io::ErrorKind::NotFound);
    assert_eq!(kind(open(&world, &process, "/pool/z", OpenMode::Probe)), io::ErrorKind::NotFound);
    assert!(disks.is_directory("/pool".as_ref()).unwrap());
    assert!(!disks.is_directory("/pool/x".as_ref()).unwrap());
    assert!(disks.is_directory("/pool/z".as_ref()).is_err());
    assert!(disks.exists("/pool/x".as_ref()));
    let is_at = |disk: &Rc<dyn Disk>| {
        let disk = disk.clone();
        let asking = async move { disk.is_at("/pool/x".as_ref()).await.unwrap() };
        world.block_on(&process, 0, asking, MINUTE).unwrap()
    };
    assert!(is_at(&disk));
    disks.remove("/pool/x".as_ref()).unwrap();
    assert!(!is_at(&disk));
    assert!(!disks.exists("/pool/x".as_ref()));
    assert_eq!(disks.free_bytes("/pool".as_ref()).unwrap(), 10 << 20);
    let other = create("/pool/x", 10 << 20).unwrap();
    assert!(is_at(&other) && !is_at(&disk));
    assert_eq!(disks.remove(PATH.as_ref()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(kind(open(&world, &process, PATH, OpenMode::Exclusive)), io::ErrorKind::ResourceBusy);
    assert!(open(&world, &process, PATH, OpenMode::Probe).is_ok());
    assert_eq!(disks.scan().unwrap(), [(PATH.into(), Some("mounted at /".to_owned()))]);
}

#[test]
fn a_full_file_system_refuses_new_places_only() {
    let bench = Bench::new(1, DiskSpec { kind: DiskKind::File, ..DiskSpec::default() });
    bench.write(0, 1, 4096).unwrap();
    bench.world.set_full(bench.id, true);
    bench.write(0, 2, 4096).unwrap();
    assert_eq!(bench.write(4096, 2, 4096).unwrap_err().kind(), io::ErrorKind::StorageFull);
    bench.world.set_full(bench.id, false);
    bench.write(4096, 3, 4096).unwrap();
    assert!(all(&bench.read(4096, 4096).unwrap(), 3));
    bench.world.script_fault(bench.id, crate::FaultKind::NoSpace, Verb::Write, 0..512, 0);
    assert_eq!(bench.write(0, 2, 512).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn an_image_brings_an_old_state_back() {
    let bench = Bench::new(1, DiskSpec::default());
    bench.write(0, 1, 4096).unwrap();
    let image = bench.world.image(bench.id);
    bench.write(0, 2, 8192).unwrap();
    bench.world.set_image(bench.id, &image);
    assert!(all(&bench.read(0, 4096).unwrap(), 1));
    assert!(all(&bench.read(4096, 4096).unwrap(), 0));
    bench.world.power_fail();
    assert!(all(&bench.peek(0, 4096), 1));
}
