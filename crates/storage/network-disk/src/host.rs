//! Who we are to servers.

/// The names of a node as a host, which operators of arrays allow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Its NVMe qualified name.
    pub nqn: String,
    /// Its NVMe host identifier.
    pub id: [u8; 16],
    /// Its iSCSI name.
    pub iqn: String,
}

impl Host {
    /// The host that the node with this id is. `id` is the 16 bytes of the node's id, `text` the same as people write it.
    pub fn of_node(id: [u8; 16], text: &str) -> Self {
        Self {
            nqn: format!("nqn.2026-11.io.quarry:host:{text}"),
            id,
            iqn: format!("iqn.2026-11.io.quarry:host:{text}"),
        }
    }
}
