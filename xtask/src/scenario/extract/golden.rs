//! Golden images: a small pool of a node that was killed, made once for each version of the format and checked in, with what
//! its volumes and snapshots hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use super::{copies, ensure_packed, history, served};
use crate::nbd::Client;
use crate::node::{self, Node, NodeOptions, POOL};
use crate::report::{Steps, mebibytes};
use crate::scratch::Scratch;
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 96 << 20;
const DEVICES: usize = 3;
/// Until the cleaner has packed chunks.
const ROUNDS: u64 = 12;
const ZSTD_LEVEL: i32 = 19;

/// How the images are made.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build that makes them.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Makes them anew.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("golden", "images of a pool for the tests of quarry-extract");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("golden")?;
    let devices = scratch.devices(DEVICES, DEVICE_BYTES)?;
    let mut node = Node::start(NodeOptions { cores: Some(2), ..node::options(&bin_dir, scratch.path()) })?;
    node.quarry().create_pool(POOL, &devices, "copies:2")?;
    steps.step("a history, then kill -9", || {
        history::make(&node, ROUNDS)?;
        node.kill()
    })?;
    let killed = copies(&scratch, "killed", &devices)?;
    ensure_packed(&killed)?;
    let expected = steps.step("what the node serves when it runs again", || {
        node.restart()?;
        let expected = expected(&node)?;
        node.stop()?;
        Ok(expected)
    })?;
    let folder = folder();
    steps.step_with(
        format!("compressed into {}", folder.display()),
        || {
            fs::create_dir_all(&folder)?;
            let mut bytes = 0;
            for (index, device) in killed.iter().enumerate() {
                let compressed = zstd::encode_all(fs::File::open(device)?, ZSTD_LEVEL)?;
                bytes += compressed.len() as u64;
                fs::write(folder.join(format!("device-{index}.img.zst")), compressed)?;
            }
            fs::write(folder.join("expected.json"), serde_json::to_string_pretty(&expected)? + "\n")?;
            Ok(bytes)
        },
        |&bytes| mebibytes(bytes),
    )?;
    steps.pass();
    Ok(())
}

/// Where the images are.
fn folder() -> PathBuf {
    workspace::root().join("bin/quarry-extract/tests/golden")
}

/// Size and CRC-32C of every volume and snapshot, as NBD reads them.
fn expected(node: &Node) -> Result<BTreeMap<String, serde_json::Value>> {
    let mut all = BTreeMap::new();
    for path in served(node)? {
        node.quarry().create_export(&path)?;
        let mut client = Client::connect(&node.socket(), &path, true).context("an export")?;
        let size_bytes = client.info.size_bytes;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size_bytes {
            let length = (size_bytes - bytes.len() as u64).min(1 << 20) as u32;
            bytes.extend(client.read(bytes.len() as u64, length)?);
        }
        drop(client);
        history::end_export(node, &path)?;
        let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes);
        all.insert(path, json!({ "size_bytes": size_bytes, "crc32c": checksum }));
    }
    Ok(all)
}
