//! Ids that only the control plane knows, and the ways to name an export.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{InvalidPath, Name, SnapshotPath, VolumePath};

macro_rules! control_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = Uuid)]
        pub struct $name(pub Uuid);

        impl $name {
            /// An id from 128 random bits (RFC 9562 version 4); the caller brings the randomness.
            pub fn from_random(bits: u128) -> Self {
                Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

control_id!(
    /// One export: a volume or a snapshot served over one protocol.
    ExportId
);
control_id!(
    /// One consistency group.
    GroupId
);
control_id!(
    /// One host.
    HostId
);
control_id!(
    /// One host group.
    HostGroupId
);
control_id!(
    /// One policy.
    PolicyId
);
control_id!(
    /// One node, from its first start until its data directory is thrown away.
    NodeId
);

/// How an operator names exports: by the id of one, or by the volume or the snapshot whose exports are meant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ExportSelector {
    /// This export.
    Id(ExportId),
    /// Every export of this volume; those of its snapshots are not meant.
    Volume(Name),
    /// Every export of this snapshot.
    Snapshot(SnapshotPath),
}

impl FromStr for ExportSelector {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Uuid::try_parse(text) {
            Ok(id) => Ok(Self::Id(ExportId(id))),
            Err(_) => text.parse::<VolumePath>().map(Self::from),
        }
    }
}

impl From<VolumePath> for ExportSelector {
    fn from(path: VolumePath) -> Self {
        let VolumePath { volume, snapshot } = path;
        match snapshot {
            Some(snapshot) => Self::Snapshot(SnapshotPath { volume, snapshot }),
            None => Self::Volume(volume),
        }
    }
}

impl TryFrom<String> for ExportSelector {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ExportSelector> for String {
    fn from(selector: ExportSelector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for ExportSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Volume(name) => name.fmt(f),
            Self::Snapshot(path) => path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_an_id_a_volume_or_a_snapshot_and_prints_as_it_was_read() {
        let id = ExportId::from_random(7);
        assert_eq!(id.to_string().parse(), Ok(ExportSelector::Id(id)));
        assert_eq!(ExportSelector::Id(id).to_string(), id.to_string());
        let volume = "vm-17".parse::<ExportSelector>().unwrap();
        assert!(matches!(&volume, ExportSelector::Volume(name) if name.as_str() == "vm-17"));
        assert_eq!(volume.to_string(), "vm-17");
        let snapshot = "vm-17@monday".parse::<ExportSelector>().unwrap();
        assert!(matches!(&snapshot, ExportSelector::Snapshot(path) if path.snapshot.as_str() == "monday"));
        assert_eq!(snapshot.to_string(), "vm-17@monday");
        assert!("no such/thing".parse::<ExportSelector>().is_err());
    }
}
