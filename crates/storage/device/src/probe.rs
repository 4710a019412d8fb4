//! What is at a path, found out without changing anything.

use std::io;
use std::path::Path;
use std::rc::Rc;

use quarry_env::{BufferPool, Disk, DiskGeometry, Env, OpenMode};
use quarry_format::label::{LABEL_BYTES, LABEL_COPY_OFFSETS, Label, LabelError};

use crate::areas::{Areas, AreasRead};
use crate::error::PathError;
use crate::labels::{self, NoLabel};
use crate::open::in_open_time;
use crate::signature;

/// What is on a disk, as far as its first 1 MiB and last 128 KiB tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Zeroes.
    Empty,
    /// A device of a pool.
    Quarry(Box<Label>),
    /// Something else.
    Foreign {
        /// In words, for a sentence such as "it holds …".
        what: String,
    },
}

/// A file or block device and what is on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbedDisk {
    /// Kind, size and alignment.
    pub geometry: DiskGeometry,
    /// What is on it.
    pub content: Content,
}

/// What is at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// Nothing.
    Missing,
    /// A directory.
    Directory {
        /// Free space of its file system in bytes.
        free_bytes: u64,
    },
    /// A file or block device.
    Disk(ProbedDisk),
}

/// Looks at a path. Takes no lock: what it says about a disk that somebody writes to may be half old and half new. A disk that does not
/// answer is an error after a while.
pub async fn probe(env: &Env, path: &Path) -> Result<Probe, PathError> {
    in_open_time(env, (path, "look at it"), probe_sometime(env, path)).await?
}

async fn probe_sometime(env: &Env, path: &Path) -> Result<Probe, PathError> {
    let failed = |operation| move |source| PathError { path: path.to_owned(), operation, source };
    if !env.disks.exists(path) {
        return Ok(Probe::Missing);
    }
    if env.disks.is_directory(path).map_err(failed("look at it"))? {
        let free_bytes = env.disks.free_bytes(path).map_err(failed("ask for its free space"))?;
        return Ok(Probe::Directory { free_bytes });
    }
    let disk: Rc<dyn Disk> = env.disks.open(path, OpenMode::Probe).await.map_err(failed("open it"))?;
    let content = examine(&*disk, &env.buffers).await.map_err(failed("read it"))?;
    Ok(Probe::Disk(ProbedDisk { geometry: disk.geometry().clone(), content }))
}

/// What a pool can use of the file or block device at `path` now, in bytes.
pub async fn usable_bytes_at(env: &Env, path: &Path) -> Result<u64, PathError> {
    let failed = |source| PathError { path: path.to_owned(), operation: "open it", source };
    let opening = in_open_time(env, (path, "open it"), env.disks.open(path, OpenMode::Probe));
    let disk = opening.await?.map_err(failed)?;
    Ok(labels::usable_bytes(disk.geometry().size_bytes))
}

/// What is on an open disk.
pub async fn examine(disk: &dyn Disk, buffers: &BufferPool) -> io::Result<Content> {
    let read = AreasRead::read(disk, buffers).await?;
    Ok(judge(&read.areas()))
}

/// What these bytes are.
pub fn judge(areas: &Areas) -> Content {
    let copies = LABEL_COPY_OFFSETS.map(|offset| {
        let bytes = areas.get(offset, LABEL_BYTES).ok_or(LabelError::Magic)?;
        Ok(Label::decode(bytes)?)
    });
    let what = match labels::newest(copies) {
        Ok(newest) => return Content::Quarry(Box::new(newest.label)),
        Err(NoLabel::Version(found)) => format!("a Quarry label of version {found}, newer than this program"),
        Err(NoLabel::Damaged(..)) => "a damaged Quarry label".to_owned(),
        Err(NoLabel::None) => match (signature::recognize(areas), areas.first_data()) {
            (Some(what), _) => what,
            (None, Some(offset)) => unknown(areas, offset),
            (None, None) => return Content::Empty,
        },
    };
    Content::Foreign { what }
}

fn unknown(areas: &Areas, offset: u64) -> String {
    const SHOWN_BYTES: usize = 16;
    let shown = (1..=SHOWN_BYTES).rev().find_map(|length| areas.get(offset, length)).unwrap_or_default();
    let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("unknown data (first bytes, at {offset}: {})", hex.join(" "))
}

impl Content {
    /// In words, for a sentence such as "it holds …".
    pub fn describe(&self) -> String {
        match self {
            Content::Empty => "nothing".to_owned(),
            Content::Quarry(label) => {
                format!("a device of Quarry pool '{}' ({})", label.pool_name, label.pool)
            }
            Content::Foreign { what } => what.clone(),
        }
    }
}
