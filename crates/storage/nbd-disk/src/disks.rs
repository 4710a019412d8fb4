//! Disks by path, where a path may be the address of an export.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use quarry_env::{Disk, Disks, Env, OpenMode};
use quarry_nbd_wire::transmission_flags;

use crate::address::ExportAddress;
use crate::connection::{connect, run};
use crate::disk::NbdDisk;
use crate::error::ConnectionError;
use crate::export::Exports;
use crate::handshake::Terms;
use crate::session::Session;

/// The disks of an env, and NBD exports beside them.
struct WithNbd {
    /// The env below, whose disks these are.
    env: Env,
    exports: Exports,
}

/// The same env, in which NBD addresses name disks as well.
pub fn with_nbd(env: &Env, exports: &Exports) -> Env {
    let disks = WithNbd { env: env.clone(), exports: exports.clone() };
    Env { disks: Rc::new(disks), ..env.clone() }
}

impl WithNbd {
    async fn open_export(&self, path: &Path, mode: OpenMode) -> io::Result<Rc<dyn Disk>> {
        let address = address(path)?;
        if let OpenMode::Create { .. } = mode {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "an NBD export is not made by its client",
            ));
        }
        let (terms, inbox) = connect(&self.env, &address).await?;
        check(&terms, &address, mode, self.exports.cores())?;
        let export = self.exports.get(&address);
        let session = Session::new(self.env.clone(), address, export, terms);
        self.env.spawner.spawn(run(session.clone(), inbox)).detach();
        Ok(Rc::new(NbdDisk::new(session)))
    }
}

fn address(path: &Path) -> io::Result<ExportAddress> {
    ExportAddress::parse(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Refuses what cannot hold data safely.
fn check(
    terms: &Terms,
    address: &ExportAddress,
    mode: OpenMode,
    cores: usize,
) -> Result<(), ConnectionError> {
    if mode == OpenMode::Probe {
        return Ok(());
    }
    let reason = if terms.has(transmission_flags::READ_ONLY) {
        "it is read-only".to_owned()
    } else if !terms.has(transmission_flags::SEND_FLUSH) {
        "its server cannot flush, so nothing on it would survive a power failure".to_owned()
    } else if cores > 1 && !terms.has(transmission_flags::CAN_MULTI_CONN) {
        format!(
            "each of the {cores} cores of this node needs a connection, and its server does not allow several; let it \
             (qemu-nbd: --shared={cores} or more) or run quarryd with --cores 1"
        )
    } else {
        return Ok(());
    };
    Err(ConnectionError::Unfit { export: address.export.clone(), reason })
}

fn no_file(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{} is an NBD export, not a file", path.display()))
}

impl Disks for WithNbd {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> Pin<Box<dyn Future<Output = io::Result<Rc<dyn Disk>>> + 'a>> {
        match ExportAddress::is_meant(path) {
            true => Box::pin(self.open_export(path, mode)),
            false => self.env.disks.open(path, mode),
        }
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        if ExportAddress::is_meant(path) { Ok(false) } else { self.env.disks.is_directory(path) }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        if ExportAddress::is_meant(path) { Err(no_file(path)) } else { self.env.disks.free_bytes(path) }
    }

    /// Whether an export is there, opening it tells.
    fn exists(&self, path: &Path) -> bool {
        ExportAddress::is_meant(path) || self.env.disks.exists(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if ExportAddress::is_meant(path) { Err(no_file(path)) } else { self.env.disks.remove(path) }
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        match ExportAddress::is_meant(path) {
            true => Ok(PathBuf::from(address(path)?.to_string())),
            false => self.env.disks.canonical(path),
        }
    }

    fn scan(&self) -> io::Result<Vec<(PathBuf, Option<String>)>> {
        self.env.disks.scan()
    }
}
