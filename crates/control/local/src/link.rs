//! The link from a port to a data directory.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Where the administrator alone makes folders.
const SYSTEM: &str = "/run/quarry";

/// A link that a node has made; [`Self::remove`] it when the node stops.
#[derive(Debug)]
pub struct Link(PathBuf);

impl Link {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes it away, unless another node has put its own there meanwhile.
    #[expect(clippy::disallowed_methods, reason = "the control plane's own files, outside the simulation")]
    pub fn remove(self, data_dir: &Path) -> io::Result<()> {
        match std::fs::read_link(&self.0) {
            Ok(target) if target == data_dir => std::fs::remove_file(&self.0),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Says that the node whose API listens on `port` has this data directory, an absolute path. The first folder that can be written
/// is taken.
///
/// # Errors
/// No folder can be written; clients must be told the data directory then.
pub fn publish(port: u16, data_dir: &Path) -> io::Result<Link> {
    let mut last = io::ErrorKind::NotFound.into();
    for folder in folders() {
        match publish_in(&folder, port, data_dir) {
            Ok(link) => return Ok(link),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The data directory of the node of this machine whose API listens on `port`.
pub fn find(port: u16) -> Option<PathBuf> {
    folders().iter().find_map(|folder| find_in(folder, port))
}

/// Where links may be, the best first.
fn folders() -> Vec<PathBuf> {
    let of_session = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("quarry"));
    let own = PathBuf::from(format!("/tmp/quarry-{}", geteuid().as_raw()));
    [Some(PathBuf::from(SYSTEM)), of_session, Some(own)].into_iter().flatten().collect()
}

#[expect(clippy::disallowed_methods, reason = "the control plane's own files, outside the simulation")]
fn publish_in(folder: &Path, port: u16, data_dir: &Path) -> io::Result<Link> {
    // Others may look the link up; what it leads to is not theirs to read.
    let mode = if folder == Path::new(SYSTEM) { 0o755 } else { 0o700 };
    match std::fs::DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if !is_trusted(folder) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (path, unfinished) = (folder.join(name(port)), folder.join(format!("{}.new", name(port))));
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(data_dir, &unfinished)?;
    std::fs::rename(&unfinished, &path)?;
    Ok(Link(path))
}

fn find_in(folder: &Path, port: u16) -> Option<PathBuf> {
    is_trusted(folder).then(|| std::fs::read_link(folder.join(name(port))).ok())?
}

fn name(port: u16) -> String {
    format!("api-{port}")
}

/// Only the administrator makes folders in `/run`, so whoever writes in ours was let by him. Any other folder must be our own, and
/// nobody else's to write.
#[expect(clippy::disallowed_methods, reason = "the control plane's own files, outside the simulation")]
fn is_trusted(folder: &Path) -> bool {
    let Ok(found) = std::fs::symlink_metadata(folder) else { return false };
    let is_own = found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0;
    found.is_dir() && (folder == Path::new(SYSTEM) || is_own)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "they look at real files")]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_link_leads_to_the_node_that_listens_last_and_goes_with_it() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("quarry");
        let (one, other) = (Path::new("/data/one"), Path::new("/data/other"));
        assert_eq!(find_in(&folder, 7480), None);
        let first = publish_in(&folder, 7480, one).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(find_in(&folder, 7480).as_deref(), Some(one));
        assert_eq!(find_in(&folder, 7481), None);
        let second = publish_in(&folder, 7480, other).unwrap();
        first.remove(one).unwrap();
        assert_eq!(find_in(&folder, 7480).as_deref(), Some(other), "the link of another node stays");
        second.remove(other).unwrap();
        assert_eq!(find_in(&folder, 7480), None);
    }

    #[test]
    fn a_folder_that_others_may_write_is_not_believed() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("quarry");
        publish_in(&folder, 7480, Path::new("/data")).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(find_in(&folder, 7480), None);
        assert!(publish_in(&folder, 7480, Path::new("/data")).is_err());
        let link = scratch.path().join("link");
        symlink(scratch.path(), &link).unwrap();
        assert!(!is_trusted(&link), "a link to a folder is none");
    }
}
