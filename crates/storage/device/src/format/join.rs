//! One more device for a pool that exists.
//!
//! Order, so that power may fail anywhere: the newcomer gets a *forming* label that is older than those of the members (what is
//! found of it alone is no pool), then the members get a label that names the newcomer, then the newcomer gets it. From the first
//! member on that carries it, opening the pool finds the newcomer by its path and completes the rest.

use std::path::PathBuf;
use std::rc::Rc;

use quarry_env::Env;
use quarry_format::label::{Label, LabelState, Member, path_hint, slots_for};
use quarry_types::limits::{DEVICE_HEADER_BYTES, DEVICES_MAX};
use quarry_types::{DeviceId, Protection};

use super::check::check_paths;
use super::take::{Taken, remove_created, take_all};
use super::{FormatRequest, write};
use crate::device::Device;
use crate::error::{FormatError, PathError};
use crate::labels::{self, usable_bytes};
use crate::open::in_open_time;

/// A device of fewer slots would be full before it is of use.
const SLOTS_MIN: u64 = 8;

/// A device that is to join a pool.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// File, block device, or directory in which a file is made.
    pub path: PathBuf,
    /// Size of the file that is made in a directory, in bytes; [`super::DIRECTORY_PERCENT`] of the free space when not given.
    pub directory_file_bytes: Option<u64>,
    /// Overwrite whatever is on it.
    pub force: bool,
    /// Devices of pools that are open on this node, which are never overwritten.
    pub in_use: std::collections::BTreeMap<DeviceId, PathBuf>,
}

/// A device that was prepared to join, and the label by which it does.
#[derive(Debug)]
pub struct Joining {
    /// The device, which carries a forming label and is a member of nothing yet.
    pub device: Rc<Device>,
    /// The next label of the pool, that of its first member: to be written to all members, then to the device.
    pub label: Label,
    created: bool,
}

/// Checks and takes a device and prepares it to join the pool that `pool`, its newest label, describes. Nothing is written before
/// every check has passed, and nothing to any member.
pub async fn prepare_to_join(env: &Env, pool: &Label, request: &JoinRequest) -> Result<Joining, FormatError> {
    let members = pool.members.len();
    let free = (0..DEVICES_MAX as u16).find(|&index| pool.member(index).is_none());
    let Some(index) = free.filter(|_| members < DEVICES_MAX) else {
        return Err(FormatError::DeviceCount { count: members + 1, max: DEVICES_MAX });
    };
    let request = FormatRequest {
        pool: pool.pool,
        pool_name: pool.pool_name.clone(),
        protection: Protection::Copies(1),
        paths: vec![request.path.clone()],
        directory_file_bytes: request.directory_file_bytes,
        force: request.force,
        in_use: request.in_use.clone(),
    };
    let candidates = check_paths(env, &request).await?;
    let taken = take_all(env, &request, &candidates).await?;
    let path = taken[0].path.clone();
    let prepared = in_open_time(env, (&path, "prepare it"), prepare(env, pool, index, &taken)).await;
    let prepared = prepared.map_err(FormatError::from).flatten();
    if prepared.is_err() {
        remove_created(env, &taken);
    }
    prepared
}

async fn prepare(env: &Env, pool: &Label, index: u16, taken: &[Taken]) -> Result<Joining, FormatError> {
    let taken_disk = &taken[0];
    let size_bytes = usable_bytes(taken_disk.disk.geometry().size_bytes);
    let slots = slots_for(size_bytes, pool.segment_bytes);
    if u64::from(slots) < SLOTS_MIN {
        let min_bytes = DEVICE_HEADER_BYTES + SLOTS_MIN * pool.segment_bytes;
        return Err(FormatError::TooSmall { path: taken_disk.path.clone(), size_bytes, min_bytes });
    }
    let member = Member {
        device: taken_disk.device,
        index,
        size_bytes,
        slots,
        sector_bytes: taken_disk.disk.geometry().sector_bytes,
        class: taken_disk.class,
        created_file: taken_disk.created,
        leaving: false,
        path: path_hint(&taken_disk.path.to_string_lossy()),
    };
    let mut label = Label { sequence: pool.sequence + 1, ..pool.clone() };
    let place = label.members.partition_point(|other| other.index < index);
    label.members.insert(place, member);
    // Older than those of the members: whoever finds it beside them does not believe it.
    let sequence = pool.sequence - 1;
    let forming = Label { state: LabelState::Forming, sequence, device_index: index, ..label.clone() };
    write::erase_all(env, taken).await?;
    let held = taken_disk.disk.hold().await;
    held.map_err(|source| PathError { path: taken_disk.path.clone(), operation: "hold it", source })?;
    let written = labels::write(&*taken_disk.disk, &env.buffers, &forming).await;
    if let Err(source) = written {
        write::undo(env, taken).await;
        return Err(PathError { path: taken_disk.path.clone(), operation: "write its label", source }.into());
    }
    let device = Device::new(env, taken_disk.path.clone(), taken_disk.disk.clone(), forming, None);
    Ok(Joining { device: Rc::new(device), label, created: taken_disk.created })
}

/// Undoes [`prepare_to_join`] for a device that became a member of nothing, as far as it still answers.
pub async fn forget_joining(env: &Env, joining: Joining) {
    let Joining { device, created, .. } = joining;
    let failed = |source| PathError { path: device.path().to_owned(), operation: "erase its label", source };
    let erasing = labels::erase(&**device.disk(), &env.buffers);
    let erased = in_open_time(env, (device.path(), "erase its label"), erasing).await;
    if let Err(error) = erased.and_then(|erased| erased.map_err(failed)) {
        tracing::warn!(path = %device.path().display(), %error, "a device that did not join its pool keeps its label");
    }
    if created && let Err(error) = env.disks.remove(device.path()) {
        tracing::warn!(path = %device.path().display(), %error, "a file of a device that did not join is left behind");
    }
}
