//! Opening one device again.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use quarry_env::{Disk, DiskKind, Env, OpenMode};
use quarry_format::label::{GRANULE_BYTES, Label, LabelState};
use quarry_types::{DeviceId, PoolId};

use crate::device::Device;
use crate::error::{OpenError, PathError};
use crate::labels::{self, Newest, NoLabel};
use crate::probe;

/// How long opening a device, or bringing its label up to date, may take. A server's disk that was held by another process is waited for
/// 30 s of this.
pub(crate) const OPEN_TIME_MAX: Duration = Duration::from_secs(45);

/// What the opener knows about a device. What it does not know is not checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// Its pool.
    pub pool: Option<PoolId>,
    /// Its id.
    pub device: Option<DeviceId>,
}

/// Opens and locks a device of an existing pool, and repairs the copy of its label that is damaged or stale.
///
/// Whether the pool's other devices agree, only [`crate::open_members`] finds out: use this for one device.
pub async fn open_device(env: &Env, path: &Path, expected: Expected) -> Result<Device, OpenError> {
    let device = open_in_any_state(env, path, expected).await?;
    let label = device.label();
    let pool_name = label.pool_name.clone();
    match label.state {
        LabelState::Forming => Err(OpenError::Forming { path: path.to_owned(), pool_name }),
        LabelState::Ended => Err(OpenError::Ended { path: path.to_owned(), pool_name }),
        LabelState::Ready => {
            device.in_time(device.repair_label()).await?;
            Ok(device)
        }
    }
}

/// Opens and locks a device, whatever its label says about the state of its pool. Writes nothing.
///
/// One that does not answer in [`OPEN_TIME_MAX`] fails: nothing was written to it.
pub async fn open_in_any_state(env: &Env, path: &Path, expected: Expected) -> Result<Device, OpenError> {
    in_open_time(env, (path, "open it"), open_sometime(env, path, expected)).await?
}

/// Waits for something that uses a disk which no pool watches, but not longer than [`OPEN_TIME_MAX`]. What the disk was sent until then may
/// be carried out later; until it has ended, or the disk is known not to carry it out any more, nobody opens the disk for writing
/// (`Disks::open`).
pub(crate) async fn in_open_time<T>(
    env: &Env,
    (path, operation): (&Path, &'static str),
    work: impl Future<Output = T>,
) -> Result<T, PathError> {
    match select(Box::pin(work), env.clock.sleep(OPEN_TIME_MAX)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(((), _)) => {
            let what = format!("it has not answered for {} s", OPEN_TIME_MAX.as_secs());
            let source = io::Error::new(io::ErrorKind::TimedOut, what);
            Err(PathError { path: path.to_owned(), operation, source })
        }
    }
}

async fn open_sometime(env: &Env, path: &Path, expected: Expected) -> Result<Device, OpenError> {
    let failed = |operation| move |source| PathError { path: path.to_owned(), operation, source };
    if !env.disks.exists(path) {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    if env.disks.is_directory(path).map_err(failed("look at it"))? {
        return Err(OpenError::NotQuarry {
            path: path.to_owned(),
            what: "files, as it is a directory".to_owned(),
        });
    }
    let disk = env.disks.open(path, OpenMode::Exclusive).await.map_err(failed("open it"))?;
    let mut newest = read_label(env, path, &disk).await?;
    check_identity(path, expected, &newest.label)?;
    disk.hold().await.map_err(failed("hold it"))?;
    if matches!(disk.geometry().kind, DiskKind::Network | DiskKind::Object) {
        // It was not ours when its label was read: a former holder may have written until now.
        newest = read_label(env, path, &disk).await?;
        check_identity(path, expected, &newest.label)?;
    }
    check_geometry(path, &*disk, &newest.label)?;
    Ok(Device::new(env, path.to_owned(), disk, newest.label, newest.stale_copy))
}

async fn read_label(env: &Env, path: &Path, disk: &Rc<dyn Disk>) -> Result<Newest, OpenError> {
    let path = path.to_owned();
    let failed = |source| PathError { path: path.clone(), operation: "read its label", source };
    if !labels::has_room(disk.geometry()) {
        return Err(OpenError::NotQuarry { path, what: "too little for a label".to_owned() });
    }
    let copies = labels::read(&**disk, &env.buffers).await.map_err(failed)?;
    match labels::newest(copies) {
        Ok(newest) => Ok(newest),
        Err(NoLabel::Version(found)) => Err(OpenError::Version { path, found }),
        Err(NoLabel::Damaged(first, second)) => Err(OpenError::DamagedLabel { path, first, second }),
        Err(NoLabel::None) => {
            let content = probe::examine(&**disk, &env.buffers).await.map_err(failed)?;
            Err(OpenError::NotQuarry { path, what: content.describe() })
        }
    }
}

fn check_identity(path: &Path, expected: Expected, label: &Label) -> Result<(), OpenError> {
    if let Some(pool) = expected.pool.filter(|&pool| pool != label.pool) {
        return Err(OpenError::OtherPool {
            path: path.to_owned(),
            expected: pool,
            found: label.pool,
            found_name: label.pool_name.clone(),
        });
    }
    let found = label.own().device;
    match expected.device.filter(|&device| device != found) {
        Some(device) => Err(OpenError::OtherDevice { path: path.to_owned(), expected: device, found }),
        None => Ok(()),
    }
}

fn check_geometry(path: &Path, disk: &dyn Disk, label: &Label) -> Result<(), OpenError> {
    let (geometry, label_bytes) = (disk.geometry(), label.own().size_bytes);
    if geometry.size_bytes < label_bytes {
        return Err(OpenError::Shrunk {
            path: path.to_owned(),
            label_bytes,
            size_bytes: geometry.size_bytes,
        });
    }
    if !GRANULE_BYTES.is_multiple_of(geometry.sector_bytes) {
        return Err(OpenError::SectorSize { path: path.to_owned(), sector_bytes: geometry.sector_bytes });
    }
    Ok(())
}
