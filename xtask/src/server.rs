//! A running server process, ended by its own id.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{command, interrupt};

/// Lines of a server's log that a failure quotes.
const LOG_LINES_QUOTED: usize = 20;

/// A server in the background. Dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output appended to the file `log`.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let what = command::shown(command);
        // A process group of its own, so that an interrupt at the terminal reaches us only and we end it in order;
        // and a signal from the kernel should we be killed ourselves. setpriv becomes the server, with the same id.
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program()).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = wrapped
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{what}`"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `is_ready` holds.
    pub fn wait_until(&mut self, timeout: Duration, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}); its log ends with:\n{}", self.name, self.log_tail());
            }
            if start.elapsed() > timeout {
                bail!(
                    "{} is not ready after {timeout:?}; its log ends with:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            interrupt::check()?;
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits until something listens on the unix socket.
    pub fn wait_for_socket(&mut self, socket: &Path, timeout: Duration) -> Result<()> {
        self.wait_until(timeout, || UnixStream::connect(socket).is_ok())
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; fails when the process does not end in time.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.wait_for_end(timeout)
    }

    /// Waits until the process ends on its own; one that does not is killed, which is an error.
    pub fn wait_for_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > timeout {
                self.kill()?;
                bail!(
                    "{} did not end within {timeout:?}; its log ends with:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time that the process and all of its threads have used.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.pid())
    }

    /// Bytes of memory that the process has at present.
    pub fn memory_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kib.context("the kernel does not say how much memory the process has")? << 10)
    }

    /// The end of the log, for error messages.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

/// The end of a log, for error messages.
pub fn log_tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES_QUOTED);
    lines[first..].iter().map(|line| format!("    | {line}\n")).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_running() {
            // Nothing is left to do about a failure here.
            let _ = self.kill();
        }
    }
}

/// User and system time of process `pid`, all its threads and the kernel's io_uring workers included (proc(5), fields
/// 14 and 15 of `stat`).
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("cannot read /proc/{pid}/stat"))?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_the_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 100 0 0 0 123 45 0 0 20 0 3 0 99 1000 10";
        assert_eq!(cpu_ticks(stat), Some(168));
        assert_eq!(cpu_ticks("42 (x) S 1"), None);
    }
}
