//! A look at the node's databases before they are opened.
//!
//! redb trusts the pages of a file that it finds: one that was damaged in the middle ends the process, at every start. So another
//! process looks first (`quarryd look-at-database FILE`), at the checksums of all pages, and may die of it. A log that is damaged is moved
//! aside, and a new one begins; without the catalog, and without knowing its users, a node does not start.
//!
//! The look changes nothing: what redb mends in a file stays in the memory of the process that looks.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the start of the binary, before there is anything else"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use redb::{Database, DatabaseError, StorageBackend};

/// How a look ends that has found damage, one at a file that somebody else has open, and one at a file that redb can mend, which may
/// cost what was written last.
const DAMAGED: u8 = 3;
const IN_USE: u8 = 4;
const MENDABLE: u8 = 5;
/// Memory that a look takes for pages.
const CACHE_BYTES: usize = 16 << 20;
/// A look takes so long at most, and longer for a file that the disk gives so slowly.
const TIMEOUT: Duration = Duration::from_secs(60);
const SLOWEST_BYTES_PER_S: u64 = 1 << 20;
const POLL: Duration = Duration::from_millis(2);

/// What depends on a file.
#[derive(Clone, Copy)]
enum Need {
    /// A node can do without, and begins a new one.
    Log,
    /// A node cannot; that is what to do.
    Everything(&'static str),
}

const FILES: [(&str, Need); 5] = [
    (
        "catalog.redb",
        Need::Everything(
            "Put a copy of it from a backup in its place. Without one move it away, and copy the volumes from the pools' devices with \
             quarry-extract; the data is on them and is not touched.",
        ),
    ),
    (
        "access.redb",
        Need::Everything(
            "Put a copy of it from a backup in its place. Without one move it away: users, tokens and tenants have to be made again \
             then, with the new first token.",
        ),
    ),
    ("audit.redb", Need::Log),
    ("events.redb", Need::Log),
    ("history.redb", Need::Log),
];

/// What a look has found.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Finding {
    Whole,
    Damaged(String),
    /// Whoever opens it mends it; of the audit log the mark tells whether that has cost an entry.
    Mendable(String),
    /// It says nothing of the file; whoever opens it will see.
    Unknown(String),
}

/// A log that was damaged.
pub struct Moved {
    /// The name of its file.
    pub name: &'static str,
    /// Where it is.
    pub aside: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Looks at all databases in a data directory; moves aside logs that are damaged, and tells of them.
///
/// # Errors
/// A file that the node cannot do without is damaged, or a damaged log cannot be moved.
pub fn look(directory: &Path) -> anyhow::Result<Vec<Moved>> {
    let program = std::env::current_exe().context("quarryd does not find its own program")?;
    let mut looks = Vec::new();
    for (name, need) in FILES {
        let path = directory.join(name);
        if let Ok(metadata) = path.metadata() {
            let timeout = TIMEOUT + Duration::from_secs(metadata.len() / SLOWEST_BYTES_PER_S);
            looks.push((name, need, Look::begin(&program, &path, timeout), path));
        }
    }
    let mut moved = Vec::new();
    let mut lost = None;
    for (name, need, look, path) in looks {
        match (look.end(), need) {
            (Finding::Whole, _) => {}
            (Finding::Unknown(why), _) => {
                tracing::warn!("{} could not be looked at before it is opened: {why}", path.display());
            }
            (Finding::Mendable(why), _) => {
                tracing::warn!("{}: {why}", path.display());
            }
            (Finding::Damaged(why), Need::Everything(what_to_do)) => {
                lost.get_or_insert_with(|| format!("{} is damaged ({why}). {what_to_do}", path.display()));
            }
            (Finding::Damaged(why), Need::Log) => {
                let aside = set_aside(directory, name).with_context(|| {
                    format!("{} is damaged ({why}) and cannot be moved aside", path.display())
                })?;
                moved.push(Moved { name, aside, why });
            }
        }
    }
    match lost {
        Some(lost) => bail!(lost),
        None => Ok(moved),
    }
}

fn set_aside(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    if name == "audit.redb" {
        return Ok(quarry_audit::set_aside(directory)?);
    }
    let aside = directory.join(format!("{name}.damaged"));
    std::fs::rename(directory.join(name), &aside)?;
    Ok(aside)
}

/// A process that looks at a file.
struct Look {
    child: io::Result<Child>,
    until: Instant,
}

impl Look {
    fn begin(program: &Path, path: &Path, timeout: Duration) -> Self {
        let mut command = Command::new(program);
        command.arg("look-at-database").arg(path).stdin(Stdio::null()).stdout(Stdio::null());
        Self { child: command.stderr(Stdio::piped()).spawn(), until: Instant::now() + timeout }
    }

    fn end(self) -> Finding {
        match self.child.and_then(|child| wait(child, self.until)) {
            Ok(None) => Finding::Damaged("looking at it does not end".to_owned()),
            Ok(Some((status, said))) => finding(status, said),
            Err(error) => Finding::Unknown(error.to_string()),
        }
    }
}

/// How a process ends, and what it says; nothing when it does not end.
fn wait(mut child: Child, until: Instant) -> io::Result<Option<(ExitStatus, String)>> {
    loop {
        if let Some(status) = child.try_wait()? {
            let mut said = String::new();
            // It says a line or two, which the pipe has.
            child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said)).transpose()?;
            return Ok(Some((status, said.trim().to_owned())));
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn finding(status: ExitStatus, said: String) -> Finding {
    // SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV: what a broken file can do to who reads it. SIGKILL is somebody else's doing.
    let has_crashed = status.signal().is_some_and(|signal| [4, 6, 7, 8, 11].contains(&signal));
    match status.code() {
        Some(0) => Finding::Whole,
        Some(code) if code == i32::from(DAMAGED) => Finding::Damaged(said),
        Some(code) if code == i32::from(MENDABLE) => Finding::Mendable(said),
        _ if has_crashed => Finding::Damaged(format!("looking at it ended with {status}")),
        _ => Finding::Unknown(format!("{status}: {said}")),
    }
}

/// `quarryd look-at-database`: what the other process does.
pub fn look_at(path: &Path) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("it is not what redb writes, at {place}");
        std::process::exit(DAMAGED.into());
    }));
    match check(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            eprintln!("{why}");
            ExitCode::from(code)
        }
    }
}

fn check(path: &Path) -> Result<(), (u8, String)> {
    let unknown = |error: io::Error| (1, error.to_string());
    let file = File::open(path).map_err(unknown)?;
    if let Err(error) = file.try_lock() {
        return Err((IN_USE, error.to_string()));
    }
    let length = file.metadata().map_err(unknown)?.len();
    let overlay = Overlay { file, state: Mutex::new(State { length, written: BTreeMap::new() }) };
    let mut database = match Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(overlay) {
        Ok(database) => database,
        // Whoever opens it says so better.
        Err(DatabaseError::UpgradeRequired(_)) => return Ok(()),
        Err(error) => return Err((DAMAGED, error.to_string())),
    };
    match database.check_integrity() {
        Ok(true) => Ok(()),
        Ok(false) => Err((MENDABLE, "its newest state is not whole, the one before is".to_owned())),
        Err(error) => Err((DAMAGED, error.to_string())),
    }
}

const BLOCK: u64 = 4096;

/// A file that is only read, under what was written, which is kept in memory.
#[derive(Debug)]
struct Overlay {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    length: u64,
    written: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// Calls `work` with each block that a range touches, and the part of the range in it.
    fn each(
        offset: u64,
        length: usize,
        mut work: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let within = (at % BLOCK) as usize;
            let count = (BLOCK as usize - within).min(length - done);
            work(at / BLOCK, within..within + count, done..done + count)?;
            done += count;
        }
        Ok(())
    }

    /// What of the file is in a block; zeros behind its end.
    fn block(&self, index: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; BLOCK as usize];
        let mut done = 0;
        while done < block.len() {
            match self.file.read_at(&mut block[done..], index * BLOCK + done as u64)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(block)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody goes on behind a panic")
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset + out.len() as u64 > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Self::each(offset, out.len(), |index, within, part| {
            match state.written.get(&index) {
                Some(block) => out[part].copy_from_slice(&block[within]),
                None => out[part].copy_from_slice(&self.block(index)?[within]),
            }
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        // What is beyond the end is gone, and zeros when the file grows again.
        for index in length.div_ceil(BLOCK)..state.length.div_ceil(BLOCK) {
            state.written.insert(index, vec![0; BLOCK as usize]);
        }
        let rest = (length % BLOCK) as usize;
        if length < state.length && rest > 0 {
            let mut last = match state.written.remove(&(length / BLOCK)) {
                Some(block) => block,
                None => self.block(length / BLOCK)?,
            };
            last[rest..].fill(0);
            state.written.insert(length / BLOCK, last);
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.length = state.length.max(offset + data.len() as u64);
        Self::each(offset, data.len(), |index, within, part| {
            let block = match state.written.entry(index) {
                std::collections::btree_map::Entry::Occupied(found) => found.into_mut(),
                std::collections::btree_map::Entry::Vacant(room) => room.insert(self.block(index)?),
            };
            block[within].copy_from_slice(&data[part]);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
