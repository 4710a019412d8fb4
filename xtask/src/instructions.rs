//! What snapshots, and quality of service that nobody has asked for, cost a read and a write of 4 KiB, in instructions, counted by callgrind: the same on a busy machine.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::report::table;
use crate::workspace;

/// Snapshots, and how they come about.
const CASES: [(&str, &str, &str); 4] = [
    ("none", "0", "all"),
    ("1,000, all at once", "1000", "all"),
    ("none, after 20,000 random writes", "1000", "without"),
    ("1,000, one for each 20 of these", "1000", "spread"),
];

/// Without snapshots, through an open gate.
const GATED: &str = "gated";

/// What a gate may cost that nobody has asked anything of.
const GATE_MAX: f64 = 1.03;

/// What is counted.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Writes in each case, and ten times as many as reads: enough for a checkpoint.
    #[arg(long, default_value_t = 220_000)]
    pub operations: u64,
    /// Snapshots that are taken during the writes of the last case.
    #[arg(long, default_value_t = 4)]
    pub ongoing: u64,
}

/// Counts and prints.
pub fn run(options: &Options) -> Result<()> {
    let installed = Command::new("valgrind").arg("--version").output();
    ensure!(installed.is_ok_and(|output| output.status.success()), "valgrind is not installed");
    let build = ["build", "--release", "--workspace", "--example", "cost"];
    let built = Command::new("cargo").current_dir(workspace::root()).args(build).status().context("cargo")?;
    ensure!(built.success(), "the example 'cost' does not build");
    let mut rows = vec![["snapshots", "read", "", "write", ""].map(str::to_owned).to_vec()];
    let mut without = None;
    for (what, snapshots, how) in CASES {
        let [read, write] =
            [count("read", snapshots, how, options)?, count("write", snapshots, how, options)?];
        if snapshots == "0" || how == "without" {
            without = Some((read, write));
        }
        let (read_without, write_without) = without.context("the first case has no snapshots")?;
        rows.push(vec![
            what.to_owned(),
            per_operation(read),
            more(read, read_without),
            per_operation(write),
            more(write, write_without),
        ]);
    }
    let ongoing = count("write", &options.ongoing.to_string(), "ongoing", options)?;
    let write_without = count("write", "0", "all", options)?;
    let what = format!("one for each {} of the writes", options.operations / options.ongoing.max(1));
    rows.push(vec![what, String::new(), String::new(), per_operation(ongoing), more(ongoing, write_without)]);
    let without = [count("read", "0", "all", options)?, write_without];
    let gated = [count("read", "0", GATED, options)?, count("write", "0", GATED, options)?];
    rows.push(vec![
        "none, through a gate of quality of service that is open".to_owned(),
        per_operation(gated[0]),
        more(gated[0], without[0]),
        per_operation(gated[1]),
        more(gated[1], without[1]),
    ]);
    println!("instructions of the engine for each operation, the simulated disk included:");
    print!("{}", table(&rows));
    for (with, without) in gated.into_iter().zip(without) {
        ensure!(with <= without * GATE_MAX, "an open gate costs {}", more(with, without));
    }
    Ok(())
}

/// Instructions for each operation.
fn count(verb: &str, snapshots: &str, how: &str, options: &Options) -> Result<f64> {
    let operations = if verb == "read" { options.operations / 10 } else { options.operations }.max(1);
    let program = workspace::target_dir().join("release/examples/cost");
    let (how, gated) = if how == GATED { ("all", Some("gated")) } else { (how, None) };
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=cost::measured*"])
        .arg("--callgrind-out-file=/dev/null")
        .arg(program)
        .args([verb, snapshots, how, &operations.to_string()])
        .args(gated)
        .output()
        .context("valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the example failed: {said}");
    let collected = said.lines().find_map(|line| line.split("Collected : ").nth(1));
    let collected: f64 =
        collected.and_then(|count| count.trim().parse().ok()).context("no count of valgrind's")?;
    ensure!(collected > 0.0, "nothing was counted");
    Ok(collected / operations as f64)
}

fn per_operation(count: f64) -> String {
    format!("{count:.0}")
}

fn more(count: f64, without: f64) -> String {
    format!("{:+.2} %", (count / without - 1.0) * 100.0)
}
