//! The keyring of a node that runs is unlocked; that of one that is stopped gets another passphrase, or keeps the old one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{SECRET, connect, content, create, expect, keys_of};
use crate::command;
use crate::node::{self, Node};
use crate::report::Steps;
use crate::scratch::Scratch;

/// How often a change of the passphrase is cut off.
const KILLS: u32 = 8;
const FIRST: &str = "one secret";
const SECOND: &str = "a better secret";

pub(super) fn steps(steps: &mut Steps, node: &mut Node, bin_dir: &Path, scratch: &Scratch) -> Result<()> {
    steps.step("unlocked while it runs: who is connected goes on", || unlock(node, scratch))?;
    steps.step("the keyring's file is lost: who is connected goes on", || lose(node, scratch))?;
    let keyring = Offline { quarryd: bin_dir.join("quarryd"), scratch };
    steps.step("a node that starts without it makes no other one, and says what is closed", || {
        node.set_passphrase(Some(keyring.file(FIRST)?));
        start_without(node, scratch)
    })?;
    let took = steps.step("another passphrase, refused to those who may not", || change(node, &keyring))?;
    steps.step_with(
        format!("kill -9 while the passphrase is changed, {KILLS} times: one of the two opens it"),
        || cut_off(node, &keyring, took),
        |changed| format!("{changed} had been changed"),
    )?;
    Ok(())
}

fn unlock(node: &mut Node, scratch: &Scratch) -> Result<()> {
    node.stop()?;
    node.set_passphrase(None);
    node.restart()?;
    let mut client = connect(node, SECRET)?;
    ensure!(client.read(0, 4096).is_err(), "a read without the key gave something");
    let quarry = node.quarry();
    let unlock = |text: &str| -> Result<String> {
        let file = node::write_passphrase(scratch.path(), text)?;
        quarry.run(&["keyring", "unlock", "--passphrase-file", &file.display().to_string()])
    };
    ensure!(quarry.json(&["keyring", "show"])?["state"] == "locked", "it is not shown as locked");
    let refused = unlock(SECOND).err().context("a wrong passphrase has opened it")?;
    ensure!(format!("{refused:#}").contains("does not open the keyring"), "{refused:#}");
    ensure!(client.read(0, 4096).is_err(), "a read without the key gave something");
    unlock(FIRST)?;
    ensure!(client.read(0, 4096)? == content()[..4096], "not what was written");
    expect(node, SECRET)?;
    ensure!(quarry.json(&["keyring", "show"])?["locked_volumes"] == 0, "a volume is still locked");
    create(node, "more", &["--encrypt"])?;
    quarry.run(&["volume", "delete", "more"]).map(drop)
}

/// What is open needs no key store; what would need it says so, and goes on when it is there again.
fn lose(node: &Node, scratch: &Scratch) -> Result<()> {
    let (file, aside) = (scratch.path().join("data/keyring.json"), scratch.path().join("keyring-aside"));
    let mut client = connect(node, SECRET)?;
    fs::rename(&file, &aside).context("the keyring")?;
    // In the way of a new one.
    fs::create_dir(&file)?;
    ensure!(client.read(0, 4096)? == content()[..4096], "not what was written");
    let error = client.call(crate::nbd::Command::Write, 0, 0, 4096, &content()[..4096])?;
    ensure!(error == 0, "a write fails with NBD error {error}");
    expect(node, SECRET)?;
    let refused = create(node, "more", &["--encrypt"]).err().context("a key was made nowhere")?;
    ensure!(format!("{refused:#}").contains("keyring"), "{refused:#}");
    fs::remove_dir(&file)?;
    fs::rename(&aside, &file)?;
    create(node, "more", &["--encrypt"])?;
    node.quarry().run(&["volume", "delete", "more"]).map(drop)
}

/// A new keyring in the place of a lost one would say that the keys are gone.
fn start_without(node: &mut Node, scratch: &Scratch) -> Result<()> {
    let (file, aside) = (scratch.path().join("data/keyring.json"), scratch.path().join("keyring-aside"));
    let is_critical = |node: &Node| -> Result<bool> {
        Ok(node.quarry().json(&["status"])?["health"]["level"] == "critical")
    };
    fs::rename(&file, &aside).context("the keyring")?;
    ensure!(is_critical(node)?, "nobody says that the keyring's file is missing");
    node.kill()?;
    node.restart()?;
    ensure!(!file.exists(), "a keyring was made");
    let shown = node.quarry().json(&["keyring", "show"])?;
    ensure!(shown["state"] == "none" && shown["locked_volumes"] != 0, "it is shown as {shown}");
    ensure!(is_critical(node)?, "nobody says that volumes are closed");
    let refused = create(node, "more", &["--encrypt"]).err().context("a key was made nowhere")?;
    ensure!(format!("{refused:#}").contains("keyring"), "{refused:#}");
    fs::rename(&aside, &file)?;
    node.kill()?;
    node.restart()?;
    ensure!(!is_critical(node)?, "something is wrong still");
    expect(node, SECRET)
}

/// The keyring of a node that is stopped.
struct Offline<'a> {
    quarryd: PathBuf,
    scratch: &'a Scratch,
}

impl Offline<'_> {
    fn file(&self, text: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(format!("passphrase-{}", text.len()));
        fs::write(&path, text)?;
        Ok(path)
    }

    fn command(&self, old: &str, new: &str) -> Result<Command> {
        let mut command = Command::new(&self.quarryd);
        command.args(["keyring", "change-passphrase", "--data-dir"]).arg(self.scratch.path().join("data"));
        command.arg("--passphrase-file").arg(self.file(old)?);
        command.arg("--new-passphrase-file").arg(self.file(new)?);
        Ok(command)
    }

    fn refuses(&self, old: &str, new: &str, why: &str) -> Result<()> {
        let error = command::run(&mut self.command(old, new)?).err().context("it was changed")?;
        ensure!(format!("{error:#}").contains(why), "refused otherwise: {error:#}");
        Ok(())
    }
}

/// How long a change takes.
fn change(node: &mut Node, keyring: &Offline<'_>) -> Result<Duration> {
    keyring.refuses(FIRST, SECOND, "another quarryd runs")?;
    node.stop()?;
    keyring.refuses(SECOND, FIRST, "does not open the keyring")?;
    keyring.refuses(FIRST, "\n", "is empty")?;
    let began = Instant::now();
    command::run(&mut keyring.command(FIRST, SECOND)?)?;
    let took = began.elapsed();
    node.set_passphrase(Some(keyring.file(FIRST)?));
    node.restart()?;
    ensure!(node.quarry().json(&["keyring", "show"])?["state"] == "locked", "the old one still opens it");
    node.stop()?;
    node.set_passphrase(Some(keyring.file(SECOND)?));
    node.restart()?;
    expect(node, SECRET)?;
    Ok(took)
}

/// How many of the changes that were cut off had come far enough.
fn cut_off(node: &mut Node, keyring: &Offline<'_>, took: Duration) -> Result<u32> {
    let (mut now, mut next, mut changed) = (SECOND, FIRST, 0);
    let keys = keys_of(keyring.scratch)?;
    // Closer and closer to the moment at which one takes the place of the other.
    let mut after = took.mul_f64(0.9);
    for round in 0..KILLS {
        node.stop()?;
        let mut child = keyring.command(now, next)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(after);
        child.kill()?;
        child.wait()?;
        ensure!(keys_of(keyring.scratch)? == keys, "round {round}: the keyring has other keys");
        node.set_passphrase(Some(keyring.file(now)?));
        node.restart()?;
        let is_changed = node.quarry().json(&["keyring", "show"])?["state"] == "locked";
        after = after.mul_f64(if is_changed { 0.95 } else { 1.08 });
        if is_changed {
            (now, next, changed) = (next, now, changed + 1);
            node.stop()?;
            node.set_passphrase(Some(keyring.file(now)?));
            node.restart()?;
        }
        expect(node, SECRET).with_context(|| format!("round {round}: neither passphrase opens it"))?;
    }
    Ok(changed)
}
