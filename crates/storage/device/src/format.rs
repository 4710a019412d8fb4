//! Making devices into a pool.
//!
//! Four steps, each over all devices before the next begins: check (reads only), take (locks what exists, makes files
//! in directories), erase, label. The first label written to each says *forming*; only when all of them are durable do
//! they become *ready*. See `docs/format/device.md` for what a power failure leaves behind at each point.

mod check;
mod join;
mod take;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use quarry_env::Env;
use quarry_types::limits::{DEVICES_MAX, NAME_BYTES_MAX};
use quarry_types::{DeviceId, PoolId, Protection};

pub use join::{JoinRequest, Joining, forget_joining, prepare_to_join};

use crate::device::Device;
use crate::error::FormatError;

/// How much of a file system's free space the file in a directory takes when no size is asked for, in percent.
///
/// Not all: a full file system breaks whatever else lives on it. Directories are served one after the other, so two on
/// one file system get 90 and 9 percent of what was free.
pub const DIRECTORY_PERCENT: u64 = 90;

/// A pool to be made.
#[derive(Clone, Debug)]
pub struct FormatRequest {
    /// Its id: new, never used before.
    pub pool: PoolId,
    /// Its name, 1 to 63 bytes.
    pub pool_name: String,
    /// How it keeps what it holds.
    pub protection: Protection,
    /// Files, block devices, and directories in which a file is made; 1 to 64 of them, in the order of their indexes.
    pub paths: Vec<PathBuf>,
    /// Size of each file that is made in a directory, in bytes; [`DIRECTORY_PERCENT`] of the free space when not given.
    pub directory_file_bytes: Option<u64>,
    /// Overwrite whatever is on the devices.
    pub force: bool,
    /// Devices of pools that are open on this node, which are never overwritten.
    pub in_use: BTreeMap<DeviceId, PathBuf>,
}

/// Makes a pool over devices and returns them open and locked, by index. All labels are durable and all anchors zero.
///
/// Nothing is written before every check of every device has passed. When writing fails afterwards, files that were
/// made are removed again and labels erased, as far as the devices still answer.
pub async fn format_devices(env: &Env, request: &FormatRequest) -> Result<Vec<Device>, FormatError> {
    check_request(request)?;
    let candidates = check::check_paths(env, request).await?;
    let taken = take::take_all(env, request, &candidates).await?;
    let written = match write::erase_all(env, &taken).await {
        Ok(()) => write::write_all(env, request, &taken).await,
        Err(error) => Err(error),
    };
    if written.is_err() {
        take::remove_created(env, &taken);
    }
    written
}

fn check_request(request: &FormatRequest) -> Result<(), FormatError> {
    let (count, protection) = (request.paths.len(), request.protection);
    if !(1..=DEVICES_MAX).contains(&count) {
        return Err(FormatError::DeviceCount { count, max: DEVICES_MAX });
    }
    if count < protection.devices() {
        return Err(FormatError::Protection { protection, devices: count });
    }
    if !(1..=NAME_BYTES_MAX).contains(&request.pool_name.len()) {
        return Err(FormatError::Name { name: request.pool_name.clone(), max: NAME_BYTES_MAX });
    }
    Ok(())
}
