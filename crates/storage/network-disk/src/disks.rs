//! Disks by path, where a path may be an address.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use quarry_env::{Disk, Disks, Env, OpenMode};

use crate::address::DiskAddress;
use crate::connection::run;
use crate::disk::{NetworkDisk, geometry};
use crate::error::{ConnectionError, wrong};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::remote::Remotes;
use crate::session::Session;
use crate::terms::Terms;
use crate::transport::{Initiator, connect};

/// The disks of an env, and those of servers beside them.
struct WithNetworkDisks {
    /// The env below, whose disks these are.
    env: Env,
    remotes: Remotes,
}

/// The same env, in which addresses of servers name disks as well.
pub fn with_network_disks(env: &Env, remotes: &Remotes) -> Env {
    let disks = WithNetworkDisks { env: env.clone(), remotes: remotes.clone() };
    Env { disks: Rc::new(disks), ..env.clone() }
}

impl WithNetworkDisks {
    async fn open_remote(&self, path: &Path, mode: OpenMode) -> io::Result<Rc<dyn Disk>> {
        let address = address(path)?;
        if let OpenMode::Create { .. } = mode {
            let message = format!("an {} is not made by its client", address.what());
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let initiator = Initiator { host: self.remotes.host().clone(), number: self.env.random.next_u64() };
        let connected = connect(&self.env, &address, &initiator).await?;
        check(&connected.terms, &address, mode, self.remotes.cores())?;
        let remote = self.remotes.get(&address);
        let session = Session::new(self.env.clone(), address, initiator, remote, connected.terms.clone());
        self.env.spawner.spawn(run(session.clone(), connected)).detach();
        Ok(Rc::new(NetworkDisk::new(session)))
    }
}

fn address(path: &Path) -> io::Result<DiskAddress> {
    DiskAddress::parse(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Refuses what cannot hold data safely.
fn check(terms: &Terms, address: &DiskAddress, mode: OpenMode, cores: usize) -> Result<(), ConnectionError> {
    if terms.payload_bytes_max.min(PAYLOAD_BYTES_MAX) < geometry(terms).sector_bytes {
        return Err(wrong("a limit of payloads below its block size"));
    }
    if mode == OpenMode::Probe {
        return Ok(());
    }
    let reason = if terms.is_read_only {
        "it is read-only".to_owned()
    } else if !terms.can_flush {
        "its server cannot flush, so nothing on it would survive a power failure".to_owned()
    } else if cores > 1 && !terms.shares_flush {
        format!(
            "each of the {cores} cores of this node needs a connection, and its server does not allow several; let it \
             (qemu-nbd: --shared={cores} or more) or run quarryd with --cores 1"
        )
    } else {
        return Ok(());
    };
    Err(ConnectionError::Unfit { address: address.to_string(), reason })
}

fn no_file(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{} is a server's disk, not a file", path.display()))
}

impl Disks for WithNetworkDisks {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> Pin<Box<dyn Future<Output = io::Result<Rc<dyn Disk>>> + 'a>> {
        match DiskAddress::is_meant(path) {
            true => Box::pin(self.open_remote(path, mode)),
            false => self.env.disks.open(path, mode),
        }
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        if DiskAddress::is_meant(path) { Ok(false) } else { self.env.disks.is_directory(path) }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        if DiskAddress::is_meant(path) { Err(no_file(path)) } else { self.env.disks.free_bytes(path) }
    }

    /// Whether a server's disk is there, opening it tells.
    fn exists(&self, path: &Path) -> bool {
        DiskAddress::is_meant(path) || self.env.disks.exists(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if DiskAddress::is_meant(path) { Err(no_file(path)) } else { self.env.disks.remove(path) }
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        match DiskAddress::is_meant(path) {
            true => Ok(PathBuf::from(address(path)?.to_string())),
            false => self.env.disks.canonical(path),
        }
    }

    fn is_same(&self, one: &Path, other: &Path) -> bool {
        match (DiskAddress::is_meant(one), DiskAddress::is_meant(other)) {
            (false, false) => self.env.disks.is_same(one, other),
            (true, true) => {
                matches!((self.canonical(one), self.canonical(other)), (Ok(one), Ok(other)) if one == other)
            }
            _ => false,
        }
    }

    fn file_identity(&self, path: &Path) -> io::Result<Option<String>> {
        if DiskAddress::is_meant(path) { Ok(None) } else { self.env.disks.file_identity(path) }
    }

    fn scan(&self) -> io::Result<Vec<(PathBuf, Option<String>)>> {
        self.env.disks.scan()
    }
}
