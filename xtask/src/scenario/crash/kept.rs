//! The snapshots and clones that a volume gets between kills.

use std::collections::VecDeque;

use anyhow::{Context, Result, ensure};

use crate::nbd::Client;
use crate::node::{Node, VOLUME};

/// Snapshots and clones at a time.
const SNAPSHOTS_MAX: usize = 50;
const CLONES_MAX: usize = 10;
/// New ones before each kill.
const SNAPSHOTS_A_ROUND: usize = 5;
/// Clones that are compared at the end.
const COMPARED: usize = 3;
const PIECE_BYTES: u32 = 1 << 20;

/// What there is.
#[derive(Default)]
pub struct Kept {
    taken: usize,
    snapshots: VecDeque<usize>,
    /// By the snapshot of which each was made.
    clones: VecDeque<usize>,
}

impl Kept {
    /// Takes snapshots, makes a clone of the newest, and deletes the oldest of both.
    pub fn step(&mut self, node: &Node) -> Result<()> {
        let quarry = node.quarry();
        for _ in 0..SNAPSHOTS_A_ROUND {
            self.taken += 1;
            quarry.run(&["snapshot", "create", VOLUME, "--name", &format!("s{}", self.taken)])?;
            self.snapshots.push_back(self.taken);
        }
        let clone = format!("clone{}", self.taken);
        quarry.run(&["volume", "clone", &snapshot(self.taken), &clone])?;
        self.clones.push_back(self.taken);
        while self.clones.len() > CLONES_MAX {
            let oldest = self.clones.pop_front().context("there are more")?;
            quarry.run(&["volume", "delete", &format!("clone{oldest}")])?;
        }
        while self.snapshots.len() > SNAPSHOTS_MAX {
            let oldest = self.snapshots.pop_front().context("there are more")?;
            quarry.run(&["snapshot", "delete", &snapshot(oldest)])?;
        }
        Ok(())
    }

    /// Fails when a clone differs from its snapshot.
    pub fn compare(&self, node: &Node) -> Result<()> {
        let quarry = node.quarry();
        let listed = quarry.json(&["snapshot", "list", VOLUME])?;
        let listed = listed.as_array().context("no list")?.len();
        ensure!(listed == self.snapshots.len(), "{listed} snapshots, not {}", self.snapshots.len());
        for &number in
            self.clones.iter().rev().filter(|number| self.snapshots.contains(number)).take(COMPARED)
        {
            let names = [snapshot(number), format!("clone{number}")];
            for name in &names {
                quarry.create_export(name)?;
            }
            let [mut one, mut other] = [
                Client::connect(&node.socket(), &names[0], true)?,
                Client::connect(&node.socket(), &names[1], true)?,
            ];
            let mut offset = 0;
            while offset < one.info.size_bytes {
                let length = (one.info.size_bytes - offset).min(u64::from(PIECE_BYTES)) as u32;
                let same = one.read(offset, length)? == other.read(offset, length)?;
                ensure!(same, "{} differs from {} in the MiB at {offset}", names[1], names[0]);
                offset += u64::from(length);
            }
        }
        Ok(())
    }
}

fn snapshot(number: usize) -> String {
    format!("{VOLUME}@s{number}")
}
