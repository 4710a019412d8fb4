//! Folders and device files that vanish with their owner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::{command, workspace};

/// Longest path of a unix socket that we make, with room for what a server adds (`sockaddr_un` holds 108 bytes).
const SOCKET_PATH_BYTES_MAX: usize = 100;

static SWEEP: Once = Once::new();
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A folder on the real disk, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// A new folder under the target folder. Paths of unix sockets in it stay short enough.
    pub fn new(purpose: &str) -> Result<Self> {
        SWEEP.call_once(remove_leftovers);
        let name = format!("{purpose}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let mut path = workspace::target_dir().join("scratch").join(&name);
        if path.as_os_str().len() + "/nbd.sock".len() > SOCKET_PATH_BYTES_MAX {
            path = Path::new("/var/tmp").join(format!("quarry-{name}"));
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, keep: false })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Leaves the folder where it is, for a look at a failure.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// A file of `size_bytes` with its space allocated, to serve as a device.
    pub fn device(&self, name: &str, size_bytes: u64) -> Result<PathBuf> {
        let path = self.join(name);
        command::run(Command::new("fallocate").args(["--length", &size_bytes.to_string()]).arg(&path))?;
        Ok(path)
    }

    /// `count` device files of `size_bytes` each.
    pub fn devices(&self, count: usize, size_bytes: u64) -> Result<Vec<PathBuf>> {
        (0..count).map(|index| self.device(&format!("device-{index}.img"), size_bytes)).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept for a look: {}", self.path.display());
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Removes what a process that was killed has left behind: folders that carry the id of no living process.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(workspace::target_dir().join("scratch")) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pid = name.rsplit('-').nth(1).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // What is still mounted there stays; the next run tries again.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Fails when the file system of `folder` has less than `needed_bytes` free.
pub fn require_space(folder: &Path, needed_bytes: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    let stat = rustix::fs::statvfs(folder)?;
    let free_bytes = stat.f_bavail * stat.f_frsize;
    let (needed_mib, free_mib) = (needed_bytes >> 20, free_bytes >> 20);
    ensure!(free_bytes >= needed_bytes, "{} has {free_mib} MiB free, {needed_mib} needed", folder.display());
    Ok(())
}
