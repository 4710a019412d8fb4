//! Snapshots, clones, rollback and sets of snapshots, as an operator uses them, on a node that is killed in between.

mod groups;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::nbd::{Client, Command};
use crate::node::{self, Node};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 640 << 20;
const VOLUME_BYTES: u64 = 64 << 20;
/// What is written and compared.
const BYTES: usize = 1 << 20;
/// Sets of snapshots under load.
const SETS: usize = 8;
/// How often the node is killed while it takes sets.
const KILLS: u64 = 6;
/// NBD error of a write to what is read-only.
const EPERM: u32 = 1;
const POOLS: [&str; 2] = ["one", "two"];
const DATA: &str = "data";
const JOURNAL: &str = "journal";

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("snapshots", "what was stays, whatever is written or killed");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("snapshots")?;
    require_space(scratch.path(), 2 * DEVICE_BYTES)?;
    let devices = scratch.devices(2, DEVICE_BYTES)?;
    let options = node::NodeOptions { cores: Some(2), ..node::options(&bin_dir, scratch.path()) };
    let mut node = Node::start(options)?;
    steps.step("two pools, two volumes on different cores", || set_up(&node, &devices))?;
    steps.step("a snapshot holds what was, read-only", || snapshot(&node))?;
    steps.step("the ranges that were written since are listed", || changes(&node))?;
    steps.step("a clone goes its own way", || clone(&node))?;
    steps.step("rollback, refused as long as a client is connected", || roll_back(&node))?;
    steps.step(format!("{SETS} sets over both cores under ordered writes"), || sets(&node))?;
    steps.step("kill -9: everything is as it was", || survive(&mut node))?;
    steps.step(format!("kill -9 while sets are taken, {KILLS} times: all of a set or none"), || {
        cut_off(&mut node)
    })?;
    groups::steps(&mut steps, &mut node, &devices)?;
    steps.step("what is exported or locked stays", || refuse(&node))?;
    steps.step("promote the clone, delete the rest", || end(&node))?;
    node.check_running()?;
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

fn set_up(node: &Node, devices: &[PathBuf]) -> Result<()> {
    let quarry = node.quarry();
    for (pool, device) in POOLS.iter().zip(devices) {
        quarry.create_pool(pool, std::slice::from_ref(device), "copies:1")?;
    }
    for (volume, pool) in [DATA, JOURNAL].into_iter().zip(POOLS) {
        quarry.create_volume(volume, pool, VOLUME_BYTES, "flush")?;
        quarry.create_export(volume)?;
    }
    let cores = [DATA, JOURNAL].map(|volume| show(node, volume).map(|shown| shown["core"].clone()));
    let [data, journal] = cores;
    ensure!(data? != journal?, "both volumes are on one core: nothing is tried");
    Ok(())
}

fn show(node: &Node, volume: &str) -> Result<Value> {
    node.quarry().json(&["volume", "show", volume])
}

fn connect(node: &Node, export: &str) -> Result<Client> {
    Client::connect(&node.socket(), export, true).with_context(|| format!("export {export}"))
}

fn write(client: &mut Client, offset: u64, bytes: &[u8]) -> Result<()> {
    let error = client.call(Command::Write, 0, offset, bytes.len() as u32, bytes)?;
    ensure!(error == 0, "a write failed with NBD error {error}");
    Ok(())
}

/// Fails unless `export` begins with `BYTES` times `byte`.
fn expect(node: &Node, export: &str, byte: u8) -> Result<()> {
    let read = connect(node, export)?.read(0, BYTES as u32)?;
    let differs = read.iter().position(|&found| found != byte);
    ensure!(differs.is_none(), "byte {differs:?} of {export} is not {byte}");
    Ok(())
}

fn export_briefly(node: &Node, path: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    let quarry = node.quarry();
    quarry.create_export(path)?;
    check()?;
    // The node sees the end of the connection a moment later than we do.
    retry(|| quarry.run(&["export", "delete", path]).map(drop))
}

fn retry(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..50 {
        if attempt().is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(20));
    }
    attempt()
}

fn snapshot(node: &Node) -> Result<()> {
    let mut client = connect(node, DATA)?;
    write(&mut client, 0, &[1; BYTES])?;
    node.quarry().run(&["snapshot", "create", DATA, "--name", "first"])?;
    write(&mut client, 0, &[2; BYTES])?;
    node.quarry().run(&["snapshot", "create", DATA, "--name", "second"])?;
    write(&mut client, 8192, &[3; 4096])?;
    let uri = node.quarry().create_export("data@first")?;
    ensure!(uri.contains("data@first"), "the URI of a snapshot's export is {uri}");
    expect(node, "data@first", 1)?;
    let mut reader = connect(node, "data@first")?;
    ensure!(reader.info.require_all_commands().is_err(), "a snapshot's export is announced as writable");
    let error = reader.call(Command::Write, 0, 0, 512, &[9; 512])?;
    ensure!(error == EPERM, "a write to a snapshot was answered with NBD error {error}");
    expect(node, "data@first", 1)
}

fn changes(node: &Node) -> Result<()> {
    let list = |words: &[&str]| -> Result<Vec<(u64, u64)>> {
        let changes = node.quarry().json(&[&["volume", "changes", DATA], words].concat())?;
        let ranges = changes["ranges"].as_array().context("no ranges")?;
        let number = |value: &Value| value.as_u64().context("no number");
        ranges.iter().map(|range| Ok((number(&range["offset"])?, number(&range["length"])?))).collect()
    };
    let all = (0, BYTES as u64);
    for (words, expected) in [
        (&["--from", "first", "--to", "second"][..], vec![all]),
        (&["--from", "second"], vec![(8192, 4096)]),
        (&["--from", "second", "--to", "second"], vec![]),
        (&[], vec![all]),
    ] {
        let found = list(words)?;
        ensure!(found == expected, "changes {words:?} are {found:?}, not {expected:?}");
    }
    Ok(())
}

fn clone(node: &Node) -> Result<()> {
    node.quarry().run(&["volume", "clone", "data@first", "copy"])?;
    node.quarry().create_export("copy")?;
    expect(node, "copy", 1)?;
    write(&mut connect(node, "copy")?, 0, &[7; BYTES])?;
    expect(node, "copy", 7)?;
    expect(node, "data@first", 1)?;
    let origin = show(node, "copy")?["origin"].clone();
    ensure!(origin == "data@first", "the clone's origin is {origin}");
    node.quarry().run(&["snapshot", "create", "copy", "--name", "own"]).map(drop)
}

fn roll_back(node: &Node) -> Result<()> {
    let quarry = node.quarry();
    let client = connect(node, DATA)?;
    let refused = quarry.run(&["volume", "rollback", "data@first"]);
    ensure!(refused.is_err(), "a volume was rolled back under a connected client");
    drop(client);
    for (snapshot, byte) in [("data@first", 1), ("data@second", 2)] {
        retry(|| quarry.run(&["volume", "rollback", snapshot]).map(drop))?;
        expect(node, DATA, byte)?;
    }
    Ok(())
}

fn sets(node: &Node) -> Result<()> {
    under_ordered_writes(node, || {
        (0..SETS).try_for_each(|index| {
            sleep(Duration::from_millis(30));
            let name = format!("set{index}");
            node.quarry().run(&["snapshot", "create", DATA, JOURNAL, "--name", &name]).map(drop)
        })
    })?;
    (0..SETS).try_for_each(|index| check_set(node, &format!("set{index}")))
}

/// The writer writes each number to the data first and, when that is acknowledged, to the journal. At no point in time is
/// the journal ahead, or more than one number behind.
fn under_ordered_writes(node: &Node, take: impl FnOnce() -> Result<()>) -> Result<()> {
    let stop = AtomicBool::new(false);
    let mut clients = [connect(node, DATA)?, connect(node, JOURNAL)?];
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<u64> {
            let mut number = 0u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let block = number.to_be_bytes().repeat(512);
                for client in &mut clients {
                    write(client, VOLUME_BYTES / 2, &block)?;
                }
            }
            Ok(number)
        });
        let taken = take();
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().expect("the writer does not panic")?;
        ensure!(written > SETS as u64, "only {written} numbers were written: nothing was tried");
        taken
    })
}

/// The number in what is exported as `path`.
fn number_in(node: &Node, path: &str) -> Result<u64> {
    let read = connect(node, path)?.read(VOLUME_BYTES / 2, 512)?;
    Ok(u64::from_be_bytes(read[..8].try_into().expect("eight bytes")))
}

fn check_set(node: &Node, name: &str) -> Result<()> {
    numbers_of_set(node, name).map(drop)
}

/// The numbers in the data and in the journal, which must fit each other.
fn numbers_of_set(node: &Node, name: &str) -> Result<(u64, u64)> {
    let number_of = |volume: &str| -> Result<u64> {
        let path = format!("{volume}@{name}");
        let mut number = 0;
        export_briefly(node, &path, || {
            number = number_in(node, &path)?;
            Ok(())
        })?;
        Ok(number)
    };
    let (data, journal) = (number_of(DATA)?, number_of(JOURNAL)?);
    ensure!(data == journal || data == journal + 1, "set {name}: data has {data}, the journal {journal}");
    Ok((data, journal))
}

fn survive(node: &mut Node) -> Result<()> {
    let quarry = node.quarry();
    let known = |what: &[&str]| -> Result<BTreeMap<String, String>> {
        let list = quarry.json(what)?;
        let things = list.as_array().context("no list")?;
        // What an export serves now, and what a snapshot holds alone as of the last checkpoint, may differ.
        let lasting =
            |thing: &Value| (thing["id"].to_string(), format!("{} {}", thing["name"], thing["volume"]));
        Ok(things.iter().map(lasting).collect())
    };
    let before = (known(&["snapshot", "list"])?, known(&["volume", "list"])?, known(&["export", "list"])?);
    node.kill()?;
    node.check()?;
    node.restart()?;
    let after = (known(&["snapshot", "list"])?, known(&["volume", "list"])?, known(&["export", "list"])?);
    ensure!(before == after, "before the kill: {before:?}; after: {after:?}");
    for (export, byte) in [("data@first", 1), ("copy", 7), (DATA, 2)] {
        expect(node, export, byte)?;
    }
    check_set(node, "set0")
}

fn cut_off(node: &mut Node) -> Result<()> {
    for round in 0..KILLS {
        let quarry = node.quarry();
        let taker = thread::spawn(move || {
            let taken = (0..).take_while(|index| {
                let name = format!("cut{round}-{index}");
                quarry.run(&["snapshot", "create", DATA, JOURNAL, "--name", &name]).is_ok()
            });
            taken.count()
        });
        sleep(Duration::from_millis(40 + 7 * round));
        node.kill()?;
        let acknowledged = taker.join().expect("the taker does not panic");
        node.check()?;
        node.restart()?;
        let list = node.quarry().json(&["snapshot", "list"])?;
        let mut sets: BTreeMap<String, usize> = BTreeMap::new();
        for snapshot in list.as_array().context("no list")?.iter().filter(|shown| shown["set_id"].is_string())
        {
            let name = snapshot["name"].as_str().context("no name")?;
            *sets.entry(name.to_owned()).or_default() += 1;
        }
        ensure!(sets.values().all(|&members| members == 2), "halves of sets after a kill: {sets:?}");
        let found = sets.keys().filter(|name| name.starts_with(&format!("cut{round}-"))).count();
        ensure!(found >= acknowledged, "{acknowledged} sets were acknowledged, {found} are there");
    }
    Ok(())
}

fn refuse(node: &Node) -> Result<()> {
    let quarry = node.quarry();
    quarry.run(&["snapshot", "create", DATA, "--name", "kept", "--lock-until", "2200-01-01T00:00:00Z"])?;
    for (words, why) in [
        (&["snapshot", "delete", "data@first"][..], "End its export first"),
        (&["snapshot", "rename", "data@first", "x"], "End its export first"),
        (&["volume", "rename", DATA, "x"], "End its export first"),
        (&["volume", "promote", "copy"], "End its export first"),
        (&["snapshot", "delete", "data@kept"], "locked until 2200-01-01T00:00:00Z"),
        (&["snapshot", "lock", "data@kept", "--until", "2199-01-01T00:00:00Z"], "not shortened"),
        (&["snapshot", "create", DATA, JOURNAL, "--name", "set0"], "already has a snapshot named set0"),
        (&["volume", "clone", "data@first", JOURNAL], "exists already"),
        (&["volume", "promote", JOURNAL], "is no clone"),
        (&["volume", "rollback", "data@nothing"], "does not exist"),
    ] {
        let error = quarry.run(words).err().with_context(|| format!("{words:?} was done"))?.to_string();
        ensure!(error.contains(why), "{words:?} was refused otherwise: {error}");
    }
    Ok(())
}

fn end(node: &Node) -> Result<()> {
    let quarry = node.quarry();
    for export in ["data@first", "copy", DATA, JOURNAL] {
        retry(|| quarry.run(&["export", "delete", export]).map(drop))?;
    }
    quarry.run(&["volume", "promote", "copy"])?;
    quarry.run(&["volume", "rename", "copy", "copied"])?;
    let origin = show(node, DATA)?["origin"].clone();
    ensure!(origin == "copied@first", "the origin of what was the origin is {origin}");
    let refused = quarry.run(&["volume", "delete", JOURNAL]);
    ensure!(refused.is_err_and(|error| error.to_string().contains("--with-snapshots")), "it was deleted");
    quarry.run(&["volume", "delete", JOURNAL, "--with-snapshots", "--wait", "--no-progress"])?;
    quarry.run(&["snapshot", "delete", "copied@first", "--wait"])?;
    for pool in POOLS {
        let freeing = &quarry.pool(pool)?["freeing"];
        ensure!(freeing["trees"] == 0 && freeing["snapshots"] == 0, "not waited for: {freeing}");
    }
    // All of its volumes are gone: nothing but a log's own blocks is left.
    let used = quarry.pool(POOLS[1])?["capacity"]["used_bytes"].as_u64().context("no figure")?;
    ensure!(used < VOLUME_BYTES / 64, "{used} bytes of deleted volumes are still in use");
    export_briefly(node, "copied", || expect(node, "copied", 7))?;
    export_briefly(node, "data@second", || expect(node, "data@second", 2))
}
