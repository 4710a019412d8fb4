//! What hosts do and how long it takes: counters since the pool was opened, of which two looks make rates.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DeviceId, Name, PoolId, Timestamp, VolumeId};

/// How long something took, again and again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// All of it together, in microseconds.
    pub total_us: u64,
    /// Pairs of a least latency in microseconds and how often it took so long, but not as long as the next larger bound. Bounds are
    /// 0 to 8, and from there on four to each doubling, up to 2^26. Those with nothing in them are left out.
    #[schema(value_type = Vec<Vec<u64>>)]
    pub buckets: Vec<(u64, u64)>,
}

/// Requests of one sort that have ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct OperationStats {
    /// How many, those that failed included.
    pub operations: u64,
    /// How many failed.
    pub errors: u64,
    /// Bytes of those that were done.
    pub bytes: u64,
    /// How long they took.
    pub latency: Latency,
}

/// What hosts do with a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumeStats {
    /// The volume.
    pub volume: Name,
    /// Its id.
    #[schema(value_type = Uuid)]
    pub volume_id: VolumeId,
    /// When this was counted.
    pub at: Timestamp,
    /// The pool where it lies; none in image mode.
    pub pool: Option<Name>,
    /// Requests that have not ended.
    pub in_flight: u32,
    /// Reads.
    pub read: OperationStats,
    /// Writes.
    pub write: OperationStats,
    /// Writes of zeroes that carry no data.
    pub zero: OperationStats,
    /// Discards.
    pub discard: OperationStats,
    /// Flushes.
    pub flush: OperationStats,
}

/// What a node does with a device of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceStats {
    /// The pool.
    pub pool: Name,
    /// The device.
    #[schema(value_type = Uuid)]
    pub device_id: DeviceId,
    /// Where it was opened, or was last seen.
    pub path: String,
    /// Operations that it has not answered.
    pub in_flight: u32,
    /// Operations that failed.
    pub errors: u64,
    /// Reads whose bytes did not match their checksum.
    pub corruptions: u64,
    /// Reads. Errors are not told apart by operation.
    pub read: OperationStats,
    /// Writes.
    pub write: OperationStats,
    /// Flushes.
    pub flush: OperationStats,
    /// Discards.
    pub discard: OperationStats,
}

words! {
    /// A part of the way of a request.
    pub enum RequestStage {
        /// A change waits for space, for its turn among others of the same blocks, and for compression, until it is in a batch.
        Queue = "queue",
        /// Its batch fills, is written to every copy, and waits for those before it.
        Log = "log",
        /// A device flush, where the change or the volume asks for one.
        Flush = "flush",
        /// A read waits for nodes of the map that are not in memory.
        Lookup = "lookup",
        /// A read waits for devices.
        Device = "device",
    }
}

/// How long requests were in one stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StageStats {
    /// The stage.
    pub stage: RequestStage,
    /// How long they were in it.
    pub latency: Latency,
}

/// What the logs of a pool do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolStats {
    /// The pool.
    pub pool: Name,
    /// Its id.
    #[schema(value_type = Uuid)]
    pub pool_id: PoolId,
    /// Requests of hosts to all its volumes and snapshots, those that are gone included.
    pub read: OperationStats,
    /// Writes.
    pub write: OperationStats,
    /// Writes of zeroes that carry no data.
    pub zero: OperationStats,
    /// Discards.
    pub discard: OperationStats,
    /// Flushes.
    pub flush: OperationStats,
    /// How long they were where.
    pub stages: Vec<StageStats>,
    /// Bytes that hosts have written.
    pub written_bytes: u64,
    /// Bytes appended, headers, map nodes and what was moved included, once for all copies.
    pub appended_bytes: u64,
    /// Of these, bytes of map nodes.
    pub map_bytes: u64,
    /// Bytes that the cleaner has moved.
    pub moved_bytes: u64,
    /// Looks into maps.
    pub lookups: u64,
    /// Of these, those that had to read nodes of the map from devices.
    pub lookups_missed: u64,
}

/// What a node does. Counters begin when a pool, or the device of a volume in image mode, is opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeStats {
    /// When this was counted.
    pub at: Timestamp,
    /// Volumes with which hosts have done anything, by name.
    pub volumes: Vec<VolumeStats>,
    /// Devices of open pools.
    pub devices: Vec<DeviceStats>,
    /// Open pools.
    pub pools: Vec<PoolStats>,
}

words! {
    /// What a host has asked for.
    pub enum HostOperation {
        /// Data.
        Read = "read",
        /// A change with data.
        Write = "write",
        /// Zeroes, without data.
        Zero = "zero",
        /// That something may be forgotten.
        Discard = "discard",
        /// That what was written survives power loss.
        Flush = "flush",
    }
}

/// For how long a request was in a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StageTime {
    /// The stage.
    pub stage: RequestStage,
    /// How long.
    pub us: u64,
}

/// A request of a host that took longer than the node was told to find good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SlowRequest {
    /// When it ended.
    pub at: Timestamp,
    /// The volume or the snapshot, by name; by id when it is gone.
    pub volume: String,
    /// What was asked for.
    pub operation: HostOperation,
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub length: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// For how long it was where; what is missing was spent elsewhere.
    pub stages: Vec<StageTime>,
    /// Whether it failed in the end.
    pub failed: bool,
}

/// The newest slow requests, the oldest first. Of a flood only some are kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SlowRequests {
    /// What is slow, in milliseconds; 0 when nothing is.
    pub threshold_ms: u64,
    /// How many there were since the start.
    pub count: u64,
    /// Those that were kept.
    pub requests: Vec<SlowRequest>,
}

/// The newest lines of the node's log, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LogLines {
    /// As they were written.
    pub lines: Vec<String>,
}

/// What a node was told at its start, without anything secret.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    /// Pairs of a setting, as the configuration file names it, and its value.
    pub settings: Vec<Setting>,
}

/// One setting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// As the configuration file names it.
    pub name: String,
    /// Its value as a text.
    pub value: String,
}
