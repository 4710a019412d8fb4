//! The target used by real initiators: libiscsi's tools and QEMU's with its iSCSI driver must be installed.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests start programs")]

#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use quarry_target::{Chap, Host};
use support::node::{Node, Served};

const SIZE: u64 = 64 << 20;

/// Runs a program; whether it succeeded, and what it said.
fn try_run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs a program that must succeed; what it said.
fn run(program: &str, arguments: &[&str]) -> String {
    let (success, output) = try_run(program, arguments);
    assert!(success, "{program} {arguments:?} failed: {output}");
    output
}

#[test]
fn libiscsi_finds_units_on_another_core() {
    let far = |name, lun| Served { core: 1, ..Served::new(name, lun, SIZE) };
    let node = Node::start(2, &[far("disk", 0), far("more", 3)]);
    let found = run("iscsi-ls", &["-s", &format!("iscsi://{}", node.portals[0])]);
    assert!(
        found.contains(&format!("Target:iqn.2026-11.io.quarry:test Portal:{},1", node.portals[0])),
        "{found}"
    );
    for unit in ["Lun:0    Type:DIRECT_ACCESS (Size:63M)", "Lun:3    Type:DIRECT_ACCESS (Size:63M)"] {
        assert!(found.contains(unit), "{found}");
    }
    let inquiry = run("iscsi-inq", &["-e", "1", "-c", "131", &node.uri(0)]);
    assert!(inquiry.contains("NAA"), "{inquiry}");
    let (served, answer) = try_run("iscsi-inq", &[&node.uri(7)]);
    assert!(!served, "there is no such unit: {answer}");
}

#[test]
fn libiscsi_proves_who_it_is() {
    let node = Node::start(1, &[Served::new("disk", 0, SIZE)]);
    let chap = Chap {
        user: "user".to_owned(),
        secret: "a-long-enough-secret".to_owned(),
        mutual: Some(("target".to_owned(), "its-own-long-secret".to_owned())),
    };
    let host = Host {
        name: "host".to_owned(),
        initiators: vec!["iqn.2026-11.test:chap".to_owned()],
        networks: vec![],
        chap: Some(chap),
    };
    node.access.set_host(host).expect("room");
    let inquire = |credentials: &str, more: &str| {
        let uri = format!("{}{more}", node.uri_of(0, 0, credentials));
        try_run("iscsi-inq", &["-i", "iqn.2026-11.test:chap", &uri]).0
    };
    assert!(inquire("user%a-long-enough-secret@", ""));
    assert!(inquire("user%a-long-enough-secret@", "?target_user=target&target_password=its-own-long-secret"));
    assert!(!inquire("user%a-long-enough-secret@", "?target_user=target&target_password=another-secret"));
    assert!(!inquire("user%another-long-secret@", ""));
    assert!(!inquire("", ""));
}

#[test]
fn qemu_brings_an_image_there_and_back() {
    let node = Node::start(1, &[Served::new("disk", 0, SIZE)]);
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name).to_str().expect("a path").to_owned();
    let bytes: Vec<u8> = (0..SIZE as usize)
        .map(|at| if at / 300_000 % 3 == 0 { 0 } else { (at / 512) as u8 ^ at as u8 | 1 })
        .collect();
    std::fs::write(file("there"), &bytes).expect("room");
    let uri = node.uri(0);
    run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &file("there"), &uri]);
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &file("there"), &uri]);
    run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, &file("back")]);
    assert!(std::fs::read(file("back")).expect("it is there") == bytes);
    let map = run("qemu-img", &["map", "--output=json", "-f", "raw", &uri]);
    assert!(map.contains("\"zero\": true"), "holes are seen: {map}");
}

#[test]
fn qemu_writes_zeroes_and_discards() {
    let node = Node::start(1, &[Served::new("disk", 0, SIZE)]);
    let commands = [
        "write -P 7 1M 2M",
        "discard 1M 64k",
        "read -P 0 1M 64k",
        "write -z -u 2M 512k",
        "read -P 0 2M 512k",
        "read -P 7 1088k 960k",
        "write -z 2560k 4k",
        "flush",
    ];
    let arguments: Vec<&str> =
        ["-f", "raw"].into_iter().chain(commands.iter().flat_map(|command| ["-c", command])).collect();
    let uri = node.uri(0);
    let output = run("qemu-io", &[&arguments[..], &[&uri]].concat());
    assert!(!output.contains("Pattern verification failed"), "{output}");
}

#[test]
fn the_suite_passes_where_it_is_short() {
    let node = Node::start(1, &[Served::new("disk", 0, SIZE)]);
    let (first, second) = (node.uri_of(0, 0, ""), node.uri_of(1, 0, ""));
    for test in [
        "ALL.MultipathIO.Reset",
        "ALL.CompareAndWrite.Miscompare",
        "ALL.ProutReserve.AccessEARO",
        "ALL.ExtendedCopy.Simple",
        "ALL.iSCSIdatasn.iSCSIDataSnInvalid",
        "ALL.iSCSIResiduals.WriteVerify16Residuals",
    ] {
        let output = run("iscsi-test-cu", &["-d", "-n", "-t", test, &first, &second]);
        assert!(!output.contains("SKIPPED"), "{test}: {output}");
    }
}
