//! Snapshots: what a volume held at one point in time.

use std::ops::RangeInclusive;

use quarry_types::{SnapshotId, SnapshotSetId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{InvalidRequest, Name, SnapshotPath, Timestamp};

/// Most volumes that are snapshotted at one point in time.
pub const SET_VOLUMES_MAX: usize = 64;

/// A snapshot as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its id, for ever.
    #[schema(value_type = Uuid)]
    pub id: SnapshotId,
    /// Its name, unique in its volume.
    pub name: Name,
    /// The volume to which it belongs.
    pub volume: Name,
    /// When it was taken.
    pub created: Timestamp,
    /// Size of the volume when it was taken, in bytes.
    pub size_bytes: u64,
    /// Bytes of data that it refers to, shared or not, copies not counted.
    pub referenced_bytes: u64,
    /// Bytes of data that nothing else refers to: what deleting it would free, as of the last checkpoint. Absent where
    /// telling would take too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_bytes: Option<u64>,
    /// Nobody deletes it before this time. Absent when it is not locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// How many clones stand on it.
    pub clones: u64,
    /// Whether an export serves it.
    pub exported: bool,
    /// The set of snapshots, one for each of several volumes, that were taken at one point in time with it. Absent when it was
    /// taken alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub set_id: Option<SnapshotSetId>,
}

impl Snapshot {
    /// How it is named beside snapshots of other volumes.
    pub fn path(&self) -> SnapshotPath {
        SnapshotPath { volume: self.volume.clone(), snapshot: self.name.clone() }
    }
}

/// A request for a snapshot of one volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    /// Its name, unique in the volume.
    pub name: Name,
    /// Nobody deletes it before this time, which can be put off later but never brought forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
}

/// A request for another name of a snapshot, or for a longer lock. What is absent stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSnapshot {
    /// The new name, unique in the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Nobody deletes it before this time, which is not before the end of the lock that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
}

impl ChangeSnapshot {
    /// Checks all that can be judged without asking the pool.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match self {
            Self { name: None, locked_until: None } => {
                Err(InvalidRequest::contradiction("name", "nothing to change: give a name, a lock, or both"))
            }
            _ => Ok(()),
        }
    }
}

/// A request for snapshots of several volumes at one point in time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshotSet {
    /// The name of each snapshot, unique in its volume.
    pub name: Name,
    /// The volumes, of any pools of the node.
    #[schema(min_items = 1, max_items = 64)]
    pub volumes: Vec<Name>,
    /// Nobody deletes them before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
}

const _: () = assert!(SET_VOLUMES_MAX == 64, "the schema and the messages say 64");

impl CreateSnapshotSet {
    /// Checks all that can be judged without asking the pools.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_volumes("volumes", &self.volumes, 1..=SET_VOLUMES_MAX)
    }
}

/// Checks that so many volumes are named, each once.
pub(crate) fn check_volumes(
    field: &'static str,
    volumes: &[Name],
    counts: RangeInclusive<usize>,
) -> Result<(), InvalidRequest> {
    if !counts.contains(&volumes.len()) {
        let (least, most) = (counts.start(), counts.end());
        let message = format!("{least} to {most} volumes are snapshotted together, not {}", volumes.len());
        return Err(InvalidRequest::new(field, message));
    }
    let mut sorted: Vec<_> = volumes.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(InvalidRequest::contradiction(field, format!("'{}' is given twice", pair[0]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_some_volumes_each_once() {
        let set = |count: usize| CreateSnapshotSet {
            name: "s".parse().unwrap(),
            volumes: (0..count).map(|number| format!("v{number}").parse().unwrap()).collect(),
            locked_until: None,
        };
        assert_eq!(set(1).check(), Ok(()));
        assert_eq!(set(SET_VOLUMES_MAX).check(), Ok(()));
        let mut twice = set(3);
        twice.volumes[2] = twice.volumes[0].clone();
        for (bad, part) in [
            (set(0), "1 to 64 volumes are snapshotted together, not 0"),
            (set(SET_VOLUMES_MAX + 1), "not 65"),
            (twice, "'v0' is given twice"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(
                error.to_string().starts_with("volumes: ") && error.to_string().contains(part),
                "{error}"
            );
        }
    }

    #[test]
    fn a_change_changes_something() {
        assert!(ChangeSnapshot::default().check().unwrap_err().to_string().contains("nothing to change"));
        let change = ChangeSnapshot { name: Some("s".parse().unwrap()), ..Default::default() };
        assert_eq!(change.check(), Ok(()));
        assert_eq!(serde_json::to_string(&change).unwrap(), r#"{"name":"s"}"#);
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let json = r#"{"id":"00000000-0000-4000-8000-000000000001","name":"s","volume":"v",
            "created":"2026-11-20T09:30:00Z","size_bytes":1,"referenced_bytes":1,"clones":0,"exported":false}"#;
        let snapshot: Snapshot = serde_json::from_str(json).unwrap();
        assert_eq!((snapshot.unique_bytes, snapshot.locked_until, snapshot.set_id), (None, None, None));
        assert_eq!(snapshot.path().to_string(), "v@s");
        let again = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }
}
