//! Host groups: made, shown, changed, ended. What is exported to a group is seen by whoever is in it.

use quarry_api_types::{
    ChangeHostGroup, CreateHostGroup, HOST_GROUP_HOSTS_MAX, HostGroup, HostGroupId, HostId, Name,
};
use quarry_catalog::{AudienceRecord, Change, ExportRecord, HostGroupRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_target::Audience;

use super::exports::{clash_error, path_of};
use super::host_table::{Clash, HostTable};
use super::hosts::{access_error, named_by};
use super::{DataNode, now};

/// Most host groups of a node.
const HOST_GROUPS_MAX: usize = 4096;

impl DataNode {
    pub(super) async fn make_host_group(&self, request: CreateHostGroup) -> Result<HostGroup> {
        request.check()?;
        let CreateHostGroup { name, hosts } = request;
        let record = {
            let table = self.hosts();
            if table.group(&name).is_ok() {
                return Err(NodeError::name_taken("host group", &name));
            }
            if table.groups.len() >= HOST_GROUPS_MAX {
                let what = format!("the node has {HOST_GROUPS_MAX} host groups, which is the most");
                return Err(NodeError::new(ErrorKind::NoSpace, what)
                    .with_next_step("Delete groups that are no longer needed; their hosts stay."));
            }
            let hosts = ids_of(&table, &hosts)?;
            HostGroupRecord { id: HostGroupId(uuid::Uuid::new_v4()), name, hosts, created: now() }
        };
        self.commit(vec![Change::PutHostGroup(record.clone())]).await?;
        let name = record.name.clone();
        self.hosts_mut().groups.insert(record.id, record);
        self.describe_host_group(&name).await
    }

    pub(super) async fn alter_host_group(&self, name: &Name, request: ChangeHostGroup) -> Result<HostGroup> {
        request.check()?;
        let exports = self.export_records()?;
        let (record, after) = {
            let table = self.hosts();
            let mut record = table.group(name)?.clone();
            let (add, gone) = (ids_of(&table, &request.add)?, ids_of(&table, &request.remove)?);
            check_members(&record, &request, &add, &gone)?;
            record.hosts.retain(|host| !gone.contains(host));
            record.hosts.extend(add);
            let mut after = table.clone();
            after.groups.insert(record.id, record.clone());
            (record, after)
        };
        for export in exports.iter().filter(|export| is_to_group(export, record.id)) {
            if let Some(clash) = after.clash(export, &exports) {
                return Err(group_clash(name, export, &clash));
            }
        }
        self.commit(vec![Change::PutHostGroup(record)]).await?;
        let audiences = self.audiences_that_change(&exports, &after);
        *self.hosts_mut() = after;
        self.access.set_audiences(audiences).map_err(|error| access_error(&error))?;
        self.describe_host_group(name).await
    }

    /// The exports that are served and that others see once the hosts are as in `after`.
    pub(super) fn audiences_that_change(
        &self,
        exports: &[ExportRecord],
        after: &HostTable,
    ) -> Vec<(String, Audience)> {
        let changed = |record: &ExportRecord| {
            let mapping = self.access.mapping(&record.id.to_string())?;
            let audience = after.audience(record);
            (mapping.audience != audience).then(|| (mapping.export.clone(), audience))
        };
        exports.iter().filter_map(changed).collect()
    }

    pub(super) async fn end_host_group(&self, name: &Name) -> Result<()> {
        let id = self.hosts().group(name)?.id;
        if let Some(record) = self.export_records()?.iter().find(|export| is_to_group(export, id)) {
            return Err(named_by("host group", name, record));
        }
        self.commit(vec![Change::DeleteHostGroup(id)]).await?;
        self.hosts_mut().groups.remove(&id);
        Ok(())
    }

    pub(super) async fn describe_host_groups(&self) -> Result<Vec<HostGroup>> {
        let exports = self.export_records()?;
        let table = self.hosts();
        let mut groups: Vec<HostGroup> =
            table.groups.values().map(|record| in_words(&table, record, &exports)).collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    pub(super) async fn describe_host_group(&self, name: &Name) -> Result<HostGroup> {
        let exports = self.export_records()?;
        let table = self.hosts();
        Ok(in_words(&table, table.group(name)?, &exports))
    }
}

fn in_words(table: &HostTable, record: &HostGroupRecord, exports: &[ExportRecord]) -> HostGroup {
    HostGroup {
        id: record.id,
        name: record.name.clone(),
        hosts: table.names(&record.hosts),
        exports: exports.iter().filter(|export| is_to_group(export, record.id)).count() as u64,
        created: record.created,
    }
}

fn is_to_group(export: &ExportRecord, group: HostGroupId) -> bool {
    export.audience == Some(AudienceRecord::HostGroup(group))
}

fn ids_of(table: &HostTable, names: &[Name]) -> Result<Vec<HostId>> {
    names.iter().map(|name| table.host(name).map(|host| host.id)).collect()
}

fn check_members(
    record: &HostGroupRecord,
    request: &ChangeHostGroup,
    add: &[HostId],
    gone: &[HostId],
) -> Result<()> {
    let name = &record.name;
    let show = format!("`quarry host group show {name}` shows which are.");
    if let Some((stranger, _)) = request.remove.iter().zip(gone).find(|(_, id)| !record.hosts.contains(id)) {
        let what = format!("host '{stranger}' is not in host group '{name}'");
        return Err(NodeError::new(ErrorKind::NotFound, what).with_next_step(show));
    }
    if let Some((known, _)) = request.add.iter().zip(add).find(|(_, id)| record.hosts.contains(id)) {
        let what = format!("host '{known}' is in host group '{name}' already");
        return Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(show));
    }
    let count = record.hosts.len() + add.len() - gone.len();
    if count > HOST_GROUP_HOSTS_MAX {
        let what = format!("add: host group '{name}' would have {count} hosts");
        return Err(NodeError::new(ErrorKind::Contradictory, what)
            .with_next_step(format!("A group has {HOST_GROUP_HOSTS_MAX} at most.")));
    }
    Ok(())
}

fn group_clash(group: &Name, export: &ExportRecord, clash: &Clash<'_>) -> NodeError {
    let error = clash_error(clash);
    let what =
        format!("host group '{group}' is exported '{}', which the new hosts cannot see", path_of(export));
    let next_step = error.next_step.clone();
    NodeError::new(ErrorKind::Conflict, what).caused_by(&error).with_next_step(next_step)
}
