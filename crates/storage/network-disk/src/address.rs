//! Where a disk is: the address of what a server of one of the protocols serves.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use quarry_types::limits::{ISCSI_SCHEME, NETWORK_SCHEMES, NVME_TCP_SCHEME};

use crate::iscsi::UnitAddress;
use crate::nbd::ExportAddress;
use crate::nvme_tcp::NamespaceAddress;

/// Why a text names no disk.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' names no {what}: {reason}; write {form}")]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What it was taken for.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
    /// How it should look.
    pub form: &'static str,
}

/// A server and what it serves.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum DiskAddress {
    /// An NBD export.
    Nbd(ExportAddress),
    /// A namespace behind NVMe/TCP.
    NvmeTcp(NamespaceAddress),
    /// A logical unit behind iSCSI.
    Iscsi(UnitAddress),
}

impl DiskAddress {
    /// Whether a path is meant to be an address of this kind.
    pub fn is_meant(path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        NETWORK_SCHEMES.iter().any(|scheme| bytes.starts_with(scheme.as_bytes()))
    }

    /// Reads a URI.
    pub fn parse(path: &Path) -> Result<Self, AddressError> {
        let text = path.to_string_lossy();
        if text.starts_with(NVME_TCP_SCHEME) {
            NamespaceAddress::parse(&text).map(Self::NvmeTcp)
        } else if text.starts_with(ISCSI_SCHEME) {
            UnitAddress::parse(&text).map(Self::Iscsi)
        } else {
            ExportAddress::parse(path).map(Self::Nbd)
        }
    }

    /// What it names, in words.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Nbd(_) => "NBD export",
            Self::NvmeTcp(_) => "NVMe/TCP namespace",
            Self::Iscsi(_) => "iSCSI unit",
        }
    }
}

/// The one way to write it: two addresses of one disk under one name are equal as text.
impl fmt::Display for DiskAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nbd(address) => address.fmt(f),
            Self::NvmeTcp(address) => address.fmt(f),
            Self::Iscsi(address) => address.fmt(f),
        }
    }
}

/// An address and port. Names are not looked up: a name service that fails must not keep a pool from its devices.
pub(crate) fn tcp(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    if let Some(rest) = host.strip_prefix("localhost") {
        let port = if rest.is_empty() { port } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    let ip: IpAddr =
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// A qualified name as standards have it: it has no characters that an address could not carry as they are.
pub(crate) fn is_qualified_name(name: &str, bytes_max: usize) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:_".contains(c);
    !name.is_empty() && name.len() <= bytes_max && name.chars().all(is_plain)
}
