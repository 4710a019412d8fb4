//! Consistency groups over both pools.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{DATA, JOURNAL, KILLS, connect, number_in, numbers_of_set, retry, under_ordered_writes, write};
use crate::node::Node;
use crate::report::Steps;

const GROUP: &str = "shop";
const SNAPSHOT: &str = "monday";

pub(super) fn steps(steps: &mut Steps, node: &mut Node, devices: &[PathBuf]) -> Result<()> {
    steps.step("a group is snapshotted at one point in time, and rolled back", || snapshot_and_back(node))?;
    steps.step(format!("kill -9 while it is rolled back, {KILLS} times: again completes it"), || {
        roll_back_cut_off(node)
    })?;
    steps.step("a locked or exported member keeps all of a group's snapshot", || refuse(node))?;
    steps.step_with(
        format!("kill -9 while a group's snapshot is deleted, {KILLS} times: again completes it"),
        || delete_cut_off(node),
        |halves| format!("{halves} were half deleted"),
    )?;
    steps.step("a group with a pool offline waits for it", || offline(node, &devices[1]))?;
    steps.step("a volume that is deleted leaves its group", || leave(node))
}

fn group(node: &Node) -> Result<Value> {
    node.quarry().json(&["group", "show", GROUP])
}

fn refused(node: &Node, words: &[&str], why: &str) -> Result<()> {
    let error = node.quarry().run(words).err().with_context(|| format!("{words:?} was done"))?.to_string();
    ensure!(error.contains(why), "{words:?} was refused otherwise: {error}");
    Ok(())
}

fn numbers(node: &Node) -> Result<(u64, u64)> {
    Ok((number_in(node, DATA)?, number_in(node, JOURNAL)?))
}

fn snapshot_and_back(node: &Node) -> Result<()> {
    let quarry = node.quarry();
    quarry.run(&["group", "create", GROUP, DATA])?;
    quarry.run(&["group", "add", GROUP, JOURNAL])?;
    under_ordered_writes(node, || {
        sleep(Duration::from_millis(50));
        quarry.run(&["group", "snapshot", GROUP, SNAPSHOT])?;
        sleep(Duration::from_millis(50));
        Ok(())
    })?;
    let taken = numbers_of_set(node, SNAPSHOT)?;
    let before = numbers(node)?;
    ensure!(before != taken, "nothing was written after the snapshot: nothing is tried");
    // The first volume could be rolled back, the second could not: neither is.
    let client = connect(node, JOURNAL)?;
    refused(node, &["group", "rollback", GROUP, SNAPSHOT], "connected clients")?;
    drop(client);
    ensure!(numbers(node)? == before, "a part of a group was rolled back");
    roll_back(node)?;
    ensure!(numbers(node)? == taken, "the volumes are not as in the snapshot");
    Ok(())
}

fn roll_back(node: &Node) -> Result<()> {
    // The node sees the end of a connection a moment later than we do.
    retry(|| node.quarry().run(&["group", "rollback", GROUP, SNAPSHOT]).map(drop))
}

fn roll_back_cut_off(node: &mut Node) -> Result<()> {
    let taken = numbers_of_set(node, SNAPSHOT)?;
    let known = group(node)?;
    for round in 0..KILLS {
        for volume in [DATA, JOURNAL] {
            write(&mut connect(node, volume)?, super::VOLUME_BYTES / 2, &[0xee; 4096])?;
        }
        let quarry = node.quarry();
        let rollback = thread::spawn(move || {
            sleep(Duration::from_millis(20));
            quarry.run(&["group", "rollback", GROUP, SNAPSHOT]).is_ok()
        });
        sleep(Duration::from_millis(22 + 2 * round));
        node.kill()?;
        let acknowledged = rollback.join().expect("the command's thread does not panic");
        node.check()?;
        node.restart()?;
        ensure!(group(node)? == known, "the group is another one after a kill");
        ensure!(!acknowledged || numbers(node)? == taken, "round {round}: an acknowledged rollback is lost");
        roll_back(node)?;
        let now = numbers(node)?;
        ensure!(now == taken, "round {round}: {now:?} instead of {taken:?} after the rollback");
    }
    Ok(())
}

/// The group's snapshot of that name as it is listed.
fn listed(node: &Node, name: &str) -> Result<Option<Value>> {
    let all = node.quarry().json(&["group", "snapshot-list", GROUP])?;
    Ok(all.as_array().context("no list")?.iter().find(|one| one["name"] == name).cloned())
}

fn refuse(node: &Node) -> Result<()> {
    let quarry = node.quarry();
    quarry.run(&["group", "snapshot", GROUP, "year"])?;
    let path = format!("{JOURNAL}@year");
    quarry.create_export(&path)?;
    let delete = ["group", "snapshot-delete", GROUP, "year"];
    refused(node, &delete, "End its export first")?;
    quarry.run(&["export", "delete", &path])?;
    quarry.run(&["snapshot", "lock", &format!("{DATA}@year"), "--until", "2200-01-01T00:00:00Z"])?;
    refused(node, &delete, "is locked until 2200-01-01T00:00:00Z")?;
    let year = listed(node, "year")?.context("it is gone")?;
    ensure!(year["volumes"] == json!([DATA, JOURNAL]), "a part of a locked snapshot is gone: {year}");
    // Of one name, but not taken together: nobody is to go back to that.
    for volume in [DATA, JOURNAL] {
        quarry.run(&["snapshot", "create", volume, "--name", "apart"])?;
    }
    for (words, why) in [
        (&["group", "rollback", GROUP, "apart"][..], "not of one point in time"),
        (&["group", "snapshot", GROUP, "apart"], "already has a snapshot named apart"),
        (&["group", "create", "other", DATA], "is in group 'shop' already"),
        (&["group", "create", GROUP], "exists already"),
        (&["group", "add", GROUP, "nothing"], "volume 'nothing' does not exist"),
        (&["group", "remove", GROUP, "copy"], "is not in group 'shop'"),
        (&["group", "rollback", GROUP, "nothing"], "has no snapshot 'nothing'"),
    ] {
        refused(node, words, why)?;
    }
    quarry.run(&["group", "create", "empty"])?;
    refused(node, &["group", "snapshot", "empty", "s"], "has no volumes")?;
    quarry.run(&["group", "delete", "empty"]).map(drop)
}

/// How many of the kills left one of the two snapshots.
fn delete_cut_off(node: &mut Node) -> Result<usize> {
    let mut halves = 0;
    for round in 0..KILLS {
        let name = format!("gone{round}");
        node.quarry().run(&["group", "snapshot", GROUP, &name])?;
        let (quarry, deleted) = (node.quarry(), name.clone());
        let delete = thread::spawn(move || {
            sleep(Duration::from_millis(20));
            quarry.run(&["group", "snapshot-delete", GROUP, &deleted]).is_ok()
        });
        sleep(Duration::from_millis(22 + 2 * round));
        node.kill()?;
        let acknowledged = delete.join().expect("the command's thread does not panic");
        node.check()?;
        node.restart()?;
        if let Some(left) = listed(node, &name)? {
            ensure!(!acknowledged, "round {round}: an acknowledged deletion is lost");
            halves += usize::from(left["missing"].is_array());
            node.quarry().run(&["group", "snapshot-delete", GROUP, &name])?;
        }
        ensure!(listed(node, &name)?.is_none(), "{name} is still there");
    }
    Ok(halves)
}

fn offline(node: &mut Node, device: &Path) -> Result<()> {
    let away = device.with_extension("away");
    let before = group(node)?;
    node.stop()?;
    fs::rename(device, &away)?;
    // Its health is critical, so it is not asked for.
    node.spawn()?;
    retry(|| node.quarry().run(&["status"]).map(drop))?;
    let shown = group(node)?;
    ensure!(
        shown["volumes"] == before["volumes"] && shown["offline_volumes"] == json!([JOURNAL]),
        "with a pool offline: {shown}"
    );
    for verb in ["snapshot", "rollback", "snapshot-delete"] {
        refused(node, &["group", verb, GROUP, SNAPSHOT], "is offline")?;
    }
    node.stop()?;
    fs::rename(&away, device)?;
    node.restart()?;
    ensure!(group(node)? == before, "the group is another one once its pool is back");
    roll_back(node)
}

fn leave(node: &mut Node) -> Result<()> {
    let quarry = node.quarry();
    quarry.run(&["volume", "clone", DATA, "third"])?;
    quarry.run(&["group", "add", GROUP, "third"])?;
    quarry.run(&["volume", "rename", "third", "fourth"])?;
    ensure!(group(node)?["volumes"] == json!([DATA, JOURNAL, "fourth"]), "a new name is not known");
    refused(node, &["group", "rollback", GROUP, SNAPSHOT], "'fourth@monday' does not exist")?;
    quarry.run(&["volume", "delete", "fourth"])?;
    let left = group(node)?;
    ensure!(left["volumes"] == json!([DATA, JOURNAL]), "a volume that is gone is in a group: {left}");
    node.kill()?;
    node.restart()?;
    ensure!(group(node)? == left, "the group is another one after a kill");
    node.quarry().run(&["group", "delete", GROUP]).map(drop)
}
