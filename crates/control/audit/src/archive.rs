//! Older entries, in files of their own: `audit-FIRST-LAST.jsonl`, a line for each entry, as `quarry audit export` writes them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::chain::{Place, Walk};
use crate::{AuditError, Result, files};

/// Where the file with the entries from `first` to `last` is.
pub(crate) fn path(directory: &Path, first: u64, last: u64) -> PathBuf {
    directory.join(format!("audit-{first}-{last}.jsonl"))
}

/// Writes a file; durable on return.
pub(crate) fn write(path: &Path, entries: &[(u64, Vec<u8>)]) -> Result<()> {
    let mut content = Vec::new();
    for (_, json) in entries {
        content.extend_from_slice(json);
        content.push(b'\n');
    }
    files::write_whole(path, &content).map_err(|source| AuditError::Io { path: path.to_owned(), source })
}

/// A file that is to be looked at, opened so that it can be read even when it is dropped meanwhile.
pub(crate) struct Opened {
    path: PathBuf,
    lines: std::io::Result<Box<dyn BufRead>>,
    last: Place,
}

impl Opened {
    pub(crate) fn open(path: PathBuf, last: Place) -> Self {
        let lines = files::open(&path).map(|file| Box::new(BufReader::new(file)) as Box<dyn BufRead>);
        Self { path, lines, last }
    }

    /// Goes along its entries; or says what is wrong.
    pub(crate) fn walk(self, walk: &mut Walk<'_>) -> std::result::Result<(), String> {
        let named = |what: String| format!("{}: {what}", self.path.display());
        let lines = self.lines.map_err(|error| named(error.to_string()))?;
        for line in lines.split(b'\n') {
            let line = line.map_err(|error| named(error.to_string()))?;
            walk.step(&line).map_err(named)?;
        }
        walk.ends_at(&self.last).map_err(named)
    }
}
