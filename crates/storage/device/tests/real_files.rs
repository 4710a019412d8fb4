//! Real files, real tools: what others write is recognised, and a pool lives its whole life.
#![allow(clippy::disallowed_methods, reason = "this test makes files and runs tools")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quarry_device::{
    Content, DeviceState, FormatError, FormatRequest, OpenError, Probe, end_pool, format_devices,
    open_members, probe,
};
use quarry_env::Env;
use quarry_env_linux::{CoreConfig, run_on_this_thread};
use quarry_types::{PoolId, Protection};
use tempfile::TempDir;

const SIZE_BYTES: u64 = 320 << 20;

fn run<T: 'static, Fut: Future<Output = T> + 'static>(main: impl FnOnce(Env) -> Fut) -> T {
    run_on_this_thread(&CoreConfig::default(), main).expect("a ring")
}

/// A directory on a file system that does direct I/O, where the machine has one.
fn directory() -> TempDir {
    tempfile::Builder::new().prefix("quarry-device-").tempdir_in("/var/tmp").expect("a directory")
}

fn sparse_file(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    #[allow(clippy::disallowed_types, reason = "this test makes files")]
    let file = fs::File::create(&path).expect("a file");
    file.set_len(SIZE_BYTES).expect("a sparse file");
    path
}

fn tool(program: &str, arguments: &[&str], path: &Path) {
    let mut command = Command::new(program);
    command.args(arguments).arg(path).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output =
        command.output().unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn found(env: &Env, path: &Path) -> String {
    match probe(env, path).await.expect("readable") {
        Probe::Disk(disk) => disk.content.describe(),
        other => panic!("{other:?}"),
    }
}

fn request(env: &Env, paths: &[&Path]) -> FormatRequest {
    FormatRequest {
        pool: PoolId::from_random(env.random.next_u128()),
        pool_name: "tank".to_owned(),
        protection: Protection::Copies(1),
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        directory_file_bytes: Some(64 << 20),
        force: false,
        in_use: BTreeMap::new(),
    }
}

#[test]
fn what_the_tools_of_others_write_is_recognised() {
    run(async |env| {
        let directory = directory();
        for (program, arguments, starts_with) in [
            ("mkfs.ext4", &["-q", "-F", "-L", "data"][..], "ext4 file system 'data' ("),
            ("mke2fs", &["-q", "-F", "-t", "ext3"], "ext3 file system ("),
            ("mke2fs", &["-q", "-F", "-t", "ext2", "-b", "1024"], "ext2 file system ("),
            ("mkfs.xfs", &["-q", "-L", "box"], "XFS file system 'box' ("),
            ("mkswap", &["-q", "-L", "spare"], "swap space 'spare' ("),
        ] {
            let path = sparse_file(directory.path(), "disk");
            assert_eq!(found(&env, &path).await, "nothing");
            tool(program, arguments, &path);
            let what = found(&env, &path).await;
            assert!(what.starts_with(starts_with) && what.ends_with(')'), "{program}: {what}");
        }
        for (format, what) in [
            ("qcow2", "qcow2 image of 1 GiB"),
            ("vmdk", "VMDK image"),
            ("vdi", "VDI image"),
            ("vhdx", "VHDX image"),
            ("vpc", "VHD image"),
        ] {
            let path = directory.path().join(format);
            let output =
                Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(&path).arg("1G").output();
            assert!(output.expect("qemu-img is needed for this test").status.success());
            assert_eq!(found(&env, &path).await, what);
        }
    });
}

#[test]
fn no_file_is_made_in_the_root_directory() {
    run(async |env| {
        for path in ["/", "/.", "//", "/usr/.."] {
            let refused = format_devices(&env, &request(&env, &[path.as_ref()])).await.expect_err("it is /");
            assert!(matches!(refused, FormatError::Root { .. }), "{path}: {refused}");
        }
    });
}

#[test]
fn a_pool_is_made_opened_refused_to_others_and_ended() {
    run(async |env| {
        let directory = directory();
        let file = sparse_file(directory.path(), "file");
        let request = request(&env, &[&file, directory.path()]);
        let pool = request.pool;
        let devices = format_devices(&env, &request).await.expect("a pool");
        assert_eq!(devices.len(), 2);
        assert!(devices.iter().all(|device| device.state() == DeviceState::Healthy));
        let made = devices[1].path().to_owned();
        assert_eq!(made.file_name().unwrap().to_str().unwrap(), format!("quarry-{}.img", devices[1].id()));
        assert_eq!(fs::metadata(&made).expect("the file").len(), 64 << 20);
        assert_eq!(devices[0].segment_bytes(), 1 << 20, "64 MiB give 63 slots of 1 MiB");
        assert_eq!((devices[0].slots(), devices[1].slots()), (319, 63));

        let again = FormatRequest { pool: PoolId::from_random(1), ..request.clone() };
        let refused = format_devices(&env, &again).await.expect_err("it is used");
        assert!(
            matches!(&refused, FormatError::Occupied { what, .. } if what.contains("Quarry pool 'tank'")),
            "{refused}"
        );
        let in_use = devices.iter().map(|device| (device.id(), device.path().to_owned())).collect();
        let again = FormatRequest { force: true, in_use, ..again };
        let refused = format_devices(&env, &again).await.expect_err("it is open");
        assert!(matches!(refused, FormatError::InOpenPool { .. }), "{refused}");

        drop(devices);
        let opened =
            open_members(&env, pool, std::slice::from_ref(&file)).await.expect("the label names the other");
        assert!(opened.missing.is_empty() && opened.failures.is_empty(), "{opened:?}");
        end_pool(&env, opened.devices).await.expect("ended");
        assert!(!made.exists() && file.exists());
        assert_eq!(found(&env, &file).await, "nothing");
        let gone = open_members(&env, pool, &[file]).await.expect_err("no pool");
        let OpenError::NoDevice { failures, .. } = gone else { panic!("{gone}") };
        assert!(
            failures[0].to_string().ends_with("is no Quarry device: it holds nothing"),
            "{}",
            failures[0]
        );
    });
}

#[test]
fn a_refused_request_changes_nothing() {
    run(async |env| {
        let directory = directory();
        let blank = sparse_file(directory.path(), "blank");
        let ext4 = sparse_file(directory.path(), "ext4");
        tool("mkfs.ext4", &["-q", "-F"], &ext4);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&blank, &link).expect("a link");
        let small = directory.path().join("small");
        fs::write(&small, [0; 4096]).expect("a file");
        let absent = directory.path().join("absent");
        let before = fs::read(&ext4).expect("readable");

        let cases: [(&[&Path], &str); 5] = [
            (&[&blank, &ext4], "holds ext4 file system ("),
            (&[&blank, &link], "are the same device"),
            (&[&blank, &small], "a device needs 32 MiB or more"),
            (&[&blank, &absent], "does not exist: to use a new file, make it first (truncate"),
            (&[directory.path(), directory.path()], "are the same device"),
        ];
        for (paths, message) in cases {
            let error = format_devices(&env, &request(&env, paths)).await.expect_err("refused").to_string();
            assert!(error.contains(message), "{error}");
            assert_eq!(found(&env, &blank).await, "nothing");
            assert!(fs::read_dir(&directory).unwrap().count() == 4, "no file is made or left");
        }
        assert!(fs::read(&ext4).expect("readable") == before);
        let forced = FormatRequest { force: true, ..request(&env, &[&blank, &ext4]) };
        let devices = format_devices(&env, &forced).await.expect("forced");
        end_pool(&env, devices).await.expect("ended");
        assert_eq!(found(&env, &ext4).await, "nothing", "the backup structures at its end are gone as well");
    });
}

/// Two names of one file cannot be told by their paths; reading the labels back tells.
#[test]
fn a_hard_link_is_no_second_device() {
    run(async |env| {
        let directory = directory();
        let file = sparse_file(directory.path(), "file");
        let link = directory.path().join("link");
        fs::hard_link(&file, &link).expect("a link");
        let error = format_devices(&env, &request(&env, &[&file, &link])).await.expect_err("one file");
        assert!(matches!(error, FormatError::Same { .. }), "{error}");
        let Probe::Disk(disk) = probe(&env, &file).await.expect("readable") else { panic!("a file") };
        assert_eq!(disk.content, Content::Empty, "no label is left");
    });
}
