//! Where a volume is served over a fabric, and who connects to it there.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::{Initiator, iscsi, nvme_tcp};

/// Protocols of which we have an initiator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fabric {
    /// iSCSI.
    Iscsi,
    /// NVMe/TCP.
    NvmeTcp,
}

impl Fabric {
    /// As `quarry export create --protocol` has it, and the scheme of its URIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iscsi => "iscsi",
            Self::NvmeTcp => "nvme-tcp",
        }
    }
}

/// One volume as hosts find it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Over what.
    pub fabric: Fabric,
    /// Portal.
    pub address: SocketAddr,
    /// IQN of the target, NQN of the subsystem.
    pub name: String,
    /// LUN, namespace id.
    pub number: u32,
}

impl Unit {
    /// Reads `SCHEME://ADDRESS/NAME/NUMBER`.
    pub fn parse(uri: &str) -> Result<Self> {
        Self::parts(uri.trim()).with_context(|| format!("{uri} is no URI of an export over a fabric"))
    }

    fn parts(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let fabric = [Fabric::Iscsi, Fabric::NvmeTcp].into_iter().find(|fabric| fabric.name() == scheme)?;
        let mut parts = rest.splitn(3, '/');
        let address = parts.next()?.parse().ok()?;
        let name = parts.next()?.to_owned();
        Some(Self { fabric, address, name, number: parts.next()?.parse().ok()? })
    }

    /// Logs in as number `who` of the load's initiators: of two with one number only the later one stays. `keep_data` has reads
    /// give what they have read.
    pub fn connect(&self, who: u16, keep_data: bool) -> Result<Box<dyn Initiator>> {
        let Self { fabric, address, name, number } = self;
        Ok(match fabric {
            Fabric::Iscsi => {
                let lun = u16::try_from(*number).context("no number of a LUN")?;
                Box::new(iscsi::Session::log_in(*address, name, lun, who, keep_data)?)
            }
            Fabric::NvmeTcp => Box::new(nvme_tcp::Controller::connect(*address, name, *number, keep_data)?),
        })
    }
}

/// As it is read.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}/{}", self.fabric.name(), self.address, self.name, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_what_quarry_export_create_prints() {
        let unit = Unit::parse("iscsi://127.0.0.1:3260/iqn.2026-11.io.quarry:x/7\n").unwrap();
        let address = "127.0.0.1:3260".parse().unwrap();
        let name = "iqn.2026-11.io.quarry:x".to_owned();
        assert_eq!(unit, Unit { fabric: Fabric::Iscsi, address, name, number: 7 });
        assert_eq!(Unit::parse("nvme-tcp://[::1]:4420/nqn.x/1").unwrap().fabric, Fabric::NvmeTcp);
        for wrong in
            ["nbd://127.0.0.1:10809/volume", "iscsi://127.0.0.1/iqn.x/1", "iscsi://127.0.0.1:1/iqn.x", ""]
        {
            assert!(Unit::parse(wrong).is_err(), "{wrong}");
        }
    }
}
