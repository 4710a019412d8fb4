//! Volumes: thin block devices carved out of a pool.

use quarry_types::limits::{HISTORY_S_MAX, VOLUME_BYTES_MAX};
use quarry_types::{ByteSize, SECTOR_BYTES, VolumeId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Compression, Deduplication, Durability, InvalidRequest, Name, OwnProtection, OwnTier, PolicySettings,
    Protection, QosStatus, QualityOfService, ReadCache, Tier, Timestamp, VolumeImage, VolumeMigration,
    VolumePath,
};

/// A volume as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// Its id, for ever.
    #[schema(value_type = Uuid)]
    pub id: VolumeId,
    /// Its name, unique on the node; an export carries the same one.
    pub name: Name,
    /// The pool that holds it; absent in image mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Where it lies in image mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<VolumeImage>,
    /// Its way to another place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<VolumeMigration>,
    /// How it is kept; absent in image mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Whether that is its own, and not that of its pool.
    #[serde(default)]
    pub own_protection: bool,
    /// Where it lies among the tiers of its pool; absent in image mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whether that is its own, and not that of its pool.
    #[serde(default)]
    pub own_tier: bool,
    /// What hosts see, in bytes.
    pub size_bytes: u64,
    /// When an acknowledged write is safe.
    pub durability: Durability,
    /// Bytes that are mapped, copies not counted: what it takes from the pool's available space.
    pub used_bytes: u64,
    /// The most that it may map, in bytes; absent when only its size is a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// What the pool keeps for it, in bytes: as long as it maps less, its writes to new blocks find space.
    #[serde(default)]
    pub reserved_bytes: u64,
    /// How new blocks are made smaller. Blocks of zeroes become holes unless it is off.
    #[serde(default)]
    pub compression: Compression,
    /// Whether blocks that its core has stored since the start are stored again.
    #[serde(default)]
    pub deduplication: Deduplication,
    /// Whether what is read again is answered from memory.
    #[serde(default)]
    pub read_cache: ReadCache,
    /// For so many seconds back it can be had as it was at any second; 0 for none.
    #[serde(default)]
    pub history_s: u32,
    /// What can be had of its past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<VolumeHistory>,
    /// Whether its blocks are encrypted (AES-256-GCM) under a key of its own.
    #[serde(default)]
    pub encrypted: bool,
    /// It is encrypted, and its key is not there: it takes no reads and no writes.
    #[serde(default)]
    pub locked: bool,
    /// Its natural unit of reads and writes, in bytes; 512 works too.
    pub block_bytes: u32,
    /// The core of the node that serves it.
    pub core: u16,
    /// Whether an export serves it.
    pub exported: bool,
    /// How many snapshots it has.
    #[serde(default)]
    pub snapshots: u64,
    /// What it was cloned from and shares data with: `VOLUME@SNAPSHOT`, or `VOLUME` when nobody sees the snapshot between
    /// them. Absent when it stands on no other volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "golden@v3")]
    pub origin: Option<VolumePath>,
    /// The consistency group that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// What it is to get of the node's performance; absent when nothing is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// How its requests fare, where they are scheduled. Shown with one volume, not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos_status: Option<QosStatus>,
}

/// What can be had of a volume's past: it can be cloned and rolled back as of each second of it that was not missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumeHistory {
    /// The first second.
    pub since: Timestamp,
    /// The last one in which something had changed.
    pub until: Timestamp,
    /// Seconds in which something had changed, of those that are kept.
    pub moments: u64,
    /// The last seconds in between that cannot be had; absent when there are none. Earlier ones may be missing, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<MissedSeconds>,
}

/// Seconds of a volume's past that cannot be had: it had changed, and what it held then was not kept, because the pool was full,
/// the node late or stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MissedSeconds {
    /// The first of them.
    pub from: Timestamp,
    /// The first second after them that can be had; absent as long as there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A request for a new volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVolume {
    /// Its name, unique on the node.
    pub name: Name,
    /// The pool to carve it from.
    pub pool: Name,
    /// What hosts will see, in bytes: a multiple of 512, up to 1 PiB.
    #[schema(minimum = 512, maximum = 1125899906842624u64, multiple_of = 512, example = 21474836480u64)]
    pub size_bytes: u64,
    /// When an acknowledged write is safe.
    #[serde(default)]
    pub durability: Durability,
    /// The most that it may map, in bytes; 0 for its size.
    #[serde(default)]
    #[schema(default = 0)]
    pub quota_bytes: u64,
    /// What the pool is to keep for it, in bytes.
    #[serde(default)]
    #[schema(default = 0)]
    pub reserved_bytes: u64,
    /// How its blocks are made smaller.
    #[serde(default)]
    pub compression: Compression,
    /// Whether blocks that its core has stored since the start are stored again.
    #[serde(default)]
    pub deduplication: Deduplication,
    /// Whether what is read again is answered from memory.
    #[serde(default)]
    pub read_cache: ReadCache,
    /// For how many seconds back it is to be had as it was at any second; 0 for none.
    #[serde(default)]
    #[schema(default = 0, maximum = 3600)]
    pub history_s: u32,
    /// Whether its blocks are encrypted; that cannot be changed later.
    #[serde(default)]
    #[schema(default = false)]
    pub encrypted: bool,
    /// How it is to be kept, if not as its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Where it is to lie among the tiers of its pool, if not as its pool's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// What it is to get of the node's performance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// The policy that it has from its first moment on. What the request says beside that and is not a default is meant for this
    /// volume alone, whatever the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Name>,
}

impl CreateVolume {
    /// A volume with everything else as it is unless somebody says otherwise.
    pub fn new(name: Name, pool: Name, size_bytes: u64) -> Self {
        Self {
            name,
            pool,
            size_bytes,
            durability: Durability::default(),
            quota_bytes: 0,
            reserved_bytes: 0,
            compression: Compression::default(),
            deduplication: Deduplication::default(),
            read_cache: ReadCache::default(),
            history_s: 0,
            encrypted: false,
            protection: None,
            tier: None,
            qos: None,
            policy: None,
        }
    }

    /// What the request says that is not a default.
    pub fn overrides(&self) -> PolicySettings {
        fn unless_default<T: PartialEq + Default>(value: T) -> Option<T> {
            Some(value).filter(|value| *value != T::default())
        }
        PolicySettings {
            durability: unless_default(self.durability),
            compression: unless_default(self.compression),
            deduplication: unless_default(self.deduplication),
            read_cache: unless_default(self.read_cache),
            encrypted: unless_default(self.encrypted),
            history_s: unless_default(self.history_s),
            quota_bytes: unless_default(self.quota_bytes),
            reserved_bytes: unless_default(self.reserved_bytes),
            protection: self.protection,
            tier: self.tier,
            qos: self.qos.clone().filter(|qos| !qos.is_empty()),
            ..PolicySettings::default()
        }
    }

    /// The same request with what is meant for the volume.
    #[must_use]
    pub fn with_settings(self, settings: &PolicySettings) -> Self {
        Self {
            durability: settings.durability.unwrap_or(self.durability),
            compression: settings.compression.unwrap_or(self.compression),
            deduplication: settings.deduplication.unwrap_or(self.deduplication),
            read_cache: settings.read_cache.unwrap_or(self.read_cache),
            encrypted: settings.encrypted.unwrap_or(self.encrypted),
            history_s: settings.history_s.unwrap_or(self.history_s),
            quota_bytes: settings.quota_bytes.unwrap_or(self.quota_bytes),
            reserved_bytes: settings.reserved_bytes.unwrap_or(self.reserved_bytes),
            protection: settings.protection.or(self.protection),
            tier: settings.tier.or(self.tier),
            qos: settings.qos.clone().or(self.qos),
            ..self
        }
    }

    /// Checks all that can be judged without asking the pool.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_size(self.size_bytes)?;
        check_history(self.history_s)?;
        self.qos.as_ref().map_or(Ok(()), QualityOfService::check)?;
        check_bounds(self.size_bytes, self.quota_bytes, self.reserved_bytes)
    }
}

/// A request to change a volume while it is in use. What is absent stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeVolume {
    /// When an acknowledged write is safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// The most that it may map, in bytes; 0 for its size. It may map more already: then only overwrites go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// What the pool is to keep for it, in bytes; 0 for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_bytes: Option<u64>,
    /// How blocks that are written from now on are made smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether blocks that are written from now on and that its core has stored since the start are stored again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// Whether what is read again is answered from memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_cache: Option<ReadCache>,
    /// For how many seconds back it is to be had as it was at any second; 0 for none, which drops what there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 3600)]
    pub history_s: Option<u32>,
    /// How it is to be kept from now on. Alone of its sort it stays where it is, with everything that belongs to it; else it is copied beside the others that are
    /// kept so, while it is in use, and has no snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<OwnProtection>,
    /// Where it is to lie among the tiers of its pool from now on. The same as for `protection` applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<OwnTier>,
    /// What it is to get of the node's performance: all of it, what is absent in it is neither bounded nor promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
}

impl ChangeVolume {
    /// Checks all that can be judged without looking at the volume.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if *self == Self::default() {
            return Err(InvalidRequest::contradiction("quota_bytes", "nothing is to be changed"));
        }
        self.qos.as_ref().map_or(Ok(()), QualityOfService::check)?;
        check_history(self.history_s.unwrap_or(0))
    }
}

/// Checks that the bounds of a volume go together; a quota of 0 is none.
pub fn check_bounds(size_bytes: u64, quota_bytes: u64, reserved_bytes: u64) -> Result<(), InvalidRequest> {
    let (bound, what) = match quota_bytes {
        0 => (size_bytes, "size"),
        quota_bytes => (quota_bytes.min(size_bytes), "size or quota"),
    };
    if reserved_bytes > bound {
        let message = format!(
            "{} is more than the volume can map by its {what}, {}",
            ByteSize(reserved_bytes),
            ByteSize(bound)
        );
        return Err(InvalidRequest::contradiction("reserved_bytes", message));
    }
    Ok(())
}

/// A request for another size of a volume, under I/O.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeVolume {
    /// The new size in bytes: a multiple of 512, up to 1 PiB.
    #[schema(minimum = 512, maximum = 1125899906842624u64, multiple_of = 512, example = 42949672960u64)]
    pub size_bytes: u64,
}

impl ResizeVolume {
    /// Checks all that can be judged without asking the pool.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_size(self.size_bytes)
    }
}

/// A request for a new volume that begins with the content of another one, whose data it shares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneVolume {
    /// The new volume's name, unique on the node.
    pub name: Name,
    /// The snapshot with whose content it begins. Absent: the volume as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Name>,
    /// The second of its history with whose content it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl CloneVolume {
    /// Checks all that can be judged without looking at the volume.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match (&self.snapshot, self.at) {
            (Some(_), Some(_)) => {
                Err(InvalidRequest::contradiction("at", "a snapshot is of one point in time already"))
            }
            _ => Ok(()),
        }
    }
}

/// A request to give a volume the content and the size that one of its snapshots has, or that it had at a second of its history.
/// What was written since is lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBackVolume {
    /// The snapshot of the volume to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Name>,
    /// The second of its history to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl RollBackVolume {
    /// To a snapshot.
    pub fn to_snapshot(snapshot: Name) -> Self {
        Self { snapshot: Some(snapshot), at: None }
    }

    /// Checks all that can be judged without looking at the volume.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if self.snapshot.is_some() == self.at.is_some() {
            return Err(InvalidRequest::contradiction(
                "snapshot",
                "say either a snapshot or a point in time to go back to",
            ));
        }
        Ok(())
    }
}

/// How a volume is to be destroyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteVolume {
    /// Its snapshots go with it.
    #[serde(default)]
    #[param(required = false, default = false)]
    pub with_snapshots: bool,
}

/// A request for another name of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameVolume {
    /// The new name, unique on the node.
    pub name: Name,
}

fn check_history(history_s: u32) -> Result<(), InvalidRequest> {
    if history_s > HISTORY_S_MAX {
        let message = format!("{history_s} seconds are more than the longest history, {HISTORY_S_MAX}");
        return Err(InvalidRequest::new("history_s", message));
    }
    Ok(())
}

fn check_size(size_bytes: u64) -> Result<(), InvalidRequest> {
    let message = if size_bytes == 0 {
        "a volume cannot be empty".to_owned()
    } else if !size_bytes.is_multiple_of(SECTOR_BYTES as u64) {
        format!("{size_bytes} is not a multiple of {SECTOR_BYTES} bytes")
    } else if size_bytes > VOLUME_BYTES_MAX {
        format!("{} is more than the largest volume, {}", ByteSize(size_bytes), ByteSize(VOLUME_BYTES_MAX))
    } else {
        return Ok(());
    };
    Err(InvalidRequest::new("size_bytes", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_sectors_within_the_limit() {
        for good in [512, 4096, 1 << 30, VOLUME_BYTES_MAX] {
            assert_eq!(ResizeVolume { size_bytes: good }.check(), Ok(()));
        }
        for (bad, part) in
            [(0, "empty"), (1000, "multiple of 512"), (VOLUME_BYTES_MAX + 512, "largest volume")]
        {
            let error = ResizeVolume { size_bytes: bad }.check().unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn a_reservation_beyond_what_the_volume_can_map_is_refused() {
        for good in [(100, 0, 100), (100, 50, 50), (100, 500, 100), (100, 0, 0)] {
            assert_eq!(check_bounds(good.0, good.1, good.2), Ok(()));
        }
        for (bad, part) in [((100, 0, 101), "its size, 100 B"), ((100, 50, 51), "quota, 50 B")] {
            let error = check_bounds(bad.0, bad.1, bad.2).unwrap_err().to_string();
            assert!(error.starts_with("reserved_bytes: ") && error.ends_with(part), "{error}");
        }
        assert!(ChangeVolume::default().check().is_err());
    }

    #[test]
    fn what_is_asked_for_beside_a_policy_overrides_it() {
        let mut request = CreateVolume::new("v".parse().unwrap(), "p".parse().unwrap(), 512);
        assert!(request.overrides().is_empty());
        request.compression = Compression::Zstd;
        let policy: PolicySettings =
            serde_json::from_str(r#"{"compression":"lz4","encrypted":true,"quota_bytes":4096}"#).unwrap();
        let made = request.clone().with_settings(&request.overrides().over(&policy));
        assert_eq!((made.compression, made.encrypted, made.quota_bytes), (Compression::Zstd, true, 4096));
    }

    #[test]
    fn a_point_in_time_and_a_snapshot_exclude_each_other() {
        let (name, at): (Name, Timestamp) = ("s".parse().unwrap(), "2026-11-21T10:00:00Z".parse().unwrap());
        let back = |snapshot: Option<&Name>, at| RollBackVolume { snapshot: snapshot.cloned(), at }.check();
        assert!(back(Some(&name), None).is_ok() && back(None, Some(at)).is_ok());
        assert!(back(Some(&name), Some(at)).is_err() && back(None, None).is_err());
        let clone = |at| CloneVolume { name: name.clone(), snapshot: Some(name.clone()), at }.check();
        assert!(clone(None).is_ok() && clone(Some(at)).is_err());
        let long = ChangeVolume { history_s: Some(3601), ..ChangeVolume::default() };
        assert!(long.check().unwrap_err().to_string().contains("3600"));
    }
}
