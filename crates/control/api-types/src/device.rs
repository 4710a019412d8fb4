//! Devices: whatever can hold a pool's data.

use quarry_types::{DeviceId, PoolId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DeviceLatency, DriveHealth, Health, Name};

words! {
    /// How a device is reached.
    pub enum DeviceKind {
        /// A regular file.
        File = "file",
        /// A directory in which the node makes a file of its own.
        Directory = "directory",
        /// A raw block device: a disk, a partition, a LUN, a loop device.
        Block = "block",
        /// A file that is persistent memory, written through a mapping.
        Pmem = "pmem",
        /// A disk of a server, or behind a network otherwise.
        Network = "network",
        /// A place in a bucket of an S3-compatible server.
        Object = "object",
    }
}

words! {
    /// What a device is made of, by measured latency first and by what the kernel says second.
    pub enum DeviceClass {
        /// Persistent memory.
        Pmem = "pmem",
        /// Solid state behind NVMe.
        Nvme = "nvme",
        /// Solid state behind SATA, SAS or a file on one.
        Ssd = "ssd",
        /// A spinning disk.
        Hdd = "hdd",
        /// A bucket of an object store.
        Object = "object",
        /// Not measured yet.
        Unknown = "unknown",
    }
}

words! {
    /// Who uses a device.
    pub enum DeviceState {
        /// A member of a pool of this node.
        InPool = "in-pool",
        /// Blank: a pool can take it.
        Free = "free",
        /// Something else is on it, see `found`; a pool takes it with `force` only.
        Foreign = "foreign",
    }
}

/// A device that this node can see.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Absolute path on the node, or the address of a server's disk or of a place in a bucket.
    pub path: String,
    /// How it is reached.
    pub kind: DeviceKind,
    /// Size in bytes; for a directory, the free space of its file system.
    pub size_bytes: u64,
    /// What it is made of.
    pub class: DeviceClass,
    /// Smallest unit that it reads and writes, in bytes.
    pub sector_bytes: u32,
    /// Who uses it.
    pub state: DeviceState,
    /// What was found on a foreign device, for example `ext4 file system` or `Quarry pool 'old'`.
    pub found: Option<String>,
    /// Name of the pool that it belongs to.
    pub pool: Option<Name>,
    /// Id of the pool that its label names, be that pool open here or not.
    #[schema(value_type = Option<Uuid>)]
    pub pool_id: Option<PoolId>,
    /// Id from its label.
    #[schema(value_type = Option<Uuid>)]
    pub device_id: Option<DeviceId>,
    /// How well it is.
    pub health: Health,
    /// How long it took for what a pool has asked it for in the last minute.
    #[serde(default)]
    pub latency: DeviceLatency,
    /// What its drive says of itself, where it was asked: of block devices in pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive: Option<DriveHealth>,
}
