//! The store's file: the only place of this crate that touches the file system itself.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use redb::Database;

use crate::{AccessError, Result};

/// Opens the database at `path`, or makes it, readable by its owner alone.
#[expect(clippy::disallowed_types, reason = "the control plane's own file, outside the simulation")]
pub(crate) fn open(path: &Path) -> Result<Database> {
    let io = |operation, source| AccessError::Io { operation, path: path.to_owned(), source };
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| io("open", source))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(|source| io("make private", source))?;
    Database::builder().create_file(file).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => AccessError::InUse { path: path.to_owned() },
        error => {
            AccessError::Storage { operation: "open", path: path.to_owned(), source: Box::new(error.into()) }
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "the control plane's own file, outside the simulation")]
pub(crate) fn move_aside(path: &Path, aside: &Path) -> io::Result<()> {
    std::fs::rename(path, aside)
}

#[expect(clippy::disallowed_methods, reason = "the control plane's own file, outside the simulation")]
pub(crate) fn exists(path: &Path) -> bool {
    path.exists()
}
