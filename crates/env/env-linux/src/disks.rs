//! Paths: what is there, and the disks behind them.

use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Disk, Disks, LocalSpawner, OpenMode};

use crate::blocking::blocking;
use crate::disk::SystemDisk;
use crate::disk_open::{Opened, open, sync_directory_of};
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

impl Disks for SystemDisks {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> Pin<Box<dyn Future<Output = io::Result<Rc<dyn Disk>>> + 'a>> {
        Box::pin(async move {
            let (path, lock_wait) = (path.to_owned(), self.lock_wait);
            let opened = blocking(move || open(&path, mode, lock_wait)).await??;
            let Opened { file, geometry, may_block } = opened;
            let disk = SystemDisk::new(self.ring.clone(), self.spawner.clone(), file, geometry, may_block);
            Ok(Rc::new(disk) as Rc<dyn Disk>)
        })
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(fs::metadata(path)?.is_dir())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let status = rustix::fs::statvfs(path)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn exists(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        sync_directory_of(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn scan(&self) -> io::Result<Vec<(PathBuf, Option<String>)>> {
        scan::scan()
    }
}
