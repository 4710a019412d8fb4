//! Encrypted and compressed volumes, as an operator uses them: nothing in clear on the device, nothing without the key.

mod keyring;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::nbd::{Client, Command};
use crate::node::{self, Node};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 512 << 20;
const VOLUME_BYTES: u64 = 64 << 20;
const BYTES: usize = 8 << 20;
const POOL: &str = "pool";
const SECRET: &str = "secret";
const CLEAR: &str = "clear";
/// What is written, again and again, with numbers between.
const TEXT: &[u8; 24] = b"the only copy of my data";
/// NBD error of a volume that cannot serve now.
const EIO: u32 = 5;
/// Until the node has destroyed a key that nothing uses.
const ERASED_WITHIN: Duration = Duration::from_secs(30);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("encryption", "nothing in clear on the device, nothing without the key");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("encryption")?;
    require_space(scratch.path(), DEVICE_BYTES)?;
    let devices = scratch.devices(1, DEVICE_BYTES)?;
    let mut node = Node::start(node::options(&bin_dir, scratch.path()))?;
    steps.step("without a key store, no encrypted volume", || refuse(&node, &devices))?;
    node.stop()?;
    let passphrase = node::write_passphrase(scratch.path(), "one secret")?;
    node.set_passphrase(Some(passphrase));
    node.restart()?;
    steps.step("an encrypted and compressed volume beside a clear one", || set_up(&node))?;
    steps.step("kill -9: both are as they were, and only the clear one is on the device", || {
        node.kill()?;
        look_for(&devices[0])?;
        node.restart()?;
        [SECRET, CLEAR].iter().try_for_each(|volume| expect(&node, volume))
    })?;
    steps.step("another key-encryption key, and no data written for it", || rotate(&node, &scratch))?;
    for (what, text) in [("no passphrase", None), ("a wrong passphrase", Some("another secret"))] {
        steps.step(format!("{what}: the clear volume serves, the other says why it does not"), || {
            node.stop()?;
            let file = text.map(|text| node::write_passphrase(scratch.path(), text)).transpose()?;
            node.set_passphrase(file);
            node.restart()?;
            locked(&node)
        })?;
    }
    steps.step("with the right one again, everything is there", || {
        node.stop()?;
        node.set_passphrase(Some(node::write_passphrase(scratch.path(), "one secret")?));
        node.restart()?;
        expect(&node, SECRET)
    })?;
    keyring::steps(&mut steps, &mut node, &bin_dir, &scratch)?;
    steps.step("a clone keeps the key; with the last volume it is destroyed", || erase(&node, &scratch))?;
    steps.step("stop and check", || {
        node.check_running()?;
        node.stop()?;
        node.check()
    })?;
    steps.pass();
    Ok(())
}

fn refuse(node: &Node, devices: &[PathBuf]) -> Result<()> {
    node.quarry().create_pool(POOL, devices, "copies:1")?;
    let error = create(node, SECRET, &["--encrypt"]).err().context("it was created")?;
    let text = format!("{error:#}");
    ensure!(text.contains("--keyring-passphrase-file"), "the error does not say what to do: {text}");
    Ok(())
}

fn create(node: &Node, name: &str, more: &[&str]) -> Result<()> {
    let size = VOLUME_BYTES.to_string();
    let words = ["volume", "create", name, "--pool", POOL, "--size", &size];
    node.quarry().run(&[&words, more].concat()).map(drop)
}

fn content() -> Vec<u8> {
    let number = |index: usize| (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..BYTES / 32).flat_map(|index| [&TEXT[..], &number(index)].concat()).collect()
}

fn set_up(node: &Node) -> Result<()> {
    create(node, SECRET, &["--encrypt", "--compression", "lz4"])?;
    create(node, CLEAR, &[])?;
    for volume in [SECRET, CLEAR] {
        node.quarry().create_export(volume)?;
        let mut client = connect(node, volume)?;
        for (index, part) in content().chunks(1 << 20).enumerate() {
            let error = client.call(Command::Write, 0, (index as u64) << 20, part.len() as u32, part)?;
            ensure!(error == 0, "a write to {volume} failed with NBD error {error}");
        }
        let error = client.call(Command::Flush, 0, 0, 0, &[])?;
        ensure!(error == 0, "a flush of {volume} failed with NBD error {error}");
        expect(node, volume)?;
    }
    let shown = show(node, SECRET)?;
    ensure!(shown["encrypted"] == true && shown["locked"] == false, "shown as {shown}");
    ensure!(shown["compression"] == "lz4", "shown as {shown}");
    Ok(())
}

fn show(node: &Node, volume: &str) -> Result<Value> {
    node.quarry().json(&["volume", "show", volume])
}

fn connect(node: &Node, export: &str) -> Result<Client> {
    Client::connect(&node.socket(), export, true).with_context(|| format!("export {export}"))
}

fn expect(node: &Node, export: &str) -> Result<()> {
    let mut client = connect(node, export)?;
    for (index, part) in content().chunks(1 << 20).enumerate() {
        let read = client.read((index as u64) << 20, part.len() as u32)?;
        ensure!(read == part, "MiB {index} of {export} is not what was written");
    }
    Ok(())
}

/// The clear volume was written as it is, so that its text is found as often as it was written, and not once more.
fn look_for(device: &Path) -> Result<()> {
    let bytes = std::fs::read(device)?;
    let found = bytes.windows(TEXT.len()).filter(|window| window == TEXT).count();
    ensure!(found == BYTES / 32, "the text is on the device {found} times, not {}", BYTES / 32);
    Ok(())
}

fn keys_of(scratch: &Scratch) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(scratch.path().join("data/keyring.json"))?;
    let keyring: Value = serde_json::from_str(&text)?;
    Ok(keyring["keys"].as_object().context("no keys")?.keys().cloned().collect())
}

fn rotate(node: &Node, scratch: &Scratch) -> Result<()> {
    let before = keys_of(scratch)?;
    ensure!(before.len() == 1, "the keyring has {before:?}");
    node.quarry().run(&["volume", "rotate-key", SECRET])?;
    let after = keys_of(scratch)?;
    ensure!(after.len() == 1 && after != before, "the keyring has {after:?}, before {before:?}");
    let error =
        node.quarry().run(&["volume", "rotate-key", CLEAR]).err().context("a clear volume has no key")?;
    ensure!(format!("{error:#}").contains("not encrypted"), "{error:#}");
    expect(node, SECRET)
}

fn locked(node: &Node) -> Result<()> {
    expect(node, CLEAR)?;
    ensure!(show(node, SECRET)?["locked"] == true, "the volume is not shown as locked");
    let mut client = connect(node, SECRET)?;
    let error = client.call(Command::Write, 0, 0, 512, &[9; 512])?;
    ensure!(error == EIO, "a write without the key was answered with NBD error {error}");
    ensure!(client.read(0, 4096).is_err(), "a read without the key gave something");
    ensure!(create(node, "more", &["--encrypt"]).is_err(), "an encrypted volume was created without keys");
    Ok(())
}

fn erase(node: &Node, scratch: &Scratch) -> Result<()> {
    let quarry = node.quarry();
    quarry.run(&["volume", "clone", SECRET, "copy"])?;
    quarry.create_export("copy")?;
    quarry.run(&["export", "delete", SECRET])?;
    quarry.run(&["volume", "delete", SECRET])?;
    std::thread::sleep(ERASED_WITHIN / 2);
    ensure!(keys_of(scratch)?.len() == 1, "the key of a clone was destroyed");
    expect(node, "copy")?;
    quarry.run(&["export", "delete", "copy"])?;
    quarry.run(&["volume", "delete", "copy"])?;
    let began = Instant::now();
    while !keys_of(scratch)?.is_empty() {
        if began.elapsed() > ERASED_WITHIN {
            bail!("the key of a volume that is gone is still there after {ERASED_WITHIN:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
