//! A node and what its volume must hold, with what an administrator does to its devices.

use std::collections::BTreeMap;
use std::time::Duration;

use quarry_device::{JoinRequest, LogPolicy};
use quarry_env::Env;
use quarry_pool::{HeldBytes, MembershipError};
use quarry_types::Protection;

use crate::node::{Chance, Node, content, path};

pub const SIZE: usize = 24 << 20;
/// Long enough for everything that goes on by itself.
pub const SETTLE: Duration = Duration::from_secs(60);

/// A node and what its volume must hold.
pub struct Tested {
    pub node: Node,
    pub model: Vec<u8>,
    pub version: u64,
}

impl Tested {
    pub fn new(seed: u64, copies: u8, disks: &[u64]) -> Self {
        Self::protected(seed, Protection::Copies(copies), disks)
    }

    pub fn protected(seed: u64, protection: Protection, disks: &[u64]) -> Self {
        Self::sized(seed, protection, disks, SIZE)
    }

    /// With a volume of another size than [`SIZE`].
    pub fn sized(seed: u64, protection: Protection, disks: &[u64], size: usize) -> Self {
        let node = Node::protected(seed, protection, disks, size as u64);
        Self { node, model: vec![0; size], version: seed }
    }

    pub fn scribble(&mut self, writes: u64) {
        let chance = Chance::new(self.version);
        for _ in 0..writes {
            self.version += 1;
            let offset = chance.below(self.model.len() as u64 / 4096) as usize * 4096;
            let length = ((1 + chance.below(64) as usize) * 4096).min(self.model.len() - offset);
            let bytes = content(self.version, offset as u64, length);
            self.model[offset..offset + length].copy_from_slice(&bytes);
            self.node.write(offset as u64, bytes).expect("write");
        }
    }

    /// Writes all of the volume, in order.
    pub fn fill(&mut self) {
        self.version += 1;
        for offset in (0..self.model.len()).step_by(256 << 10) {
            let bytes = content(self.version, offset as u64, 256 << 10);
            self.model[offset..offset + bytes.len()].copy_from_slice(&bytes);
            self.node.write(offset as u64, bytes).expect("write");
        }
    }

    pub fn check(&self) {
        for (piece, expected) in self.model.chunks(SIZE).enumerate() {
            assert!(self.node.read((piece * SIZE) as u64, expected.len()) == expected, "piece {piece}");
        }
    }

    pub fn settle(&self) {
        self.node.run(|env: Env| async move { env.clock.sleep(SETTLE).await });
    }

    pub fn held(&self) -> HeldBytes {
        HeldBytes::from([(self.node.engine().log_id(), self.node.engine().status().held_bytes())])
    }

    pub fn used(&self, device: u16) -> u64 {
        self.node.engine().pool().shared.used_slots(device)
    }

    pub fn add(&mut self, mib: u64) -> u16 {
        self.node.add_disk(mib);
        let request = JoinRequest {
            path: path(self.node.disks.len() - 1),
            directory_file_bytes: None,
            force: false,
            in_use: BTreeMap::new(),
        };
        let engine = self.node.engine();
        self.node.run(|_| async move {
            let status = engine.pool().add_member(&request).await.expect("it joins");
            engine.pool().admit_member(status.index).expect("it is used");
            status.index
        })
    }

    pub fn leave(&self, device: u16) -> Result<(), MembershipError> {
        let (engine, held) = (self.node.engine(), self.held());
        self.node.run(|_| async move { engine.pool().set_leaving(device, true, &held).await })
    }

    pub fn remove(&self, device: u16) -> Result<(), MembershipError> {
        let engine = self.node.engine();
        self.node.run(|_| async move {
            engine.pool().remove_member(device).await?;
            engine.pool().detach_member(device);
            Ok(())
        })
    }

    /// A device that was away is used again.
    pub fn take_back(&self, device: u16) -> Result<(), MembershipError> {
        let engine = self.node.engine();
        self.node.run(|_| async move {
            engine.forget_device(device).await.expect("a commit");
            engine.pool().take_back(device).await?;
            engine.pool().attach_member(device).await?;
            engine.pool().admit_member(device)
        })
    }

    pub fn change_copies(&self, copies: u8) -> Result<(), MembershipError> {
        self.change_protection(Protection::Copies(copies))
    }

    /// Has the log keep its own protection, whatever that of the pool is.
    pub fn change_own_protection(&self, protection: Option<Protection>) -> Result<(), MembershipError> {
        let (engine, held) = (self.node.engine(), self.held());
        let policy = LogPolicy { protection, tier_policy: None };
        self.node
            .run(|_| async move { engine.pool().change_log_policy(engine.log_id(), policy, &held).await })
    }

    pub fn change_protection(&self, protection: Protection) -> Result<(), MembershipError> {
        let (engine, held) = (self.node.engine(), self.held());
        self.node.run(|_| async move { engine.pool().change_protection(protection, &held).await })
    }

    pub fn crash_and_check(&mut self) {
        self.node.kill();
        self.node.reopen();
        self.check();
    }
}
