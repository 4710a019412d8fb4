//! Snapshots of consistency groups: taken, shown, deleted, gone back to.
//!
//! What belongs together is on the pools' devices and nowhere else: the snapshots of one name and one set (`snapshot_sets`) that
//! the volumes of a group have. So nothing can disagree with it, and a group that is made anew finds its snapshots.
//!
//! Deleting and rolling back touch several logs, which do not commit together. Both check everything first and then go from volume
//! to volume; what was cut off is completed by asking for it again.

use std::collections::BTreeMap;

use quarry_api_types::{CreateSnapshot, Group, GroupSnapshot, Name, RollBackVolume, Snapshot, SnapshotPath};
use quarry_catalog::GroupRecord;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::SnapshotSetId;

use super::DataNode;
use super::groups::Member;

/// Snapshots of a group that belong together.
type Together = BTreeMap<(SnapshotSetId, Name), Vec<Snapshot>>;

impl DataNode {
    pub(super) async fn make_group_snapshot(
        &self,
        group: &Name,
        request: CreateSnapshot,
    ) -> Result<GroupSnapshot> {
        let members = self.members_online(&self.group_record(group)?).await?;
        if members.is_empty() {
            let what = format!("group '{group}' has no volumes: there is nothing to take a snapshot of");
            return Err(NodeError::new(ErrorKind::Conflict, what)
                .with_next_step(format!("Add some first: `quarry group add {group} VOLUME...`.")));
        }
        let volumes: Vec<Name> = members.into_iter().map(|member| member.name).collect();
        let taken = self.take_set(request.name, &volumes, request.locked_until).await?;
        in_words(&volumes, &taken)
            .ok_or_else(|| NodeError::new(ErrorKind::Internal, "the snapshots of a group are of no set"))
    }

    /// The volumes of a group, all of which are there.
    async fn members_online(&self, record: &GroupRecord) -> Result<Vec<Member>> {
        let members = self.members(record, &self.volumes_of(None).await?)?;
        match members.iter().find(|member| member.found.is_none()) {
            None => Ok(members),
            Some(member) => {
                let what = format!("volume '{}' of group '{}' is offline", member.name, record.name);
                Err(NodeError::new(ErrorKind::Unavailable, what).with_next_step(format!(
                    "Bring its pool back, or take it out: `quarry group remove {} {}`.",
                    record.name, member.name
                )))
            }
        }
    }

    pub(super) async fn describe_group_snapshots(&self, group: &Name) -> Result<Vec<GroupSnapshot>> {
        let members = self.members(&self.group_record(group)?, &self.volumes_of(None).await?)?;
        let mut together = Together::new();
        for volume in members.iter().filter_map(|member| member.found.as_ref()) {
            for snapshot in self.snapshots_of(volume).await? {
                if let Some(set) = snapshot.set_id {
                    together.entry((set, snapshot.name.clone())).or_default().push(snapshot);
                }
            }
        }
        let volumes: Vec<Name> = members.into_iter().map(|member| member.name).collect();
        let mut all: Vec<GroupSnapshot> =
            together.values().filter_map(|snapshots| in_words(&volumes, snapshots)).collect();
        all.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(all)
    }

    /// The snapshots of that name that volumes of a group have, all of one set.
    async fn snapshots_of_group(
        &self,
        group: &Name,
        members: &[Member],
        name: &Name,
    ) -> Result<Vec<Snapshot>> {
        let mut found = Vec::with_capacity(members.len());
        for member in members {
            let path = SnapshotPath { volume: member.name.clone(), snapshot: name.clone() };
            match self.describe_snapshot(&path).await {
                Ok(snapshot) => found.push(snapshot),
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let Some(first) = found.first() else {
            let what = format!("group '{group}' has no snapshot '{name}'");
            return Err(NodeError::new(ErrorKind::NotFound, what)
                .with_next_step(format!("`quarry group snapshot-list {group}` shows what exists.")));
        };
        let stranger = found.iter().find(|other| other.set_id.is_none() || other.set_id != first.set_id);
        match stranger {
            None => Ok(found),
            Some(stranger) => {
                let what = format!("the snapshots '{name}' of group '{group}' are not of one point in time");
                let (one, other) = (first.path(), stranger.path());
                Err(NodeError::new(ErrorKind::Conflict, what)
                    .with_cause(format!("'{one}' and '{other}' were not taken together"))
                    .with_next_step("Rename or delete the one that does not belong to the others."))
            }
        }
    }

    pub(super) async fn end_group_snapshot(&self, group: &Name, name: &Name) -> Result<()> {
        let members = self.members_online(&self.group_record(group)?).await?;
        let found = self.snapshots_of_group(group, &members, name).await?;
        let told = |what: String| format!("snapshot '{name}' of group '{group}' was not deleted: {what}");
        if let Some((snapshot, until)) = found.iter().find_map(|one| Some((one, one.locked_until?))) {
            let what = told(format!("'{}' is locked until {until}", snapshot.path()));
            return Err(NodeError::new(ErrorKind::Conflict, what)
                .with_next_step("Wait until then: a lock can be prolonged, but not shortened."));
        }
        for snapshot in &found {
            self.check_snapshot_unexported(&snapshot.path())?;
        }
        for (done, snapshot) in found.iter().enumerate() {
            let deleted = self.end_snapshot(&snapshot.path()).await;
            deleted.map_err(|error| cut_off(error, done, "of its snapshots were deleted"))?;
        }
        Ok(())
    }

    pub(super) async fn roll_group_back(&self, group: &Name, name: &Name) -> Result<Group> {
        let members = self.members_online(&self.group_record(group)?).await?;
        let found = self.snapshots_of_group(group, &members, name).await?;
        let lacks = |member: &&Member| found.iter().all(|snapshot| snapshot.volume != member.name);
        if let Some(member) = members.iter().find(lacks) {
            let what =
                format!("group '{group}' was not rolled back: '{}@{name}' does not exist", member.name);
            return Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(format!(
                "Roll the volumes back one by one, or take this one out of the group first: `quarry group remove {group} {}`.",
                member.name
            )));
        }
        for member in &members {
            self.check_no_clients(&member.name, member.record.volume_id)?;
        }
        for (done, member) in members.iter().enumerate() {
            let rolled_back = self.roll_back(&member.name, RollBackVolume::to_snapshot(name.clone())).await;
            rolled_back.map_err(|error| cut_off(error, done, "volumes were rolled back"))?;
        }
        self.describe_group(group).await
    }
}

/// An error in the middle: what was done before it, and how the rest is.
fn cut_off(error: NodeError, done: usize, what: &str) -> NodeError {
    if done == 0 {
        return error;
    }
    let message = format!("{done} {what}, then: {}", error.message);
    let next_step = format!("{} Then run the same command again: it does the rest.", error.next_step);
    NodeError { message, next_step, ..error }
}

/// Snapshots of one name and one set, as one of a group of `volumes`. `None` for those that are of no set.
fn in_words(volumes: &[Name], snapshots: &[Snapshot]) -> Option<GroupSnapshot> {
    let first = snapshots.first()?;
    let has = |volume: &&Name| snapshots.iter().any(|snapshot| snapshot.volume == **volume);
    let (present, missing): (Vec<&Name>, Vec<&Name>) = volumes.iter().partition(has);
    Some(GroupSnapshot {
        name: first.name.clone(),
        set_id: first.set_id?,
        created: snapshots.iter().map(|snapshot| snapshot.created).min()?,
        volumes: present.into_iter().cloned().collect(),
        missing: missing.into_iter().cloned().collect(),
        referenced_bytes: snapshots.iter().map(|snapshot| snapshot.referenced_bytes).sum(),
        unique_bytes: snapshots.iter().map(|snapshot| snapshot.unique_bytes).sum(),
        locked_until: snapshots.iter().filter_map(|snapshot| snapshot.locked_until).max(),
        exported: snapshots.iter().any(|snapshot| snapshot.exported),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_says_how_far_it_came() {
        let error =
            || NodeError::new(ErrorKind::InUse, "volume 'b' has 1 connected clients").with_next_step("Go.");
        assert_eq!(cut_off(error(), 0, "volumes were rolled back"), error());
        let told = cut_off(error(), 1, "volumes were rolled back");
        assert_eq!(told.message, "1 volumes were rolled back, then: volume 'b' has 1 connected clients");
        assert_eq!(told.next_step, "Go. Then run the same command again: it does the rest.");
        assert_eq!(told.kind, ErrorKind::InUse);
    }
}
