//! The keyring's file: read whole, replaced whole.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the one place that touches the keyring's file, on threads that may block"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::KeyStoreError;

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> KeyStoreError + 'a {
    move |source| KeyStoreError::File { what, path: path.to_owned(), source }
}

/// The file's bytes; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, KeyStoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("cannot read", path)(error)),
    }
}

/// Replaces the file by one with these bytes, which only its owner may read. Durable on return; what was there before is there
/// until then. The old content is written over, as far as the file system lets.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeyStoreError> {
    let new = path.with_extension("new");
    let old = OpenOptions::new().write(true).open(path).ok();
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(failed("cannot write", path))?;
    // What lies where the old file lay is gone, if nothing else names it: a hard link may be somebody's copy.
    let is_alone = |old: &File| old.metadata().is_ok_and(|old| old.nlink() == 0);
    if let Some(mut old) = old.filter(is_alone) {
        let mut overwrite = || {
            let length = old.metadata()?.len() as usize;
            old.write_all(&vec![0; length])?;
            old.sync_all()
        };
        if let Err(error) = overwrite() {
            tracing::warn!(path = %path.display(), %error, "the old content of the keyring could not be written over");
        }
    }
    Ok(())
}
