//! The bytes of a label: docs/format/device.md, field by field.

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use quarry_types::limits::{DEVICES_MAX, LOGS_MAX, NAME_BYTES_MAX};
use quarry_types::{DeviceId, LogId, PoolId, Protection};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    DeviceClass, GRANULE_BYTES, Label, LabelError, LabelRule, LabelState, LogPolicy, Member, TierPolicy,
};

/// Size of a label.
pub const LABEL_BYTES: usize = 16 << 10;
/// First bytes of a label.
pub const LABEL_MAGIC: [u8; 8] = *b"QUARRYDV";
/// The version that is written. Version 2, in which all logs are kept alike, and version 1, which knew no erasure code, are read.
pub const LABEL_VERSION: u32 = 3;
/// Longest path of a member that is kept whole, in bytes.
pub const PATH_BYTES_MAX: usize = 200;

/// The tier policy of a log that is by how much is read, in a pool that need not be.
const TIER_AUTOMATIC: u8 = u8::MAX;
const ELLIPSIS: &str = "…";
const FLAG_CREATED_FILE: u8 = 1;
const FLAG_LEAVING: u8 = 2;
const NAME_FIELD_BYTES: usize = 64;
const CHECKSUM_OFFSET: usize = offset_of!(RawLabel, checksum);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawLabel {
    pub magic: [u8; 8],
    pub version: U32,
    pub checksum: U32,
    pub sequence: U64,
    pub state: u8,
    pub copies: u8,
    pub device_index: U16,
    pub member_count: U16,
    pub pool_name_length: U16,
    pub pool: [u8; 16],
    pub device: [u8; 16],
    pub created_ms: U64,
    pub segment_bytes: U64,
    pub granule_bytes: U32,
    pub code_data: u8,
    pub code_parity: u8,
    pub tier_policy: u8,
    pub reserved: [u8; 9],
    pub pool_name: [u8; NAME_FIELD_BYTES],
    pub log_policies: [RawLogPolicy; LOGS_MAX as usize],
    pub reserved_2: [u8; 96],
    pub members: [RawMember; DEVICES_MAX],
    pub reserved_3: [u8; 512],
}

/// All zeroes: as the pool.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawLogPolicy {
    pub copies: u8,
    pub code_data: u8,
    pub code_parity: u8,
    pub tier_policy: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawMember {
    pub device: [u8; 16],
    pub size_bytes: U64,
    pub slots: U32,
    pub sector_bytes: U32,
    pub index: U16,
    pub class: u8,
    pub flags: u8,
    pub path_length: U16,
    pub reserved: [u8; 2],
    pub path: [u8; PATH_BYTES_MAX],
}

const _: () = assert!(size_of::<RawLabel>() == LABEL_BYTES);
const _: () = assert!(offset_of!(RawLabel, members) == 512 && size_of::<RawMember>() == 240);
const _: () = assert!(NAME_BYTES_MAX <= NAME_FIELD_BYTES);

/// CRC-32C (Castagnoli, RFC 3720 section 12.1) of the label with its checksum field as zeroes.
fn checksum(bytes: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&bytes[..CHECKSUM_OFFSET]);
    digest.update(&[0; size_of::<U32>()]);
    digest.update(&bytes[CHECKSUM_OFFSET + size_of::<U32>()..]);
    digest.finalize() as u32
}

impl Label {
    /// The [`LABEL_BYTES`] bytes that are stored.
    ///
    /// # Panics
    /// When the label breaks a [`LabelRule`]: callers check what people give them.
    pub fn encode(&self) -> Vec<u8> {
        if let Err(rule) = self.check() {
            panic!("a label to be written breaks a rule: {rule}");
        }
        let mut raw = RawLabel::new_zeroed();
        raw.magic = LABEL_MAGIC;
        raw.version = LABEL_VERSION.into();
        raw.sequence = self.sequence.into();
        raw.state = state_to_byte(self.state);
        raw.copies = self.protection.copies() as u8;
        if let Protection::Coded { data, parity } = self.protection {
            (raw.code_data, raw.code_parity) = (data, parity);
        }
        raw.tier_policy = match self.tier_policy {
            TierPolicy::Automatic => 0,
            TierPolicy::Pinned(class) => class_to_byte(class.known()),
        };
        for (log, policy) in &self.log_policies {
            raw.log_policies[usize::from(log.0)] = encode_log_policy(policy);
        }
        raw.device_index = self.device_index.into();
        raw.member_count = (self.members.len() as u16).into();
        raw.pool_name_length = (self.pool_name.len() as u16).into();
        raw.pool = self.pool.to_bytes();
        raw.device = self.own().device.to_bytes();
        raw.created_ms = self.created_ms.into();
        raw.segment_bytes = self.segment_bytes.into();
        raw.granule_bytes = GRANULE_BYTES.into();
        raw.pool_name[..self.pool_name.len()].copy_from_slice(self.pool_name.as_bytes());
        for (raw, member) in raw.members.iter_mut().zip(&self.members) {
            *raw = encode_member(member);
        }
        raw.checksum = checksum(raw.as_bytes()).into();
        raw.as_bytes().to_vec()
    }

    /// Reads a label from the first [`LABEL_BYTES`] of `bytes`.
    ///
    /// Every version keeps magic, version and checksum in their places and the checksum over the same bytes, so that a
    /// newer label is told from a torn one.
    pub fn decode(bytes: &[u8]) -> Result<Self, LabelError> {
        let (raw, _) =
            RawLabel::ref_from_prefix(bytes).map_err(|_| LabelError::Length { length: bytes.len() })?;
        if raw.magic != LABEL_MAGIC {
            return Err(LabelError::Magic);
        }
        let (found, computed) = (raw.checksum.get(), checksum(raw.as_bytes()));
        if found != computed {
            return Err(LabelError::Checksum { found, computed });
        }
        if !(1..=LABEL_VERSION).contains(&raw.version.get()) {
            return Err(LabelError::Version { found: raw.version.get() });
        }
        decode_checked(raw).map_err(|rule| LabelError::Invalid { rule })
    }
}

fn decode_checked(raw: &RawLabel) -> Result<Label, LabelRule> {
    let members = raw.members.get(..usize::from(raw.member_count.get())).ok_or(LabelRule::MemberCount)?;
    let name = raw.pool_name.get(..usize::from(raw.pool_name_length.get())).ok_or(LabelRule::PoolName)?;
    if raw.granule_bytes.get() != GRANULE_BYTES {
        return Err(LabelRule::Granule);
    }
    let label = Label {
        sequence: raw.sequence.get(),
        state: state_from_byte(raw.state).ok_or(LabelRule::State)?,
        pool: PoolId::from_bytes(raw.pool),
        pool_name: str::from_utf8(name).map_err(|_| LabelRule::PoolName)?.to_owned(),
        protection: protection(raw.copies, (raw.code_data, raw.code_parity)).ok_or(LabelRule::Protection)?,
        segment_bytes: raw.segment_bytes.get(),
        tier_policy: tier_policy(raw.tier_policy),
        log_policies: decode_log_policies(raw)?,
        created_ms: raw.created_ms.get(),
        device_index: raw.device_index.get(),
        members: members.iter().map(decode_member).collect(),
    };
    label.check()?;
    if label.own().device.to_bytes() != raw.device {
        return Err(LabelRule::NotAMember);
    }
    Ok(label)
}

/// What is said of copies and code, if they agree. A label of the first version has no code.
fn protection(copies: u8, code: (u8, u8)) -> Option<Protection> {
    let protection = match code {
        (0, 0) => Protection::of_copies(copies.into()),
        (data, parity) => Protection::of_code(data.into(), parity.into()),
    };
    protection.ok().filter(|protection| protection.copies() == usize::from(copies))
}

fn encode_log_policy(policy: &LogPolicy) -> RawLogPolicy {
    let code = policy.protection.and_then(Protection::code).unwrap_or_default();
    RawLogPolicy {
        copies: policy.protection.map_or(0, |protection| protection.copies() as u8),
        code_data: code.0 as u8,
        code_parity: code.1 as u8,
        tier_policy: match policy.tier_policy {
            None => 0,
            Some(TierPolicy::Automatic) => TIER_AUTOMATIC,
            Some(TierPolicy::Pinned(class)) => class_to_byte(class.known()),
        },
    }
}

/// Labels before version 3 have zeroes there.
fn decode_log_policies(raw: &RawLabel) -> Result<BTreeMap<LogId, LogPolicy>, LabelRule> {
    let mut policies = BTreeMap::new();
    for (log, raw) in (0..).map(LogId).zip(&raw.log_policies) {
        let code = (raw.code_data, raw.code_parity);
        let protection = match raw.copies {
            0 if code == (0, 0) => None,
            copies => Some(protection(copies, code).ok_or(LabelRule::LogPolicies)?),
        };
        let tier_policy = (raw.tier_policy != 0).then(|| tier_policy(raw.tier_policy));
        let policy = LogPolicy { protection, tier_policy };
        if !policy.is_as_pool() {
            policies.insert(log, policy);
        }
    }
    Ok(policies)
}

fn encode_member(member: &Member) -> RawMember {
    let mut raw = RawMember::new_zeroed();
    let path = path_hint(&member.path);
    raw.device = member.device.to_bytes();
    raw.size_bytes = member.size_bytes.into();
    raw.slots = member.slots.into();
    raw.sector_bytes = member.sector_bytes.into();
    raw.index = member.index.into();
    raw.class = class_to_byte(member.class);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    raw.flags = flag(member.created_file, FLAG_CREATED_FILE) | flag(member.leaving, FLAG_LEAVING);
    raw.path_length = (path.len() as u16).into();
    raw.path[..path.len()].copy_from_slice(path.as_bytes());
    raw
}

/// Never fails for the sake of the path, which is only a hint.
fn decode_member(raw: &RawMember) -> Member {
    let path = &raw.path[..usize::from(raw.path_length.get()).min(PATH_BYTES_MAX)];
    Member {
        device: DeviceId::from_bytes(raw.device),
        index: raw.index.get(),
        size_bytes: raw.size_bytes.get(),
        slots: raw.slots.get(),
        sector_bytes: raw.sector_bytes.get(),
        class: class_from_byte(raw.class),
        created_file: raw.flags & FLAG_CREATED_FILE != 0,
        leaving: raw.flags & FLAG_LEAVING != 0,
        path: String::from_utf8_lossy(path).into_owned(),
    }
}

/// What a label keeps of a path: all of it, or an ellipsis and its end when it is longer than [`PATH_BYTES_MAX`], so
/// that a label never names another path than the one meant.
pub fn path_hint(path: &str) -> String {
    if path.len() <= PATH_BYTES_MAX {
        return path.to_owned();
    }
    let start = path.ceil_char_boundary(path.len() - (PATH_BYTES_MAX - ELLIPSIS.len()));
    format!("{ELLIPSIS}{}", &path[start..])
}

fn state_to_byte(state: LabelState) -> u8 {
    match state {
        LabelState::Forming => 1,
        LabelState::Ready => 2,
        LabelState::Ended => 3,
    }
}

fn state_from_byte(byte: u8) -> Option<LabelState> {
    [LabelState::Forming, LabelState::Ready, LabelState::Ended]
        .into_iter()
        .find(|&state| state_to_byte(state) == byte)
}

fn class_to_byte(class: DeviceClass) -> u8 {
    match class {
        DeviceClass::Unknown => 0,
        DeviceClass::Pmem => 1,
        DeviceClass::Nvme => 2,
        DeviceClass::Ssd => 3,
        DeviceClass::Hdd => 4,
        DeviceClass::Object => 5,
    }
}

/// Advice as a class is: what a later program added reads as automatic.
fn tier_policy(byte: u8) -> TierPolicy {
    match class_from_byte(byte) {
        DeviceClass::Unknown => TierPolicy::Automatic,
        class => TierPolicy::Pinned(class),
    }
}

/// A class is advice: one that a later program added reads as unknown.
fn class_from_byte(byte: u8) -> DeviceClass {
    [DeviceClass::Pmem, DeviceClass::Nvme, DeviceClass::Ssd, DeviceClass::Hdd, DeviceClass::Object]
        .into_iter()
        .find(|&class| class_to_byte(class) == byte)
        .unwrap_or(DeviceClass::Unknown)
}
