//! A pool with a past: everything that records can do to volumes and snapshots, some of it before the last checkpoint and some
//! behind it. What blocks hold is unique and compresses well.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::nbd::{Client, Command};
use crate::node::{Node, POOL};

const BLOCK_BYTES: u64 = 4096;
const VOLUME_BYTES: u64 = 24 << 20;
/// Not a multiple of a block.
const ODD_BYTES: u64 = (3 << 20) + 512;
const SEED: u64 = 9;
/// Runs of blocks that one round writes to a volume.
const ROUND_BLOCKS: u64 = 500;
/// Different blocks where many are alike.
const ALIKE: u64 = 60;

/// Makes it. The last writes are acknowledged when this returns, and not flushed.
pub fn make(node: &Node, rounds: u64) -> Result<()> {
    let quarry = node.quarry();
    let mut writer = Writer { node, chance: ChaCha8Rng::seed_from_u64(SEED), number: 0 };
    for (name, size_bytes, compression) in [
        ("disk", VOLUME_BYTES, "off"),
        ("other", VOLUME_BYTES, "lz4"),
        ("odd", ODD_BYTES, "zstd"),
        ("gone", ODD_BYTES, "off"),
    ] {
        let size = size_bytes.to_string();
        let words = ["volume", "create", name, "--pool", POOL, "--size", &size, "--compression", compression];
        quarry.run(&words)?;
    }
    let odd = ODD_BYTES.to_string();
    let words = ["volume", "create", "alike", "--pool", POOL, "--size", &odd, "--deduplication", "verified"];
    quarry.run(&words)?;
    writer.write("odd", 0..ODD_BYTES / BLOCK_BYTES, 400)?;
    writer.write_alike("alike", 0..700, 300)?;
    writer.write("gone", 0..100, 50)?;
    for round in 0..rounds {
        for volume in ["disk", "other"] {
            writer.write(volume, 0..VOLUME_BYTES / BLOCK_BYTES, ROUND_BLOCKS)?;
        }
        if round % 4 == 1 {
            quarry.run(&["snapshot", "create", "disk", "other", "--name", &format!("round-{round}")])?;
        }
    }
    quarry.run(&["volume", "delete", "gone"])?;
    quarry.run(&["volume", "clone", "disk@round-1", "copy"])?;
    writer.write("copy", 100..300, 150)?;
    quarry.run(&["volume", "clone", "other", "twin"])?;
    quarry.run(&["snapshot", "create", "copy", "--name", "own"])?;
    late(node, &mut writer)
}

/// What happens shortly before the end.
fn late(node: &Node, writer: &mut Writer<'_>) -> Result<()> {
    let quarry = node.quarry();
    writer.write("disk", 0..VOLUME_BYTES / BLOCK_BYTES, 100)?;
    writer.discard("disk", 1000..1700)?;
    quarry.run(&["snapshot", "create", "disk", "--name", "late"])?;
    writer.write("disk", 1200..1400, 60)?;
    quarry.run(&["volume", "resize", "other", "--size", &(VOLUME_BYTES + (8 << 20)).to_string()])?;
    writer.write("other", VOLUME_BYTES / BLOCK_BYTES..VOLUME_BYTES / BLOCK_BYTES + 512, 64)?;
    quarry
        .run(&["volume", "rollback", "twin@first"])
        .err()
        .context("a snapshot that is not there was rolled back to")?;
    quarry.run(&["volume", "rollback", "other@round-1"])?;
    writer.write("other", 0..200, 80)?;
    quarry.run(&["volume", "promote", "copy"])?;
    quarry.run(&["volume", "rename", "twin", "renamed"])?;
    quarry.run(&["volume", "create", "young", "--pool", POOL, "--size", "1M"])?;
    writer.write("young", 0..256, 100)?;
    quarry.run(&["snapshot", "rename", "disk@late", "later"])?;
    writer.write_alike("alike", 0..700, 100)?;
    writer.write("odd", 0..ODD_BYTES / BLOCK_BYTES, 50)
}

struct Writer<'a> {
    node: &'a Node,
    chance: ChaCha8Rng,
    number: u64,
}

impl Writer<'_> {
    /// Writes `count` runs of one to four blocks in `range`.
    fn write(&mut self, volume: &str, range: std::ops::Range<u64>, count: u64) -> Result<()> {
        self.write_runs(volume, range, count, u64::MAX)
    }

    /// The same with few different blocks.
    fn write_alike(&mut self, volume: &str, range: std::ops::Range<u64>, count: u64) -> Result<()> {
        self.write_runs(volume, range, count, ALIKE)
    }

    fn write_runs(&mut self, volume: &str, range: std::ops::Range<u64>, count: u64, of: u64) -> Result<()> {
        self.node.quarry().create_export(volume)?;
        let mut client = Client::connect(&self.node.socket(), volume, true)?;
        for _ in 0..count {
            let first = self.chance.random_range(range.clone());
            let blocks = self.chance.random_range(1..=4).min(range.end - first);
            let mut bytes = Vec::new();
            for _ in 0..blocks {
                self.number += 1;
                bytes.extend((self.number % of).to_be_bytes().repeat(BLOCK_BYTES as usize / 8));
            }
            let error = client.call(Command::Write, 0, first * BLOCK_BYTES, bytes.len() as u32, &bytes)?;
            ensure!(error == 0, "a write to {volume} failed with NBD error {error}");
        }
        drop(client);
        end_export(self.node, volume)
    }

    fn discard(&mut self, volume: &str, range: std::ops::Range<u64>) -> Result<()> {
        self.node.quarry().create_export(volume)?;
        let mut client = Client::connect(&self.node.socket(), volume, true)?;
        let length = (range.end - range.start) * BLOCK_BYTES;
        let error = client.call(Command::Trim, 0, range.start * BLOCK_BYTES, length as u32, &[])?;
        ensure!(error == 0, "a discard of {volume} failed with NBD error {error}");
        drop(client);
        end_export(self.node, volume)
    }
}

/// Ends an export. The node sees the end of a connection a moment later than we do.
pub fn end_export(node: &Node, path: &str) -> Result<()> {
    let mut attempts = 100;
    loop {
        attempts -= 1;
        match node.quarry().run(&["export", "delete", path]) {
            Err(_) if attempts > 0 => sleep(Duration::from_millis(10)),
            ended => return ended.map(drop),
        }
    }
}
