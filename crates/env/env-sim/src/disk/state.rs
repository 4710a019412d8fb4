//! The disks of a world: their content, their locks and what is under way on them. They outlive every process.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use quarry_env::DiskKind;

use crate::fault::{DiskId, FaultKind, Verb};
use crate::slab::{Key, Slab};

use super::course::Course;
use super::medium::Medium;
use super::operation::{Early, Operation};
use super::spec::{Directory, DiskSpec};
use super::spindle::Head;

/// Whether a disk answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskStatus {
    /// It works.
    Online,
    /// It is there, and every operation fails with EIO.
    Failed,
    /// It was pulled out: its path does not exist, and operations of open handles fail with EIO.
    Absent,
}

/// A fault that is asked for by name, once.
pub(crate) struct Script {
    pub(crate) verb: Verb,
    pub(crate) range: Range<u64>,
    pub(crate) skip: u32,
    pub(crate) fault: FaultKind,
}

/// The lock of a file that is open for writing.
pub(crate) struct Lock {
    process: u32,
    handles: u32,
    in_flight: u32,
}

/// One disk.
pub(crate) struct DiskState {
    pub(crate) path: PathBuf,
    /// Whether the path still leads to it.
    pub(crate) linked: bool,
    pub(crate) spec: DiskSpec,
    pub(crate) status: DiskStatus,
    /// Whether its file system has no block left for a place that was never written.
    pub(crate) full: bool,
    pub(crate) medium: Medium,
    pub(crate) operations: Slab<Operation>,
    pub(crate) scripts: Vec<Script>,
    pub(crate) lock: Option<Lock>,
    pub(crate) head: Head,
    /// Steps of operations that wait because the disk hangs; `None` when it does not.
    pub(crate) held: Option<Vec<(Key, u32)>>,
}

impl DiskState {
    pub(crate) fn new(path: PathBuf, spec: DiskSpec) -> Self {
        spec.check();
        Self {
            path,
            linked: true,
            spec,
            status: DiskStatus::Online,
            full: false,
            medium: Medium::default(),
            operations: Slab::default(),
            scripts: Vec::new(),
            lock: None,
            head: Head::default(),
            held: None,
        }
    }

    /// Takes the lock for one more handle of `process`. False while another process holds it, and while I/O is left behind by one that
    /// has died, or by handles that are all closed.
    pub(crate) fn try_lock(&mut self, process: u32) -> bool {
        let lock = self.lock.get_or_insert(Lock { process, handles: 0, in_flight: 0 });
        let ours = lock.process == process && (lock.handles > 0 || lock.in_flight == 0);
        lock.handles += u32::from(ours);
        ours
    }

    /// Counts an operation under the lock.
    pub(crate) fn begin_locked(&mut self) {
        self.lock.as_mut().expect("a handle that writes holds the lock").in_flight += 1;
    }

    /// Ends an operation under the lock.
    pub(crate) fn end_locked(&mut self) {
        self.lock.as_mut().expect("an operation under the lock keeps it").in_flight -= 1;
        self.release();
    }

    /// Closes one handle of `process`, or with `all` every one of them.
    pub(crate) fn close_handle(&mut self, process: u32, all: bool) {
        if let Some(lock) = &mut self.lock
            && lock.process == process
        {
            lock.handles = if all { 0 } else { lock.handles - 1 };
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(Lock { handles: 0, in_flight: 0, .. }) = self.lock {
            self.lock = None;
        }
    }

    /// Stops answering. What is under way fails, even if the disk has come back by the time it ends.
    pub(crate) fn fail(&mut self, status: DiskStatus) {
        self.status = status;
        for key in self.operations.keys() {
            if let Some(operation) = self.operations.get_mut(key) {
                operation.course = Course::CutOff;
                operation.early = Early::Nothing;
            }
        }
    }

    /// The scripted fault that this operation is the one for.
    pub(crate) fn scripted(&mut self, verb: Verb, range: &Range<u64>) -> Option<FaultKind> {
        let hits = |script: &Script| {
            script.verb == verb
                && (verb == Verb::Flush || (script.range.start < range.end && range.start < script.range.end))
        };
        let place = self.scripts.iter().position(hits)?;
        let script = &mut self.scripts[place];
        if script.skip > 0 {
            script.skip -= 1;
            return None;
        }
        Some(self.scripts.remove(place).fault)
    }
}

/// All disks and directories.
#[derive(Default)]
pub(crate) struct DiskSet {
    pub(crate) disks: Vec<DiskState>,
    pub(crate) directories: Vec<Directory>,
}

impl DiskSet {
    pub(crate) fn add(&mut self, path: &Path, spec: DiskSpec) -> DiskId {
        assert!(self.find(path).is_none() && self.directory(path).is_none(), "{} exists", path.display());
        self.disks.push(DiskState::new(path.to_path_buf(), spec));
        DiskId(u32::try_from(self.disks.len() - 1).expect("few disks"))
    }

    pub(crate) fn get(&mut self, disk: DiskId) -> &mut DiskState {
        &mut self.disks[disk.0 as usize]
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = DiskId> + use<> {
        (0..self.disks.len() as u32).map(DiskId)
    }

    /// The disk that a path leads to.
    pub(crate) fn find(&self, path: &Path) -> Option<DiskId> {
        let found = |disk: &DiskState| disk.linked && disk.status != DiskStatus::Absent && disk.path == path;
        self.disks.iter().position(found).map(|index| DiskId(index as u32))
    }

    pub(crate) fn directory(&self, path: &Path) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.path == path)
    }

    /// Bytes of a directory that none of its files takes.
    pub(crate) fn free_bytes(&self, directory: &Directory) -> u64 {
        let files = self.disks.iter().filter(|disk| {
            disk.linked && disk.spec.kind == DiskKind::File && disk.path.parent() == Some(&directory.path)
        });
        directory.spec.capacity_bytes.saturating_sub(files.map(|disk| disk.spec.size_bytes).sum())
    }

    /// Makes a file as a disk.
    ///
    /// # Errors
    /// AlreadyExists, NotFound without its directory, StorageFull.
    pub(crate) fn create(&mut self, path: &Path, size_bytes: u64) -> io::Result<DiskId> {
        if self.find(path).is_some() || self.directory(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let parent = path.parent().and_then(|parent| self.directory(parent));
        let directory = parent.ok_or(io::ErrorKind::NotFound)?;
        if self.free_bytes(directory) < size_bytes {
            return Err(enospc());
        }
        let spec = DiskSpec { size_bytes, kind: DiskKind::File, ..directory.spec.files.clone() };
        Ok(self.add(path, spec))
    }
}

/// What the kernel says when a medium fails.
pub(crate) fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// What the kernel says when a file system has no block left.
pub(crate) fn enospc() -> io::Error {
    io::Error::from_raw_os_error(28)
}
