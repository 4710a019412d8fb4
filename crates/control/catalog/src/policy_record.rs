//! What the catalog remembers of policies, and to what they are attached.

use std::fmt;

use quarry_api_types::{GroupId, Name, PolicyId, PolicySettings, PoolId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};

use crate::codec::Record;

/// A policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: u64,
    /// What it says of volumes.
    pub settings: PolicySettings,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub changed: Timestamp,
}

/// What a policy is attached to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachedTo {
    /// A volume.
    Volume {
        /// Its id.
        id: VolumeId,
        /// The name by which it was last known, so that one whose pool is offline can still be described.
        name: Name,
        /// Its pool, which tells a volume that is offline from one that is gone.
        pool: PoolId,
    },
    /// A consistency group.
    Group {
        /// Its id.
        id: GroupId,
    },
}

/// By what an attachment is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AttachmentKey {
    /// That of a volume.
    Volume(VolumeId),
    /// That of a group.
    Group(GroupId),
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(id) => write!(f, "volume {id}"),
            Self::Group(id) => write!(f, "group {id}"),
        }
    }
}

/// A policy at a volume or a group, or what is meant for a volume alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttachmentRecord {
    /// To what.
    pub to: AttachedTo,
    /// The policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyId>,
    /// What is meant whatever that says.
    #[serde(default, skip_serializing_if = "PolicySettings::is_empty")]
    pub overrides: PolicySettings,
    /// Since when.
    pub since: Timestamp,
}

impl AttachmentRecord {
    /// By what it is found.
    pub fn key(&self) -> AttachmentKey {
        match self.to {
            AttachedTo::Volume { id, .. } => AttachmentKey::Volume(id),
            AttachedTo::Group { id } => AttachmentKey::Group(id),
        }
    }
}

impl Record for PolicyRecord {}
impl Record for AttachmentRecord {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn the_form_of_the_records_is_fixed() {
        let at = Timestamp::from_unix_ms(1_795_167_000_000);
        let policy = PolicyRecord {
            id: PolicyId::from_random(1),
            name: "gold".parse().unwrap(),
            version: 3,
            settings: serde_json::from_str(
                r#"{"compression":"lz4","snapshots":{"rules":[{"every":"15m","keep":96}]}}"#,
            )
            .unwrap(),
            created: at,
            changed: at,
        };
        let bytes = encode(&policy);
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":1,\"record\":{\"id\":\"00000000-0000-4000-8000-000000000001\",\"name\":\"gold\",\"version\":3,\
             \"settings\":{\"compression\":\"lz4\",\"snapshots\":{\"time_zone\":\"UTC\",\"rules\":[{\"every\":\"15m\",\
             \"keep\":96}]}},\"created\":\"2026-11-20T09:30:00Z\",\"changed\":\"2026-11-20T09:30:00Z\"}}"
        );
        assert_eq!(decode::<PolicyRecord>(&bytes).unwrap(), policy);

        let attachment = AttachmentRecord {
            to: AttachedTo::Volume {
                id: VolumeId::from_random(2),
                name: "vm-17".parse().unwrap(),
                pool: PoolId::from_random(3),
            },
            policy: Some(policy.id),
            overrides: PolicySettings::default(),
            since: at,
        };
        let bytes = encode(&attachment);
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":1,\"record\":{\"to\":{\"volume\":{\"id\":\"00000000-0000-4000-8000-000000000002\",\
             \"name\":\"vm-17\",\"pool\":\"00000000-0000-4000-8000-000000000003\"}},\
             \"policy\":\"00000000-0000-4000-8000-000000000001\",\"since\":\"2026-11-20T09:30:00Z\"}}"
        );
        assert_eq!(decode::<AttachmentRecord>(&bytes).unwrap(), attachment);
        assert_eq!(attachment.key().to_string(), "volume 00000000-0000-4000-8000-000000000002");
    }
}
