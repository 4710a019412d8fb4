//! The catalog's file: the only place of this crate that touches the file system itself.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::Database;
use tempfile::NamedTempFile;

use crate::{CatalogError, Result};

const FILE_NAME: &str = "catalog.redb";

pub(crate) fn path_in(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

#[expect(clippy::disallowed_methods, reason = "the one place that looks at the catalog's file")]
pub(crate) fn exists(directory: &Path) -> bool {
    path_in(directory).exists()
}

/// Opens the catalog of `directory`, or makes directory and catalog with `prepare` when there is none.
///
/// A new catalog gets its name only when it is complete and durable, so a crash in the middle leaves none, rather
/// than a broken one that would stop every later start.
pub(crate) fn open_or_create(
    directory: &Path,
    prepare: impl FnOnce(&Database) -> Result<()>,
) -> Result<Database> {
    let path = path_in(directory);
    make_private(&path)?;
    match Database::open(&path) {
        Err(redb::DatabaseError::Storage(redb::StorageError::Io(error)))
            if error.kind() == io::ErrorKind::NotFound =>
        {
            create(directory, prepare)?;
            Database::open(&path)
        }
        opened => opened,
    }
    .map_err(|error| CatalogError::from_redb("open", path, error))
}

/// Takes the right to read it from everybody but its owner: it holds secrets, and a copy that was brought back may be open.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at the catalog's file")]
fn make_private(path: &Path) -> Result<()> {
    let made = match std::fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 == 0 => Ok(()),
        Ok(_) => std::fs::set_permissions(path, Permissions::from_mode(0o600)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    made.map_err(|source| CatalogError::Io { operation: "make private", path: path.to_owned(), source })
}

fn create(directory: &Path, prepare: impl FnOnce(&Database) -> Result<()>) -> Result<()> {
    let path = path_in(directory);
    let failed = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| CatalogError::Io { operation, path, source }
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory).map_err(failed("make the directory", directory))?;
    let unfinished = NamedTempFile::with_prefix_in("catalog.redb.new-", directory)
        .map_err(failed("make a file in", directory))?;
    let handle = unfinished.reopen().map_err(failed("open a file in", directory))?;
    let database = Database::builder()
        .create_file(handle)
        .map_err(|error| CatalogError::from_redb("create", path.clone(), error))?;
    prepare(&database)?;
    drop(database);
    unfinished.as_file().sync_all().map_err(failed("write", &path))?;
    match unfinished.persist_noclobber(&path) {
        // Another process was faster; the lock on its file decides who may go on.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("create", &path)(error.error)),
        Ok(_) => sync_directory(directory).map_err(failed("write the directory", directory)),
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "the control plane runs on tokio's threads, outside the simulation"
)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}
