//! Open files of the process, and the lock that keeps other processes away.
//!
//! All cores share one open file description of a disk, and with it one lock. It ends when the description does: after
//! the last descriptor, the last registered slot of a ring and the last request in flight are gone. That also holds for
//! a killed process, so whoever gets the lock next finds a disk that nobody writes to any more.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Device and inode number: what a file is, whatever path leads to it. For a block device, its own numbers.
pub(crate) type FileIdentity = (u64, u64);

/// An open file. Exclusively opened ones are in the registry and share their description.
pub(crate) struct OpenFile {
    fd: OwnedFd,
    registered_as: Option<FileIdentity>,
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

impl Drop for OpenFile {
    fn drop(&mut self) {
        let Some(identity) = self.registered_as else { return };
        let mut registry = registry();
        // Another core may have opened the file anew since the last strong reference went.
        if registry.get(&identity).is_some_and(|file| file.strong_count() == 0) {
            registry.remove(&identity);
        }
    }
}

static REGISTRY: Mutex<BTreeMap<FileIdentity, Weak<OpenFile>>> = Mutex::new(BTreeMap::new());

fn registry() -> MutexGuard<'static, BTreeMap<FileIdentity, Weak<OpenFile>>> {
    REGISTRY.lock().expect("no code panics while it holds the registry")
}

/// The outcome of one attempt to lock.
pub(crate) enum Attempt {
    /// The file is ours, by this description or by one that another core has opened.
    Ours(Arc<OpenFile>),
    /// Another process holds the lock.
    Held(OwnedFd),
}

impl OpenFile {
    /// A file that is only looked at: not locked and not shared.
    pub(crate) fn unlocked(fd: OwnedFd) -> Arc<Self> {
        Arc::new(Self { fd, registered_as: None })
    }

    /// The description that this process has of the file already.
    pub(crate) fn of_process(identity: FileIdentity) -> Option<Arc<Self>> {
        registry().get(&identity).and_then(Weak::upgrade)
    }

    /// Tries to lock `fd`, an open description of the file `identity`.
    pub(crate) fn try_lock(fd: OwnedFd, identity: FileIdentity) -> io::Result<Attempt> {
        // Under the registry's lock, so that two cores do not each lock a description of their own.
        let mut registry = registry();
        if let Some(file) = registry.get(&identity).and_then(Weak::upgrade) {
            return Ok(Attempt::Ours(file));
        }
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let file = Arc::new(Self { fd, registered_as: Some(identity) });
                registry.insert(identity, Arc::downgrade(&file));
                Ok(Attempt::Ours(file))
            }
            Err(Errno::WOULDBLOCK) => Ok(Attempt::Held(fd)),
            Err(error) => Err(error.into()),
        }
    }
}
