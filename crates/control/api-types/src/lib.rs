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

mod audit;
mod changes;
mod chap;
mod compliance;
mod device;
mod device_health;
mod event;
mod export;
mod forecast;
mod freeing;
mod group;
mod health;
mod host;
mod host_group;
mod ids;
mod image;
mod initiator;
mod job;
mod keeping;
mod keyring;
mod membership;
mod migration;
mod name;
mod network;
mod path;
mod policy;
mod pool;
mod problem;
mod protection;
mod qos;
mod request;
mod schedule;
mod scrub;
mod secret;
mod series;
mod snapshot;
mod state;
mod stats;
mod status;
mod tenant;
mod tiers;
mod timestamp;
mod token;
mod user;
mod volume;
mod volume_words;
mod watch;
mod wishes;

pub use audit::{AuditEntries, AuditEntry, AuditKind, AuditQuery, AuditVerification, VerifyAudit};
pub use changes::{ChangedRange, Changes, ChangesQuery};
pub use chap::{CHAP_SECRET_BYTES, CHAP_USER_BYTES_MAX, Chap, ChapProof, ChapSecret, ChapUser};
pub use compliance::{
    ComplianceState, GroupPolicy, KeptSnapshot, ScheduleStatus, SettingCompliance, SettingSource,
    VolumePolicy,
};
pub use device::{Device, DeviceClass, DeviceKind, DeviceState};
pub use device_health::{DeviceLatency, DriveHealth, DriveVerdict, LatencyFigures};
pub use event::{Event, EventKind, EventSeverity, Events, EventsQuery, ObjectKind};
pub use export::{
    CreateExport, DeleteExport, Export, ExportState, Protocol, UNIT_NUMBER_MAX, nbd_tcp_uri, nbd_unix_uri,
};
pub use forecast::{
    CapacityForecast, Forecast, ForecastLevel, ForecastPoint, ForecastReach, ForecastState, LoadForecast,
    LoadSpan,
};
pub use freeing::Freeing;
pub use group::{ChangeGroup, CreateGroup, GROUP_VOLUMES_MAX, Group, GroupSnapshot, RollBackGroup};
pub use health::{Cause, Health, HealthLevel};
pub use host::{ChangeHost, CreateHost, HOST_INITIATORS_MAX, HOST_NETWORKS_MAX, Host, check_somebody};
pub use host_group::{ChangeHostGroup, CreateHostGroup, HOST_GROUP_HOSTS_MAX, HostGroup};
pub use ids::{ExportId, ExportSelector, GroupId, HostGroupId, HostId, NodeId, PolicyId};
pub use image::{AdoptVolume, ImageState, VolumeImage};
pub use initiator::{INITIATOR_NAME_BYTES_MAX, InitiatorName, InitiatorNameProblem, InvalidInitiatorName};
pub use job::{Job, JobKind, JobState};
pub use keeping::{OwnProtection, OwnTier};
pub use keyring::{Keyring, KeyringState, UnlockKeyring};
pub use membership::{AddDevice, Rebuild};
pub use migration::{MigrateVolume, MigrationState, VolumeMigration};
pub use name::{InvalidName, Name};
pub use network::{InvalidNetwork, Network};
pub use path::{InvalidPath, SnapshotPath, VolumePath};
pub use policy::{AttachPolicy, ChangePolicy, CreatePolicy, Policy, PolicySetting, PolicySettings, ratio};
pub use pool::{
    Capacity, ChangePool, Commitment, CreatePool, Pool, PoolData, PoolDevice, PoolDeviceState, PoolGroups,
    PoolState, SpaceLevels,
};
pub use problem::{Problem, ProblemCode};
pub use protection::Protection;
pub use qos::{BURST_S_MAX, QosCause, QosStatus, QosWait, QualityOfService};
pub use quarry_types::{DeviceId, PoolId, SnapshotId, SnapshotSetId, VolumeId};
pub use request::InvalidRequest;
pub use schedule::{
    Every, InvalidEvery, InvalidTimeOfDay, InvalidZoneName, SNAPSHOT_KEEP_MAX, SNAPSHOT_RULES_MAX,
    SnapshotRule, SnapshotSchedule, TimeOfDay, Weekday, ZoneName,
};
pub use scrub::{LostBlock, Scrub, ScrubState, StartScrub};
pub use secret::Secret;
pub use series::{Resolution, Series, SeriesHistory, SeriesPoint, SeriesQuery, SeriesUnit};
pub use snapshot::{ChangeSnapshot, CreateSnapshot, CreateSnapshotSet, SET_VOLUMES_MAX, Snapshot};
pub use state::{
    State, StatePlan, StatedAction, StatedChange, StatedExport, StatedGroup, StatedHost, StatedHostGroup,
    StatedKind, StatedPlace, StatedPolicy, StatedPool, StatedProblem, StatedTenant, StatedVolume,
};
pub use stats::{
    Configuration, DeviceStats, HostOperation, Latency, LogLines, NodeStats, OperationStats, PoolStats,
    RequestStage, Setting, SlowRequest, SlowRequests, StageStats, StageTime, VolumeStats,
};
pub use status::{
    CacheDiskStatus, InitiatorNames, ListenerProtocol, ListenerStatus, MemoryStatus, PoolsStatus,
    ReadCacheStatus, Status, VolumesStatus,
};
pub use tenant::{
    ChangeTenant, CreateTenant, PoolShare, PoolShareUse, TENANT_NAME_BYTES_MAX, TENANT_POOLS_MAX, Tenant,
    tenant_of,
};
pub use tiers::{PoolTier, PoolTiers, SetTier, TierDecision, TierReason, VolumePlacement, VolumeTier};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use token::{CreateToken, NewToken, TOKEN_LIFE_S_MAX, TOKEN_PURPOSE_CHARACTERS_MAX, Token};
pub use user::{CreateUser, Login, PASSWORD_CHARACTERS, Role, Session, SetPassword, User};
pub use volume::{
    ChangeVolume, CloneVolume, CreateVolume, DeleteVolume, MissedSeconds, RenameVolume, ResizeVolume,
    RollBackVolume, Volume, VolumeHistory, check_bounds,
};
pub use volume_words::{Compression, Deduplication, Durability, ReadCache};
pub use watch::{WatchEvent, WatchQuery, WatchSort, Watched, WatchedKind};
pub use wishes::{Replication, Tier};
pub use words::UnknownWord;
