//! Ending a pool: its devices become blank, its own files go.

use std::path::Path;

use futures::future::join_all;
use quarry_env::Env;
use quarry_format::label::{Label, LabelState};
use quarry_types::{DeviceId, PoolId};

use crate::device::Device;
use crate::error::{EndError, PathError};
use crate::labels;
use crate::open::{Expected, in_open_time, open_in_any_state};

/// Ends a pool that nobody uses any more and gives back its devices, all that are open.
///
/// First every label says that the pool has ended, so that what remains of it after a power failure is never taken
/// for a pool with missing devices. As long as no label says so, the pool is as it was. Errors name what was left.
pub async fn end_pool(env: &Env, devices: Vec<Device>) -> Result<(), Vec<EndError>> {
    let ended = join_all(devices.iter().map(mark_ended)).await;
    let none_ended = ended.iter().all(Result::is_err);
    let mut errors: Vec<EndError> = ended.into_iter().filter_map(Result::err).collect();
    if !none_ended {
        let released = join_all(devices.into_iter().map(|device| release(env, device))).await;
        errors.extend(released.into_iter().filter_map(Result::err));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

async fn mark_ended(device: &Device) -> Result<(), EndError> {
    let marking = async {
        device.repair_label().await?;
        let label = Label::clone(&device.label());
        let ended = Label { state: LabelState::Ended, sequence: label.sequence + 1, ..label };
        Ok(device.write_label(ended).await?)
    };
    device.in_time(marking).await
}

/// Gives back a device that is no member of its pool any more: all members' labels say so already. A device that was taken for
/// something else meanwhile is left alone.
pub async fn release_device(env: &Env, path: &Path, pool: PoolId, device: DeviceId) -> Result<(), EndError> {
    let expected = Expected { pool: Some(pool), device: Some(device) };
    let opened = open_in_any_state(env, path, expected).await?;
    release(env, opened).await
}

async fn release(env: &Env, device: Device) -> Result<(), EndError> {
    let path = device.path().to_owned();
    let failed = |operation| {
        let path = path.clone();
        move |source| PathError { path, operation, source }
    };
    let created_file = device.member().created_file;
    let erasing = labels::erase(&**device.disk(), &env.buffers);
    in_open_time(env, (&path, "erase its label"), erasing).await?.map_err(failed("erase its label"))?;
    drop(device);
    if created_file {
        env.disks.remove(&path).map_err(failed("remove it"))?;
    }
    Ok(())
}
