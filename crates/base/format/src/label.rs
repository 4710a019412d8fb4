//! The label: what a device says about itself and about its pool, in 16 KiB, stored twice.
//!
//! Every label carries the whole membership, so any one device names all the others. Labels of one pool differ in
//! [`Label::device_index`] only. An update raises [`Label::sequence`] and goes to the second copy, is flushed, goes to
//! the first copy and is flushed again: a torn write leaves one valid copy, and the highest valid sequence counts.
//!
//! A pool is born by [`LabelState::Forming`] labels on all of its devices, then [`LabelState::Ready`] ones. It exists
//! from the first ready label on; without one, nothing opens it. It ends the same way, by an
//! [`LabelState::Ended`] label, so that the survivors of an interrupted deletion are never taken for a degraded pool.
//!
//! Invariants of a label that decodes, checked by [`Label::check`]:
//! - between 1 and [`DEVICES_MAX`] members, indexes rising strictly and below it, no id twice, one of them this device;
//! - as many members as each protection needs, at least;
//! - the slots of each member fit behind its header.

mod layout;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use quarry_types::limits::{
    BLOCK_BYTES, DEVICES_MAX, LOGS_MAX, NAME_BYTES_MAX, SECTOR_BYTES, SEGMENT_BYTES_DEFAULT,
    SEGMENT_BYTES_MIN,
};
use quarry_types::{DeviceId, LogId, PoolId, Protection};

pub use layout::{
    ANCHOR_BYTES, ANCHORS_PER_LOG, CLAIM_OFFSET, GRANULE_BYTES, GRANULE_SECTORS, LABEL_COPY_OFFSETS,
    anchor_offset, segment_bytes_for, slot_offset, slots_for,
};
pub use raw::{LABEL_BYTES, LABEL_MAGIC, LABEL_VERSION, PATH_BYTES_MAX, path_hint};

/// How far the life of a pool has got, as one device knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LabelState {
    /// The pool is being made: it does not exist unless another member is ready.
    Forming,
    /// The pool exists.
    Ready,
    /// The pool is being deleted: it does not exist any more.
    Ended,
}

/// What a device is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DeviceClass {
    /// Persistent memory.
    Pmem,
    /// Solid state as fast as behind NVMe.
    Nvme,
    /// Solid state.
    Ssd,
    /// Spinning disk.
    Hdd,
    /// A bucket of an object store.
    Object,
    /// Not known, or a class that this version does not know.
    Unknown,
}

impl DeviceClass {
    /// The class by which a device is used: one of which nothing is known counts as solid state.
    pub fn known(self) -> Self {
        if self == Self::Unknown { Self::Ssd } else { self }
    }
}

/// Where in a pool data is to lie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TierPolicy {
    /// What is read most on the fastest devices.
    #[default]
    Automatic,
    /// Everything on devices of this class, as far as it fits there.
    Pinned(DeviceClass),
}

/// How one log keeps what it holds, where that is not as its pool does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LogPolicy {
    /// How it is kept, if not as [`Label::protection`] says.
    pub protection: Option<Protection>,
    /// Where it lies, if not as [`Label::tier_policy`] says.
    pub tier_policy: Option<TierPolicy>,
}

impl LogPolicy {
    /// Whether it is as that of the pool, whatever that is.
    pub fn is_as_pool(&self) -> bool {
        *self == Self::default()
    }
}

/// A device of a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id.
    pub device: DeviceId,
    /// The number by which chunks name it. One that has been removed gives it free: by then no image names it.
    pub index: u16,
    /// Bytes that the pool uses, header included.
    pub size_bytes: u64,
    /// Slots behind the header, of the pool's segment size each.
    pub slots: u32,
    /// Unit of I/O in bytes when it joined; a power of two between 512 and [`GRANULE_BYTES`].
    pub sector_bytes: u32,
    /// What it is made of.
    pub class: DeviceClass,
    /// Whether the file was made by Quarry inside a directory, and goes with its pool.
    pub created_file: bool,
    /// Whether everything on it is to be moved elsewhere, so that it can be removed; nothing new is placed on it.
    pub leaving: bool,
    /// Where it was seen last: a hint, of which [`path_hint`] is stored.
    pub path: String,
}

/// What the label of one device says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// Rises by one with each change of the pool's labels; the highest counts, also among devices.
    pub sequence: u64,
    /// Whether the pool exists.
    pub state: LabelState,
    /// The pool.
    pub pool: PoolId,
    /// Its name, 1 to [`NAME_BYTES_MAX`] bytes.
    pub pool_name: String,
    /// How the pool keeps what it holds.
    pub protection: Protection,
    /// Size of a slot in bytes; a power of two between [`SEGMENT_BYTES_MIN`] and [`SEGMENT_BYTES_DEFAULT`].
    pub segment_bytes: u64,
    /// On which of its devices data is to lie.
    pub tier_policy: TierPolicy,
    /// The logs that differ from their pool, whether they exist already or not.
    pub log_policies: BTreeMap<LogId, LogPolicy>,
    /// When the pool was made, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_ms: u64,
    /// [`Member::index`] of the device that carries this label.
    pub device_index: u16,
    /// Every device of the pool, by rising index.
    pub members: Vec<Member>,
}

/// A rule that the contents of a label break.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LabelRule {
    /// See [`LabelState`].
    #[error("its state is not known")]
    State,
    /// Of copies or of a code that there are, and of at most as many devices as members.
    #[error("its protection is not known, or needs more members than it has")]
    Protection,
    /// Of logs that there can be, which differ from their pool.
    #[error("what it says of single logs is not known")]
    LogPolicies,
    /// See [`Label::pool_name`].
    #[error("the pool's name is empty, too long or not UTF-8")]
    PoolName,
    /// See [`Label::segment_bytes`].
    #[error("its segment size is out of range")]
    SegmentBytes,
    /// Everything is placed in granules of [`GRANULE_BYTES`].
    #[error("its granule is not 4096 bytes")]
    Granule,
    /// There are 1 to [`DEVICES_MAX`] members.
    #[error("its number of members is out of range")]
    MemberCount,
    /// Indexes rise, up to [`DEVICES_MAX`] exclusively, and ids are distinct.
    #[error("its members are not distinct and in order")]
    MemberOrder,
    /// See [`Member::sector_bytes`].
    #[error("a member's sector size is out of range")]
    SectorBytes,
    /// Slots fit into their device.
    #[error("a member's slots do not fit into its size")]
    Slots,
    /// The device that carries the label is a member under the id that the label names.
    #[error("the device itself is not among its members")]
    NotAMember,
}

/// Why bytes are not a label.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LabelError {
    /// Fewer than [`LABEL_BYTES`].
    #[error("a label has {LABEL_BYTES} bytes, not {length}")]
    Length {
        /// Bytes given.
        length: usize,
    },
    /// There is none.
    #[error("no Quarry label")]
    Magic,
    /// A version that this program cannot read.
    #[error("Quarry label of version {found}, but this program reads version {LABEL_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Torn or rotten.
    #[error("Quarry label with a wrong checksum: {found:#010x} stored, {computed:#010x} computed")]
    Checksum {
        /// CRC-32C in the label.
        found: u32,
        /// CRC-32C of the label.
        computed: u32,
    },
    /// Whole but senseless: written by a faulty program.
    #[error("Quarry label that breaks a rule: {rule}")]
    Invalid {
        /// The rule.
        rule: LabelRule,
    },
}

impl Label {
    /// The member that carries this label.
    ///
    /// # Panics
    /// When it breaks [`LabelRule::NotAMember`].
    pub fn own(&self) -> &Member {
        self.member(self.device_index).expect("a checked label lists its own device")
    }

    /// The member of that index.
    pub fn member(&self, index: u16) -> Option<&Member> {
        self.members.iter().find(|member| member.index == index)
    }

    /// The label of another member of the same pool.
    #[must_use]
    pub fn for_member(&self, index: u16) -> Self {
        Self { device_index: index, ..self.clone() }
    }

    /// The protections that are wanted: the pool's first, then those of logs.
    pub fn protections(&self) -> impl Iterator<Item = Protection> {
        let of_logs = self.log_policies.values().filter_map(|policy| policy.protection);
        std::iter::once(self.protection).chain(of_logs)
    }

    /// Whether it keeps every [`LabelRule`].
    pub fn check(&self) -> Result<(), LabelRule> {
        let members = &self.members;
        let keep = |kept: bool, rule: LabelRule| if kept { Ok(()) } else { Err(rule) };
        keep((1..=DEVICES_MAX).contains(&members.len()), LabelRule::MemberCount)?;
        keep(self.protections().all(|one| one.devices() <= members.len()), LabelRule::Protection)?;
        let mut logs = self.log_policies.iter();
        keep(logs.all(|(log, policy)| log.0 < LOGS_MAX && !policy.is_as_pool()), LabelRule::LogPolicies)?;
        keep((1..=NAME_BYTES_MAX).contains(&self.pool_name.len()), LabelRule::PoolName)?;
        keep(is_segment_size(self.segment_bytes), LabelRule::SegmentBytes)?;
        keep(members.is_sorted_by(|a, b| a.index < b.index), LabelRule::MemberOrder)?;
        let indexes = members.iter().map(|member| usize::from(member.index));
        keep(indexes.max().is_some_and(|last| last < DEVICES_MAX), LabelRule::MemberOrder)?;
        keep(self.ids_are_distinct(), LabelRule::MemberOrder)?;
        keep(members.iter().all(|member| is_sector_size(member.sector_bytes)), LabelRule::SectorBytes)?;
        keep(members.iter().all(|member| self.slots_fit(member)), LabelRule::Slots)?;
        keep(self.member(self.device_index).is_some(), LabelRule::NotAMember)
    }

    fn ids_are_distinct(&self) -> bool {
        let mut ids: Vec<DeviceId> = self.members.iter().map(|member| member.device).collect();
        ids.sort_unstable();
        ids.is_sorted_by(|a, b| a < b)
    }

    fn slots_fit(&self, member: &Member) -> bool {
        member.slots <= slots_for(member.size_bytes, self.segment_bytes)
    }
}

fn is_segment_size(bytes: u64) -> bool {
    bytes.is_power_of_two() && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_DEFAULT).contains(&bytes)
}

fn is_sector_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (SECTOR_BYTES..=BLOCK_BYTES).contains(&(bytes as usize))
}
