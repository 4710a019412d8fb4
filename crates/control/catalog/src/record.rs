//! What the catalog remembers.

use quarry_api_types::{
    DeviceId, ExportId, GroupId, HostGroupId, HostId, Name, NodeId, PoolId, Protection, Protocol,
    QualityOfService, SpaceLevels, Timestamp, VolumeId,
};
use quarry_types::LogId;
use serde::{Deserialize, Serialize};

use crate::codec::Record;

/// The node itself. There is one at most.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id, made at its first start.
    pub id: NodeId,
    /// When that was.
    pub created: Timestamp,
}

/// A pool that the node opens when it starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Its id; the labels of its devices name the same one.
    pub id: PoolId,
    /// Its name.
    pub name: Name,
    /// Its copies, so that a pool none of whose devices answers can still be described.
    pub copies: u8,
    /// How it keeps what it holds; absent in records of pools that have copies only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Where to look for its members, in the order in which they joined.
    pub devices: Vec<DeviceRecord>,
    /// When it was made.
    pub created: Timestamp,
    /// When a scrub had last read everything in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrubbed: Option<Timestamp>,
    /// The scrub that is under way, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub: Option<ScrubRecord>,
    /// How full it may be before somebody is told.
    #[serde(default)]
    pub levels: SpaceLevels,
    /// The most that the sizes of its volumes may be in percent of what it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overcommit_limit_percent: Option<u32>,
    /// What is copied in a second at most when devices fail, join or are drained, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild_rate_bytes: Option<u64>,
    /// The incarnation in which each log was opened last, where that is known: older ones are what a device had at another time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incarnations: Vec<(LogId, u64)>,
}

impl PoolRecord {
    /// How it keeps what it holds.
    pub fn protection(&self) -> Protection {
        self.protection.unwrap_or(Protection(quarry_types::Protection::Copies(self.copies.max(1))))
    }
}

/// A scrub of a pool that is under way: what another life of the node needs in order to go on with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScrubRecord {
    /// What it reads in a second at most, in bytes.
    pub rate_bytes: u64,
    /// How far it is in each log; one that is not named is read from its beginning.
    pub logs: Vec<LogScrubRecord>,
}

/// How far the scrub of a log is. See `quarry_engine::ScrubReport`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogScrubRecord {
    /// The log.
    pub log: LogId,
    /// When it was begun.
    pub began: Timestamp,
    /// When it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The last chunk that was read; all below it were too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<u64>,
    /// Chunks that were read.
    pub chunks_done: u64,
    /// And chunks in all.
    pub chunks: u64,
    /// Bytes that were read, every copy counted.
    pub read_bytes: u64,
    /// Bad copies that were written again.
    #[serde(default)]
    pub repaired: u64,
    /// Bad copies that could not be.
    #[serde(default)]
    pub unrepaired: u64,
    /// Records without a good copy.
    #[serde(default)]
    pub lost: u64,
}

/// A pool that is being made. Its devices may carry its labels already when the node is killed; then whoever asks for the same pool
/// again gets it, instead of being told that its devices are in use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FoundingRecord {
    /// The id that it gets.
    pub id: PoolId,
    /// Its name.
    pub name: Name,
    /// Its devices as they were asked for.
    pub devices: Vec<String>,
}

/// A member of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Its id; its label names the same one.
    pub id: DeviceId,
    /// The absolute path at which it was last seen.
    pub path: String,
    /// It leaves the pool when nothing is on it any more.
    #[serde(default)]
    pub removing: bool,
    /// Since when the pool has gone on without it, if what it missed is not on it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<Timestamp>,
}

/// An export that the node serves: a volume, or one of its snapshots.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExportRecord {
    /// Its id.
    pub id: ExportId,
    /// The volume.
    pub volume_id: VolumeId,
    /// The volume's name, so that an export whose pool is offline can still be described.
    pub volume: Name,
    /// The snapshot's name, when it is not the volume itself that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Name>,
    /// Over what it is served.
    pub protocol: Protocol,
    /// Who sees it; everybody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceRecord>,
    /// LUN or namespace id, where the protocol has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Whether its clients may only read, whatever it serves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// Who sees an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AudienceRecord {
    /// A host.
    Host(HostId),
    /// The hosts of a group.
    HostGroup(HostGroupId),
}

impl Record for ExportRecord {
    /// Who reads version 1 knows one protocol, serves to anybody and lets them write; who reads version 2 knows three.
    fn version(&self) -> u32 {
        let is_plain = self.audience.is_none() && !self.read_only;
        match self.protocol {
            Protocol::VhostUser => 3,
            Protocol::Nbd if is_plain => 1,
            Protocol::Nbd | Protocol::Iscsi | Protocol::NvmeTcp => 2,
        }
    }
}

impl Record for NodeRecord {}
impl Record for PoolRecord {}
impl Record for FoundingRecord {}
impl Record for GroupRecord {}
impl Record for QosRecord {}

/// What a volume gets of the node's performance. One that is not there any more does no harm: ids are never used again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QosRecord {
    /// The volume.
    pub volume_id: VolumeId,
    /// What it gets.
    pub qos: QualityOfService,
}

/// A consistency group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: Name,
    /// Its volumes, in the order in which they joined. One may have been deleted since.
    pub members: Vec<MemberRecord>,
    /// What its volumes together get of the node's performance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// When it was made.
    pub created: Timestamp,
}

/// A volume of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The volume.
    pub volume_id: VolumeId,
    /// The name by which it was last known, so that one whose pool is offline can still be described.
    pub volume: Name,
    /// Its pool, which tells a volume that is offline from one that is gone.
    pub pool_id: PoolId,
}
