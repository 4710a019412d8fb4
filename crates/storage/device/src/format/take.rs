//! Locks the disks that exist and makes files in directories. Undone by removing the files.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use quarry_env::{Disk, Env, OpenMode};
use quarry_format::label::DeviceClass;
use quarry_types::DeviceId;

use super::FormatRequest;
use super::check::{Candidate, check_geometry, file_bytes};
use crate::class::measure_class;
use crate::error::{FormatError, PathError};
use crate::open::in_open_time;
use crate::probe::{Content, examine};

/// A disk that is ours now, to be written.
pub struct Taken {
    pub device: DeviceId,
    pub path: PathBuf,
    pub disk: Rc<dyn Disk>,
    pub class: DeviceClass,
    /// Whether we made the file.
    pub created: bool,
}

/// Takes every candidate, existing disks first: they may refuse, and a file need not be made then.
pub async fn take_all(
    env: &Env,
    request: &FormatRequest,
    candidates: &[Candidate],
) -> Result<Vec<Taken>, FormatError> {
    let mut taken = Vec::with_capacity(candidates.len());
    for (position, candidate) in candidates.iter().enumerate() {
        if let Candidate::Disk { path, content } = candidate {
            let taking = in_open_time(env, (path, "take it"), take_disk(env, path, content));
            taken.push((position, taking.await??));
        }
    }
    for (position, candidate) in candidates.iter().enumerate() {
        if let Candidate::Directory { path } = candidate {
            match make_file(env, request, path).await {
                Ok(made) => taken.push((position, made)),
                Err(error) => {
                    let taken: Vec<Taken> = taken.into_iter().map(|(_, taken)| taken).collect();
                    remove_created(env, &taken);
                    return Err(error);
                }
            }
        }
    }
    taken.sort_by_key(|&(position, _)| position);
    Ok(taken.into_iter().map(|(_, taken)| taken).collect())
}

/// Locks a disk and looks again: what was seen before was seen without the lock.
async fn take_disk(env: &Env, path: &Path, content: &Content) -> Result<Taken, FormatError> {
    let failed = |operation| move |source| PathError { path: path.to_owned(), operation, source };
    let disk = env.disks.open(path, OpenMode::Exclusive).await.map_err(failed("open it for writing"))?;
    check_geometry(path, disk.geometry())?;
    if examine(&*disk, &env.buffers).await.map_err(failed("read it"))? != *content {
        return Err(FormatError::Changed { path: path.to_owned() });
    }
    let class = measure_class(env, &*disk).await;
    let device = DeviceId::from_random(env.random.next_u128());
    Ok(Taken { device, path: path.to_owned(), disk, class, created: false })
}

/// The free space is asked for again: another directory may have taken its share of the same file system.
async fn make_file(env: &Env, request: &FormatRequest, directory: &Path) -> Result<Taken, FormatError> {
    let failed = |path: &Path, operation| {
        let path = path.to_owned();
        move |source| PathError { path, operation, source }
    };
    let free_bytes = env.disks.free_bytes(directory).map_err(failed(directory, "ask for its free space"))?;
    let size_bytes = file_bytes(request, directory, free_bytes)?;
    let device = DeviceId::from_random(env.random.next_u128());
    let path = directory.join(format!("quarry-{device}.img"));
    let made = env.disks.open(&path, OpenMode::Create { size_bytes }).await;
    let disk = made.map_err(failed(&path, "make it")).inspect_err(|_| remove(env, &path))?;
    check_geometry(&path, disk.geometry()).inspect_err(|_| remove(env, &path))?;
    let class = measure_class(env, &*disk).await;
    Ok(Taken { device, path, disk, class, created: true })
}

/// Removes the files that were made.
pub fn remove_created(env: &Env, taken: &[Taken]) {
    for taken in taken.iter().filter(|taken| taken.created) {
        remove(env, &taken.path);
    }
}

fn remove(env: &Env, path: &Path) {
    if !env.disks.exists(path) {
        return;
    }
    if let Err(error) = env.disks.remove(path) {
        tracing::warn!(path = %path.display(), %error, "a file of a pool that could not be made is left behind");
    }
}
