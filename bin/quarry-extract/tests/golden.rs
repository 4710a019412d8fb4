//! The built binary on golden images: three devices of a pool with two copies whose node was killed. `cargo xtask golden` makes
//! them anew when the version of a format rises.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test of a program that reads files"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use quarry_format::crc32c;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

const DEVICES: usize = 3;
const BLOCK_BYTES: usize = 4096;

#[derive(Deserialize)]
struct Expected {
    size_bytes: u64,
    crc32c: u32,
}

/// The images, unpacked.
struct Golden {
    folder: TempDir,
    devices: Vec<PathBuf>,
}

fn folder() -> PathBuf {
    PathBuf::from("tests/golden")
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

impl Golden {
    fn unpack() -> Self {
        let target = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let unpack = |index| {
            let packed = File::open(folder().join(format!("device-{index}.img.zst"))).unwrap();
            let bytes = zstd::decode_all(packed).unwrap();
            let path = target.path().join(format!("device-{index}.img"));
            let device = File::create(&path).unwrap();
            device.set_len(bytes.len() as u64).unwrap();
            for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                if block.iter().any(|&byte| byte != 0) {
                    device.write_all_at(block, (number * BLOCK_BYTES) as u64).unwrap();
                }
            }
            path
        };
        let devices = (0..DEVICES).map(unpack).collect();
        Self { folder: target, devices }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out.img")
    }

    fn write(&self, path: &str, devices: &[PathBuf], more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quarry-extract"));
        command.args(["write", path]).arg(self.out()).args(more).arg("--device").args(devices);
        command.output().unwrap()
    }

    fn expect(&self, path: &str, expected: &Expected, devices: &[PathBuf]) {
        let output = self.write(path, devices, &["--force"]);
        assert_eq!(output.status.code(), Some(0), "{path}: {}", stderr(&output));
        let bytes = fs::read(self.out()).unwrap();
        assert_eq!((bytes.len() as u64, crc32c(&bytes)), (expected.size_bytes, expected.crc32c), "{path}");
    }
}

fn list(devices: &[PathBuf], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quarry-extract")).arg("list").args(more).args(devices).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn volumes_and_snapshots_are_what_nbd_served() {
    let golden = Golden::unpack();
    let before: Vec<_> = golden.devices.iter().map(|device| crc32c(&fs::read(device).unwrap())).collect();
    for (number, (path, expected)) in expected().into_iter().enumerate() {
        golden.expect(&path, &expected, &golden.devices);
        // With two copies, any one device may be missing. Some will do: each write waits for the disk.
        match number % 6 {
            0 => golden.expect(&path, &expected, &golden.devices[1..]),
            3 => golden.expect(&path, &expected, &golden.devices[..2]),
            _ => {}
        }
    }
    let after: Vec<_> = golden.devices.iter().map(|device| crc32c(&fs::read(device).unwrap())).collect();
    assert_eq!(before, after, "a device was changed");
}

#[test]
fn the_list_names_all_and_says_what_is_missing() {
    let golden = Golden::unpack();
    let output = list(&golden.devices, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let pools: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut paths = Vec::new();
    for volume in pools[0]["volumes"].as_array().unwrap() {
        let name = volume["name"].as_str().unwrap();
        paths.push(name.to_owned());
        let snapshots = volume["snapshots"].as_array().unwrap().iter();
        paths.extend(snapshots.map(|snapshot| format!("{name}@{}", snapshot["name"].as_str().unwrap())));
    }
    paths.sort_unstable();
    assert!(paths.iter().eq(expected().keys()), "{paths:?}");
    let tail: u64 =
        pools[0]["logs"].as_array().unwrap().iter().map(|log| log["tail_batches"].as_u64().unwrap()).sum();
    assert!(tail > 0, "the images have no tail to replay");
    let output = list(&golden.devices[..2], &[]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text.contains("device 2  MISSING") && text.contains("flaw: device 2 is missing"), "{text}");
}

#[test]
fn what_is_not_there_is_said() {
    let golden = Golden::unpack();
    let fails = |output: &Output, exit: i32, part: &str| {
        let said = stderr(output);
        assert!(output.status.code() == Some(exit) && said.contains(part), "{:?}: {said}", output.status);
    };
    fails(&golden.write("nothing", &golden.devices, &[]), 1, "'nothing' is not there");
    fails(&golden.write("disk@nothing", &golden.devices, &[]), 1, "is not there");
    fails(&golden.write("disk", &golden.devices, &["--pool", "x"]), 1, "belongs to a pool 'x'");
    fails(
        &golden.write("disk", &[golden.devices[0].clone(), golden.devices[0].clone()], &[]),
        1,
        "the same device",
    );
    fails(&golden.write("disk", &["/dev/null".into()], &[]), 1, "is no device of a pool");
    fails(&golden.write("disk", &["/nonexistent".into()], &[]), 1, "No such file");
    fails(&list(&[], &[]), 2, "required");
    fs::write(golden.out(), "old").unwrap();
    fails(&golden.write("disk", &golden.devices, &[]), 1, "replace it with --force");
    assert_eq!(fs::read(golden.out()).unwrap(), b"old");
}

#[test]
fn a_device_of_no_use_is_told_and_the_others_are_read() {
    let golden = Golden::unpack();
    let mut devices = golden.devices.clone();
    devices.push(golden.folder.path().join("no-device"));
    fs::write(&devices[devices.len() - 1], [0; 1 << 20]).unwrap();
    let output = list(&devices, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: ") && stderr(&output).contains("is no device of a pool"));
    assert_eq!(output.stdout, list(&golden.devices, &["-o", "json"]).stdout);
    let output = golden.write("disk", &devices, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(golden.out().exists());
}

#[test]
fn one_device_of_two_copies_gives_what_it_has_and_tells_the_rest() {
    let golden = Golden::unpack();
    let output = golden.write("disk", &golden.devices[..1], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!golden.out().exists() && !golden.folder.path().join("out.img.partial").exists());
    assert!(stderr(&output).contains("--skip-damaged"), "{}", stderr(&output));
}

#[test]
fn what_a_newer_version_has_written_is_refused() {
    let golden = Golden::unpack();
    // The versions of both copies of the label, and their checksums, which cover them.
    for device in &golden.devices {
        let file = File::options().read(true).write(true).open(device).unwrap();
        for offset in [0, 64 << 10] {
            let mut label = vec![0; 16 << 10];
            file.read_exact_at(&mut label, offset).unwrap();
            label[8] = 99;
            label[12..16].fill(0);
            let checksum = crc32c(&label);
            label[12..16].copy_from_slice(&checksum.to_le_bytes());
            file.write_all_at(&label, offset).unwrap();
        }
    }
    let output = list(&golden.devices, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("version 99"), "{}", stderr(&output));
}
