//! Files that their owner alone may read.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// In a data directory: the token that the node made at its first start.
pub const TOKEN_FILE: &str = "admin.token";
/// In a data directory: the certificate, in PEM form, of the authority that the node's own certificate comes from.
pub const AUTHORITY_FILE: &str = "api-ca.pem";

/// What a client on this machine needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The text of a token.
    pub token: String,
    /// Certificates in PEM form by which the node is known. Absent for a node that has a certificate from elsewhere.
    pub authority: Option<Vec<u8>>,
}

/// What a data directory has for a client; `None` when the token is not there, or is not ours to read.
#[expect(clippy::disallowed_methods, reason = "the control plane's own files, outside the simulation")]
pub fn read_credentials(data_dir: &Path) -> Option<Credentials> {
    let token = std::fs::read_to_string(data_dir.join(TOKEN_FILE)).ok()?.trim().to_owned();
    let authority = std::fs::read(data_dir.join(AUTHORITY_FILE)).ok();
    (!token.is_empty()).then_some(Credentials { token, authority })
}

/// Writes a file that its owner alone may read, whole or not at all, and durably.
#[expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the control plane's own files, outside the simulation"
)]
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    // One that was left over may have other permissions.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The content of a file, `None` when there is none.
#[expect(clippy::disallowed_methods, reason = "the control plane's own files, outside the simulation")]
pub fn read_private(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "they look at real files")]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_its_owners_alone_even_where_an_open_one_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(TOKEN_FILE);
        assert_eq!(read_private(&path).unwrap(), None);
        std::fs::write(path.with_extension("new"), "left over").unwrap();
        write_private(&path, b"qt_1\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_private(&path).unwrap().unwrap(), b"qt_1\n");
        let found = read_credentials(directory.path()).unwrap();
        assert_eq!((found.token.as_str(), found.authority), ("qt_1", None));
        write_private(&path, b"\n").unwrap();
        assert!(read_credentials(directory.path()).is_none());
    }
}
