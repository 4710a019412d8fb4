//! A source behind http, https or ftp, served by nbdkit's curl plugin while it is imported: distributions ship QEMU's own
//! driver in a package of its own that few have. Where nbdkit is not installed, QEMU's is tried.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use super::interrupt::Interrupt;
use super::random_suffix;
use crate::failure::Failure;

const SCHEMES: [&str; 3] = ["http://", "https://", "ftp://"];
/// How often, and how many times, one looks whether it serves.
const POLL: (Duration, u32) = (Duration::from_millis(20), 500);
const COMPLAINT_BYTES_MAX: usize = 1024;

/// An nbdkit that runs as long as this lives.
pub struct Nbdkit {
    // First, so that the process ends before its folder goes.
    _child: Child,
    folder: Folder,
    complaint: Arc<Mutex<String>>,
}

/// A folder of our own for a socket.
struct Folder(PathBuf);

impl Nbdkit {
    /// Serves `uri` if that is for nbdkit and nbdkit is installed.
    pub async fn serve(uri: &str, interrupt: &Interrupt) -> Result<Option<Self>, Failure> {
        if !SCHEMES.iter().any(|scheme| uri.starts_with(scheme)) {
            return Ok(None);
        }
        let folder =
            Folder::new().map_err(|error| Failure::local("cannot make a folder for a socket", &error))?;
        let mut command = Command::new("nbdkit");
        command.args(["--foreground", "--exit-with-parent", "--readonly"]);
        command.arg("--unix").arg(folder.0.join("socket")).arg("--pidfile").arg(folder.0.join("pid"));
        command.arg("curl").arg(format!("url={uri}")).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::local("cannot start nbdkit", &error)),
        };
        let complaint = Arc::new(Mutex::new(String::new()));
        tokio::spawn(listen(child.stderr.take().expect("piped"), complaint.clone()));
        let is_ready = wait(&mut child, &folder.0.join("pid"), interrupt).await?;
        let server = Self { _child: child, folder, complaint };
        // It may be there without its curl plugin.
        Ok(is_ready.then_some(server))
    }

    /// What it serves, as an NBD URI.
    pub fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.folder.0.join("socket").display())
    }

    /// What it said last about the server behind it.
    pub fn complaint(&self) -> Option<String> {
        let said = self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!said.is_empty()).then_some(said)
    }
}

/// Keeps the last complaint.
async fn listen(stderr: ChildStderr, complaint: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, said)) = line.split_once("error: ") {
            let said = said.chars().take(COMPLAINT_BYTES_MAX).collect();
            *complaint.lock().unwrap_or_else(PoisonError::into_inner) = said;
        }
    }
}

/// Waits until it serves; false when it has ended instead.
#[expect(clippy::disallowed_methods, reason = "this command runs other programs on the machine where it is")]
async fn wait(child: &mut Child, pid_file: &Path, interrupt: &Interrupt) -> Result<bool, Failure> {
    for _ in 0..POLL.1 {
        interrupt.check()?;
        if pid_file.exists() {
            return Ok(true);
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return Ok(false);
        }
        tokio::time::sleep(POLL.0).await;
    }
    Ok(false)
}

impl Folder {
    fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("quarry-{}", random_suffix()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    #[expect(
        clippy::disallowed_methods,
        reason = "this command runs other programs on the machine where it is"
    )]
    fn drop(&mut self) {
        // A socket left behind in a folder for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
