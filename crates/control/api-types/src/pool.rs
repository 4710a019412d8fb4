//! Pools: devices that hold one body of data together.

use quarry_types::limits::{COPIES_MAX, DEVICES_MAX, NETWORK_SCHEMES, PMEM_SCHEME, S3_SCHEME};
use quarry_types::{DeviceId, PoolId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    DeviceClass, DeviceKind, DeviceLatency, DriveHealth, Freeing, Health, InvalidRequest, Name, Protection,
    Rebuild, Scrub, Timestamp,
};

words! {
    /// Whether a pool serves, and how well protected it is.
    pub enum PoolState {
        /// Every device answers; everything has its copies.
        Online = "online",
        /// It serves, but a device is missing or failed, or copies are; see `reasons`.
        Degraded = "degraded",
        /// It does not serve; see `reasons`.
        Offline = "offline",
    }
}

words! {
    /// Whether a member device takes part.
    pub enum PoolDeviceState {
        /// It takes part.
        Online = "online",
        /// It takes part, but it has failed a request, does not answer, or is far slower than its peers: see its health. Reads avoid
        /// it where they can.
        Suspect = "suspect",
        /// Everything on it is being moved to other devices; nothing new is placed on it.
        Draining = "draining",
        /// Nothing is on it any more, and nothing new is placed on it: it can be removed.
        Drained = "drained",
        /// It was not found when the pool was opened.
        Missing = "missing",
        /// It has failed, or did not answer, and is out of use.
        Failed = "failed",
        /// It did not answer and was taken out of use, and answers again: it will be used again.
        Returned = "returned",
    }
}

/// A pool as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Its id, which is in the label of every device.
    #[schema(value_type = Uuid)]
    pub id: PoolId,
    /// Its name, unique on the node.
    pub name: Name,
    /// On how many distinct devices everything is kept; with an erasure code, what is in no group.
    #[schema(minimum = 1, maximum = 4)]
    pub copies: u8,
    /// How everything is kept.
    #[serde(default)]
    pub protection: Protection,
    /// Groups of an erasure code.
    #[serde(default)]
    pub groups: PoolGroups,
    /// Whether it serves.
    pub state: PoolState,
    /// Why the state is not `online`: sentences for people, the worst first.
    pub reasons: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Its members, missing ones included, in the order in which they joined.
    pub devices: Vec<PoolDevice>,
    /// How full it is.
    pub capacity: Capacity,
    /// Share of what hosts can use that is used or kept, in percent, rounded down: `(used + kept) / (total - reserved)`.
    #[serde(default)]
    #[schema(maximum = 100)]
    pub fill_percent: u8,
    /// From where on somebody is told.
    #[serde(default)]
    pub levels: SpaceLevels,
    /// Whether writes that need space are refused now.
    #[serde(default)]
    pub full: bool,
    /// Sum of the sizes of its volumes, in bytes, and how that is bounded.
    #[serde(default)]
    pub commitment: Commitment,
    /// What its volumes map and what that takes.
    #[serde(default)]
    pub data: PoolData,
    /// What deletions have left, which is given up in the background.
    #[serde(default)]
    pub freeing: Freeing,
    /// What does not lie on the devices on which it should.
    #[serde(default)]
    pub rebuild: Rebuild,
    /// What is copied for that in a second at most, in bytes; absent for no bound but what hosts leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild_rate_bytes_per_s: Option<u64>,
    /// Size of a segment, the unit of allocation, in bytes.
    pub segment_bytes: u64,
    /// How many logs it has: its volumes are spread over them.
    pub logs: u16,
    /// How many volumes it holds.
    pub volumes: u64,
    /// The scrub that runs, or the last one since the node was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub: Option<Scrub>,
}

/// Groups of an erasure code: segments with data that share parity. Others have copies: those being written, and the last few.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PoolGroups {
    /// How many there are.
    pub groups: u64,
    /// Segments with data in them.
    pub grouped_segments: u64,
    /// Segments in none.
    pub ungrouped_segments: u64,
}

/// What the volumes of a pool hold and what that takes. The figures that count from the time when the pool was opened are of blocks
/// that went to volumes with compression or deduplication: `from = zero + deduplicated + what became stored`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PoolData {
    /// What all volumes map, in bytes, what they share with others counted for each.
    pub mapped_bytes: u64,
    /// What is stored for them and for their snapshots, one copy, maps included.
    pub stored_bytes: u64,
    /// Bytes that hosts have written since the pool was opened.
    pub written_bytes: u64,
    /// Of these, bytes that were to be made smaller.
    pub reduced_from_bytes: u64,
    /// Of these, zeroes, which became holes.
    pub reduced_zero_bytes: u64,
    /// Of these, blocks that were there already.
    pub deduplicated_bytes: u64,
    /// What the others became.
    pub reduced_to_bytes: u64,
}

/// A member of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolDevice {
    /// Id from its label.
    #[schema(value_type = Uuid)]
    pub id: DeviceId,
    /// Absolute path at which it was opened, or last seen.
    pub path: String,
    /// How it is reached.
    pub kind: DeviceKind,
    /// What it is made of.
    pub class: DeviceClass,
    /// Whether it takes part.
    pub state: PoolDeviceState,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Bytes that hold segments now.
    pub used_bytes: u64,
    /// It leaves the pool when nothing is on it any more.
    #[serde(default)]
    pub removing: bool,
    /// How well it is, with the causes and what to do.
    #[serde(default)]
    pub health: Health,
    /// How long it took for what it was asked for in the last minute.
    #[serde(default)]
    pub latency: DeviceLatency,
    /// Requests that it has not answered and that somebody waits for.
    #[serde(default)]
    pub in_flight: u64,
    /// Writes and discards that nobody waits for any more because it did not answer, and that it may still carry out. While there are
    /// any it is not used again.
    #[serde(default)]
    pub late_writes: u64,
    /// What its drive says of itself; absent for what is no block device, and before it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive: Option<DriveHealth>,
}

/// How full a pool may be before somebody is told: by an event, in the node's health and in `pool show`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SpaceLevels {
    /// From so many percent on: somebody should act.
    #[schema(minimum = 1, maximum = 100)]
    pub warning_percent: u8,
    /// From so many percent on: somebody must act now.
    #[schema(minimum = 1, maximum = 100)]
    pub critical_percent: u8,
}

impl Default for SpaceLevels {
    fn default() -> Self {
        Self { warning_percent: 80, critical_percent: 95 }
    }
}

impl SpaceLevels {
    /// Checks that both are percentages, in this order.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let Self { warning_percent, critical_percent } = *self;
        for (field, percent) in [("warning_percent", warning_percent), ("critical_percent", critical_percent)]
        {
            if !(1..=100).contains(&percent) {
                return Err(InvalidRequest::new(field, format!("{percent} is not between 1 and 100")));
            }
        }
        if warning_percent > critical_percent {
            let message = format!("{warning_percent} is above the critical level of {critical_percent}");
            return Err(InvalidRequest::contradiction("warning_percent", message));
        }
        Ok(())
    }
}

/// How full a pool is. `used + free + reserved = total`, in bytes of the devices, every copy counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// What the devices offer behind their labels.
    pub total_bytes: u64,
    /// Held by segments, dead blocks that are not yet cleaned included.
    pub used_bytes: u64,
    /// Open to new segments.
    pub free_bytes: u64,
    /// Kept back so that cleaning, checkpoints and deletes still work when the pool is full.
    pub reserved_bytes: u64,
    /// The part of `free_bytes` that is kept for volumes with a reservation, until they have used it.
    #[serde(default)]
    pub kept_bytes: u64,
    /// How much volume data still fits with the pool's copies: what an operator plans with.
    pub available_bytes: u64,
}

/// What a pool has promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Commitment {
    /// Sum of the sizes of all volumes, in bytes; one that is kept in its own way counts by what it takes, as much as others would.
    pub volumes_bytes: u64,
    /// Sum of the reservations of all volumes, in bytes, counted in the same way.
    pub reserved_bytes: u64,
    /// The sizes in percent of what the pool holds with its copies; above 100 it is over-committed.
    pub percent: u64,
    /// The most that `percent` may become by creating, growing or cloning volumes; absent for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_percent: Option<u32>,
}

/// A request for a new pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePool {
    /// Its name, unique on the node.
    pub name: Name,
    /// Absolute paths on the node (files, directories, block devices) or addresses of disks of servers
    /// (`nbd://ADDRESS:PORT/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`, `iscsi://ADDRESS:PORT/IQN/LUN`,
    /// `nvme-tcp://ADDRESS:PORT/NQN/NAMESPACE`), at least one for each copy.
    #[schema(min_items = 1, max_items = 64)]
    pub devices: Vec<String>,
    /// On how many distinct devices everything is kept: the same as `protection` of `copies:N`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4)]
    pub copies: Option<u8>,
    /// How everything is kept; one copy when neither this nor `copies` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Take devices that have something on them, which is lost. Never takes a device of a pool open here.
    #[serde(default)]
    #[schema(default = false)]
    pub force: bool,
    /// Fill level in percent from which on somebody should act.
    #[serde(default = "default_warning")]
    #[schema(minimum = 1, maximum = 100, default = 80)]
    pub warning_percent: u8,
    /// Fill level in percent from which on somebody must act now.
    #[serde(default = "default_critical")]
    #[schema(minimum = 1, maximum = 100, default = 95)]
    pub critical_percent: u8,
    /// The most that the sizes of its volumes may be in percent of what it holds; 0 for no bound.
    #[serde(default)]
    #[schema(default = 0, example = 300)]
    pub overcommit_limit_percent: u32,
}

/// A request to change a pool. What is absent stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePool {
    /// Fill level in percent from which on somebody should act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub warning_percent: Option<u8>,
    /// Fill level in percent from which on somebody must act now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub critical_percent: Option<u8>,
    /// The most that the sizes of its volumes may be in percent of what it holds; 0 for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 300)]
    pub overcommit_limit_percent: Option<u32>,
    /// On how many distinct devices everything is kept: the same as `protection` of `copies:N`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4)]
    pub copies: Option<u8>,
    /// How everything is kept. What is there is converted in the background; see `rebuild`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// What is copied in a second at most when devices fail, join or are drained, in bytes; 0 for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild_rate_bytes_per_s: Option<u64>,
}

impl ChangePool {
    /// The levels of a pool that has `now`, once this is done.
    pub fn levels(&self, now: SpaceLevels) -> SpaceLevels {
        SpaceLevels {
            warning_percent: self.warning_percent.unwrap_or(now.warning_percent),
            critical_percent: self.critical_percent.unwrap_or(now.critical_percent),
        }
    }

    /// Checks all that can be judged without looking at the pool.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if *self == Self::default() {
            return Err(InvalidRequest::contradiction("warning_percent", "nothing is to be changed"));
        }
        self.wanted_protection().map(|_| ())
    }

    /// How everything is to be kept from now on, if that is to change.
    pub fn wanted_protection(&self) -> Result<Option<Protection>, InvalidRequest> {
        one_of(self.copies, self.protection)
    }
}

const _: () = assert!(COPIES_MAX == 4 && DEVICES_MAX == 64, "the schema and the messages say 4 and 64");

/// A protection that may be given in either way.
pub(crate) fn one_of(
    copies: Option<u8>,
    protection: Option<Protection>,
) -> Result<Option<Protection>, InvalidRequest> {
    let of_copies = |copies: u8| match (1..=COPIES_MAX).contains(&usize::from(copies)) {
        true => Ok(Protection(quarry_types::Protection::Copies(copies))),
        false => Err(InvalidRequest::new("copies", format!("{copies} is not between 1 and 4"))),
    };
    match (copies, protection) {
        (Some(_), Some(_)) => {
            Err(InvalidRequest::contradiction("protection", "give either copies or a protection"))
        }
        (Some(copies), None) => of_copies(copies).map(Some),
        (None, protection) => Ok(protection),
    }
}

fn default_warning() -> u8 {
    SpaceLevels::default().warning_percent
}

fn default_critical() -> u8 {
    SpaceLevels::default().critical_percent
}

impl CreatePool {
    /// How full the pool may be before somebody is told.
    pub fn levels(&self) -> SpaceLevels {
        SpaceLevels { warning_percent: self.warning_percent, critical_percent: self.critical_percent }
    }

    /// How everything is to be kept.
    pub fn wanted_protection(&self) -> Result<Protection, InvalidRequest> {
        one_of(self.copies, self.protection).map(Option::unwrap_or_default)
    }

    /// Checks all that can be judged without looking at a device.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let protection = self.wanted_protection()?;
        self.levels().check()?;
        if self.devices.is_empty() || self.devices.len() > DEVICES_MAX {
            let message = format!("a pool has 1 to 64 devices, not {}", self.devices.len());
            return Err(InvalidRequest::new("devices", message));
        }
        let (needed, devices) = (protection.0.devices(), self.devices.len());
        if devices < needed {
            let message = format!("{protection} needs {needed} distinct devices, only {devices} given");
            return Err(InvalidRequest::contradiction("devices", message));
        }
        if let Some(path) = self.devices.iter().find(|path| !may_name_a_device(path)) {
            return Err(InvalidRequest::new(
                "devices",
                format!(
                    "'{}' is neither an absolute path nor the address of a server's disk ({}), of a place in a bucket \
                     ({S3_SCHEME}BUCKET/PREFIX?size=1TiB) or of persistent memory ({PMEM_SCHEME}/PATH)",
                    path.escape_debug(),
                    server_disks()
                ),
            ));
        }
        let mut sorted: Vec<_> = self.devices.iter().collect();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(InvalidRequest::contradiction("devices", format!("'{}' is given twice", pair[0])))
            }
            None => Ok(()),
        }
    }
}

/// Whether it is a path, or an address; the node says whether anything is there.
pub(crate) fn may_name_a_device(path: &str) -> bool {
    let mut schemes = NETWORK_SCHEMES.iter().chain([&PMEM_SCHEME, &S3_SCHEME]);
    (path.starts_with('/') || schemes.any(|scheme| path.starts_with(scheme))) && !path.contains('\0')
}

/// How addresses of disks of servers begin, in words.
pub(crate) fn server_disks() -> String {
    NETWORK_SCHEMES.map(|scheme| format!("{scheme}...")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(devices: &[&str], copies: u8) -> CreatePool {
        let devices = devices.iter().map(|&path| path.to_owned()).collect();
        let SpaceLevels { warning_percent, critical_percent } = SpaceLevels::default();
        let name = "p".parse().unwrap();
        CreatePool {
            name,
            devices,
            copies: Some(copies),
            protection: None,
            force: false,
            warning_percent,
            critical_percent,
            overcommit_limit_percent: 0,
        }
    }

    #[test]
    fn levels_are_percentages_in_order() {
        let levels = |warning_percent, critical_percent| SpaceLevels { warning_percent, critical_percent };
        for good in [levels(1, 1), levels(80, 95), levels(100, 100)] {
            assert_eq!(good.check(), Ok(()));
        }
        for (bad, field) in [
            (levels(0, 95), "warning_percent"),
            (levels(80, 101), "critical_percent"),
            (levels(96, 95), "warning_percent"),
        ] {
            assert_eq!(bad.check().unwrap_err().field, field);
            let request = CreatePool {
                warning_percent: bad.warning_percent,
                critical_percent: bad.critical_percent,
                ..request(&["/a"], 1)
            };
            assert_eq!(request.check().unwrap_err().field, field);
        }
        let change = ChangePool { critical_percent: Some(90), ..ChangePool::default() };
        assert_eq!((change.check(), change.levels(levels(70, 80))), (Ok(()), levels(70, 90)));
        assert!(ChangePool::default().check().is_err());
    }

    #[test]
    fn a_request_is_checked_before_any_device_is_touched() {
        let coded = |devices: &[&str], copies: Option<u8>| {
            let protection = Some("ec:2+1".parse().unwrap());
            CreatePool { copies, protection, ..request(devices, 1) }
        };
        assert_eq!(request(&["/a", "/b"], 2).check(), Ok(()));
        assert_eq!(coded(&["/a", "/b", "/c"], None).check(), Ok(()));
        for (bad, field, part) in [
            (request(&["/a"], 0), "copies", "between 1 and 4"),
            (request(&["/a"], 5), "copies", "between 1 and 4"),
            (request(&[], 1), "devices", "1 to 64 devices"),
            (request(&["/a"], 2), "devices", "copies:2 needs 2 distinct devices"),
            (coded(&["/a", "/b"], None), "devices", "ec:2+1 needs 3 distinct devices"),
            (coded(&["/a", "/b", "/c"], Some(1)), "protection", "either copies or a protection"),
            (request(&["a"], 1), "devices", "neither an absolute path nor the address of a server's disk"),
            (request(&["/a", "/b", "/a"], 1), "devices", "'/a' is given twice"),
        ] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn copies_and_force_have_defaults_and_a_misspelt_option_is_refused() {
        let request: CreatePool = serde_json::from_str(r#"{"name":"p","devices":["/a"]}"#).unwrap();
        assert_eq!((request.wanted_protection(), request.force), (Ok(Protection::default()), false));
        assert_eq!(request.levels(), SpaceLevels { warning_percent: 80, critical_percent: 95 });
        let misspelt = serde_json::from_str::<CreatePool>(r#"{"name":"p","devices":["/a"],"copys":2}"#);
        assert!(misspelt.unwrap_err().to_string().contains("copys"));
    }
}
