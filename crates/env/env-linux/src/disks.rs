//! Paths: what is there, and the disks behind them. `pmem://` and a path is the file there as persistent memory.

use std::ffi::OsStr;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Disk, Disks, LocalSpawner, OpenMode};
use quarry_types::limits::PMEM_SCHEME;

use crate::blocking::blocking;
use crate::disk::SystemDisk;
use crate::disk_geometry::FileStatus;
use crate::disk_lock::close;
use crate::disk_open::{Opened, Terms, open, sync_directory_of};
use crate::pmem::PmemDisk;
use crate::ring::Ring;
use crate::scan;

/// The machine's files and block devices, for one core.
pub(crate) struct SystemDisks {
    ring: Rc<Ring>,
    spawner: LocalSpawner,
    lock_wait: Duration,
}

impl SystemDisks {
    pub(crate) fn new(ring: Rc<Ring>, spawner: LocalSpawner, lock_wait: Duration) -> Self {
        Self { ring, spawner, lock_wait }
    }
}

/// The file that a path leads to, and whether it is to be used as persistent memory.
pub(crate) fn file_of(path: &Path) -> (&Path, bool) {
    match path.as_os_str().as_bytes().strip_prefix(PMEM_SCHEME.as_bytes()) {
        Some(file) => (Path::new(OsStr::from_bytes(file)), true),
        None => (path, false),
    }
}

impl Disks for SystemDisks {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> Pin<Box<dyn Future<Output = io::Result<Rc<dyn Disk>>> + 'a>> {
        Box::pin(async move {
            let (path, is_memory) = file_of(path);
            let (path, terms) =
                (path.to_owned(), Terms { lock_wait: self.lock_wait, wants_direct: !is_memory });
            let opened = blocking(move || open(&path, mode, terms)).await??;
            let Opened { file, geometry, may_block } = opened;
            let disk = SystemDisk::new(self.ring.clone(), self.spawner.clone(), file, geometry, may_block);
            // Who only looks stores nothing.
            Ok(match is_memory && mode != OpenMode::Probe {
                true => Rc::new(PmemDisk::new(disk)?) as Rc<dyn Disk>,
                false => Rc::new(disk),
            })
        })
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(fs::metadata(file_of(path).0)?.is_dir())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let status = rustix::fs::statvfs(file_of(path).0)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn exists(&self, path: &Path) -> bool {
        fs::symlink_metadata(file_of(path).0).is_ok()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (path, _) = file_of(path);
        let held = fs::File::open(path);
        fs::remove_file(path)?;
        held.into_iter().for_each(|file| close(file.into()));
        sync_directory_of(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(file_of(path).0)
    }

    fn is_same(&self, one: &Path, other: &Path) -> bool {
        let identity =
            |path: &Path| FileStatus::at(file_of(path).0).and_then(|status| status.identity()).ok();
        match (identity(one), identity(other)) {
            (Some(one), Some(other)) => one == other,
            _ => file_of(one).0 == file_of(other).0,
        }
    }

    fn file_identity(&self, path: &Path) -> io::Result<Option<String>> {
        FileStatus::at(file_of(path).0)?.file_identity()
    }

    fn scan(&self) -> io::Result<Vec<(PathBuf, Option<String>)>> {
        scan::scan()
    }
}
