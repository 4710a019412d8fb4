//! A node starts although pages of its logs are damaged, and says what is wrong where it cannot.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test of a process needs real files and real time"
)]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

const QUARRYD: &str = env!("CARGO_BIN_EXE_quarryd");
const PAGE: u64 = 4096;

/// A node without pools, and its log until it is ready, or until it has ended.
fn start(data_dir: &Path) -> (Child, String, bool) {
    let mut command = Command::new(QUARRYD);
    command.arg("--data-dir").arg(data_dir).args([
        "--api",
        "127.0.0.1:0",
        "--cores",
        "1",
        "--memory",
        "256MiB",
    ]);
    command.arg("--nbd-unix").arg(data_dir.join("nbd.sock"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Each gets a thread, so that neither fills its pipe.
    let (sender, lines) = std::sync::mpsc::channel();
    let streams: [Box<dyn std::io::Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for stream in streams {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    drop(sender);
    let mut log = String::new();
    for line in lines {
        let is_ready = line.contains("ready after");
        log += &format!("{line}\n");
        if is_ready {
            return (child, log, true);
        }
    }
    (child, log, false)
}

fn stop(mut child: Child) -> ExitStatus {
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap()
}

/// A node that was killed, so that its files are as they are while it runs.
fn killed(data_dir: &Path) {
    let (child, log, is_ready) = start(data_dir);
    assert!(is_ready, "{log}");
    assert!(stop(child).success());
    let (mut child, log, is_ready) = start(data_dir);
    assert!(is_ready, "{log}");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn zero(path: &Path, offset: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0; PAGE as usize], offset).unwrap();
}

/// How a look at a file ends.
fn look(path: &Path) -> (Option<i32>, String) {
    let looked = Command::new(QUARRYD).arg("look-at-database").arg(path).output().unwrap();
    (looked.status.code(), String::from_utf8_lossy(&looked.stderr).into_owned())
}

#[test]
fn a_node_starts_whatever_page_of_a_log_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    killed(&data_dir);
    for name in ["audit.redb", "events.redb", "history.redb", "catalog.redb", "access.redb"] {
        assert_eq!(look(&data_dir.join(name)), (Some(0), String::new()), "{name} of a node that was killed");
    }
    for name in ["audit.redb", "events.redb", "history.redb"] {
        let path = data_dir.join(name);
        // Among so many there is one that is needed.
        (1..=8).for_each(|page| zero(&path, page * PAGE));
        let (child, log, is_ready) = start(&data_dir);
        assert!(is_ready, "{name}: {log}");
        assert!(log.contains(&format!("{name} is damaged")), "{log}");
        assert!(stop(child).success());
        assert!(data_dir.join(format!("{name}.damaged")).exists(), "{name}");
        assert_eq!(look(&path).0, Some(0), "the new {name}");
    }
    // That is said where people look, and goes on to be said of the audit log.
    let (child, log, is_ready) = start(&data_dir);
    assert!(is_ready && !log.contains("damaged"), "{log}");
    assert!(stop(child).success());
}

#[test]
fn a_node_without_its_catalog_or_its_users_says_what_to_do() {
    for name in ["catalog.redb", "access.redb"] {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        killed(&data_dir);
        let path = data_dir.join(name);
        let whole = std::fs::read(&path).unwrap();
        (1..=8).for_each(|page| zero(&path, page * PAGE));
        let damaged = std::fs::read(&path).unwrap();
        for _ in 0..2 {
            let (mut child, log, is_ready) = start(&data_dir);
            assert!(!is_ready, "{name}");
            assert_eq!(child.wait().unwrap().code(), Some(1), "{log}");
            assert!(log.contains(&format!("{} is damaged", path.display())), "{log}");
            assert!(log.contains("from a backup"), "{log}");
            assert!(std::fs::read(&path).unwrap() == damaged, "it is left as it is");
        }
        std::fs::write(&path, &whole).unwrap();
        let (child, log, is_ready) = start(&data_dir);
        assert!(is_ready, "{log}");
        assert!(stop(child).success());
    }
}

/// Whatever page is zeroed: either it is found, or the file can be opened without it.
#[test]
fn every_damaged_page_is_found_or_not_needed() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    killed(&data_dir);
    let path = data_dir.join("events.redb");
    let whole = std::fs::read(&path).unwrap();
    let mut found = 0;
    for offset in (0..whole.len() as u64).step_by(PAGE as usize) {
        std::fs::write(&path, &whole).unwrap();
        zero(&path, offset);
        let is_zero = whole[offset as usize..].iter().take(PAGE as usize).all(|byte| *byte == 0);
        match look(&path) {
            (Some(0), _) => {}
            (Some(3 | 5), why) => {
                assert!(!is_zero, "nothing was changed at {offset}: {why}");
                found += 1;
                continue;
            }
            other => panic!("page at {offset}: {other:?}"),
        }
        if !is_zero {
            let (child, log, is_ready) = start(&data_dir);
            assert!(is_ready, "page at {offset}: {log}");
            assert!(stop(child).success());
        }
    }
    assert!(found > 2, "{found} pages");
}
