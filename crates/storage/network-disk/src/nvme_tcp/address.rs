//! Where a namespace is: `nvme-tcp://ADDRESS:PORT/NQN/NSID`, as `quarry export create` prints it.

use std::fmt;

use quarry_env::Address;
use quarry_nvme_wire::constants::{EVERY_NAMESPACE, NQN_BYTES};
use quarry_types::limits::NVME_TCP_SCHEME;

use crate::address::{AddressError, is_qualified_name, tcp};

/// The port of NVMe/TCP (IANA).
const PORT: u16 = 4420;

/// A port of a subsystem, and a namespace of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NamespaceAddress {
    /// The port.
    pub server: Address,
    /// The subsystem's name.
    pub subsystem: String,
    /// The namespace's id.
    pub namespace: u32,
}

impl NamespaceAddress {
    /// Reads a URI.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError {
            text: text.to_owned(),
            what: "NVMe/TCP namespace",
            reason,
            form: "nvme-tcp://ADDRESS:PORT/NQN/NAMESPACE",
        };
        let rest = text.strip_prefix(NVME_TCP_SCHEME).ok_or_else(|| wrong("it begins otherwise"))?;
        let mut parts = rest.split('/');
        let (host, subsystem, namespace) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(host), Some(subsystem), Some(namespace), None) => (host, subsystem, namespace),
            _ => return Err(wrong("it needs a server, the subsystem's name and the namespace's number")),
        };
        let server = tcp(host, PORT)
            .ok_or_else(|| wrong("the server must be an IP address, with or without a port"))?;
        if !is_qualified_name(subsystem, NQN_BYTES - 1) || !subsystem.starts_with("nqn.") {
            return Err(wrong("the subsystem's name must be an NVMe qualified name (nqn.…)"));
        }
        let namespace = namespace.parse().ok().filter(|id| (1..EVERY_NAMESPACE).contains(id));
        let namespace = namespace.ok_or_else(|| wrong("the namespace must be a number from 1"))?;
        Ok(Self { server: Address::Tcp(server), subsystem: subsystem.to_owned(), namespace })
    }
}

impl fmt::Display for NamespaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, subsystem, namespace } = self;
        write!(f, "{NVME_TCP_SCHEME}{server}/{subsystem}/{namespace}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_canonical_form() {
        for (text, expected) in [
            ("nvme-tcp://10.0.0.7/nqn.2026-11.a:b/1", "nvme-tcp://10.0.0.7:4420/nqn.2026-11.a:b/1"),
            ("nvme-tcp://localhost:9/nqn.x/07", "nvme-tcp://127.0.0.1:9/nqn.x/7"),
            ("nvme-tcp://[::1]:4420/nqn.x/2", "nvme-tcp://[::1]:4420/nqn.x/2"),
        ] {
            assert_eq!(NamespaceAddress::parse(text).unwrap().to_string(), expected);
            assert_eq!(NamespaceAddress::parse(expected).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let parts = "it needs a server, the subsystem's name and the namespace's number";
        let name = "the subsystem's name must be an NVMe qualified name (nqn.…)";
        let number = "the namespace must be a number from 1";
        for (text, reason) in [
            ("nvme-tcp://10.0.0.7/nqn.x", parts),
            ("nvme-tcp://10.0.0.7/nqn.x/1/2", parts),
            ("nvme-tcp://10.0.0.7/iqn.x/1", name),
            ("nvme-tcp://10.0.0.7/nqn.%20/1", name),
            ("nvme-tcp://10.0.0.7/nqn.x/0", number),
            ("nvme-tcp://10.0.0.7/nqn.x/4294967295", number),
            ("nvme-tcp://array/nqn.x/1", "the server must be an IP address, with or without a port"),
        ] {
            assert_eq!(NamespaceAddress::parse(text).unwrap_err().reason, reason, "{text}");
        }
    }
}
