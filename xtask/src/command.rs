//! Running other programs to their end.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// A command that runs as root: directly when we are root, else through sudo without a prompt.
pub fn privileged(program: &str) -> Command {
    if rustix::process::getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs `command` whatever its exit status is.
pub fn output(command: &mut Command) -> Result<Output> {
    let what = shown(command);
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{what}`"))
}

/// Runs `command` and returns what it printed on stdout. A failure carries what it printed on stderr.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = if stderr.trim().is_empty() { stdout.trim() } else { stderr.trim() };
        bail!("`{}` failed ({}): {said}", shown(command), output.status);
    }
    Ok(stdout)
}

/// Runs `command` with its output on our own terminal.
pub fn run_visibly(command: &mut Command) -> Result<()> {
    let what = shown(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{what}`"))?;
    if !status.success() {
        bail!("`{what}` failed ({status})");
    }
    Ok(())
}

/// Fails with a hint when one of `programs` is not installed.
pub fn require(programs: &[&str]) -> Result<()> {
    let missing: Vec<_> = programs.iter().filter(|program| !is_installed(program)).copied().collect();
    if !missing.is_empty() {
        bail!("{} not installed: run `make setup`", missing.join(", "));
    }
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}
