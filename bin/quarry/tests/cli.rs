//! The built binary against the real API server, with a node in memory behind it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test of a process needs real sockets and files"
)]

#[path = "../../../crates/control/api/tests/memory_node/mod.rs"]
mod memory_node;

mod binary;

use std::net::TcpListener;
use std::process::Stdio;

use binary::{Node, quarry, stderr};
use memory_node::Fault;
use quarry_api_types::{
    Cause, Changes, Event, EventSeverity, Export, Freeing, Health, HealthLevel, Pool, Snapshot, Volume,
    WatchSort, Watched, WatchedKind,
};
use quarry_node_api::{ErrorKind, NodeError};
#[test]
fn the_main_job() {
    let node = Node::start();
    assert!(node.ok("device scan").contains("/dev/sdb  block  nvme   100 GiB    4096  free"));
    node.ok("pool create fast --device /dev/sdb /dev/sdd --copies 2");
    node.ok("volume create vm-17 --pool fast --size 20GiB --durability always");
    assert_eq!(node.ok("export create vm-17 --protocol nbd"), "nbd://127.0.0.1:10809/vm-17\n");
    node.ok("volume resize vm-17 --size 40G");
    assert_eq!(
        node.ok("volume list"),
        "NAME   POOL    SIZE  USED  DURABILITY  CORE  EXPORTED  SNAPSHOTS  ORIGIN\n\
         vm-17  fast  40 GiB   0 B  always         1  yes               0  -\n"
    );
    assert!(node.ok("pool show fast").contains("State:       online\n"));
    assert!(node.ok("status").contains("Volumes:     1; 0 B of 40 GiB mapped\n"));
    assert!(node.ok("export list").contains("nbd://127.0.0.1:10809/vm-17"));
    node.fails("volume delete vm-17", 4);
    node.ok("export delete vm-17");
    node.ok("volume delete vm-17");
    node.ok("pool delete fast");
    assert_eq!(node.ok("pool list").lines().count(), 1);
}

#[test]
fn snapshots_and_clones() {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create golden --pool p --size 3GiB");
    node.ok("volume create log --pool p --size 1GiB");
    node.ok("snapshot create golden --name v1");
    assert_eq!(
        node.ok("snapshot create golden log --name both --lock-until 2027-01-01T00:00:00Z"),
        "SNAPSHOT     CREATED                SIZE  REFERENCED  UNIQUE  CLONES  EXPORTED  LOCKED UNTIL\n\
         golden@both  2026-11-20T09:30:00Z  3 GiB       8 KiB   4 KiB       0  no        2027-01-01T00:00:00Z\n\
         log@both     2026-11-20T09:30:00Z  1 GiB       8 KiB   4 KiB       0  no        2027-01-01T00:00:00Z\n"
    );
    assert_eq!(node.ok("snapshot list").lines().count(), 4);
    assert_eq!(node.ok("snapshot list golden").lines().count(), 3);
    node.ok("snapshot rename golden@v1 v2");
    assert!(node.ok("volume clone golden@v2 vm").contains("Origin:         golden@v2\n"));
    assert!(node.ok("snapshot show golden@v2").contains("Clones:        1\n"));
    assert!(node.fails("snapshot delete golden@both", 4).contains("is locked until 2027-01-01T00:00:00Z"));
    assert!(
        node.fails("snapshot lock golden@both --until 2026-12-01T00:00:00Z", 4).contains("not shortened")
    );
    node.ok("snapshot lock golden@both --until 2028-01-01T00:00:00Z");
    node.ok("volume rollback golden@v2");
    assert!(node.fails("volume promote golden", 4).contains("is no clone"));
    node.ok("volume promote vm");
    assert!(
        node.ok("volume list")
            .contains("golden  p     3 GiB   0 B  flush          1  no                1  vm@v2\n")
    );
    node.ok("volume rename vm base");
    let snapshots: Vec<Snapshot> = serde_json::from_str(&node.ok("-o json snapshot list base")).unwrap();
    assert_eq!(snapshots[0].path().to_string(), "base@v2");
    assert_eq!(node.ok("snapshot delete base@v2"), "Snapshot base@v2 deleted.\n");
}

#[test]
fn a_device_is_adopted_and_its_volume_moves_into_a_pool() {
    let node = Node::start();
    node.ok("pool create tank --device /dev/sdb");
    let stderr = node.fails("volume adopt erp --device /dev/sdx", 3);
    assert!(stderr.contains("/dev/sdx"), "{stderr}");
    let volume: Volume =
        serde_json::from_str(&node.ok("-o json volume adopt erp --device /dev/sdc --read-only")).unwrap();
    assert!(volume.pool.is_none() && volume.image.is_some_and(|image| image.read_only));
    assert!(node.ok("volume show erp").contains("/dev/sdc, read-only"));
    assert!(node.ok("volume list").contains("(image)"));
    let moving = node.ok("volume migrate erp --to-pool tank --rate 50MiB");
    assert!(moving.contains("to pool tank, copying; 0 % copied"), "{moving}");
    assert!(node.ok("volume migrate erp --cancel").contains("Migration:      -"));
    node.fails("volume migrate erp --cancel", 4);
    node.fails("volume migrate erp --to-pool tank --to-device /dev/sdd", 2);
    node.fails("volume migrate erp", 2);
    let moved = node.ok("volume migrate erp --to-pool tank --wait --no-progress");
    assert!(moved.contains("Pool:           tank") && moved.contains("Device:         -"), "{moved}");
    let stderr = node.fails("volume release erp", 1);
    assert!(stderr.contains("lies in a pool"), "{stderr}");
}

#[test]
fn a_snapshot_is_served_and_protects_its_volume() {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 1GiB");
    node.ok("snapshot create v --name s");
    assert_eq!(node.ok("export create v@s --protocol nbd"), "nbd://127.0.0.1:10809/v@s\n");
    assert!(node.ok("export list").contains("v@s"));
    for line in ["snapshot delete v@s", "snapshot rename v@s t", "volume rename v w", "volume delete v"] {
        assert!(node.fails(line, 4).contains("End its export first: `quarry export delete v@s`."), "{line}");
    }
    node.ok("export delete v@s");
    assert!(node.fails("volume delete v", 4).contains("--with-snapshots"));
    node.ok("volume delete v --with-snapshots");
}

#[test]
fn a_group_is_snapshotted_and_rolled_back_together() {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    for volume in ["data", "log", "mail"] {
        node.ok(&format!("volume create {volume} --pool p --size 1GiB"));
    }
    let shown = node.ok("group create shop data");
    assert!(shown.contains("Name:     shop\n") && shown.contains("Volumes:  data\n"), "{shown}");
    assert!(node.ok("group add shop log mail").contains("Volumes:  data log mail\n"));
    assert!(node.ok("group remove shop mail").contains("Volumes:  data log\n"));
    assert!(node.fails("group add shop data", 4).contains("is in group 'shop' already"));
    assert!(node.fails("group remove shop mail", 3).contains("'mail' is not in group 'shop'"));
    assert!(node.fails("group create shop", 4).contains("group 'shop' exists already"));
    assert!(node.ok("volume show log").contains("Group:          shop\n"));
    let until = "2027-01-01T00:00:00Z";
    assert_eq!(
        node.ok(&format!("group snapshot shop monday --lock-until {until}")),
        "SNAPSHOT  CREATED               VOLUMES  MISSING  REFERENCED  UNIQUE  EXPORTED  LOCKED UNTIL\n\
         monday    2026-11-20T09:30:00Z        2  -            16 KiB   8 KiB  no        2027-01-01T00:00:00Z\n"
    );
    node.ok("group snapshot shop tuesday");
    assert!(node.fails("group snapshot-delete shop monday", 4).contains(until));
    node.ok("volume resize log --size 2GiB");
    node.ok("group rollback shop tuesday");
    assert!(node.ok("volume show log").contains("Size:           1 GiB (1073741824 bytes)\n"));
    node.ok("snapshot delete log@tuesday");
    assert!(node.ok("group snapshot-list shop").contains("tuesday   2026-11-20T09:30:00Z        1  log "));
    assert!(node.fails("group rollback shop tuesday", 4).contains("has no snapshot 'tuesday'"));
    node.ok("group snapshot-delete shop tuesday");
    assert!(node.fails("group snapshot-delete shop tuesday", 3).contains("no snapshot 'tuesday'"));
    node.ok("group rename shop store");
    node.ok("volume rename log journal");
    assert!(node.ok("group list").contains("data journal\n"));
    node.ok("group create empty");
    assert!(node.fails("group snapshot empty s", 4).contains("has no volumes"));
    node.ok("group delete store");
    let volumes: Vec<Volume> = serde_json::from_str(&node.ok("-o json volume list")).unwrap();
    assert!(volumes.len() == 3 && volumes.iter().all(|volume| volume.group.is_none()));
}

#[test]
fn hosts_see_what_is_exported_to_them() {
    use std::io::Write;

    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 1GiB");
    let secret = format!("{}/chap", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&secret, "correct horse battery\n").unwrap();
    let mut command = node.command(&format!(
        "host create web --initiator iqn.1993-08.org.debian:01:A nqn.2014-08.org.example:a --network 10.1.0.0/16 \
         --chap-user web --chap-secret-file {secret} --mutual-user node --mutual-secret-file -"
    ));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"other horse battery\n").unwrap();
    let created = child.wait_with_output().unwrap();
    assert!(created.status.success());
    let shown = node.ok("host show web");
    assert_eq!(String::from_utf8(created.stdout).unwrap(), shown);
    for line in ["Initiator:  iqn.1993-08.org.debian:01:a\n", "CHAP:       user web\n", "Mutual:     yes\n"] {
        assert!(shown.contains(line), "{shown}");
    }
    assert_eq!(node.memory.secret_of("web").as_deref(), Some("correct horse battery"));
    assert!(!node.ok("-o json host list").contains("battery"));
    node.ok("host create app --network 10.2.0.7");
    node.ok("host group create farm web");
    assert!(node.ok("host group add farm app").contains("Hosts:    web app\n"));
    assert_eq!(
        node.ok("host list"),
        "NAME  EXPORTS  SESSIONS  CHAP    GROUPS  NETWORKS     INITIATORS\n\
         app         0         0  -       farm    10.2.0.7     any\n\
         web         0         0  mutual  farm    10.1.0.0/16  iqn.1993-08.org.debian:01:a nqn.2014-08.org.example:a\n"
    );
    let uri = "iscsi://127.0.0.1:3260/iqn.2026-11.io.quarry:node/0\n";
    assert_eq!(node.ok("export create v --protocol iscsi --host web"), uri);
    assert!(
        node.ok("export create v --protocol nvme-tcp --host-group farm --nsid 7 --read-only")
            .ends_with("/7\n")
    );
    let public = node.run("export create v --protocol iscsi --lun 5");
    assert_eq!(public.status.code(), Some(4), "web sees it already: {}", stderr(&public));
    assert!(
        node.fails("export create v --protocol nbd --lun 5", 2).contains("--lun is for --protocol iscsi")
    );
    node.ok("volume create w --pool p --size 1GiB");
    let public = node.run("export create w --protocol iscsi --lun 5");
    assert!(
        public.status.success() && stderr(&public).contains("any initiator may use it"),
        "{}",
        stderr(&public)
    );
    let list = node.ok("export list");
    let row = |volume: &str, protocol: &str| {
        let row = list.lines().find(|row| row.starts_with(volume) && row.contains(protocol)).unwrap();
        row.split_whitespace().take(5).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("v", "iscsi"), "v iscsi 0 web write");
    assert_eq!(row("v", "nvme-tcp"), "v nvme-tcp 7 @farm read");
    assert_eq!(row("w", "iscsi"), "w iscsi 5 any write");
    let shown = node.ok("export show v");
    assert!(shown.contains("LUN:        0\n") && shown.contains("Namespace:  7\n"), "{shown}");
    assert!(node.fails("host delete web", 4).contains("is named by export"));
    assert!(node.fails("host group delete farm", 4).contains("of 'v'"));
    node.memory.connect_client("v");
    assert!(node.fails("export delete v", 4).contains("--force"));
    node.ok("export delete v --force");
    assert!(node.ok("host update web --remove-network 10.1.0.0/16 --no-chap").contains("CHAP:       no\n"));
    node.ok("host group delete farm");
    assert_eq!(node.ok("host delete web"), "Host web deleted.\n");
    let far = format!(
        "--endpoint http://192.0.2.1:7480 host create h --network 10.0.0.1 --chap-user u --chap-secret-file {secret}"
    );
    assert!(node.fails(&far, 2).contains("not sent over a network"));
}

#[test]
fn a_deletion_is_waited_for_until_its_space_is_free() {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 1GiB");
    node.ok("snapshot create v --name s");
    let left = |snapshot_bytes| Freeing { snapshots: 1, snapshot_bytes, ..Freeing::default() };
    let shared = Freeing { shared_snapshots: 1, ..Freeing::default() };
    node.memory.free(&[left(4 << 20), left(2 << 20), left(6 << 20), left(1 << 20), shared]);
    assert_eq!(node.ok("snapshot delete v@s --wait"), "Snapshot v@s deleted.\n");
    // The last that was to be seen: it has waited, and not for what is shared.
    let shown = node.ok("pool show p");
    assert!(shown.contains("Freeing:     nothing; 1 deleted snapshots stay as long as"), "{shown}");
    node.memory.free(&[left(4 << 20)]);
    node.ok("volume delete v");
    assert!(node.ok("pool show p").contains("1 deleted snapshots, 4 MiB left to look at"));
    node.fails("volume delete v --wait", 3);
}

#[test]
fn the_keyring_is_unlocked_from_a_file_or_from_stdin_and_not_over_a_network() {
    use std::io::Write;

    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 1GiB --encrypt");
    assert_eq!(node.ok("keyring show"), "Keyring:         open\nLocked volumes:  0\n");
    assert!(node.fails("keyring unlock", 2).contains("passphrase: it is empty"));
    node.memory.lock("correct horse");
    let shown = node.ok("keyring show");
    assert!(shown.contains("locked\n") && shown.contains("Locked volumes:  1\n"), "{shown}");
    let file = format!("{}/passphrase", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, "wrong horse\n").unwrap();
    let refused = node.fails(&format!("keyring unlock --passphrase-file {file}"), 2);
    assert!(refused.contains("not opened") && !refused.contains("horse"), "{refused}");
    assert!(node.fails("keyring unlock --passphrase-file /nowhere", 1).contains("'/nowhere'"));
    let mut command = node.command("keyring unlock");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse\n").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(node.ok("volume show v").contains("Encrypted:      yes\n"));
    std::fs::write(&file, "correct horse").unwrap();
    assert!(node.fails(&format!("keyring unlock --passphrase-file {file}"), 4).contains("open already"));
    let far = format!("--endpoint http://192.0.2.1:7480 keyring unlock --passphrase-file {file}");
    assert!(node.fails(&far, 2).contains("not sent over a network"));
}

#[test]
fn changes_are_listed_to_the_end() {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 3GiB");
    node.ok("snapshot create v --name s");
    let table = node.ok("volume changes v --from s");
    assert_eq!(table, "OFFSET      LENGTH  NOW\n     0  3221225472  data\n");
    let all: Changes = serde_json::from_str(&node.ok("-o json volume changes v --to s")).unwrap();
    assert_eq!((all.ranges.len(), all.next, all.size_bytes), (1, None, 3 << 30));
    assert!(node.fails("volume changes v --from t", 3).contains("snapshot 'v@t' does not exist"));
}

#[test]
fn an_image_goes_only_to_the_node_that_was_asked() {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    let image = format!("{}/image.raw", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&image, [1; 4096]).unwrap();
    // Nobody answers at the addresses of this node's exports, or another node does.
    let failed = node.fails(&format!("volume import {image} --pool p --name v"), 5);
    assert!(failed.contains("is exported, but this machine cannot reach it"), "{failed}");
    assert_eq!(
        (node.ok("-o json volume list"), node.ok("-o json export list")),
        ("[]\n".into(), "[]\n".into())
    );
    node.ok("volume create v --pool p --size 1G");
    assert!(node.fails(&format!("volume import {image} --pool p --name v"), 4).contains("exists already"));
    node.ok("volume create w.import-0a1b2c3d --pool p --size 1G");
    let refused = node.fails(&format!("volume import {image} --pool p --name w"), 4);
    assert!(refused.contains("is being imported already, as 'w.import-0a1b2c3d'"), "{refused}");
    let written = format!("{}/written.raw", env!("CARGO_TARGET_TMPDIR"));
    node.fails(&format!("volume export-image v {written}"), 5);
    assert_eq!(node.ok("-o json snapshot list"), "[]\n");
    for path in [written.clone(), written + ".partial"] {
        assert!(!std::path::Path::new(&path).exists(), "{path}");
    }
}

#[test]
fn a_scrub_that_has_found_lost_blocks_ends_with_a_code_of_its_own() {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| node.run("pool scrub p --wait"));
        while !waits.is_finished() {
            node.ok("pool scrub p --stop");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let output = waits.join().unwrap();
        assert_eq!(output.status.code(), Some(8));
        assert!(stderr(&output).contains("blocks of pool 'p' have no good copy"), "{}", stderr(&output));
    });
}

#[test]
fn an_image_that_was_cut_off_is_refused() {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    let raw = format!("{}/whole.raw", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&raw, vec![7; 4 << 20]).unwrap();
    for format in ["qcow2", "vmdk", "vdi", "vhdx", "vpc"] {
        let image = format!("{}/cut.{format}", env!("CARGO_TARGET_TMPDIR"));
        let convert = ["convert", "-f", "raw", "-O", format, &raw, &image];
        assert!(std::process::Command::new("qemu-img").args(convert).status().unwrap().success());
        let import = format!("volume import {image} --source-format {format} --pool p --name v");
        // Whole it gets as far as the export, which this node has none of.
        let failed = node.fails(&import, 5);
        assert!(failed.contains("this machine cannot reach it"), "{format}: {failed}");
        let file = std::fs::File::options().write(true).open(&image).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        let refused = node.fails(&import, 1);
        let is_told = ["was cut off", "cannot be read as an image"].iter().any(|part| refused.contains(part));
        assert!(is_told, "{format}: {refused}");
    }
    assert_eq!(node.ok("-o json volume list"), "[]\n");
}

#[test]
fn json_is_the_object_of_the_api() {
    let node = Node::start();
    let pool: Pool = serde_json::from_str(&node.ok("-o json pool create p --device /dev/sdb")).unwrap();
    let pools: Vec<Pool> = serde_json::from_str(&node.ok("pool list -o json")).unwrap();
    assert_eq!(pools, [pool]);
    let volume: Volume =
        serde_json::from_str(&node.ok("volume create v --pool p --size 4096 --output json")).unwrap();
    assert_eq!(volume.size_bytes, 4096);
    let export: Export = serde_json::from_str(&node.ok("-o json export create v --protocol nbd")).unwrap();
    assert_eq!(export.uris.len(), 2);
    assert_eq!(node.ok(&format!("-o json export delete {}", export.id)), "");
    assert_eq!(node.ok("-o json export list"), "[]\n");
}

#[test]
fn every_kind_of_error_has_its_exit_code_and_says_what_to_do() {
    let node = Node::start();
    for (kind, exit) in [
        (ErrorKind::Invalid, 2),
        (ErrorKind::NotFound, 3),
        (ErrorKind::Conflict, 4),
        (ErrorKind::InUse, 4),
        (ErrorKind::NoSpace, 6),
        (ErrorKind::Unavailable, 5),
        (ErrorKind::Unsupported, 1),
        (ErrorKind::Internal, 1),
    ] {
        let error = NodeError::new(kind, "volume 'v'").with_cause("the cause").with_next_step("the step");
        node.memory.inject(Fault::Error(error));
        assert_eq!(
            node.fails("volume show v", exit),
            "error: volume 'v'\ncause: the cause\nnext:  the step\n",
            "{kind:?}"
        );
    }
}

#[test]
fn the_nodes_own_refusals_arrive() {
    let node = Node::start();
    let refused = node.fails("pool create p --device /dev/sdc", 4);
    assert!(refused.contains("holds an ext4 file system") && refused.contains("--force"), "{refused}");
    node.ok("pool create p --device /dev/sdc --force");
    assert!(node.fails("pool create q --device /dev/sdb --copies 2", 2).contains("2 distinct devices"));
    assert!(node.fails("volume create v --pool nope --size 1G", 3).contains("pool 'nope' does not exist"));
    node.ok("volume create v --pool p --size 1G");
    assert!(node.fails("pool delete p", 4).contains("1 volume(s)"));
    assert!(node.fails("volume resize v --size 1M", 1).contains("cannot shrink"));
    assert!(node.fails("volume resize v --size 1000", 2).contains("not a multiple of 512"));
    assert!(node.fails("export delete v", 3).contains("export 'v' does not exist"));
}

#[test]
fn wrong_usage_is_2_and_help_tells_the_codes() {
    let node = Node::start();
    node.fails("volume create", 2);
    node.fails("volume create v --pool p --size huge", 2);
    node.fails("--endpoint ftp://n status", 2);
    let help = node.ok("--help");
    assert!(
        help.contains("Examples:") && help.contains("5  unavailable") && help.contains("QUARRY_ENDPOINT")
    );
    for command in ["device", "pool", "volume", "snapshot", "group", "export", "status"] {
        assert!(node.ok(&format!("{command} --help")).contains("Usage: quarry"));
    }
}

#[test]
fn a_daemon_that_is_not_there_is_named_with_the_way_to_start_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let output = quarry(&endpoint, "status").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let text = stderr(&output);
    assert!(text.starts_with(&format!("error: cannot reach a node at {endpoint}\ncause: ")), "{text}");
    assert!(text.contains("refused") && text.contains("quarryd --data-dir DIR"), "{text}");
    // The option wins over the environment.
    let node = Node::start();
    node.ok(&format!("--endpoint http://{} status", node.address));
    node.fails(&format!("--endpoint {endpoint} status"), 5);
}

#[test]
fn device_paths_are_made_absolute_and_links_are_kept() {
    let node = Node::start();
    // The folder itself: a process is told the name without links of where it is.
    let directory = std::fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap().display().to_string();
    let mut command = node.command("-o json pool create p --device disk.img ./b --device /dev/disk/by-id/x");
    let output = command.current_dir(&directory).output().unwrap();
    let pool: Pool = serde_json::from_slice(&output.stdout).unwrap();
    let paths: Vec<_> = pool.devices.iter().map(|device| device.path.as_str()).collect();
    assert_eq!(paths, [&format!("{directory}/disk.img"), &format!("{directory}/b"), "/dev/disk/by-id/x"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let node = Node::start();
    for line in ["device list", "-o json device list", "status", "--help"] {
        let mut child = node.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{line}");
    }
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    let node = Node::start();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = node.command("device list").stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write to standard output"), "{}", stderr(&output));
}

#[test]
fn health_is_shown_with_its_causes() {
    let node = Node::start();
    let cause = Cause {
        level: HealthLevel::Critical,
        message: "Pool 'p' is offline.".into(),
        next_step: "Bring back /dev/sdb.".into(),
    };
    node.memory.set_health(Health::from_causes(vec![cause]), 1);
    let status = node.ok("status");
    assert!(status.starts_with("Health:      critical\n"), "{status}");
    assert!(status.contains("critical: Pool 'p' is offline. Bring back /dev/sdb."), "{status}");
}

#[test]
fn levels_and_events_of_a_pool() {
    use std::io::{BufRead, BufReader};

    let node = Node::start();
    node.ok("pool create p --device /dev/sdb --warning 75%");
    assert!(node.ok("pool show p").contains("Full:        0 % (warning at 75 %, critical at 95 %)\n"));
    assert!(node.ok("pool set p --critical 90").contains("(warning at 75 %, critical at 90 %)"));
    let refused = node.fails("pool set p --warning 91%", 2);
    assert!(refused.contains("91 is above the critical level of 90"), "{refused}");
    for severity in [EventSeverity::Info, EventSeverity::Warning].repeat(2) {
        node.memory.happen(severity, "p");
    }
    assert_eq!(
        node.ok("event list --severity warning --since 2"),
        "ID  TIME                  SEVERITY  KIND                OBJECT  MESSAGE\n \
          4  2026-11-20T09:30:00Z  warning   pool-space-warning  p       pool 'p' is 83 % full: its warning \
         level is 80 %. Delete or discard something.\n"
    );
    let events: Vec<Event> = serde_json::from_str(&node.ok("-o json event list --object p")).unwrap();
    assert_eq!(events.len(), 4);
    let mut command = node.command("-o json event list --follow --since 3");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Event>(&lines.next().unwrap().unwrap()).unwrap().id;
    assert_eq!(next(), 4);
    node.memory.happen(EventSeverity::Info, "p");
    assert_eq!(next(), 5);
    // It ends when nobody reads any more.
    drop(lines);
    node.memory.happen(EventSeverity::Info, "p");
    assert!(child.wait().unwrap().success());
}

#[test]
fn changes_can_be_watched() {
    use std::io::{BufRead, BufReader};

    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    let mut child = node.command("-o json watch volumes pools").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Watched>(&lines.next().unwrap().unwrap()).unwrap();
    let told = |message: Watched| (message.kind, message.sort, message.key);
    assert_eq!(told(next()), (WatchedKind::Put, Some(WatchSort::Pools), Some("p".to_owned())));
    assert_eq!(told(next()), (WatchedKind::Synced, None, None));
    node.ok("volume create v --pool p --size 1GiB");
    assert_eq!(told(next()), (WatchedKind::Put, Some(WatchSort::Volumes), Some("v".to_owned())));
    drop(lines);
    node.ok("volume delete v");
    assert!(child.wait().unwrap().success(), "it ends when nobody reads any more");
    assert!(node.fails("watch colours", 2).contains("volumes"));
}

#[test]
fn bounds_of_volumes_and_pools() {
    let node = Node::start();
    let shown = node.ok("pool create p --device /dev/sdb --overcommit 2.5");
    assert!(
        shown.contains("Promised:    0.00 times (limit 2.50): 0 B in volumes, 0 B reserved\n"),
        "{shown}"
    );
    assert!(node.ok("pool set p --overcommit none").contains("(no limit)"));
    let shown = node.ok("volume create v --pool p --size 20GiB --quota 15GiB --reserve 5GiB");
    assert!(
        shown.contains("Quota:          15 GiB\n") && shown.contains("Reserved:       5 GiB\n"),
        "{shown}"
    );
    let shown = node.ok("volume set v --quota none --reserve none --durability always");
    assert!(shown.contains("Quota:          -\n") && shown.contains("Durability:     always\n"), "{shown}");
    let shown = node.ok("volume set v --deduplication verified --history 10m");
    assert!(
        shown.contains("Deduplication:  verified\n") && shown.contains("History:        10 min\n"),
        "{shown}"
    );
    let refused = node.fails("volume set v --history 2h", 2);
    assert!(refused.contains("'2h' is not a time from 1s to 1h"), "{refused}");
    let refused = node.fails("volume rollback v", 2);
    assert!(refused.contains("say either a snapshot or a point in time"), "{refused}");
    let refused = node.fails("volume clone v w --at 2026-11-20T09:00:00Z", 3);
    assert!(refused.contains("has no history"), "{refused}");
    let refused = node.fails("volume set v --reserve 21GiB", 2);
    assert!(refused.contains("21 GiB is more than the volume can map by its size, 20 GiB"), "{refused}");
    node.fails("volume set x --reserve 1GiB", 3);
}
