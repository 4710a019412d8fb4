//! Open disks, and the paths that lead to them, as one process sees them.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Buffer, Completion, Disk, DiskGeometry, DiskKind, Disks, OpenMode, View, completion};

use crate::dice::nanos;
use crate::fault::DiskId;
use crate::process::ProcessState;
use crate::shared::Shared;

use super::operation::Request;
use super::state::{DiskStatus, eio};

/// How often a held lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// An open disk of one process.
struct SimDisk {
    shared: Rc<Shared>,
    process: Rc<ProcessState>,
    disk: DiskId,
    geometry: DiskGeometry,
    /// Whether it may write and counts as a handle of the lock.
    locked: bool,
}

impl SimDisk {
    /// A dead process's code may still run in its destructors; its I/O goes nowhere.
    fn begin(&self, request: Request, offset: u64, length: u64) {
        if self.process.is_alive() {
            self.shared.begin(self.disk, self.process.id, self.locked, request, offset, length);
        }
    }

    fn assert_writable(&self) {
        assert!(self.locked, "{} was opened for probing only", self.disk);
    }
}

impl Disk for SimDisk {
    fn geometry(&self) -> &DiskGeometry {
        &self.geometry
    }

    fn read(&self, offset: u64, buffer: Buffer) -> Completion<(Buffer, io::Result<()>)> {
        let (completer, completion) = completion();
        let length = buffer.len() as u64;
        self.begin(Request::Read(Some((buffer, completer))), offset, length);
        completion
    }

    fn write(&self, offset: u64, data: Vec<View>) -> Completion<io::Result<()>> {
        self.assert_writable();
        let (completer, completion) = completion();
        let length = data.iter().map(|view| view.len() as u64).sum();
        self.begin(Request::Write(data, Some(completer)), offset, length);
        completion
    }

    fn flush(&self) -> Completion<io::Result<()>> {
        self.assert_writable();
        let (completer, completion) = completion();
        self.begin(Request::Flush(Some(completer)), 0, 0);
        completion
    }

    fn discard(&self, offset: u64, length: u64) -> Completion<io::Result<()>> {
        self.assert_writable();
        let (completer, completion) = completion();
        self.begin(Request::Discard(Some(completer)), offset, length);
        completion
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> Pin<Box<dyn Future<Output = io::Result<bool>> + 'a>> {
        let is_here = self.shared.disks.borrow().find(path) == Some(self.disk);
        Box::pin(std::future::ready(Ok(is_here)))
    }
}

impl Drop for SimDisk {
    fn drop(&mut self) {
        if self.locked && self.process.is_alive() {
            self.shared.disks.borrow_mut().get(self.disk).close_handle(self.process.id, false);
        }
    }
}

/// The file system of one process.
pub(crate) struct SimDisks {
    pub(crate) shared: Rc<Shared>,
    pub(crate) process: Rc<ProcessState>,
}

impl SimDisks {
    async fn open_path(&self, path: &Path, mode: OpenMode) -> io::Result<Rc<dyn Disk>> {
        let delay = self.shared.dice.within(&(1_000..200_000));
        self.shared.sleep(delay).await;
        let disk = match mode {
            OpenMode::Create { size_bytes } => self.shared.disks.borrow_mut().create(path, size_bytes)?,
            _ => self.shared.disks.borrow().find(path).ok_or(io::ErrorKind::NotFound)?,
        };
        let locked = !matches!(mode, OpenMode::Probe);
        match self.shared.disks.borrow_mut().get(disk) {
            state if state.status == DiskStatus::Failed => return Err(eio()),
            state if locked && state.spec.in_use.is_some() => return Err(io::ErrorKind::ResourceBusy.into()),
            _ => {}
        }
        if locked {
            self.lock(disk).await?;
        }
        self.shared.trace.line(self.shared.now(), || format!("p{} {disk} opened: {mode:?}", self.process.id));
        let geometry = self.shared.disks.borrow_mut().get(disk).spec.geometry();
        Ok(Rc::new(SimDisk {
            shared: self.shared.clone(),
            process: self.process.clone(),
            disk,
            geometry,
            locked,
        }))
    }

    /// Waits, for a bounded time, for a living holder to close the disk and for a dead one's I/O to end.
    async fn lock(&self, disk: DiskId) -> io::Result<()> {
        let deadline = self.shared.now() + nanos(self.shared.config.lock_wait);
        while !self.shared.disks.borrow_mut().get(disk).try_lock(self.process.id) {
            if self.shared.now() >= deadline {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.shared.sleep(nanos(LOCK_POLL)).await;
        }
        Ok(())
    }
}

impl Disks for SimDisks {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> Pin<Box<dyn Future<Output = io::Result<Rc<dyn Disk>>> + 'a>> {
        Box::pin(self.open_path(path, mode))
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        let disks = self.shared.disks.borrow();
        if disks.directory(path).is_some() {
            return Ok(true);
        }
        disks.find(path).map(|_| false).ok_or(io::ErrorKind::NotFound.into())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let disks = self.shared.disks.borrow();
        let at = |path: &Path| disks.directory(path).map(|directory| disks.free_bytes(directory));
        let parent = || disks.find(path).and_then(|_| path.parent());
        at(path).or_else(|| parent().and_then(at)).ok_or(io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &Path) -> bool {
        let disks = self.shared.disks.borrow();
        disks.find(path).is_some() || disks.directory(path).is_some()
    }

    /// As unlink does: whoever has the file open goes on using it.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disks = self.shared.disks.borrow_mut();
        let disk = disks.find(path).ok_or(io::ErrorKind::NotFound)?;
        let state = disks.get(disk);
        if state.spec.kind != DiskKind::File {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.linked = false;
        Ok(())
    }

    fn scan(&self) -> io::Result<Vec<(PathBuf, Option<String>)>> {
        let disks = self.shared.disks.borrow();
        let present = disks
            .disks
            .iter()
            .filter(|disk| disk.spec.kind == DiskKind::Block && disk.status != DiskStatus::Absent);
        Ok(present.map(|disk| (disk.path.clone(), disk.spec.in_use.clone())).collect())
    }
}
