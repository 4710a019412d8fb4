#![allow(clippy::disallowed_methods, reason = "tests write and read files of their own")]
//! Running a program in the place of smartctl: no drive that has S.M.A.R.T. can be had where the tests run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use quarry_smart::{Silence, Verdict, ask};

fn program(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("smartctl");
    std::fs::write(&path, text).expect("a folder of our own");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    path
}

#[tokio::test]
async fn the_verdict_is_what_it_prints_whatever_its_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorded = "tests/recorded/ata-failing.json";
    let text =
        format!("#!/bin/sh\necho \"$@\" >{}/asked\ncat {recorded}\nexit 216\n", folder.path().display());
    let report = ask(program(folder.path(), &text), Path::new("/dev/sdz")).await.expect("a report");
    assert_eq!(report.verdict(), Verdict::Failing);
    let asked = std::fs::read_to_string(folder.path().join("asked")).expect("it was run");
    assert!(asked.contains("--json") && asked.trim_end().ends_with("/dev/sdz"), "{asked}");
}

#[tokio::test]
async fn a_program_that_is_missing_or_says_nothing_is_no_fault_of_the_drive() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("smartctl");
    assert_eq!(ask(missing, Path::new("/dev/sdz")).await, Err(Silence::NotInstalled));
    let silent = ask(program(folder.path(), "#!/bin/sh\nexit 1\n"), Path::new("/dev/sdz")).await;
    assert!(matches!(silent, Err(Silence::NoData(_))), "{silent:?}");
}
