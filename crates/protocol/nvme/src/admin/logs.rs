//! Get Log Page, with the facts that the pages are made of.

use std::collections::BTreeMap;

use super::AdminQueue;
use crate::events::Event;
use crate::limits::NAMESPACES_MAX;
use crate::log::{self as page, LogRequest};
use crate::namespaces::is_every;
use crate::outcome::Outcome;
use quarry_nvme_wire::Command;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::log;

/// LSP of the ANA log: groups without their namespaces.
const GROUPS_ONLY: u8 = 1;

impl AdminQueue {
    pub(super) fn log_page(&self, command: &Command) -> Result<Outcome, Status> {
        let request = LogRequest::decode(command)?;
        if !page::logs_of(self.kind()).contains(&request.log) {
            return Err(Status::INVALID_LOG_PAGE);
        }
        // No namespace has a health of its own (LPA bit 0).
        if request.log == log::HEALTH && command.namespace() != 0 && !is_every(command.namespace()) {
            return Err(Status::INVALID_FIELD);
        }
        let section = page::section(self.whole_page(&request), &request)?;
        if !request.retain {
            self.events.was_read(request.log);
            if request.log == log::CHANGED_NAMESPACES {
                self.state.borrow_mut().changed.clear();
            }
            if request.log == log::RESERVATIONS && !self.state.borrow().notifications.is_empty() {
                self.events.raise(Event::Reservation);
            }
        }
        Ok(Outcome::page(&self.surroundings.buffers, &section))
    }

    fn whole_page(&self, request: &LogRequest) -> Vec<u8> {
        let (kind, controller) = (self.kind(), self.controller());
        match request.log {
            log::SUPPORTED => page::supported(kind),
            log::ERRORS => page::errors(&controller.errors().0),
            log::HEALTH => page::health(controller.traffic(), controller.errors().1),
            log::FIRMWARE => page::firmware(&self.member.subsystem().identity().firmware),
            log::CHANGED_NAMESPACES => self.changed_page(),
            log::COMMAND_EFFECTS => page::command_effects(kind),
            log::ANA => self.ana_page(request.specific & GROUPS_ONLY != 0),
            log::FEATURE_EFFECTS => page::feature_effects(kind),
            log::DISCOVERY => self.discovery_page(),
            log::RESERVATIONS => self.state.borrow_mut().notifications.page(request.retain),
            log => unreachable!("log page {log:#x} is not in the list"),
        }
    }

    fn changed_page(&self) -> Vec<u8> {
        let state = self.state.borrow();
        let changed: Vec<u32> = state.changed.iter().copied().take(NAMESPACES_MAX + 1).collect();
        page::changed_namespaces(&changed)
    }

    fn ana_page(&self, groups_only: bool) -> Vec<u8> {
        let state = self.state.borrow();
        let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for namespace in state.namespaces.list() {
            groups.entry(namespace.ana_group()).or_default().push(namespace.id());
        }
        let groups: Vec<_> = groups.into_iter().collect();
        page::ana(&groups, state.ana_changes, groups_only)
    }

    fn discovery_page(&self) -> Vec<u8> {
        let subsystem = self.member.subsystem();
        let view = subsystem.view(self.controller().host());
        let nqn = (!view.units.is_empty()).then_some(subsystem.identity().nqn.as_str());
        page::discovery(nqn, &subsystem.addresses(self.surroundings.portal), view.generation)
    }
}
