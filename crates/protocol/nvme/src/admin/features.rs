//! Get Features and Set Features.

use super::{AdminQueue, State};
use crate::controller::Kind;
use crate::events::{DISCOVERY_EVENTS, IO_EVENTS};
use crate::feature::{HOST_BEHAVIOR_BYTES, features_of};
use crate::limits::KEEP_ALIVE_UNIT;
use crate::namespaces::{Namespace, is_every};
use crate::outcome::Outcome;
use crate::transfer::Transfer;
use quarry_nvme_wire::Command;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::feature;

/// Bytes of a host identifier.
const HOST_ID_BYTES: u32 = 16;
/// Events about health, which nothing here raises: a host may configure them all the same.
const HEALTH_EVENTS: u32 = 0xFF;

/// Notifications that can be masked: registration preempted, reservation released, reservation preempted.
const RESERVATION_MASK_BITS: u32 = 1 << 1 | 1 << 2 | 1 << 3;

/// What a Set Features brings.
pub(super) fn set_transfer(command: &Command) -> Result<Transfer, Status> {
    Ok(match command.dword(10) as u8 {
        feature::HOST_BEHAVIOR => Transfer::FromHost(HOST_BEHAVIOR_BYTES as u32),
        _ => Transfer::None,
    })
}

/// What a Get Features returns.
pub(super) fn get_transfer(command: &Command) -> Result<Transfer, Status> {
    Ok(match command.dword(10) as u8 {
        feature::HOST_BEHAVIOR => Transfer::ToHost(HOST_BEHAVIOR_BYTES as u32),
        // Over fabrics there are only identifiers of 128 bits.
        feature::HOST_ID if command.dword(11) & 1 == 0 => return Err(Status::HOST_ID_INCONSISTENT),
        feature::HOST_ID => Transfer::ToHost(HOST_ID_BYTES),
        _ => Transfer::None,
    })
}

impl AdminQueue {
    pub(super) fn set_feature(&self, command: &Command, data: &[u8]) -> Result<Outcome, Status> {
        let (feature, value) = (command.dword(10) as u8, command.dword(11));
        if !features_of(self.kind()).contains(&feature) {
            return Err(Status::INVALID_FIELD);
        }
        if command.dword(10) & 1 << 31 != 0 {
            return Err(Status::NOT_SAVEABLE);
        }
        let mut state = self.state.borrow_mut();
        if let Some(kept) = state.kept.set(feature, value) {
            return kept.map(|()| Outcome::done());
        }
        match feature {
            feature::WRITE_CACHE => self.controller().set_write_cache(value & 1 != 0),
            feature::QUEUES => return self.set_queues(value),
            feature::EVENTS => self.events.configure(value & (self.offered_events() | HEALTH_EVENTS)),
            feature::KEEP_ALIVE => state.keep_alive_ms = rounded_up(value),
            feature::HOST_BEHAVIOR => state.kept.host_behavior.copy_from_slice(data),
            feature::RESERVATION_MASK => {
                let State { namespaces, notifications, .. } = &mut *state;
                if !is_every(command.namespace()) {
                    namespaces.find(command.namespace())?;
                }
                let all = namespaces.list().iter().map(Namespace::id);
                notifications.set_mask(command.namespace(), all, value & RESERVATION_MASK_BITS);
            }
            // It is changed by those who register (CPTPL).
            feature::RESERVATION_PERSISTENCE => return Err(Status::NOT_CHANGEABLE),
            // Over fabrics it was said at Connect, once and for all.
            feature::HOST_ID => return Err(Status::COMMAND_SEQUENCE),
            _ => return Err(Status::INVALID_FIELD),
        }
        Ok(Outcome::done())
    }

    pub(super) fn get_feature(&self, command: &Command) -> Result<Outcome, Status> {
        let (feature, argument) = (command.dword(10) as u8, command.dword(11));
        // Nothing is saved, so there is nothing to select.
        if !features_of(self.kind()).contains(&feature) || command.dword(10) >> 8 & 7 != 0 {
            return Err(Status::INVALID_FIELD);
        }
        let state = self.state.borrow();
        if let Some(value) = state.kept.get(feature, argument) {
            return Ok(Outcome::result(value.into()));
        }
        let value = match feature {
            feature::WRITE_CACHE => u32::from(self.controller().has_write_cache()),
            feature::QUEUES => queues(self.controller().queues_granted()),
            feature::EVENTS => self.events.configuration(),
            feature::KEEP_ALIVE => state.keep_alive_ms,
            feature::HOST_BEHAVIOR => {
                return Ok(Outcome::page(&self.surroundings.buffers, &state.kept.host_behavior));
            }
            feature::RESERVATION_MASK => {
                state.namespaces.find(command.namespace())?;
                state.notifications.mask(command.namespace())
            }
            feature::RESERVATION_PERSISTENCE => {
                let namespace = state.namespaces.find(command.namespace())?;
                u32::from(namespace.member.reservations().state().persists)
            }
            feature::HOST_ID => {
                return Ok(Outcome::page(&self.surroundings.buffers, &self.controller().host().id));
            }
            _ => return Err(Status::INVALID_FIELD),
        };
        Ok(Outcome::result(value.into()))
    }

    fn offered_events(&self) -> u32 {
        match self.kind() {
            Kind::Io => IO_EVENTS,
            Kind::Discovery => DISCOVERY_EVENTS,
        }
    }

    fn set_queues(&self, value: u32) -> Result<Outcome, Status> {
        let (submission, completion) = (value as u16, (value >> 16) as u16);
        let wanted = submission.min(completion).checked_add(1);
        let both = submission.max(completion) < u16::MAX;
        let wanted = wanted.filter(|_| both).ok_or(Status::INVALID_FIELD)?;
        self.controller().grant_queues(wanted).map(|granted| Outcome::result(queues(granted).into()))
    }
}

/// Numbers of queues as they are told: one less, for submission and completion.
fn queues(granted: u16) -> u32 {
    let told = u32::from(granted) - 1;
    told | told << 16
}

/// A keep-alive time-out in whole units.
fn rounded_up(milliseconds: u32) -> u32 {
    let unit = KEEP_ALIVE_UNIT.as_millis() as u32;
    milliseconds.div_ceil(unit).saturating_mul(unit)
}
