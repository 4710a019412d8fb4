//! Clones to which parts of their volume are copied while it is overwritten, so that both refer to the same blocks.

use std::collections::VecDeque;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::nbd::{Client, Command};
use crate::node::{Node, VOLUME};

/// Copies at a time.
const COPIES_MAX: usize = 4;
/// Parts of one copy, and their size.
const PARTS: usize = 4;
const PART_BYTES: u32 = 512 << 10;
const BLOCK_BYTES: u64 = 4096;

/// What was copied to one clone.
struct Copied {
    name: String,
    parts: Vec<(u64, Vec<u8>)>,
}

/// See the module.
#[derive(Default)]
pub struct Shared {
    made: usize,
    copies: VecDeque<Copied>,
    /// Bytes that were found instead of stored, by all lives of the daemon.
    deduplicated_bytes: u64,
}

impl Shared {
    /// Makes a clone, copies parts of the volume to other places of it, and deletes the oldest.
    pub fn step(&mut self, node: &Node, random: &mut ChaCha8Rng) -> Result<()> {
        let quarry = node.quarry();
        self.made += 1;
        let name = format!("copy{}", self.made);
        quarry.run(&["volume", "clone", VOLUME, &name])?;
        quarry.run(&["volume", "set", &name, "--deduplication", "verified"])?;
        quarry.create_export(&name)?;
        let mut from = Client::connect(&node.socket(), VOLUME, true)?;
        let mut to = Client::connect(&node.socket(), &name, true)?;
        let blocks = (from.info.size_bytes - u64::from(PART_BYTES)) / BLOCK_BYTES;
        let mut parts: Vec<(u64, Vec<u8>)> = Vec::new();
        for _ in 0..PARTS {
            let [source, target] = [0; 2].map(|_| random.random_range(0..blocks) * BLOCK_BYTES);
            let apart = |(other, _): &(u64, Vec<u8>)| other.abs_diff(target) >= u64::from(PART_BYTES);
            if !parts.iter().all(apart) {
                continue;
            }
            let data = from.read(source, PART_BYTES)?;
            let error = to.call(Command::Write, 0, target, PART_BYTES, &data)?;
            ensure!(error == 0, "a copy failed with NBD error {error}");
            parts.push((target, data));
        }
        let pool = quarry.pool(crate::node::POOL)?;
        self.deduplicated_bytes +=
            pool["data"]["deduplicated_bytes"].as_u64().context("no figures of deduplication")?;
        self.copies.push_back(Copied { name, parts });
        while self.copies.len() > COPIES_MAX {
            let oldest = self.copies.pop_front().context("there are more")?.name;
            quarry.run(&["export", "delete", &oldest])?;
            quarry.run(&["volume", "delete", &oldest])?;
        }
        Ok(())
    }

    /// Fails when a copy is not what was copied.
    pub fn verify(&self, node: &Node) -> Result<()> {
        for Copied { name, parts } in &self.copies {
            let mut client = Client::connect(&node.socket(), name, true)?;
            for (offset, data) in parts {
                let same = client.read(*offset, PART_BYTES)? == *data;
                ensure!(same, "{name} does not hold what was copied to {offset}");
            }
        }
        Ok(())
    }

    /// How much was found instead of stored; fails when nothing was.
    pub fn found(&self) -> Result<String> {
        ensure!(self.deduplicated_bytes > 0, "no copy was found to be one");
        Ok(crate::report::mebibytes(self.deduplicated_bytes))
    }
}
