//! Running smartctl.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::Report;

/// A drive that does not answer by then is not waited for: it may be one that hangs.
const TIME_MAX: Duration = Duration::from_secs(60);
/// smartctl prints some tens of KiB.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// Why nothing is known of a drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Silence {
    /// There is no smartctl on this machine.
    NotInstalled,
    /// The drive has nothing to say, or cannot be asked; why, for people.
    NoData(String),
}

/// Asks the drive at `device` by the smartctl that `program` names. A disk that sleeps is not woken.
pub async fn ask(program: impl AsRef<OsStr>, device: &Path) -> Result<Report, Silence> {
    let mut command = Command::new(program);
    command
        .args(["--json", "--nocheck=standby", "--info", "--health", "--attributes", "--log=error"])
        .arg(device);
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(TIME_MAX, command.output()).await {
        Err(_) => {
            return Err(Silence::NoData(format!("smartctl has not answered for {} s", TIME_MAX.as_secs())));
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Err(Silence::NotInstalled),
        Ok(Err(error)) => return Err(Silence::NoData(format!("smartctl cannot be run: {error}"))),
        Ok(Ok(output)) => output,
    };
    if output.stdout.len() > OUTPUT_BYTES_MAX {
        return Err(Silence::NoData("smartctl has printed too much".to_owned()));
    }
    // Its exit status says again, in bits, what it prints.
    Report::parse(&output.stdout).map_err(Silence::NoData)
}
