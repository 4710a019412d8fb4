//! Linux's own initiators in a guest, against quarryd: each script in `tests/guest/scenarios` with a node of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::node::{self, Node, NodeOptions, POOL};
use crate::report::{seconds, table};
use crate::scratch::{Scratch, require_space};
use crate::server::Server;
use crate::workspace::{self, Profile};

mod disks;
mod orders;

use orders::Orders;

/// Where the scripts lie, below the root of the checkout.
const FOLDER: &str = "tests/guest";
const DEVICES: usize = 2;
const DEVICE_BYTES: u64 = 1 << 30;
/// For one scenario. Without virtualization a guest is slow.
const SCENARIO_SECONDS: u64 = 600;
/// What the guest calls us on its two networks (see `run.sh`).
const ADDRESSES: [&str; 2] = ["10.0.2.2", "10.0.3.2"];

/// What is tried.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Scenarios by name, or the beginning of one; all of them when none is named.
    pub scenarios: Vec<String>,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "dev")]
    pub profile: Profile,
    /// Keep the devices and logs of scenarios that fail.
    #[arg(long)]
    pub keep: bool,
}

/// Runs one scenario after the other, prints a table, and fails when one of them has failed.
pub fn run(options: &Options) -> Result<()> {
    let folder = workspace::root().join(FOLDER);
    let scenarios = chosen(&folder, &options.scenarios)?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let mut rows = vec![["scenario", "result", "seconds"].map(str::to_owned).to_vec()];
    let mut failed = Vec::new();
    for (name, script) in scenarios {
        println!("== guest: {name}");
        let start = Instant::now();
        let result = scenario(options, &bin_dir, &folder, &script);
        let elapsed = start.elapsed();
        let verdict = if result.is_ok() { "passed" } else { "FAILED" };
        println!("== guest: {name}: {verdict} in {}", seconds(elapsed));
        rows.push(vec![name.clone(), verdict.to_owned(), format!("{:.0}", elapsed.as_secs_f64())]);
        if let Err(error) = result {
            println!("   {error:#}");
            failed.push(name);
        }
        crate::interrupt::check()?;
    }
    print!("{}", table(&rows));
    ensure!(
        failed.is_empty(),
        "{} of {} scenarios failed: {}",
        failed.len(),
        rows.len() - 1,
        failed.join(", ")
    );
    Ok(())
}

/// Names and paths of the scripts that were asked for.
fn chosen(folder: &Path, wanted: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder.join("scenarios"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("common") && path.extension().is_some_and(|extension| extension == "sh") {
            all.push((name, path));
        }
    }
    all.sort();
    let names = all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = wanted.iter().find(|word| !all.iter().any(|(name, _)| name.starts_with(*word))) {
        bail!("there is no scenario '{unknown}', but {names}");
    }
    all.retain(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| name.starts_with(word)));
    Ok(all)
}

fn scenario(options: &Options, bin_dir: &Path, folder: &Path, script: &Path) -> Result<()> {
    let mut scratch = Scratch::new("guest")?;
    require_space(scratch.path(), DEVICES as u64 * DEVICE_BYTES)?;
    let result = in_scratch(bin_dir, folder, script, &scratch);
    if result.is_err() && options.keep {
        scratch.keep();
    }
    result
}

fn in_scratch(bin_dir: &Path, folder: &Path, script: &Path, scratch: &Scratch) -> Result<()> {
    let advertise = ADDRESSES.map(str::to_owned).to_vec();
    let node_options = NodeOptions { has_fabrics: true, advertise, ..node::options(bin_dir, scratch.path()) };
    let mut node = Node::start(node_options)?;
    node.quarry().create_pool(POOL, &scratch.devices(DEVICES, DEVICE_BYTES)?, "copies:2")?;
    let share = scratch.join("share");
    fs::create_dir(&share)?;
    for entry in fs::read_dir(folder.join("scenarios"))? {
        let path = entry?.path();
        fs::copy(&path, share.join(path.file_name().context("a file has a name")?))?;
    }
    fs::write(share.join("node.sh"), facts(&node, &share))?;
    let ended = in_guest(&mut node, folder, script, &share);
    let ended = ended.and_then(|()| {
        node.stop().context("at the end")?;
        node.check()
    });
    ended.with_context(|| format!("quarryd's log ends with:\n{}", node.log_tail()))
}

/// What the scripts have to know of the node, for them to source.
fn facts(node: &Node, share: &Path) -> String {
    let [first, second] = ADDRESSES;
    let (nbd, iscsi, nvme) = (node.nbd().port(), node.iscsi().port(), node.nvme_tcp().port());
    format!(
        "address={first}\nsecond_address={second}\nnbd_port={nbd}\niscsi_port={iscsi}\nnvme_port={nvme}\n\
         host_share='{}'\n",
        share.display()
    )
}

/// Runs the script in the guest, and does what it asks of the host meanwhile.
fn in_guest(node: &mut Node, folder: &Path, script: &Path, share: &Path) -> Result<()> {
    let mut command = Command::new(folder.join("run.sh"));
    command.arg(share).arg(script).arg(SCENARIO_SECONDS.to_string());
    command.env("QUARRY_GUEST_DEVICES", disks::attach(node, script)?);
    let printed = share.with_file_name("guest.log");
    let mut guest = Server::start("the guest", &command, &printed)?;
    let mut shown = 0;
    let mut orders = Orders::new(share);
    let start = Instant::now();
    loop {
        let is_running = guest.is_running();
        show_news(&printed, &mut shown)?;
        if !is_running {
            break;
        }
        orders.perform(node)?;
        crate::interrupt::check()?;
        ensure!(start.elapsed() < Duration::from_secs(2 * SCENARIO_SECONDS), "the guest does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = guest.wait_for_end(Duration::from_secs(1))?;
    ensure!(status.success(), "the scenario ended with {status}");
    node.check_running()
}

/// Prints what has come to a file since the last time, in whole lines.
fn show_news(path: &Path, shown: &mut usize) -> Result<()> {
    let bytes = fs::read(path)?;
    let news = bytes.get(*shown..).unwrap_or_default();
    let Some(end) = news.iter().rposition(|&byte| byte == b'\n') else { return Ok(()) };
    print!("{}", String::from_utf8_lossy(&news[..=end]));
    *shown += end + 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_the_beginning_of_their_names() {
        let folder = workspace::root().join(FOLDER);
        let all = chosen(&folder, &[]).unwrap();
        assert!(all.len() >= 10 && all.iter().all(|(name, _)| !name.starts_with("common")), "{all:?}");
        let some = chosen(&folder, &["iscsi".to_owned(), "nbd-restart".to_owned()]).unwrap();
        assert!(some.len() < all.len());
        assert!(some.iter().all(|(name, _)| name.starts_with("iscsi-") || name == "nbd-restart"), "{some:?}");
        let error = chosen(&folder, &["fibre-channel".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("fibre-channel") && error.contains("nbd-restart"), "{error}");
    }
}
