//! Hosts and host groups of a document.

use quarry_api_types::{
    ChangeHost, ChangeHostGroup, CreateHost, CreateHostGroup, Name, StatedAction, StatedHost,
    StatedHostGroup, StatedKind,
};

use super::present::{self, version_of};
use super::{Planner, StateStep, Thing, list, without};

impl Planner<'_> {
    pub(super) fn hosts(&mut self) {
        // Who only loses something comes first: another host may get it.
        let mut others = Vec::new();
        for (index, stated) in self.wanted.hosts.iter().enumerate() {
            match self.host(index, stated) {
                Some(step @ StateStep::ChangeHost(..)) if loses_only(&step) => self.push(step),
                step => others.extend(step),
            }
        }
        self.out.steps.extend(others);
    }

    fn host(&mut self, index: usize, stated: &StatedHost) -> Option<StateStep> {
        let found = self.present.hosts.iter().find(|host| host.name == stated.name);
        let action = if found.is_some() { StatedAction::Change } else { StatedAction::Create };
        let mut thing = Thing::new(StatedKind::Host, index, &stated.name, action);
        let request = CreateHost {
            name: stated.name.clone(),
            initiators: stated.initiators.clone(),
            networks: stated.networks.clone(),
            chap: None,
        };
        if let Err(invalid) = request.check() {
            self.refuse(&thing, invalid.field, invalid.message);
        }
        let (initiators, networks) =
            found.map(|host| (host.initiators.clone(), host.networks.clone())).unwrap_or_default();
        let change = ChangeHost {
            add_initiators: without(&stated.initiators, &initiators),
            remove_initiators: without(&initiators, &stated.initiators),
            add_networks: without(&stated.networks, &networks),
            remove_networks: without(&networks, &stated.networks),
            ..ChangeHost::default()
        };
        for (what, items) in [
            ("initiators: + ", list(&change.add_initiators)),
            ("initiators: - ", list(&change.remove_initiators)),
            ("networks: + ", list(&change.add_networks)),
            ("networks: - ", list(&change.remove_networks)),
        ] {
            if !items.is_empty() {
                thing.what.push(format!("{what}{items}"));
            }
        }
        let version = found.and_then(|host| version_of(&present::host(host)));
        self.check_version(&thing, stated.version.as_ref(), version);
        let step = match found {
            None => Some(StateStep::CreateHost(request)),
            Some(_) if change != ChangeHost::default() => {
                Some(StateStep::ChangeHost(stated.name.clone(), change))
            }
            Some(_) => None,
        };
        self.done_with(thing);
        step
    }

    pub(super) fn host_groups(&mut self) {
        for (index, stated) in self.wanted.host_groups.iter().enumerate() {
            self.host_group(index, stated);
        }
    }

    fn host_group(&mut self, index: usize, stated: &StatedHostGroup) {
        let found = self.present.host_groups.iter().find(|group| group.name == stated.name);
        let action = if found.is_some() { StatedAction::Change } else { StatedAction::Create };
        let mut thing = Thing::new(StatedKind::HostGroup, index, &stated.name, action);
        let request = CreateHostGroup { name: stated.name.clone(), hosts: stated.hosts.clone() };
        if let Err(invalid) = request.check() {
            self.refuse(&thing, invalid.field, invalid.message);
        }
        let is_there = |name: &Name| {
            self.wanted.hosts.iter().any(|host| host.name == *name)
                || self.present.hosts.iter().any(|host| host.name == *name)
        };
        if let Some(stranger) = stated.hosts.iter().find(|name| !is_there(name)) {
            self.refuse(
                &thing,
                "hosts",
                format!("there is no host '{stranger}', and the document states none"),
            );
        }
        let hosts: Vec<Name> = found.map(|group| group.hosts.clone()).unwrap_or_default();
        let change =
            ChangeHostGroup { add: without(&stated.hosts, &hosts), remove: without(&hosts, &stated.hosts) };
        for (what, items) in [("join", &change.add), ("leave", &change.remove)] {
            if !items.is_empty() {
                thing.what.push(format!("hosts: {} {what}", list(items)));
            }
        }
        let version = found.and_then(|group| version_of(&present::host_group(group)));
        self.check_version(&thing, stated.version.as_ref(), version);
        match found {
            None => self.push(StateStep::CreateHostGroup(request)),
            Some(_) if !thing.what.is_empty() => {
                self.push(StateStep::ChangeHostGroup(stated.name.clone(), change))
            }
            Some(_) => {}
        }
        self.done_with(thing);
    }
}

fn loses_only(step: &StateStep) -> bool {
    matches!(step, StateStep::ChangeHost(_, change) if change.add_initiators.is_empty() && change.add_networks.is_empty())
}
