//! The block devices of this machine, for somebody who looks for devices to use.

use std::io;
use std::path::{Path, PathBuf};

use quarry_env::{Env, OpenMode};
use quarry_format::label::DeviceClass;

use crate::class::measure_class;
use crate::error::PathError;
use crate::open::in_open_time;
use crate::probe::{ProbedDisk, examine};

/// A block device of this machine.
#[derive(Debug)]
pub struct ScannedDevice {
    /// Its path.
    pub path: PathBuf,
    /// By what it is in use, if it is.
    pub in_use: Option<String>,
    /// What it is and holds, or why that could not be found out.
    pub disk: Result<ProbedDisk, PathError>,
    /// What it is made of; unknown where it could not be opened.
    pub class: DeviceClass,
}

/// Looks at every block device, in the order of their paths, and measures each: some 32 reads. Writes nothing.
pub async fn scan(env: &Env) -> io::Result<Vec<ScannedDevice>> {
    let mut found = env.disks.scan()?;
    found.sort();
    let mut devices = Vec::with_capacity(found.len());
    for (path, in_use) in found {
        let looked = in_open_time(env, (&path, "look at it"), look_at(env, &path)).await;
        let (disk, class) = match looked.flatten() {
            Ok((disk, class)) => (Ok(disk), class),
            Err(error) => (Err(error), DeviceClass::Unknown),
        };
        devices.push(ScannedDevice { path, in_use, disk, class });
    }
    Ok(devices)
}

async fn look_at(env: &Env, path: &Path) -> Result<(ProbedDisk, DeviceClass), PathError> {
    let failed = |operation| move |source| PathError { path: path.to_owned(), operation, source };
    let disk = env.disks.open(path, OpenMode::Probe).await.map_err(failed("open it"))?;
    let content = examine(&*disk, &env.buffers).await.map_err(failed("read it"))?;
    let class = measure_class(env, &*disk).await;
    Ok((ProbedDisk { geometry: disk.geometry().clone(), content }, class))
}
