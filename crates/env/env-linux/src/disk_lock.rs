//! Open files of the process, and the lock that keeps other processes away.
//!
//! All cores share one open file description of a disk, and with it one lock. It ends when the description does: after
//! the last descriptor, the last registered slot of a ring and the last request in flight are gone. That also holds for
//! a killed process, so whoever gets the lock next finds a disk that nobody writes to any more. It holds within the process, too:
//! a description that no disk uses any more ([`FileHandle`]) is not shared again, but waited for.

use std::collections::BTreeMap;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Device and inode number: what a file is, whatever path leads to it. For a block device, its own numbers.
pub(crate) type FileIdentity = (u64, u64);

/// An open file. Exclusively opened ones are in the registry and share their description.
pub(crate) struct OpenFile {
    fd: ManuallyDrop<OwnedFd>,
    registered_as: Option<FileIdentity>,
    /// How many disks use it; changes under the registry's lock.
    handles: Arc<AtomicUsize>,
}

/// What a disk has of an open file. Requests have the file alone.
pub(crate) struct FileHandle(Arc<OpenFile>);

impl FileHandle {
    /// Under the registry's lock.
    fn new(file: Arc<OpenFile>) -> Self {
        file.handles.fetch_add(1, Ordering::Relaxed);
        Self(file)
    }

    pub(crate) fn file(&self) -> &Arc<OpenFile> {
        &self.0
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        let _registry = registry();
        self.0.handles.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OpenFile {
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

impl AsRawFd for OpenFile {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Closes a file. One that nobody can open any more, as it was deleted, is freed by closing it, block by block where it is scattered: that is
/// nothing for the thread that serves others.
pub(crate) fn close(fd: OwnedFd) {
    let is_deleted = rustix::fs::fstat(&fd).is_ok_and(|status| {
        status.st_nlink == 0 && rustix::fs::FileType::from_raw_mode(status.st_mode).is_file()
    });
    if is_deleted {
        // Without a thread it is closed here, by the closure that is dropped.
        drop(std::thread::Builder::new().name("close".to_owned()).spawn(move || drop(fd)));
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: nothing uses it after this.
        close(unsafe { ManuallyDrop::take(&mut self.fd) });
        let Some(identity) = self.registered_as else { return };
        let mut registry = registry();
        // Another core may have opened the file anew since the last strong reference went.
        if registry.get(&identity).is_some_and(|(file, _)| file.strong_count() == 0) {
            registry.remove(&identity);
        }
    }
}

/// A file, and how many disks use it. As long as there are any, it is there.
type Known = (Weak<OpenFile>, Arc<AtomicUsize>);

static REGISTRY: Mutex<BTreeMap<FileIdentity, Known>> = Mutex::new(BTreeMap::new());

fn registry() -> MutexGuard<'static, BTreeMap<FileIdentity, Known>> {
    REGISTRY.lock().expect("no code panics while it holds the registry")
}

/// The outcome of one attempt to lock.
pub(crate) enum Attempt {
    /// The file is ours, by this description or by one that another core has opened.
    Ours(FileHandle),
    /// Another process holds the lock, or requests of this one do that nobody waits for.
    Held(OwnedFd),
}

impl OpenFile {
    /// A file that is only looked at: not locked and not shared.
    pub(crate) fn unlocked(fd: OwnedFd) -> FileHandle {
        FileHandle::new(Arc::new(Self {
            fd: ManuallyDrop::new(fd),
            registered_as: None,
            handles: Arc::default(),
        }))
    }

    /// The description that this process has of the file already.
    pub(crate) fn of_process(identity: FileIdentity) -> Option<FileHandle> {
        registry().get(&identity).and_then(Self::share)
    }

    /// Another handle of a file that has some, under the registry's lock. The count comes first: a reference to a file without handles
    /// might become the last one here, whose end takes that lock.
    fn share((file, handles): &Known) -> Option<FileHandle> {
        let is_used = handles.load(Ordering::Relaxed) > 0;
        is_used.then(|| FileHandle::new(file.upgrade().expect("a handle holds it")))
    }

    /// Tries to lock `fd`, an open description of the file `identity`.
    pub(crate) fn try_lock(fd: OwnedFd, identity: FileIdentity) -> io::Result<Attempt> {
        // Under the registry's lock, so that two cores do not each lock a description of their own.
        let mut registry = registry();
        if let Some(file) = registry.get(&identity).and_then(Self::share) {
            return Ok(Attempt::Ours(file));
        }
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let handles = Arc::<AtomicUsize>::default();
                let file = Arc::new(Self {
                    fd: ManuallyDrop::new(fd),
                    registered_as: Some(identity),
                    handles: handles.clone(),
                });
                registry.insert(identity, (Arc::downgrade(&file), handles));
                Ok(Attempt::Ours(FileHandle::new(file)))
            }
            Err(Errno::WOULDBLOCK) => Ok(Attempt::Held(fd)),
            Err(error) => Err(error.into()),
        }
    }
}
