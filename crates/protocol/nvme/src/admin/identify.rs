//! Identify, with the facts that the pages are made of.

use quarry_volume::VolumeInfo;

use super::AdminQueue;
use crate::controller::Kind;
use crate::identify::{self as page, ControllerFacts, IDENTIFY_BYTES, NamespaceFacts};
use crate::limits::{LBA_BYTES, NAMESPACE_ID_MAX};
use crate::namespaces::{Namespace, OpenVolume, is_every};
use crate::outcome::Outcome;
use crate::usage::blocks_used;
use quarry_nvme_wire::Command;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::{DISCOVERY_NQN, identify};

/// Highest id behind which a list of namespaces can go on.
const LIST_ABOVE_MAX: u32 = 0xFFFF_FFFD;

impl AdminQueue {
    pub(super) async fn identify(&self, command: &Command) -> Result<Outcome, Status> {
        let what = command.dword(10) as u8;
        let id = command.namespace();
        // Only the NVM command set, number 0, is there.
        let of_nvm = command.dword(11) >> 24 == 0;
        let bytes = match (self.kind(), what) {
            (_, identify::CONTROLLER) => self.controller_page(),
            (Kind::Discovery, _) => return Err(Status::INVALID_FIELD),
            (Kind::Io, identify::ACTIVE_NAMESPACES) if id <= LIST_ABOVE_MAX => self.list_page(id),
            (Kind::Io, identify::ACTIVE_NAMESPACES) => return Err(Status::INVALID_NAMESPACE),
            (Kind::Io, identify::NAMESPACE) => {
                let told = |facts: &NamespaceFacts| {
                    self.controller().tell_meaning(id, facts.volume);
                    page::namespace(facts)
                };
                self.namespace_page(id, told).await?
            }
            (Kind::Io, identify::NAMESPACE_INDEPENDENT) => self.namespace_page(id, page::independent).await?,
            (Kind::Io, identify::NAMESPACE_DESCRIPTORS) => {
                let volume = self.state.borrow().namespaces.find(id)?.info().id;
                self.controller().tell_meaning(id, volume);
                page::descriptors(volume)
            }
            // A namespace has no end-to-end protection, so there is nothing to add.
            (Kind::Io, identify::NAMESPACE_OF_SET) if of_nvm => {
                self.namespace_page(id, |_| nothing()).await?
            }
            (Kind::Io, identify::CONTROLLER_OF_SET) if of_nvm => page::controller_of_set(),
            _ => return Err(Status::INVALID_FIELD),
        };
        Ok(Outcome::page(&self.surroundings.buffers, &bytes))
    }

    fn controller_page(&self) -> Vec<u8> {
        let subsystem = self.member.subsystem();
        let identity = subsystem.identity();
        let nqn = match self.kind() {
            Kind::Discovery => DISCOVERY_NQN,
            Kind::Io => &identity.nqn,
        };
        let state = self.state.borrow();
        let smallest = state.namespaces.list().iter().map(|namespace| compare_blocks(namespace.info())).min();
        page::controller(&ControllerFacts {
            id: self.controller().id(),
            kind: self.kind(),
            identity,
            nqn,
            capsule_bytes: self.surroundings.capsule_bytes,
            compare_blocks_max: smallest.unwrap_or_default(),
        })
    }

    fn list_page(&self, above: u32) -> Vec<u8> {
        page::list(self.state.borrow().namespaces.list().iter().map(Namespace::id), above)
    }

    /// A page about a namespace; zeroes where the id is possible but not in use.
    async fn namespace_page(
        &self,
        id: u32,
        page: impl FnOnce(&NamespaceFacts) -> Vec<u8>,
    ) -> Result<Vec<u8>, Status> {
        if id == 0 || is_every(id) || id > NAMESPACE_ID_MAX {
            return Err(Status::INVALID_NAMESPACE);
        }
        let (mut facts, volume) = {
            let mut state = self.state.borrow_mut();
            let Ok(namespace) = state.namespaces.find(id) else { return Ok(nothing()) };
            let keeps = self.member.subsystem().reservations().are_kept();
            let facts = facts(namespace, keeps);
            (facts, state.namespaces.reread(id).ok().cloned())
        };
        if let Some(OpenVolume { volume, blocks, .. }) = volume {
            (facts.ready, facts.blocks) = (true, blocks);
            facts.blocks_used = blocks_used(volume.as_ref(), blocks).await.unwrap_or(blocks);
        }
        Ok(page(&facts))
    }
}

fn nothing() -> Vec<u8> {
    vec![0; IDENTIFY_BYTES]
}

fn compare_blocks(info: &VolumeInfo) -> u32 {
    info.compare_bytes_max / LBA_BYTES as u32
}

fn facts(namespace: &Namespace, keeps_reservations: bool) -> NamespaceFacts {
    let info = namespace.info();
    let blocks = info.size_bytes / LBA_BYTES;
    NamespaceFacts {
        volume: info.id,
        blocks,
        blocks_used: blocks,
        compare_blocks_max: compare_blocks(info),
        ana_group: namespace.ana_group(),
        read_only: namespace.is_read_only(),
        keeps_reservations,
        ready: false,
    }
}
