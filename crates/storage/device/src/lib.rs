//! Devices: the files, block devices and whatever else the env calls a disk, which hold a pool.
//!
//! What it is: looking at a path before touching it ([`probe`], [`scan`]), making devices into a pool
//! ([`format_devices`]), one more of them ([`prepare_to_join`]), opening them again ([`open_members`], [`open_device`]), giving
//! them back ([`end_pool`], [`release_device`]), and
//! [`Device`]: reads, writes and flushes that are counted, bounded and named in their errors. What it is not: it knows
//! slots only by their number; what lies in them, which copy is on which device and what to do about a failure is
//! `quarry-pool`'s.
//!
//! Invariants:
//! - Nothing is written to any device before every check of all devices has passed, and never to one that holds
//!   anything, unless forced; never, forced or not, to one that a pool of this node or the system has in use.
//! - A device under a [`Device`] is locked or, behind a network, claimed: no other process writes to it.
//! - Power may fail at any write of this crate: a pool exists on all of its devices or is refused, and a label that
//!   was valid stays so until its successor is durable (`docs/format/device.md`).
//! - An operation that is given up stays known until it ends: it may change the device as long.
//! - A slot's content after formatting is whatever was there before.

mod areas;
mod class;
mod device;
mod end;
mod error;
mod figures;
mod flights;
mod format;
mod labels;
mod members;
mod open;
mod probe;
mod raw;
mod scan;
mod signature;

pub use class::{classify, measure_class};
pub use device::{Device, DeviceState, DeviceStats, Fault};
pub use end::{end_pool, release_device};
pub use error::{DeviceError, EndError, FormatError, OpenError, Operation, PathError};
pub use figures::{DeviceFigures, Latencies};
pub use flights::Unanswered;
pub use format::{
    DIRECTORY_PERCENT, FormatRequest, JoinRequest, Joining, forget_joining, format_devices, prepare_to_join,
};
pub use labels::CopyError;
pub use members::{AreCurrent, OpenedMembers, open_members, open_members_if};
pub use open::{Expected, open_device};
pub use probe::{Content, Probe, ProbedDisk, probe, usable_bytes_at};
pub use quarry_format::label::{DeviceClass, Label, LabelState, LogPolicy, Member, TierPolicy, slots_for};
pub use scan::{ScannedDevice, scan};
