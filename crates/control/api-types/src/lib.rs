//! The types of Quarry's REST API: what a request asks for and what a node answers.
//!
//! What it is: plain data with serde and OpenAPI schemas, shared by the server, the client, the CLI and the
//! implementation of a node, so that one definition rules them all. What it is not: no transport, no behaviour
//! of a node, no on-disk format (the catalog has its own records).
//!
//! Invariants:
//! - JSON names are stable: fields are only ever added, words of an enum only ever added.
//! - Sizes are whole bytes (`*_bytes`), points in time are RFC 3339 in UTC, ids are UUIDs in text form.
//! - A [`Name`] never looks like an id, so one text can stand for either without doubt.
//! - Requests refuse unknown fields: a misspelt option is an error, never silently ignored.

#[macro_use]
mod words;

mod changes;
mod chap;
mod device;
mod event;
mod export;
mod freeing;
mod group;
mod health;
mod host;
mod host_group;
mod ids;
mod initiator;
mod keyring;
mod membership;
mod name;
mod network;
mod path;
mod pool;
mod problem;
mod request;
mod scrub;
mod snapshot;
mod status;
mod timestamp;
mod volume;

pub use changes::{ChangedRange, Changes, ChangesQuery};
pub use chap::{CHAP_SECRET_BYTES, CHAP_USER_BYTES_MAX, Chap, ChapProof, ChapSecret, ChapUser};
pub use device::{Device, DeviceClass, DeviceKind, DeviceState};
pub use event::{Event, EventKind, EventSeverity, Events, EventsQuery, ObjectKind};
pub use export::{
    CreateExport, DeleteExport, Export, ExportState, Protocol, UNIT_NUMBER_MAX, nbd_tcp_uri, nbd_unix_uri,
};
pub use freeing::Freeing;
pub use group::{ChangeGroup, CreateGroup, GROUP_VOLUMES_MAX, Group, GroupSnapshot, RollBackGroup};
pub use health::{Cause, Health, HealthLevel};
pub use host::{ChangeHost, CreateHost, HOST_INITIATORS_MAX, HOST_NETWORKS_MAX, Host, check_somebody};
pub use host_group::{ChangeHostGroup, CreateHostGroup, HOST_GROUP_HOSTS_MAX, HostGroup};
pub use ids::{ExportId, ExportSelector, GroupId, HostGroupId, HostId, NodeId};
pub use initiator::{INITIATOR_NAME_BYTES_MAX, InitiatorName, InitiatorNameProblem, InvalidInitiatorName};
pub use keyring::{Keyring, KeyringState, UnlockKeyring};
pub use membership::{AddDevice, Rebuild};
pub use name::{InvalidName, Name};
pub use network::{InvalidNetwork, Network};
pub use path::{InvalidPath, SnapshotPath, VolumePath};
pub use pool::{
    Capacity, ChangePool, Commitment, CreatePool, Pool, PoolData, PoolDevice, PoolDeviceState, PoolState,
    SpaceLevels,
};
pub use problem::{Problem, ProblemCode};
pub use quarry_types::{DeviceId, PoolId, SnapshotId, SnapshotSetId, VolumeId};
pub use request::InvalidRequest;
pub use scrub::{LostBlock, Scrub, ScrubState, StartScrub};
pub use snapshot::{ChangeSnapshot, CreateSnapshot, CreateSnapshotSet, SET_VOLUMES_MAX, Snapshot};
pub use status::{ListenerProtocol, ListenerStatus, MemoryStatus, PoolsStatus, Status, VolumesStatus};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use volume::{
    ChangeVolume, CloneVolume, Compression, CreateVolume, Deduplication, DeleteVolume, Durability,
    RenameVolume, ResizeVolume, RollBackVolume, Volume, VolumeHistory, check_bounds,
};
pub use words::UnknownWord;
