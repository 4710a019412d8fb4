//! Debian's tgt: somebody else's iSCSI target.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::load::{Fabric, Unit};
use crate::server::Server;
use crate::{command, sample};

const TARGET: &str = "iqn.2026-11.io.quarry:tgt";
/// tgt keeps LUN 0 for its controller.
const LUN: u32 = 1;
/// Number of tgtd's control port, so that no other one on the machine is meant.
const CONTROL: &str = "77";
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running tgtd with one unit.
#[derive(Debug)]
pub struct Tgt {
    /// The process.
    pub server: Server,
    /// Where its unit is.
    pub unit: Unit,
}

/// Its programs lie where only root looks.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", sample::search_path());
    command
}

/// Whether it can be run.
pub fn is_installed() -> bool {
    command::require(&["tgtd", "tgtadm"]).is_ok()
}

impl Tgt {
    /// Starts one that serves the file `image` at `address`, by the method `store` of its own: `aio` goes past the page cache,
    /// `rdwr` through it.
    pub fn start(image: &Path, store: &str, address: SocketAddr, log: &Path) -> Result<Self> {
        let mut command = program("tgtd");
        command.args(["--foreground", "--control-port", CONTROL]);
        command.args(["--iscsi", &format!("portal={address}")]);
        let mut server = Server::start("tgtd", &command, log)?;
        let admin = |args: &[&str]| {
            command::run(program("tgtadm").args(["-C", CONTROL, "--lld", "iscsi"]).args(args))
        };
        server.wait_until(START_TIMEOUT, || admin(&["--mode", "sys", "--op", "show"]).is_ok())?;
        admin(&["--mode", "target", "--op", "new", "--tid", "1", "--targetname", TARGET])?;
        let unit = ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1"];
        let image = image.display().to_string();
        admin(&[&unit[..], &["--bstype", store, "--backing-store", &image]].concat())?;
        admin(&["--mode", "target", "--op", "bind", "--tid", "1", "--initiator-address", "ALL"])?;
        let unit = Unit { fabric: Fabric::Iscsi, address, name: TARGET.to_owned(), number: LUN };
        Ok(Self { server, unit })
    }
}
