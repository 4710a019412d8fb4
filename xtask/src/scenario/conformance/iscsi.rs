//! libiscsi's `iscsi-test-cu` over a read-write unit on two sessions, and what needs one over a read-only unit.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::command;
use crate::node::{self, Node, NodeOptions, POOL};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const PROGRAM: &str = "iscsi-test-cu";
const VOLUME_BYTES: u64 = 256 << 20;
const DEVICE_BYTES: u64 = 2 << 30;
/// For one test. The program may spin when the target does something that it does not expect.
const TEST_SECONDS: &str = "30";
/// The tests that want a unit which cannot be written.
const READ_ONLY: &str = "ALL.ReadOnly.";
/// So many of its tests must pass.
const PASSED_MIN: usize = 215;
/// They expect blocks that were never written, so they come first.
const FIRST: &str = "ALL.MultipathIO.";

/// Tests that are wrong, in Debian's version (1.19.0), and why.
const WRONG: [(&str, &str); 4] = [
    (
        "ALL.WriteSame10.UnmapUntilEnd",
        "writes a pattern of ones with UNMAP set and expects zeroes; SBC wants what was handed over to be read back",
    ),
    (
        "ALL.GetLBAStatus.UnmapSingle",
        "asks for one block and expects the status of another, where a physical block has several logical ones",
    ),
    (
        "ALL.iSCSITMF.LUNResetSimpleAsync",
        "looks at a variable (reconnect_succeeded) before anything has set it",
    ),
    (
        "ALL.Sanitize.Reset",
        "expects that overwriting the unit with zeroes takes more than four seconds; here it is one record of the log",
    ),
];

/// Tests that try all that a unit reports of something, and say that they skip what it does not report; they count by how they end.
const IN_PART: [&str; 2] = ["ALL.Sanitize.Readonly", "ALL.Sanitize.Reservations"];

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// URL of a unit that may be overwritten; a node of its own is started without one. Given twice: two ways to the unit
    #[arg(long)]
    pub url: Vec<String>,
    /// URL of a unit that cannot be written
    #[arg(long)]
    pub read_only_url: Option<String>,
    /// Only tests whose names contain this
    #[arg(long, default_value = "")]
    pub only: String,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Where the tests find what they need.
struct Units {
    ways: Vec<String>,
    read_only: Option<String>,
}

/// How a test ended.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    Pass,
    Skip(String),
    Wrong(&'static str),
    Fail(String),
}

/// Runs the suite; fails when a test fails.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("conformance", "iSCSI, by libiscsi's suite");
    command::require(&[PROGRAM, "timeout"])?;
    if !options.url.is_empty() {
        let units = Units { ways: options.url.clone(), read_only: options.read_only_url.clone() };
        return judge(&steps, &units, &options.only).map(|()| steps.pass());
    }
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("conformance")?;
    require_space(scratch.path(), DEVICE_BYTES)?;
    let devices = scratch.devices(1, DEVICE_BYTES)?;
    // Two portals: this one, and that of the fabrics.
    let iscsi = Some(node::free_address()?);
    let options_of_node = NodeOptions { iscsi, has_fabrics: true, ..node::options(&bin_dir, scratch.path()) };
    let mut node = steps.step("start a node with two units", || {
        let node = Node::start(options_of_node)?;
        node.quarry().create_pool(POOL, &devices, "copies:1")?;
        Ok(node)
    })?;
    let units = steps.step("export them", || export(&node))?;
    judge(&steps, &units, &options.only)?;
    node.check_running()?;
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

fn export(node: &Node) -> Result<Units> {
    let quarry = node.quarry();
    for name in ["disk", "fixed"] {
        quarry.create_volume(name, POOL, VOLUME_BYTES, "flush")?;
    }
    let uris = |words: &[&str]| -> Result<Vec<String>> {
        let export = quarry.json(&[&["export", "create"], words, &["--protocol", "iscsi"]].concat())?;
        Ok(serde_json::from_value(export["uris"].clone())?)
    };
    let ways = uris(&["disk"])?;
    ensure!(ways.len() == 2, "an export over two portals has these URIs: {ways:?}");
    Ok(Units { ways, read_only: uris(&["fixed", "--read-only"])?.pop() })
}

fn judge(steps: &Steps, units: &Units, only: &str) -> Result<()> {
    let tests = tests()?;
    let (mut passed, mut failed, mut skipped, mut wrong) = (0, 0, 0, 0);
    for test in tests.iter().filter(|test| test.contains(only)) {
        crate::interrupt::check()?;
        match try_one(test, units)? {
            Verdict::Pass => passed += 1,
            Verdict::Skip(why) => {
                skipped += 1;
                steps.note(format!("skip {test}: {why}"));
            }
            Verdict::Wrong(why) => {
                wrong += 1;
                steps.note(format!("wrong {test}: {why}"));
            }
            Verdict::Fail(why) => {
                failed += 1;
                steps.note(format!("FAIL {test}: {why}"));
            }
        }
    }
    steps.note(format!("{passed} pass, {failed} fail, {skipped} skipped, {wrong} wrong tests"));
    ensure!(failed == 0, "{failed} tests of {PROGRAM} fail");
    ensure!(passed > 0, "no test was run");
    let least = if only.is_empty() { PASSED_MIN } else { 1 };
    ensure!(passed >= least, "only {passed} tests of {PROGRAM} pass; {least} must");
    Ok(())
}

/// The names of all tests, those that want a fresh unit first.
fn tests() -> Result<Vec<String>> {
    let listed = command::run(Command::new(PROGRAM).arg("--list"))?;
    let is_test = |name: &&str| name.starts_with("ALL.") && name.matches('.').count() == 2;
    let names: Vec<String> = listed.lines().map(str::trim).filter(is_test).map(str::to_owned).collect();
    ensure!(!names.is_empty(), "`{PROGRAM} --list` names no tests");
    let (first, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with(FIRST));
    Ok([first, rest].concat())
}

fn try_one(test: &str, units: &Units) -> Result<Verdict> {
    let mut command = Command::new("timeout");
    command.args([TEST_SECONDS, PROGRAM, "-d", "-S", "-n", "-t", test]);
    match &units.read_only {
        Some(url) if test.starts_with(READ_ONLY) => command.arg(url),
        _ => command.args(&units.ways),
    };
    let output = command::output(&mut command)?;
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    Ok(verdict(test, output.status.code(), &text))
}

fn verdict(test: &str, code: Option<i32>, text: &str) -> Verdict {
    if let Some((_, why)) = WRONG.iter().find(|(name, _)| *name == test) {
        return Verdict::Wrong(why);
    }
    if code == Some(124) {
        return Verdict::Fail(format!("no end after {TEST_SECONDS} s"));
    }
    let with = |mark: &str| text.lines().map(str::trim).find(|line| line.contains(mark)).map(str::to_owned);
    if let Some(line) = with("[SKIPPED]").filter(|_| !IN_PART.contains(&test)) {
        return Verdict::Skip(line.replace("[SKIPPED]", "").trim().to_owned());
    }
    // Of "tests": total, run, passed, failed.
    let counts = with("tests  ").unwrap_or_default();
    let counts: Vec<&str> = counts.split_whitespace().skip(1).collect();
    match (code, &counts[..]) {
        (Some(0), ["1", "1", "1", "0", ..]) => Verdict::Pass,
        _ => {
            Verdict::Fail(with("[FAIL").or_else(|| with("1. ")).unwrap_or_else(|| "it broke off".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests_of_verdicts {
    use super::*;

    const SUMMARY: &str = "Run Summary:    Type  Total    Ran Passed Failed Inactive\n";

    #[test]
    fn verdicts_follow_from_what_the_suite_prints() {
        let summary = |counts: &str| format!("{SUMMARY}               tests      {counts}        0\n");
        let judge = |code, text: &str| verdict("ALL.Read10.Simple", code, text);
        assert_eq!(judge(Some(0), &summary("1      1      1      0")), Verdict::Pass);
        let failed = summary("1      1      0      1") + "    [FAILED] READ10 failed\n";
        assert_eq!(judge(Some(1), &failed), Verdict::Fail("[FAILED] READ10 failed".to_owned()));
        assert_eq!(
            judge(Some(0), &summary("0      0      0      0")),
            Verdict::Fail("it broke off".to_owned())
        );
        let skipped = summary("1      1      1      0") + "    [SKIPPED] Not removable.\n";
        assert_eq!(judge(Some(0), &skipped), Verdict::Skip("Not removable.".to_owned()));
        assert_eq!(judge(Some(124), ""), Verdict::Fail("no end after 30 s".to_owned()));
        assert_eq!(verdict(WRONG[0].0, Some(1), ""), Verdict::Wrong(WRONG[0].1));
        assert_eq!(verdict(IN_PART[0], Some(0), &skipped), Verdict::Pass);
        assert!(matches!(verdict(IN_PART[0], Some(1), &(skipped + &failed)), Verdict::Fail(_)));
    }
}
