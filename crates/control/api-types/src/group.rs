//! Consistency groups: volumes that are snapshotted and rolled back together.

use quarry_types::SnapshotSetId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::snapshot::check_volumes;
use crate::{GroupId, InvalidRequest, Name, QualityOfService, SET_VOLUMES_MAX, Timestamp};

/// Most volumes of a group: as many as are snapshotted at one point in time.
pub const GROUP_VOLUMES_MAX: usize = SET_VOLUMES_MAX;

/// A group as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its id, for ever.
    pub id: GroupId,
    /// Its name, unique among the groups of the node.
    pub name: Name,
    /// Its volumes, in the order in which they joined. A volume is in one group at most.
    pub volumes: Vec<Name>,
    /// Those of its volumes that are not there now, because their pool is offline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offline_volumes: Vec<Name>,
    /// What its volumes together are to get of the node's performance; absent when nothing is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// When it was made.
    pub created: Timestamp,
}

/// A request for a new group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    /// Its name, unique among the groups of the node.
    pub name: Name,
    /// Its volumes, of any pools of the node, none of which is in a group already.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub volumes: Vec<Name>,
    /// What its volumes together are to get of the node's performance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
}

impl CreateGroup {
    /// Checks all that can be judged without asking the pools.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_volumes("volumes", &self.volumes, 0..=GROUP_VOLUMES_MAX)?;
        self.qos.as_ref().map_or(Ok(()), QualityOfService::check)
    }
}

/// A request for another name of a group, or for other volumes in it; all of it happens, or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeGroup {
    /// The new name, unique among the groups of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Volumes that join, none of which is in a group already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub add: Vec<Name>,
    /// Volumes of the group that leave it. They keep their snapshots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub remove: Vec<Name>,
    /// What its volumes together are to get of the node's performance: all of it, what is absent in it is neither bounded nor promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
}

impl ChangeGroup {
    /// Checks all that can be judged without asking the pools.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if *self == Self::default() {
            let message = "nothing to change: give a name, volumes to add, volumes to remove, or qos";
            return Err(InvalidRequest::contradiction("name", message));
        }
        self.qos.as_ref().map_or(Ok(()), QualityOfService::check)?;
        check_volumes("add", &self.add, 0..=GROUP_VOLUMES_MAX)?;
        check_volumes("remove", &self.remove, 0..=GROUP_VOLUMES_MAX)?;
        match self.add.iter().find(|name| self.remove.contains(name)) {
            Some(name) => {
                Err(InvalidRequest::contradiction("add", format!("'{name}' is to be removed as well")))
            }
            None => Ok(()),
        }
    }
}

/// What the volumes of a group held at one point in time: one snapshot of each, all of one name and one set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GroupSnapshot {
    /// The name of each of its snapshots.
    pub name: Name,
    /// The set that they make.
    #[schema(value_type = Uuid)]
    pub set_id: SnapshotSetId,
    /// When it was taken.
    pub created: Timestamp,
    /// The volumes of the group that have a snapshot of it.
    pub volumes: Vec<Name>,
    /// Those that have none: they joined later, are offline, or it was deleted or renamed. The group cannot be rolled back to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Name>,
    /// Bytes of data that its snapshots refer to, shared or not, copies not counted.
    pub referenced_bytes: u64,
    /// Bytes of data that nothing but one of its snapshots refers to. Absent where telling would take too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_bytes: Option<u64>,
    /// Nobody deletes it before this time: the latest of the locks of its snapshots. Absent when none is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Whether an export serves one of its snapshots.
    pub exported: bool,
}

/// A request to give the volumes of a group the content of one of its snapshots.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBackGroup {
    /// Name of the snapshot.
    pub snapshot: Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_new_group_may_be_empty_and_has_each_volume_once() {
        let group = |volumes| CreateGroup { name: "g".parse().unwrap(), volumes, qos: None };
        assert_eq!(group(vec![]).check(), Ok(()));
        assert_eq!(group(names(&["a", "b"])).check(), Ok(()));
        let many = (0..=GROUP_VOLUMES_MAX).map(|number| format!("v{number}").parse().unwrap()).collect();
        for (bad, part) in [(many, "not 65"), (names(&["a", "a"]), "'a' is given twice")] {
            let error = group(bad).check().unwrap_err().to_string();
            assert!(error.starts_with("volumes: ") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_change_changes_something_and_does_not_contradict_itself() {
        let add = ChangeGroup { add: names(&["a"]), ..Default::default() };
        assert_eq!(add.check(), Ok(()));
        assert_eq!(serde_json::to_string(&add).unwrap(), r#"{"add":["a"]}"#);
        for (bad, part) in [
            (ChangeGroup::default(), "nothing to change"),
            (ChangeGroup { remove: names(&["b", "b"]), ..Default::default() }, "remove: 'b' is given twice"),
            (ChangeGroup { remove: names(&["a"]), ..add }, "add: 'a' is to be removed as well"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
