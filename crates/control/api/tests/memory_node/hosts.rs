//! Hosts, host groups and what is exported to them, of the node in memory.

use quarry_api_types::*;
use quarry_node_api::{ErrorKind, NodeError, Result};

use super::{State, things};

/// A host and the secrets that it was given, for tests that look for them where they must not be.
pub struct KnownHost {
    pub shown: Host,
    pub chap: Option<Chap>,
}

impl State {
    pub fn host(&mut self, name: &Name) -> Result<&mut KnownHost> {
        let found = self.hosts.iter_mut().find(|host| host.shown.name == *name);
        found.ok_or_else(|| NodeError::not_found("host", name))
    }

    pub fn host_group(&mut self, name: &Name) -> Result<&mut HostGroup> {
        let found = self.host_groups.iter_mut().find(|group| group.name == *name);
        found.ok_or_else(|| NodeError::not_found("host group", name))
    }

    fn check_initiators(&self, own: Option<&Name>, initiators: &[InitiatorName]) -> Result<()> {
        for host in self.hosts.iter().filter(|host| Some(&host.shown.name) != own) {
            if let Some(name) = initiators.iter().find(|name| host.shown.initiators.contains(name)) {
                let message = format!("initiator '{name}' belongs to host '{}'", host.shown.name);
                return Err(NodeError::new(ErrorKind::Conflict, message));
            }
        }
        Ok(())
    }

    pub fn create_host(&mut self, request: CreateHost) -> Result<Host> {
        if self.host(&request.name).is_ok() {
            return Err(NodeError::name_taken("host", &request.name));
        }
        self.check_initiators(None, &request.initiators)?;
        let CreateHost { name, initiators, networks, chap } = request;
        let shown = Host {
            id: HostId::from_random(self.id()),
            name,
            initiators,
            networks,
            chap: chap.as_ref().map(Chap::shown),
            groups: vec![],
            exports: 0,
            sessions: 0,
            created: Timestamp::from_unix_ms(super::NOW_MS),
        };
        self.hosts.push(KnownHost { shown: shown.clone(), chap });
        self.hosts.sort_by(|a, b| a.shown.name.cmp(&b.shown.name));
        Ok(shown)
    }

    pub fn change_host(&mut self, name: &Name, request: ChangeHost) -> Result<Host> {
        let mut changed = self.host(name)?.shown.clone();
        let mut strangers: Vec<String> = Vec::new();
        let initiators = request.remove_initiators.iter().filter(|out| !changed.initiators.contains(out));
        strangers.extend(initiators.map(ToString::to_string));
        let networks = request.remove_networks.iter().filter(|out| !changed.networks.contains(out));
        strangers.extend(networks.map(ToString::to_string));
        if let Some(stranger) = strangers.first() {
            let message = format!("host '{name}' has no '{stranger}'");
            return Err(NodeError::new(ErrorKind::NotFound, message));
        }
        changed.initiators.retain(|initiator| !request.remove_initiators.contains(initiator));
        changed.networks.retain(|network| !request.remove_networks.contains(network));
        self.check_initiators(Some(name), &request.add_initiators)?;
        changed.initiators.extend(request.add_initiators);
        changed.networks.extend(request.add_networks);
        check_somebody(&changed.initiators, &changed.networks)?;
        let host = self.host(name)?;
        if request.chap.is_some() || request.remove_chap {
            changed.chap = request.chap.as_ref().map(Chap::shown);
            host.chap = request.chap;
        }
        host.shown = changed.clone();
        Ok(changed)
    }

    pub fn delete_host(&mut self, name: &Name) -> Result<()> {
        self.host(name)?;
        if let Some(export) = self.exports.iter().find(|export| export.host.as_ref() == Some(name)) {
            let message = format!("host '{name}' is named by export {} of '{}'", export.id, export.path());
            return Err(NodeError::new(ErrorKind::InUse, message));
        }
        self.hosts.retain(|host| host.shown.name != *name);
        self.host_groups.iter_mut().for_each(|group| group.hosts.retain(|host| host != name));
        self.refresh();
        Ok(())
    }

    pub fn create_host_group(&mut self, request: CreateHostGroup) -> Result<HostGroup> {
        if self.host_group(&request.name).is_ok() {
            return Err(NodeError::name_taken("host group", &request.name));
        }
        request.hosts.iter().try_for_each(|name| self.host(name).map(drop))?;
        let CreateHostGroup { name, hosts } = request;
        let id = HostGroupId::from_random(self.id());
        let created = Timestamp::from_unix_ms(super::NOW_MS);
        let group = HostGroup { id, name, hosts, exports: 0, created };
        self.host_groups.push(group.clone());
        self.host_groups.sort_by(|a, b| a.name.cmp(&b.name));
        self.refresh();
        Ok(group)
    }

    pub fn change_host_group(&mut self, name: &Name, request: ChangeHostGroup) -> Result<HostGroup> {
        let mut changed = self.host_group(name)?.clone();
        request.add.iter().try_for_each(|name| self.host(name).map(drop))?;
        if let Some(stranger) = request.remove.iter().find(|out| !changed.hosts.contains(out)) {
            let message = format!("host '{stranger}' is not in host group '{name}'");
            return Err(NodeError::new(ErrorKind::NotFound, message));
        }
        if let Some(known) = request.add.iter().find(|host| changed.hosts.contains(host)) {
            let message = format!("host '{known}' is in host group '{name}' already");
            return Err(NodeError::new(ErrorKind::Conflict, message));
        }
        changed.hosts.retain(|host| !request.remove.contains(host));
        changed.hosts.extend(request.add);
        *self.host_group(name)? = changed.clone();
        self.refresh();
        Ok(changed)
    }

    pub fn delete_host_group(&mut self, name: &Name) -> Result<()> {
        self.host_group(name)?;
        if let Some(export) = self.exports.iter().find(|export| export.host_group.as_ref() == Some(name)) {
            let message =
                format!("host group '{name}' is named by export {} of '{}'", export.id, export.path());
            return Err(NodeError::new(ErrorKind::InUse, message));
        }
        self.host_groups.retain(|group| group.name != *name);
        self.refresh();
        Ok(())
    }

    /// Groups of hosts, and who is named by how many exports.
    pub fn refresh_hosts(&mut self) {
        let count = |is_named: &dyn Fn(&Export) -> bool| {
            self.exports.iter().filter(|export| is_named(export)).count() as u64
        };
        for group in &mut self.host_groups {
            group.exports = count(&|export| export.host_group.as_ref() == Some(&group.name));
        }
        for KnownHost { shown, .. } in &mut self.hosts {
            let groups = self.host_groups.iter().filter(|group| group.hosts.contains(&shown.name));
            shown.groups = groups.map(|group| group.name.clone()).collect();
            shown.exports = count(&|export| {
                let by_group = export.host_group.as_ref().is_some_and(|group| shown.groups.contains(group));
                by_group || export.host.as_ref() == Some(&shown.name)
            });
        }
    }

    /// Whether two exports are for the same people, as far as their words go.
    fn meet(one: &Export, other: &CreateExport) -> bool {
        let is_public = |host: &Option<Name>, group: &Option<Name>| host.is_none() && group.is_none();
        is_public(&one.host, &one.host_group)
            || is_public(&other.host, &other.host_group)
            || (&one.host, &one.host_group) == (&other.host, &other.host_group)
    }

    pub fn create_export(&mut self, mut request: CreateExport) -> Result<Export> {
        let (volume_id, path) = (self.volume(&request.volume)?.id, request.path());
        if let Some(snapshot) = request.snapshot.clone() {
            self.snapshot(&SnapshotPath { volume: request.volume.clone(), snapshot })?;
        }
        request.host.clone().map_or(Ok(()), |name| self.host(&name).map(drop))?;
        request.host_group.clone().map_or(Ok(()), |name| self.host_group(&name).map(drop))?;
        let theirs: Vec<&Export> = self
            .exports
            .iter()
            .filter(|export| export.protocol == request.protocol && Self::meet(export, &request))
            .collect();
        if let Some(export) = theirs.iter().find(|export| export.path() == path) {
            let message =
                format!("'{path}' is served over {} already, by export {}", request.protocol, export.id);
            return Err(NodeError::new(ErrorKind::Conflict, message));
        }
        let is_free = |number: u32| theirs.iter().all(|export| export.number != Some(number));
        match (request.protocol, request.number) {
            (Protocol::Nbd | Protocol::VhostUser, _) => {}
            (_, Some(number)) if is_free(number) => {}
            (_, Some(number)) => {
                return Err(NodeError::new(ErrorKind::Conflict, format!("number {number} is taken")));
            }
            (protocol, None) => {
                let first = u32::from(protocol == Protocol::NvmeTcp);
                request.number = (first..).find(|&number| is_free(number));
            }
        }
        let export = things::export(self.id(), volume_id, request);
        self.exports.push(export.clone());
        self.exports.sort_by_key(|export| (export.path(), export.protocol, export.number));
        self.refresh();
        Ok(export)
    }

    pub fn show_exports(&self, selector: &ExportSelector) -> Result<Vec<Export>> {
        let selected: Vec<Export> =
            self.exports.iter().filter(|export| is_selected(selector, export)).cloned().collect();
        match selected.is_empty() {
            true => Err(NodeError::not_found("export", selector)),
            false => Ok(selected),
        }
    }

    pub fn delete_export(&mut self, selector: &ExportSelector, force: bool) -> Result<()> {
        let selected = self.show_exports(selector)?;
        if !force && selected.iter().any(|export| export.sessions > 0) {
            let error = NodeError::new(ErrorKind::InUse, format!("export '{selector}' has a client"));
            return Err(error.with_next_step("Disconnect it first, or add --force."));
        }
        self.exports.retain(|export| !is_selected(selector, export));
        self.refresh();
        Ok(())
    }
}

fn is_selected(selector: &ExportSelector, export: &Export) -> bool {
    match selector {
        ExportSelector::Id(id) => export.id == *id,
        ExportSelector::Volume(name) => export.volume == *name && export.snapshot.is_none(),
        ExportSelector::Snapshot(path) => export.path() == VolumePath::from(path.clone()),
    }
}
