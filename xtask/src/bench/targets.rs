//! What is measured: quarryd and its peers, each started the same way and ended by its own id.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Options;
use crate::node::{self, Node, VOLUME};
use crate::peer::{Peer, create_qcow2};
use crate::scratch::Scratch;

/// The product.
pub const QUARRYD: &str = "quarryd";
const QEMU_RAW: &str = "qemu-nbd-raw";
const QEMU_QCOW2: &str = "qemu-nbd-qcow2";
const NBDKIT: &str = "nbdkit-file";

/// All targets, the product first.
pub const TARGETS: [&str; 4] = [QUARRYD, QEMU_RAW, QEMU_QCOW2, NBDKIT];

/// Names for the command line.
pub fn names() -> clap::builder::PossibleValuesParser {
    TARGETS.into()
}

enum Process {
    Quarryd(Box<Node>),
    Peer(Peer),
}

/// A running target.
pub struct Target {
    /// Its name, out of [`TARGETS`].
    pub name: &'static str,
    /// Where fio connects.
    pub uri: String,
    process: Process,
}

impl Target {
    /// Starts target `name` with a volume of `volume_bytes`. All files lie on the same file system, their space
    /// allocated except where the format grows by itself.
    pub fn start(
        name: &'static str,
        scratch: &Scratch,
        bin_dir: &Path,
        options: &Options,
        volume_bytes: u64,
    ) -> Result<Self> {
        let dir = scratch.path();
        let process = match name {
            QUARRYD => Process::Quarryd(Box::new(start_quarryd(scratch, bin_dir, options, volume_bytes)?)),
            QEMU_RAW => {
                let image = scratch.device("raw.img", volume_bytes)?;
                Process::Peer(Peer::qemu_nbd(name, dir, "raw", &image, &[])?)
            }
            QEMU_QCOW2 => {
                let image = scratch.join("image.qcow2");
                create_qcow2(&image, volume_bytes)?;
                Process::Peer(Peer::qemu_nbd(name, dir, "qcow2", &image, &[])?)
            }
            _ => {
                let image = scratch.device("nbdkit.img", volume_bytes)?;
                Process::Peer(Peer::nbdkit_file(name, dir, &image)?)
            }
        };
        let uri = match &process {
            Process::Quarryd(node) => node.uri(VOLUME),
            Process::Peer(peer) => peer.uri(),
        };
        Ok(Self { name, uri, process })
    }

    /// Process id.
    pub fn pid(&self) -> Result<u32> {
        match &self.process {
            Process::Quarryd(node) => Ok(node.server()?.pid()),
            Process::Peer(peer) => Ok(peer.server.pid()),
        }
    }

    /// CPU time that it has used so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        match &self.process {
            Process::Quarryd(node) => node.server()?.cpu_time(),
            Process::Peer(peer) => peer.server.cpu_time(),
        }
    }

    /// Ends it.
    pub fn stop(self) -> Result<()> {
        match self.process {
            Process::Quarryd(mut node) => node.stop(),
            Process::Peer(mut peer) => peer.server.terminate(Duration::from_secs(30)).map(drop),
        }
    }
}

fn start_quarryd(scratch: &Scratch, bin_dir: &Path, options: &Options, volume_bytes: u64) -> Result<Node> {
    // Room for what random overwrites leave behind until the cleaner has been there: the pool ends 50 % full.
    let devices = scratch.devices(usize::from(options.copies), 2 * volume_bytes)?;
    let mut node_options = node::options(bin_dir, scratch.path());
    node_options.cores = options.cores;
    node::start_with_volume(node_options, &devices, &format!("copies:{}", options.copies), volume_bytes, &[])
}
