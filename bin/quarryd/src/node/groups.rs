//! Consistency groups: made, shown, changed, ended. What they are for is in `group_snapshots`.
//!
//! Which volumes are in a group is in the catalog; which volumes there are is on the pools' devices, and the two are not changed
//! together. So a member that is in no open pool although its own is open is gone, and counts no more, whether the catalog has
//! been told or not; ids are never used again.

use std::collections::BTreeMap;

use quarry_api_types::{ChangeGroup, CreateGroup, GROUP_VOLUMES_MAX, Group, GroupId, Name};
use quarry_catalog::{AttachmentKey, Change, GroupRecord, MemberRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::VolumeId;

use super::volumes::{FoundVolume, parse_name};
use super::{DataNode, now};

/// Most groups of a node.
const GROUPS_MAX: usize = 4096;

/// A volume of a group as it is now.
pub(super) struct Member {
    pub(super) name: Name,
    pub(super) record: MemberRecord,
    /// `None` while its pool is offline.
    pub(super) found: Option<FoundVolume>,
}

impl DataNode {
    pub(super) fn group_records(&self) -> Vec<GroupRecord> {
        let groups = self.groups.read().expect("nobody panics with this lock: a panic ends the process");
        groups.values().cloned().collect()
    }

    pub(super) fn group_record(&self, name: &Name) -> Result<GroupRecord> {
        let found = self.group_records().into_iter().find(|record| record.name == *name);
        found.ok_or_else(|| NodeError::not_found("group", name))
    }

    /// The group of each volume that is in one.
    pub(super) fn groups_by_volume(&self) -> BTreeMap<VolumeId, Name> {
        let groups = self.groups.read().expect("nobody panics with this lock: a panic ends the process");
        let members = |record: &GroupRecord| {
            let ids: Vec<VolumeId> = record.members.iter().map(|member| member.volume_id).collect();
            ids.into_iter().map(|id| (id, record.name.clone())).collect::<Vec<_>>()
        };
        groups.values().flat_map(members).collect()
    }

    /// The volumes of a group that are not gone, by the names that they have now.
    pub(super) fn members(&self, record: &GroupRecord, volumes: &[FoundVolume]) -> Result<Vec<Member>> {
        let pools = self.pools();
        let is_offline =
            |member: &MemberRecord| pools.get(&member.pool_id).is_some_and(|pool| pool.opened.is_err());
        let mut members = Vec::with_capacity(record.members.len());
        for member in &record.members {
            let found = volumes.iter().find(|volume| volume.status.id == member.volume_id).cloned();
            let name = match &found {
                Some(volume) => parse_name(&volume.status.name)?,
                None if is_offline(member) => member.volume.clone(),
                None => continue,
            };
            let record = MemberRecord { volume: name.clone(), ..member.clone() };
            members.push(Member { name, record, found });
        }
        Ok(members)
    }

    async fn save_group(&self, record: GroupRecord) -> Result<()> {
        self.commit(vec![Change::PutGroup(record.clone())]).await?;
        let mut groups = self.groups.write().expect("nobody panics with this lock: a panic ends the process");
        groups.insert(record.id, record);
        Ok(())
    }

    pub(super) async fn make_group(&self, request: CreateGroup) -> Result<Group> {
        request.check()?;
        let CreateGroup { name, volumes, qos } = request;
        let qos = qos.filter(|qos| !qos.is_empty());
        self.check_new_group_name(&name)?;
        if self.group_records().len() >= GROUPS_MAX {
            let what = format!("the node has {GROUPS_MAX} groups, which is the most");
            return Err(NodeError::new(ErrorKind::NoSpace, what)
                .with_next_step("Delete groups that are no longer needed; their volumes stay."));
        }
        let all = self.volumes_of(None).await?;
        let members = self.joining(&volumes, &all)?;
        let id = GroupId(uuid::Uuid::new_v4());
        let record = GroupRecord { id, name, members, qos, created: now() };
        self.save_group(record.clone()).await?;
        self.in_words_of_group(&record, &all)
    }

    fn check_new_group_name(&self, name: &Name) -> Result<()> {
        match self.group_record(name) {
            Ok(_) => Err(NodeError::name_taken("group", name)),
            Err(_) => Ok(()),
        }
    }

    /// Volumes that are in no group, as members of one.
    fn joining(&self, names: &[Name], all: &[FoundVolume]) -> Result<Vec<MemberRecord>> {
        let groups = self.groups_by_volume();
        let mut joining = Vec::with_capacity(names.len());
        for name in names {
            let found = all.iter().find(|volume| volume.status.name == name.as_str());
            let found = found.ok_or_else(|| self.no_volume(name))?;
            self.check_at_rest(found.status.id, name.as_str())?;
            if let Some(group) = groups.get(&found.status.id) {
                let what = format!("volume '{name}' is in group '{group}' already");
                return Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(format!(
                    "A volume is in one group at most: `quarry group remove {group} {name}` takes it out."
                )));
            }
            let (volume_id, pool_id) = (found.status.id, found.pool);
            joining.push(MemberRecord { volume_id, volume: name.clone(), pool_id });
        }
        Ok(joining)
    }

    pub(super) async fn describe_groups(&self) -> Result<Vec<Group>> {
        let all = self.volumes_of(None).await?;
        let mut records = self.group_records();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records.iter().map(|record| self.in_words_of_group(record, &all)).collect()
    }

    pub(super) async fn describe_group(&self, name: &Name) -> Result<Group> {
        let record = self.group_record(name)?;
        self.in_words_of_group(&record, &self.volumes_of(None).await?)
    }

    fn in_words_of_group(&self, record: &GroupRecord, all: &[FoundVolume]) -> Result<Group> {
        let members = self.members(record, all)?;
        let offline = members.iter().filter(|member| member.found.is_none());
        Ok(Group {
            id: record.id,
            name: record.name.clone(),
            offline_volumes: offline.map(|member| member.name.clone()).collect(),
            volumes: members.into_iter().map(|member| member.name).collect(),
            qos: record.qos.clone(),
            created: record.created,
        })
    }

    pub(super) async fn alter_group(&self, name: &Name, request: ChangeGroup) -> Result<Group> {
        request.check()?;
        let ChangeGroup { name: new_name, add, remove, qos } = request;
        let mut record = self.group_record(name)?;
        if let Some(new_name) = new_name.filter(|new_name| new_name != name) {
            self.check_new_group_name(&new_name)?;
            record.name = new_name;
        }
        let all = self.volumes_of(None).await?;
        let members = self.members(&record, &all)?;
        if let Some(stranger) = remove.iter().find(|out| members.iter().all(|member| member.name != **out)) {
            let what = format!("volume '{stranger}' is not in group '{name}'");
            return Err(NodeError::new(ErrorKind::NotFound, what)
                .with_next_step(format!("`quarry group show {name}` shows which are.")));
        }
        let staying = members.into_iter().filter(|member| !remove.contains(&member.name));
        if let Some(qos) = qos {
            record.qos = Some(qos).filter(|qos| !qos.is_empty());
        }
        record.members = staying.map(|member| member.record).collect();
        record.members.extend(self.joining(&add, &all)?);
        if record.members.len() > GROUP_VOLUMES_MAX {
            let what = format!("add: group '{name}' would have {} volumes", record.members.len());
            return Err(NodeError::new(ErrorKind::Contradictory, what)
                .with_next_step(format!("A group has {GROUP_VOLUMES_MAX} at most.")));
        }
        self.save_group(record.clone()).await?;
        self.in_words_of_group(&record, &all)
    }

    pub(super) async fn end_group(&self, name: &Name) -> Result<()> {
        let id = self.group_record(name)?.id;
        let attachment = AttachmentKey::Group(id);
        self.commit(vec![Change::DeleteGroup(id), Change::DeleteAttachment(attachment)]).await?;
        self.policy_table_mut().attachments.remove(&attachment);
        self.groups.write().expect("nobody panics with this lock: a panic ends the process").remove(&id);
        Ok(())
    }

    /// Brings the record of a volume's group up to date: under `name` from now on, or without a volume that is gone. The volume
    /// has been changed already; a record that stays behind is made up for whenever it is read.
    pub(super) async fn update_group_of(&self, volume: VolumeId, name: Option<&Name>) {
        let is_in = |record: &GroupRecord| record.members.iter().any(|member| member.volume_id == volume);
        let Some(mut record) = self.group_records().into_iter().find(is_in) else { return };
        record.members.retain_mut(|member| match name {
            Some(name) if member.volume_id == volume => {
                member.volume = name.clone();
                true
            }
            _ => member.volume_id != volume,
        });
        let group = record.name.clone();
        if let Err(error) = self.save_group(record).await {
            tracing::warn!(%group, %error, "the catalog has a former name of a volume of this group, or one that is gone");
        }
    }
}
