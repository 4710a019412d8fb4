//! Block devices: loop devices over files. Where the machine gives none (no root, no loop driver), these tests say so
//! and end.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quarry_env::{DiskKind, OpenMode};

use super::{directory, pattern, read, run, run_with};
use crate::CoreConfig;
use crate::scan;
use crate::sysfs::DeviceNumber;

const DEVICE_BYTES: u64 = 16 << 20;

struct LoopDevice {
    path: PathBuf,
    backing: PathBuf,
    _directory: tempfile::TempDir,
}

impl LoopDevice {
    fn attach() -> Option<Self> {
        let directory = directory();
        let backing = directory.path().join("backing");
        std::fs::File::create(&backing).expect("a file").set_len(DEVICE_BYTES).expect("a size");
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&backing).output();
        match output {
            Ok(output) if output.status.success() => {
                let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
                Some(Self { path, backing, _directory: directory })
            }
            failed => {
                eprintln!("no loop device, nothing is tested: {failed:?}");
                None
            }
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("--detach").arg(&self.path).status();
        assert!(detached.is_ok_and(|status| status.success()), "{} is left behind", self.path.display());
    }
}

fn allocated_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the file").blocks() * 512
}

#[test]
fn a_block_device_is_read_written_flushed_and_discarded() {
    let Some(device) = LoopDevice::attach() else { return };
    let path = device.path.clone();
    let backing = device.backing.clone();
    run(|env| async move {
        let disk = env.disks.open(&path, OpenMode::Exclusive).await.expect("the device");
        let geometry = disk.geometry();
        assert_eq!((geometry.kind, geometry.size_bytes), (DiskKind::Block, DEVICE_BYTES));
        assert_eq!(geometry.sector_bytes, 512);
        assert!(geometry.direct && geometry.rotational.is_some());
        let data = pattern(&env, 1 << 20, 1);
        disk.write(DEVICE_BYTES - (1 << 20), vec![data.clone()]).await.expect("a write");
        disk.flush().await.expect("a flush");
        assert_eq!(read(&env, &disk, DEVICE_BYTES - (1 << 20), 1 << 20).await, data.to_vec());
        let beyond = disk.write(DEVICE_BYTES, vec![data.slice(0..512)]).await;
        assert_eq!(beyond.map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
        let (_, beyond) = disk.read(DEVICE_BYTES - 512, env.buffers.allocate(1024)).await;
        assert_eq!(beyond.map_err(|error| error.kind()), Err(ErrorKind::UnexpectedEof));
        let before = allocated_bytes(&backing);
        disk.discard(DEVICE_BYTES - (1 << 20), 1 << 20).await.expect("a discard");
        assert!(allocated_bytes(&backing) < before, "the discard reached the backing file");
    });
}

#[test]
fn a_claimed_block_device_is_refused_and_seen_by_the_scan() {
    let Some(device) = LoopDevice::attach() else { return };
    let holder = |path: &Path| {
        let found = scan::scan().expect("a scan");
        found.into_iter().find(|(found, _)| found == path).expect("it is listed").1
    };
    assert_eq!(holder(&device.path), None);
    let claim = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&device.path).expect("a claim");
    assert!(holder(&device.path).is_some());
    let path = device.path.clone();
    let config = CoreConfig { lock_wait: Duration::from_millis(50), ..CoreConfig::default() };
    let kind = run_with(config, |env| async move {
        env.disks.open(&path, OpenMode::Probe).await.expect("looking claims nothing");
        env.disks.open(&path, OpenMode::Exclusive).await.err().map(|error| error.kind())
    });
    assert_eq!(kind, Some(ErrorKind::WouldBlock));
    drop(claim);
    let path = device.path.clone();
    run(move |env| async move {
        let disk = env.disks.open(&path, OpenMode::Exclusive).await.expect("the claim is gone");
        let again = env.disks.open(&path, OpenMode::Exclusive).await.expect("shared in the process");
        assert!(holder(&path).is_some(), "claimed by this process");
        drop((disk, again));
    });
}

#[test]
fn the_device_of_the_root_file_system_is_in_use() {
    let device = DeviceNumber(std::fs::metadata("/").expect("the root").dev());
    if !device.directory().exists() {
        eprintln!("the root is not on a block device, nothing is tested");
        return;
    }
    let holder = scan::holder(device).expect("it is mounted");
    assert!(holder.contains("mounted at"), "{holder}");
}
