//! The log's files: all of them private to their owner.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the control plane's own files, outside the simulation"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files that were moved aside and are kept beside each other; the next one takes the place of the last of them.
const ASIDE_MAX: u32 = 9;

pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Writes over the beginning of a file.
pub(crate) fn write_over(path: &Path, content: &[u8], is_durable: bool) -> io::Result<()> {
    let file = private_file(path)?;
    file.write_all_at(content, 0)?;
    if is_durable {
        file.sync_all()?;
    }
    Ok(())
}

/// A file that is there whole or not at all, and durable on return.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let file = private_file(&part)?;
    file.set_len(0)?;
    file.write_all_at(content, 0)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// What a file holds, if there is one.
pub(crate) fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// Moves a file to `NAME.damaged`, or to `NAME.damaged-2` and so on where that is taken, and tells where it is.
pub(crate) fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let named = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(".damaged");
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    let aside = (1..ASIDE_MAX).map(named).find(|aside| !aside.exists()).unwrap_or_else(|| named(ASIDE_MAX));
    std::fs::rename(path, &aside)?;
    Ok(aside)
}
