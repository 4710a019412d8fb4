//! How a node and its units are named over fabrics, and what people are given to connect to. The one place that knows it.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port that IANA has assigned to iSCSI targets (RFC 7143 section 14).
pub const ISCSI_PORT: u16 = 3260;
/// The port that IANA has assigned to NVMe over TCP.
pub const NVME_TCP_PORT: u16 = 4420;

/// What all names of the project begin with: the month in which the domain was its own, and the domain reversed.
const AUTHORITY: &str = "2026-11.io.quarry";

/// The iSCSI name of a node's target (RFC 7143 section 4.2.7.2).
pub fn iqn(node: impl Display) -> String {
    format!("iqn.{AUTHORITY}:{node}")
}

/// The NVMe qualified name of a node's subsystem (NVMe Base 2.0 section 4.7).
pub fn nqn(node: impl Display) -> String {
    format!("nqn.{AUTHORITY}:{node}")
}

/// `iscsi://ADDRESS:PORT/IQN/LUN`, as libiscsi and QEMU take it.
pub fn iscsi_uri(portal: SocketAddr, node: impl Display, lun: u32) -> String {
    format!("iscsi://{}/{}/{lun}", reachable(portal), iqn(node))
}

/// `nvme-tcp://ADDRESS:PORT/NQN/NSID`.
pub fn nvme_tcp_uri(portal: SocketAddr, node: impl Display, namespace: u32) -> String {
    format!("nvme-tcp://{}/{}/{namespace}", reachable(portal), nqn(node))
}

/// A listener on every address of the machine, by one at which it can be reached: that of loopback.
pub fn reachable(portal: SocketAddr) -> SocketAddr {
    let ip = match portal.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, portal.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_the_portal_the_node_and_the_unit() {
        let node = "9f0c6d3e-3a5b-4c7d-8e9f-001122334455";
        let portal = |text: &str| text.parse().expect("an address");
        assert_eq!(
            iscsi_uri(portal("10.0.0.7:3260"), node, 0),
            "iscsi://10.0.0.7:3260/iqn.2026-11.io.quarry:9f0c6d3e-3a5b-4c7d-8e9f-001122334455/0"
        );
        assert_eq!(
            nvme_tcp_uri(portal("[::]:4420"), node, 7),
            "nvme-tcp://[::1]:4420/nqn.2026-11.io.quarry:9f0c6d3e-3a5b-4c7d-8e9f-001122334455/7"
        );
        assert_eq!(reachable(portal("0.0.0.0:1")), portal("127.0.0.1:1"));
    }
}
