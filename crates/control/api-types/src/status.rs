//! A node in one page.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Freeing, Health, NodeId};

/// A node as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The node.
    pub node_id: NodeId,
    /// Who the node is to servers whose disks are its devices.
    pub initiator: InitiatorNames,
    /// Version of the daemon.
    pub version: String,
    /// Seconds since the daemon began to serve.
    pub uptime_s: u64,
    /// Cores of the data plane.
    pub cores: u16,
    /// Memory of the data plane.
    pub memory: MemoryStatus,
    /// The cache disk, if the node is to have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_disk: Option<CacheDiskStatus>,
    /// Every address on which the node listens.
    pub listeners: Vec<ListenerStatus>,
    /// Pools in sum.
    pub pools: PoolsStatus,
    /// Volumes in sum.
    pub volumes: VolumesStatus,
    /// How many exports there are.
    pub exports: u64,
    /// How well the node is, with the causes.
    pub health: Health,
}

/// The names of a node as a host of others, which their operators have to allow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct InitiatorNames {
    /// Over iSCSI.
    pub iqn: String,
    /// Over NVMe/TCP.
    pub nqn: String,
}

/// Memory of the data plane against its budget (`--memory`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct MemoryStatus {
    /// The most that maps, buffers and caches may take.
    pub budget_bytes: u64,
    /// What they take now.
    pub used_bytes: u64,
    /// Of that, data that is read again.
    pub read_cache: ReadCacheStatus,
}

/// Data that the node keeps in memory because it was read more than once (`--read-cache`). Counters begin when a pool is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ReadCacheStatus {
    /// The most that it may take.
    pub budget_bytes: u64,
    /// What it takes now.
    pub used_bytes: u64,
    /// Reads that were answered from it.
    pub hits: u64,
    /// Reads that had to ask a device; reads of more than 16 blocks go by the cache and do not count.
    pub misses: u64,
}

/// A fast disk that keeps what is read again from spinning disks and buckets (`--cache-disk`). Counters begin when quarryd starts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct CacheDiskStatus {
    /// Where it is.
    pub path: String,
    /// What it can hold.
    pub size_bytes: u64,
    /// What of that holds something.
    pub used_bytes: u64,
    /// Blocks that can be found on it.
    pub records: u64,
    /// Reads of slow devices that it has answered.
    pub hits: u64,
    /// Reads of slow devices that it could not answer; reads of more than 16 blocks go by it and do not count.
    pub misses: u64,
    /// Bytes written to it.
    pub written_bytes: u64,
    /// Operations that failed or took too long, and blocks that were not what they should be.
    pub errors: u64,
    /// Why it is not used, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

words! {
    /// What a listening address speaks.
    pub enum ListenerProtocol {
        /// This REST API.
        Api = "api",
        /// Network Block Device.
        Nbd = "nbd",
        /// iSCSI.
        Iscsi = "iscsi",
        /// NVMe over TCP.
        NvmeTcp = "nvme-tcp",
        /// vhost-user-blk.
        VhostUser = "vhost-user",
    }
}

/// One address on which the node listens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ListenerStatus {
    /// What it speaks.
    pub protocol: ListenerProtocol,
    /// `HOST:PORT`, or the path of a unix socket; of vhost-user, the folder of the sockets.
    pub address: String,
    /// Connections open now.
    pub connections: u32,
}

/// Pools of the node in sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PoolsStatus {
    /// How many are online.
    pub online: u64,
    /// How many are degraded.
    pub degraded: u64,
    /// How many are offline.
    pub offline: u64,
    /// Sum of their total space, in bytes of the devices, every copy counted.
    pub total_bytes: u64,
    /// Sum of their used space, counted alike.
    pub used_bytes: u64,
    /// What deletions have left in them.
    #[serde(default)]
    pub freeing: Freeing,
}

/// Volumes of the node in sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct VolumesStatus {
    /// How many there are.
    pub count: u64,
    /// Sum of the sizes that hosts see.
    pub size_bytes: u64,
    /// Sum of what is mapped, copies not counted.
    pub used_bytes: u64,
}
