//! Hosts: who may ask for what, as their initiators name themselves.

use std::fmt;
use std::net::IpAddr;

/// A host, or everybody whose connections match it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// What people call it, unique on a node.
    pub name: String,
    /// How its initiators name themselves: iSCSI names (`iqn.`, `eui.`, `naa.`) and NVMe qualified names (`nqn.`).
    pub initiators: Vec<String>,
    /// Where its connections come from; empty for anywhere.
    pub networks: Vec<Network>,
    /// What it must prove at an iSCSI login; `None` for nothing.
    pub chap: Option<Chap>,
}

impl Host {
    /// Whether one of its initiators has this name. iSCSI names are the same in capitals (RFC 7143 section 4.2.7.1), NVMe
    /// qualified names are compared byte by byte (NVMe Base 2.0 section 4.7).
    pub fn names(&self, initiator: &str) -> bool {
        self.initiators.iter().any(|name| same_initiator(name, initiator))
    }

    /// Whether a connection is this host's: its initiator has one of the names, and it comes from one of the networks
    /// where there are any. A host without names is known by its networks alone.
    pub fn is(&self, initiator: &str, address: Option<IpAddr>) -> bool {
        let named = self.names(initiator);
        let near = |address| self.networks.iter().any(|network| network.contains(address));
        let placed = self.networks.is_empty() || address.is_some_and(near);
        (named && placed) || (self.initiators.is_empty() && !self.networks.is_empty() && placed)
    }

    /// How much of `address` the nearest of its networks tells.
    pub(crate) fn prefix_bits(&self, address: Option<IpAddr>) -> u8 {
        let near = |network: &&Network| address.is_some_and(|address| network.contains(address));
        self.networks.iter().filter(near).map(|network| network.prefix_bits).max().unwrap_or(0)
    }
}

/// Whether an initiator that calls itself `presented` is the one that was written down as `known`, whose kind decides how they are
/// compared: the case of a presented name must not make another kind of name of it.
pub fn same_initiator(known: &str, presented: &str) -> bool {
    let is_exact = known.get(..4).is_some_and(|kind| kind.eq_ignore_ascii_case("nqn."));
    known == presented || (!is_exact && known.eq_ignore_ascii_case(presented))
}

/// A range of addresses: those that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Network {
    /// Any address of it.
    pub address: IpAddr,
    /// How many bits count, at most 32 or 128.
    pub prefix_bits: u8,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address that arrived on an IPv6 socket is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |ours: u128, theirs: u128, width: u32| {
            let ignored = width.saturating_sub(u32::from(self.prefix_bits));
            ignored >= width || ours >> ignored == theirs >> ignored
        };
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                same(u128::from(ours.to_bits()), u128::from(theirs.to_bits()), u32::BITS)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.to_bits(), theirs.to_bits(), u128::BITS),
            _ => false,
        }
    }
}

/// What both sides of a login by CHAP (RFC 1994) know.
#[derive(Clone, PartialEq, Eq)]
pub struct Chap {
    /// The name by which the initiator proves itself.
    pub user: String,
    /// Its secret.
    pub secret: String,
    /// The name and secret by which the target proves itself in return, if it has to.
    pub mutual: Option<(String, String)>,
}

impl fmt::Debug for Chap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret is nobody's to read in a log.
        f.debug_struct("Chap")
            .field("user", &self.user)
            .field("mutual", &self.mutual.is_some())
            .finish_non_exhaustive()
    }
}
