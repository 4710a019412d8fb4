//! The command line of `cargo xtask`.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::scenario::conformance;
use crate::scenario::{
    access, cache_disk, clients, crash, demo, devices, documents, encryption, extract, filesystems, fill,
    guest, hang_device, image_mode, images, metrics, network_device, object_tier, protection, pull_device,
    qos, rebuild, restart, run, sessions, sim, simulated, snapshots, tiering, volumes,
};
use crate::{arrows, bench, fuzz, instructions, tidy};

/// Checks, tests, benchmark and demo of Quarry.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Xtask {
    #[command(subcommand)]
    command: Task,
}

#[derive(Clone, Debug, Subcommand)]
enum Task {
    /// Checks that crates depend only on what lies below them
    Arrows,
    /// Checks sizes, crate documentation, the map and the README
    Tidy,
    /// Kills quarryd under verified load, many times
    Crash(crash::Options),
    /// Measures how soon a killed node serves again
    RestartTime(restart::Options),
    /// Makes a device of a two-copy pool fail under verified load
    PullDevice(pull_device::Options),
    /// Let a device of a two-copy pool hang under verified load, and go on again
    HangDevice(hang_device::Options),
    /// Makes devices fail, replaces them, adds, drains and removes others under verified load
    Devices(devices::Options),
    /// Measures what an erasure code costs beside copies of the same durability
    Protection(protection::Options),
    /// Measures how fast a lost device's copies are made again, with idle hosts and with busy ones
    Rebuild(rebuild::Options),
    /// Measures limits, reservations and what a noisy neighbour does
    Qos(qos::Options),
    /// Measures how near automatic placement on a fast and a slow device comes to the best static one
    Tiering(tiering::Options),
    /// Reads from a slow device by way of a cache disk, which is killed with its node, damaged and taken away
    CacheDisk(cache_disk::Options),
    /// Restarts, stops and ends the server (NBD, iSCSI, NVMe/TCP) of a device of a two-copy pool under verified load
    NetworkDevice(network_device::Options),
    /// Has a bucket of a real S3 server hold what is cold, and ends, slows and damages that server under verified load
    ObjectTier(object_tier::Options),
    /// Takes a foreign device over, moves it into a pool, between pools and out again under verified load, killed on the way
    ImageMode(image_mode::Options),
    /// Fills a pool to the last block under verified load, frees and goes on, many times
    Fill(fill::Options),
    /// Puts ext4 and xfs on a volume
    Filesystems(filesystems::Options),
    /// Tries libnbd's and QEMU's tools
    Clients(clients::Options),
    /// Runs Linux's own initiators in a guest against a node; `make test-guest` prepares what it needs
    Guest(guest::Options),
    /// Runs other people's conformance suites
    #[command(subcommand)]
    Conformance(conformance::Protocol),
    /// Compares what quarry-extract reads with what a node serves
    Extract(extract::Options),
    /// Makes the golden images for the tests of quarry-extract anew
    Golden(extract::golden::Options),
    /// Imports and exports images of every format
    Images(images::Options),
    /// Takes snapshots, clones and sets, and kills the node in between
    Snapshots(snapshots::Options),
    /// Applies a folder of YAML to an empty node that is killed at every step
    Documents(documents::Options),
    /// Tries encrypted volumes with and without their key, and looks for clear text on the device
    Encryption(encryption::Options),
    /// Tries who may use the API: tokens, TLS, tenants, and the audit log over kills
    Access(access::Options),
    /// Scrapes a node under load with a real Prometheus; tries the written list, the dashboards and the alerts
    Metrics(metrics::Options),
    /// Makes very many volumes and measures what they cost
    Volumes(volumes::Options),
    /// Connects very many idle hosts and measures what they cost
    Sessions(sessions::Options),
    /// Fuzzes what reads bytes from devices and networks; needs cargo-fuzz
    Fuzz(fuzz::Options),
    /// Counts what snapshots cost reads and writes, in instructions; needs valgrind
    Instructions(instructions::Options),
    /// Measures quarryd beside other NBD servers, and then what `bench-fabrics` does
    Bench(bench::Options),
    /// Measures quarryd's iSCSI and NVMe/TCP beside tgt
    BenchFabrics(bench::fabrics::Options),
    /// Compares what policies of cleaning move, with the real engine on a disk in memory
    Cleaning(simulated::Options),
    /// Compares random writes to a spinning disk with those to a volume on it, in simulated time
    Spinning(simulated::Options),
    /// Measures the erasure code, kernel by kernel, beside other crates
    Coding(simulated::Options),
    /// Runs the simulator
    Sim(sim::Options),
    /// Shows the main job from end to end
    Demo(demo::Options),
    /// Runs a node in the foreground
    Run(run::Options),
}

impl Xtask {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match self.command {
            Task::Arrows => arrows::run(),
            Task::Tidy => tidy::run(),
            Task::Crash(options) => crash::run(&options),
            Task::RestartTime(options) => restart::run(&options),
            Task::PullDevice(options) => pull_device::run(&options),
            Task::HangDevice(options) => hang_device::run(&options),
            Task::Devices(options) => devices::run(&options),
            Task::Protection(options) => protection::run(&options),
            Task::Rebuild(options) => rebuild::run(&options),
            Task::Qos(options) => qos::run(&options),
            Task::Tiering(options) => tiering::run(&options),
            Task::CacheDisk(options) => cache_disk::run(&options),
            Task::NetworkDevice(options) => network_device::run(&options),
            Task::ObjectTier(options) => object_tier::run(&options),
            Task::ImageMode(options) => image_mode::run(&options),
            Task::Fill(options) => fill::run(&options),
            Task::Filesystems(options) => filesystems::run(&options),
            Task::Clients(options) => clients::run(&options),
            Task::Guest(options) => guest::run(&options),
            Task::Conformance(protocol) => conformance::run(&protocol),
            Task::Extract(options) => extract::run(&options),
            Task::Golden(options) => extract::golden::run(&options),
            Task::Images(options) => images::run(&options),
            Task::Snapshots(options) => snapshots::run(&options),
            Task::Documents(options) => documents::run(&options),
            Task::Encryption(options) => encryption::run(&options),
            Task::Access(options) => access::run(&options),
            Task::Metrics(options) => metrics::run(&options),
            Task::Volumes(options) => volumes::run(&options),
            Task::Sessions(options) => sessions::run(&options),
            Task::Fuzz(options) => fuzz::run(&options),
            Task::Instructions(options) => instructions::run(&options),
            Task::Bench(options) => bench::run(&options),
            Task::BenchFabrics(options) => bench::fabrics::run(&options),
            Task::Cleaning(options) => simulated::run("quarry-cleaning", &options),
            Task::Spinning(options) => simulated::run("quarry-spinning", &options),
            Task::Coding(options) => simulated::run("quarry-coding", &options),
            Task::Sim(options) => sim::run(&options),
            Task::Demo(options) => demo::run(&options),
            Task::Run(options) => run::run(&options),
        }
    }
}
