//! What the catalog remembers of volumes that lie outside of pools, and of volumes that move.

use quarry_api_types::{Durability, Name, PoolId, Timestamp, VolumeId};
use quarry_types::LogId;
use serde::{Deserialize, Serialize};

use crate::codec::Record;

/// A volume in image mode. Nothing on its device tells of it, so this is all that there is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its id, from which hosts know it.
    pub id: VolumeId,
    /// Its name.
    pub name: Name,
    /// The path of its device, or the address of a server's disk.
    pub device: String,
    /// What that disk is called wherever it is attached, if it has such a name: what else lies at the path is not the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Its size; the device may be larger.
    pub size_bytes: u64,
    /// Whether it is only read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// When a write is safe.
    pub durability: Durability,
    /// Whether a process may have sent changes to the device that it did not wait for: it uses it, or has ended without order.
    pub in_use: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// Where a volume lies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceRecord {
    /// In a pool, wherever.
    Pool(PoolId),
    /// In one log of a pool.
    Log(PoolId, LogId),
    /// On a device, in image mode.
    Device(String),
}

impl PlaceRecord {
    /// The pool, if it is one.
    pub fn pool(&self) -> Option<PoolId> {
        match self {
            Self::Pool(pool) | Self::Log(pool, _) => Some(*pool),
            Self::Device(_) => None,
        }
    }

    /// Whether a log of a pool belongs to it.
    pub fn has(&self, pool: PoolId, log: LogId) -> bool {
        match self {
            Self::Pool(own) => *own == pool,
            Self::Log(own, own_log) => (*own, *own_log) == (pool, log),
            Self::Device(_) => false,
        }
    }
}

/// Which side of a migration counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationPhaseRecord {
    /// The old place. What is at the new one is worth nothing without the old one.
    Copying,
    /// The new place. What is at the old one is to be given up.
    Switched,
    /// The old place. What is at the new one is to be given up.
    Cancelled,
}

/// A volume on its way to another place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MigrationRecord {
    /// The volume. It has the same id in both places.
    pub volume_id: VolumeId,
    /// Its name. In a new pool it has another one until it counts there.
    pub volume: Name,
    /// The old place.
    pub from: PlaceRecord,
    /// The new one.
    pub to: PlaceRecord,
    /// Which of them counts.
    pub phase: MigrationPhaseRecord,
    /// Below this byte everything was copied, and may have become unequal since.
    pub copied_bytes: u64,
    /// Whether the new place is a file that was made for the volume.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made_device: bool,
    /// What tells the file that was made from others that may come to lie at its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_file: Option<String>,
    /// What the disk of the new place is called, as [`ImageRecord::identity`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_identity: Option<String>,
    /// The history that it had, in seconds, and will have in a new pool when it counts there.
    #[serde(default)]
    pub history_s: u32,
    /// The most that is read from the old place in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_s: Option<u64>,
    /// When it was begun.
    pub begun: Timestamp,
}

impl Record for ImageRecord {}
impl Record for MigrationRecord {}
