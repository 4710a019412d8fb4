//! The allowed arrows. Change it together with DESIGN and ARCHITECTURE.md, never to make a build pass.

use std::path::Path;

/// Where a package lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Floor {
    /// crates/base
    Base,
    /// crates/env
    Env,
    /// crates/storage
    Storage,
    /// crates/cluster
    Cluster,
    /// crates/service
    Service,
    /// crates/protocol
    Protocol,
    /// crates/control, apart from the floors above base
    Control,
    /// bin
    Binary,
    /// sim: the real code in a simulated world
    Simulator,
    /// xtask and tests: outside the product
    Tools,
}

/// Binaries that see both the data plane and the control plane. The others see base and control only.
const BOTH_SIDES: [&str; 1] = ["quarryd"];

/// Binaries that see base only: they must work when everything else is broken.
const ALONE: [&str; 1] = ["quarry-extract"];

/// Arrows inside one floor.
pub const SIDEWAYS: [(&str, &str); 42] = [
    ("quarry-format", "quarry-types"),
    ("quarry-crypt", "quarry-types"),
    ("quarry-reduce", "quarry-format"),
    ("quarry-reduce", "quarry-types"),
    ("quarry-env-linux", "quarry-env"),
    ("quarry-env-sim", "quarry-env"),
    ("quarry-pool", "quarry-device"),
    ("quarry-pool", "quarry-ec"),
    ("quarry-log", "quarry-pool"),
    ("quarry-cleaner", "quarry-pool"),
    ("quarry-map", "quarry-cache"),
    ("quarry-cache-disk", "quarry-cache"),
    ("quarry-cache-disk", "quarry-device"),
    ("quarry-engine", "quarry-volume"),
    ("quarry-image", "quarry-volume"),
    ("quarry-migration", "quarry-volume"),
    ("quarry-qos", "quarry-volume"),
    ("quarry-nbd", "quarry-target"),
    ("quarry-nbd", "quarry-tls"),
    ("quarry-scsi", "quarry-target"),
    ("quarry-iscsi", "quarry-scsi"),
    ("quarry-iscsi", "quarry-target"),
    ("quarry-nvme", "quarry-target"),
    ("quarry-nvme-tcp", "quarry-nvme"),
    ("quarry-nvme-tcp", "quarry-target"),
    ("quarry-vhost-user", "quarry-target"),
    ("quarry-node-api", "quarry-api-types"),
    ("quarry-api", "quarry-api-types"),
    ("quarry-api", "quarry-node-api"),
    ("quarry-api", "quarry-auth"),
    ("quarry-api", "quarry-audit"),
    ("quarry-auth", "quarry-api-types"),
    ("quarry-audit", "quarry-api-types"),
    ("quarry-client", "quarry-api-types"),
    ("quarry-client", "quarry-node-api"),
    ("quarry-catalog", "quarry-api-types"),
    ("quarry-events", "quarry-api-types"),
    ("quarry-history", "quarry-api-types"),
    ("quarry-planner", "quarry-api-types"),
    ("quarry-reconciler", "quarry-api-types"),
    ("quarry-reconciler", "quarry-planner"),
    ("quarry-e2e", "xtask"),
];

impl Floor {
    /// The floor of a package whose folder, from the root, is `folder`.
    pub fn of(folder: &Path) -> Option<Self> {
        let mut parts = folder.iter().filter_map(|part| part.to_str());
        match (parts.next()?, parts.next()) {
            ("crates", Some(floor)) => match floor {
                "base" => Some(Self::Base),
                "env" => Some(Self::Env),
                "storage" => Some(Self::Storage),
                "cluster" => Some(Self::Cluster),
                "service" => Some(Self::Service),
                "protocol" => Some(Self::Protocol),
                "control" => Some(Self::Control),
                _ => None,
            },
            ("bin", Some(_)) => Some(Self::Binary),
            ("sim", None) => Some(Self::Simulator),
            ("xtask", None) | ("tests" | "fuzz" | "benches", _) => Some(Self::Tools),
            _ => None,
        }
    }

    /// Whether the floor is part of the data plane above base.
    pub fn is_data_plane(self) -> bool {
        use Floor::*;
        matches!(self, Env | Storage | Cluster | Service | Protocol)
    }

    /// Whether the package `name` on this floor may depend on another floor.
    pub fn may_reach(self, to: Self, name: &str) -> bool {
        use Floor::*;
        match self {
            Base | Env | Storage | Cluster | Service | Protocol => {
                to < self && (to.is_data_plane() || to == Base)
            }
            Control => to == Base,
            Binary if BOTH_SIDES.contains(&name) => to.is_data_plane() || matches!(to, Base | Control),
            Binary if ALONE.contains(&name) => to == Base,
            Binary => matches!(to, Base | Control),
            Simulator => to.is_data_plane() || matches!(to, Base | Control),
            // The tools judge the product from outside; only tests in a folder of their own may link it.
            Tools => name != "xtask",
        }
    }
}
