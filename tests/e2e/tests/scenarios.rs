//! Each test is one scenario, short. `QUARRY_PROFILE=release` tries the release build; `QUARRY_BIN_DIR` names binaries
//! that are built already.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fs::File;

use rustix::fs::{FlockOperation, flock};
use xtask::scenario::{
    access, cache_disk, clients, crash, demo, devices, documents, encryption, extract, filesystems, fill,
    hang_device, image_mode, images, metrics, network_device, object_tier, pull_device, sim, snapshots,
};
use xtask::workspace::{self, Profile};

/// Waits for our turn, which ends when the file is closed.
fn turn() -> File {
    let folder = workspace::target_dir();
    std::fs::create_dir_all(&folder).expect("the target folder can be made");
    let file = File::create(folder.join("e2e.lock")).expect("a lock file in it too");
    flock(&file, FlockOperation::LockExclusive).expect("the lock comes");
    file
}

fn profile() -> Profile {
    Profile::from_env(Profile::Dev)
}

fn crash_options(copies: crash::Copies, durability: &str) -> crash::Options {
    crash::Options {
        rounds: 6,
        copies,
        seed: None,
        durability: durability.to_owned(),
        volume_mib: 192,
        device_mib: 512,
        everything: false,
        protocol: crash::Protocol::Nbd,
        victim: crash::Victim::Quarryd,
        profile: profile(),
        keep: false,
    }
}

#[test]
fn kill_nine_loses_no_acknowledged_write_with_one_copy() {
    let _turn = turn();
    crash::run(&crash_options(crash::Copies::One, "flush")).expect("crash");
}

#[test]
fn kill_nine_loses_no_acknowledged_write_with_two_copies() {
    let _turn = turn();
    crash::run(&crash_options(crash::Copies::Two, "flush")).expect("crash");
}

#[test]
fn kill_nine_loses_no_acknowledged_write_of_a_durable_volume() {
    let _turn = turn();
    let options = crash::Options { rounds: 3, ..crash_options(crash::Copies::Two, "always") };
    crash::run(&options).expect("crash");
}

#[test]
fn kill_nine_loses_no_write_that_was_acknowledged_over_iscsi_or_nvme_tcp() {
    let _turn = turn();
    for protocol in [crash::Protocol::Iscsi, crash::Protocol::NvmeTcp] {
        let short = crash_options(crash::Copies::Two, "flush");
        crash::run(&crash::Options { rounds: 3, volume_mib: 64, protocol, ..short }).expect("crash");
    }
}

#[test]
fn a_failing_device_of_a_two_copy_pool_goes_unnoticed() {
    let _turn = turn();
    let options =
        pull_device::Options { seconds: 2, device_mib: 512, volume_mib: 128, seed: 1, profile: profile() };
    pull_device::run(&options).expect("pull-device");
}

#[test]
fn a_device_that_hangs_holds_hosts_up_no_longer_than_the_bound() {
    let _turn = turn();
    let options = hang_device::Options {
        seconds: 2,
        timeout: 3,
        device_mib: 512,
        volume_mib: 128,
        seed: 1,
        profile: profile(),
    };
    hang_device::run(&options).expect("hang-device");
}

#[test]
fn what_is_cold_lies_in_a_bucket_whose_server_fails_in_every_way() {
    let _turn = turn();
    let options = object_tier::Options {
        restarts: 1,
        seconds: 2,
        fast_mib: 128,
        volume_mib: 192,
        seed: 1,
        profile: profile(),
    };
    object_tier::run(&options).expect("object-tier");
}

#[test]
fn what_is_read_again_from_a_slow_device_comes_from_a_disk_that_may_be_lost() {
    let _turn = turn();
    let options = cache_disk::Options { volume_mib: 6, cache_mib: 64, delay_ms: 2, profile: profile() };
    cache_disk::run(&options).expect("cache-disk");
}

#[test]
fn devices_fail_are_replaced_join_and_leave() {
    let _turn = turn();
    for (devices, protection) in [(6, "copies:2"), (8, "ec:4+2")] {
        let protection = protection.to_owned();
        let (device_mib, volume_mib) = (256, 96);
        let options =
            devices::Options { devices, device_mib, volume_mib, protection, seed: 1, profile: profile() };
        devices::run(&options).expect("devices");
    }
}

#[test]
fn a_foreign_device_is_served_as_it_is_moves_in_and_around_and_out_again() {
    let _turn = turn();
    let options = image_mode::Options {
        volume_mib: 1024,
        loaded_mib: 64,
        device_mib: 1024,
        kills: 2,
        seed: 1,
        profile: profile(),
    };
    image_mode::run(&options).expect("image-mode");
}

#[test]
fn a_pool_with_an_nbd_device_outlives_its_server() {
    outlive_a_server(network_device::Peer::Nbdkit);
}

#[test]
fn a_pool_with_a_disk_over_iscsi_outlives_its_target() {
    outlive_a_server(network_device::Peer::QuarrydIscsi);
}

#[test]
fn a_pool_with_a_disk_over_nvme_tcp_outlives_its_controller() {
    outlive_a_server(network_device::Peer::QuarrydNvmeTcp);
}

fn outlive_a_server(peer: network_device::Peer) {
    let _turn = turn();
    let options = network_device::Options {
        restarts: 2,
        seconds: 1,
        device_mib: 768,
        volume_mib: 64,
        seed: 1,
        peer,
        profile: profile(),
    };
    network_device::run(&options).expect("network-device");
}

#[test]
fn a_pool_that_was_full_goes_on() {
    let _turn = turn();
    let options = fill::Options { rounds: 3, device_mib: 128, copies: 1, seed: 1, profile: profile() };
    fill::run(&options).expect("fill");
}

#[test]
fn ext4_and_xfs_live_on_a_volume() {
    let _turn = turn();
    filesystems::run(&filesystems::Options { files_mib: 60, profile: profile() }).expect("filesystems");
}

#[test]
fn the_clients_that_people_have_work() {
    let _turn = turn();
    clients::run(&clients::Options { profile: profile() }).expect("clients");
}

#[test]
fn quarry_extract_reads_what_the_node_serves() {
    let _turn = turn();
    extract::run(&extract::Options { profile: profile() }).expect("extract");
}

#[test]
fn images_come_in_and_go_out_byte_by_byte() {
    let _turn = turn();
    images::run(&images::Options { profile: profile() }).expect("images");
}

#[test]
fn snapshots_hold_what_was() {
    let _turn = turn();
    snapshots::run(&snapshots::Options { profile: profile() }).expect("snapshots");
}

#[test]
fn a_document_is_made_so_on_a_node_that_is_killed() {
    let _turn = turn();
    documents::run(&documents::Options { every: 8, profile: profile() }).expect("documents");
}

#[test]
fn the_demo_runs() {
    let _turn = turn();
    demo::run(&demo::Options { profile: profile() }).expect("demo");
}

#[test]
fn the_simulator_finds_nothing_in_1000_seeds() {
    let _turn = turn();
    sim::run(&sim::Options { seeds: 1000, start: 0, jobs: 2, seed: None, profile: profile() }).expect("sim");
}

#[test]
fn the_api_knows_who_asks_and_remembers_it_over_kills() {
    let _turn = turn();
    access::run(&access::Options { profile: profile() }).expect("access");
}

#[test]
fn an_encrypted_volume_is_nothing_without_its_key() {
    let _turn = turn();
    encryption::run(&encryption::Options { profile: profile() }).expect("encryption");
}

#[test]
fn kill_nine_loses_nothing_of_an_encrypted_and_compressed_volume_with_snapshots_and_clones() {
    let _turn = turn();
    let options =
        crash::Options { rounds: 4, everything: true, ..crash_options(crash::Copies::Two, "flush") };
    crash::run(&options).expect("crash");
}

#[test]
fn prometheus_reads_every_figure_and_a_bundle_has_no_secret() {
    let _turn = turn();
    metrics::run(&metrics::Options { seconds: 6, profile: profile() }).expect("metrics");
}
