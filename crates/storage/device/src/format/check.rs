//! May these paths become a pool? Reads only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quarry_env::{DiskGeometry, DiskKind, Env};
use quarry_format::label::GRANULE_BYTES;
use quarry_types::limits::{DEVICE_BYTES_MIN, DEVICE_HEADER_BYTES, SEGMENT_BYTES_MIN};

use super::{DIRECTORY_PERCENT, FormatRequest};
use crate::error::{FormatError, PathError};
use crate::labels::usable_bytes;
use crate::probe::{Content, Probe, ProbedDisk, probe};

/// A path that passed.
pub enum Candidate {
    /// A file or block device, with what was on it.
    Disk { path: PathBuf, content: Content },
    /// A directory.
    Directory { path: PathBuf },
}

/// Checks every path; the first that does not pass is the error.
pub async fn check_paths(env: &Env, request: &FormatRequest) -> Result<Vec<Candidate>, FormatError> {
    let mut probes = Vec::with_capacity(request.paths.len());
    for path in &request.paths {
        probes.push((path.clone(), probe(env, path).await?));
    }
    if let Some((path, _)) = probes.iter().find(|(_, probe)| matches!(probe, Probe::Missing)) {
        return Err(FormatError::Missing { path: path.clone() });
    }
    let canonical = canonical_paths(env, &request.paths)?;
    check_distinct(&request.paths, &canonical)?;
    let in_use = system_use(env, &probes)?;
    let mut candidates = Vec::with_capacity(probes.len());
    for ((path, probe), canonical) in probes.into_iter().zip(&canonical) {
        candidates.push(match probe {
            Probe::Missing => return Err(FormatError::Missing { path }),
            Probe::Directory { .. } if canonical.parent().is_none() => {
                return Err(FormatError::Root { path });
            }
            Probe::Directory { free_bytes } => {
                file_bytes(request, &path, free_bytes)?;
                Candidate::Directory { path }
            }
            Probe::Disk(disk) => {
                // Our own claim of a device counts as use by the system, too: the better message comes first.
                check_open_pools(env, request, &path, canonical, &disk.content)?;
                if let Some(reason) = in_use.get(canonical) {
                    return Err(FormatError::InUse { path, reason: reason.clone() });
                }
                check_disk(request, &path, &disk)?;
                Candidate::Disk { path, content: disk.content }
            }
        });
    }
    Ok(candidates)
}

fn canonical_paths(env: &Env, paths: &[PathBuf]) -> Result<Vec<PathBuf>, PathError> {
    let canonical = |path: &PathBuf| {
        env.disks.canonical(path).map_err(|source| PathError {
            path: path.clone(),
            operation: "resolve it",
            source,
        })
    };
    paths.iter().map(canonical).collect()
}

fn check_distinct(paths: &[PathBuf], canonical: &[PathBuf]) -> Result<(), FormatError> {
    let mut seen = BTreeMap::new();
    for (path, canonical) in paths.iter().zip(canonical) {
        if let Some(first) = seen.insert(canonical, path) {
            return Err(FormatError::Same { first: first.clone(), second: path.clone() });
        }
    }
    Ok(())
}

/// Block devices that the system uses, and for what; asked only where there is a block device among the paths.
fn system_use(env: &Env, probes: &[(PathBuf, Probe)]) -> Result<BTreeMap<PathBuf, String>, PathError> {
    let is_block =
        |probe: &Probe| matches!(probe, Probe::Disk(disk) if disk.geometry.kind == DiskKind::Block);
    let Some((path, _)) = probes.iter().find(|(_, probe)| is_block(probe)) else {
        return Ok(BTreeMap::new());
    };
    let found = env.disks.scan().map_err(|source| PathError {
        path: path.clone(),
        operation: "find out whether it is in use",
        source,
    })?;
    Ok(found.into_iter().filter_map(|(path, reason)| Some((path, reason?))).collect())
}

fn check_open_pools(
    env: &Env,
    request: &FormatRequest,
    path: &Path,
    canonical: &Path,
    content: &Content,
) -> Result<(), FormatError> {
    let by_path = request
        .in_use
        .iter()
        .find(|(_, used)| env.disks.canonical(used).is_ok_and(|used| used == canonical))
        .map(|(&device, _)| device);
    let by_label = match content {
        Content::Quarry(label) => Some(label.own().device).filter(|id| request.in_use.contains_key(id)),
        _ => None,
    };
    match by_path.or(by_label) {
        Some(device) => Err(FormatError::InOpenPool { path: path.to_owned(), device }),
        None => Ok(()),
    }
}

fn check_disk(request: &FormatRequest, path: &Path, disk: &ProbedDisk) -> Result<(), FormatError> {
    check_geometry(path, &disk.geometry)?;
    if disk.content != Content::Empty && !request.force {
        return Err(FormatError::Occupied { path: path.to_owned(), what: disk.content.describe() });
    }
    Ok(())
}

/// Checks size and sectors, of a disk that was there or of a file that was made.
pub fn check_geometry(path: &Path, geometry: &DiskGeometry) -> Result<(), FormatError> {
    let sector_bytes = geometry.sector_bytes;
    if !sector_bytes.is_power_of_two() || !(512..=GRANULE_BYTES).contains(&sector_bytes) {
        return Err(FormatError::SectorSize { path: path.to_owned(), sector_bytes });
    }
    check_size(path, usable_bytes(geometry.size_bytes))
}

fn check_size(path: &Path, size_bytes: u64) -> Result<(), FormatError> {
    if size_bytes < DEVICE_BYTES_MIN {
        return Err(FormatError::TooSmall { path: path.to_owned(), size_bytes, min_bytes: DEVICE_BYTES_MIN });
    }
    Ok(())
}

/// Size of the file to be made in a directory: header and whole slots of the smallest segment size, so that slots of
/// any size leave less than one of them unused.
pub fn file_bytes(request: &FormatRequest, path: &Path, free_bytes: u64) -> Result<u64, FormatError> {
    let wanted = match request.directory_file_bytes {
        Some(size_bytes) if size_bytes > free_bytes => {
            return Err(FormatError::DirectoryFull { path: path.to_owned(), free_bytes, size_bytes });
        }
        Some(size_bytes) => size_bytes,
        None => free_bytes / 100 * DIRECTORY_PERCENT,
    };
    let slots_bytes = wanted.saturating_sub(DEVICE_HEADER_BYTES);
    let size_bytes = DEVICE_HEADER_BYTES + slots_bytes - slots_bytes % SEGMENT_BYTES_MIN;
    check_size(path, size_bytes)?;
    Ok(size_bytes)
}
