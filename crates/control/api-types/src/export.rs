//! Exports: volumes and snapshots served over a protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quarry_types::VolumeId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{ExportId, InvalidRequest, Name, Timestamp, VolumePath};

/// Highest LUN or namespace id: what single-level LUNs of SAM-5 can say.
pub const UNIT_NUMBER_MAX: u32 = 16383;

words! {
    /// How hosts reach an export.
    pub enum Protocol {
        /// Network Block Device, over TCP or a unix socket.
        Nbd = "nbd",
        /// iSCSI: the volume is a logical unit of the node's target.
        Iscsi = "iscsi",
        /// NVMe over TCP: the volume is a namespace of the node's subsystem.
        NvmeTcp = "nvme-tcp",
        /// vhost-user-blk: a virtio disk of a virtual machine on the same host, over a unix socket and shared memory.
        VhostUser = "vhost-user",
    }
}

words! {
    /// Whether an export can be used.
    pub enum ExportState {
        /// Clients can connect.
        Serving = "serving",
        /// Intended, but its volume is not there, because its pool is offline, or the node does not serve the protocol now.
        Offline = "offline",
    }
}

/// An export as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// Name of the volume, which is also the name that clients ask for when it is not a snapshot that is served.
    pub volume: Name,
    /// Name of the snapshot that is served, read-only; clients ask for `VOLUME@SNAPSHOT`. Absent for the volume itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Name>,
    /// Id of the volume.
    #[schema(value_type = Uuid)]
    pub volume_id: VolumeId,
    /// How hosts reach it.
    pub protocol: Protocol,
    /// LUN or namespace id, which it keeps. Absent for NBD and vhost-user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The host that sees it. Any initiator does when there is neither a host nor a host group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    /// The host group that sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_group: Option<Name>,
    /// Whether its clients may only read.
    #[serde(default)]
    pub read_only: bool,
    /// Where clients connect, the preferred one first: URIs, or over vhost-user the path of the socket. Empty only when it is offline.
    pub uris: Vec<String>,
    /// Whether it can be used.
    pub state: ExportState,
    /// Client sessions open now; over iSCSI and NVMe/TCP those of initiators that see it.
    pub sessions: u32,
    /// When it was made.
    pub created: Timestamp,
}

/// A request to serve a volume, or one of its snapshots.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateExport {
    /// The volume to serve.
    pub volume: Name,
    /// The snapshot of it to serve instead, read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Name>,
    /// How hosts will reach it.
    pub protocol: Protocol,
    /// The host that is to see it, over iSCSI or NVMe/TCP; without one and without a group, any initiator does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    /// The host group that is to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_group: Option<Name>,
    /// LUN (from 0) or namespace id (from 1). When absent, the lowest LUN that is free, or the next namespace id that was not given
    /// lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 16383)]
    pub number: Option<u32>,
    /// Its clients may only read. A snapshot is never written to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// How an export is to be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteExport {
    /// Also while clients use it: those of NBD and vhost-user are disconnected, hosts of iSCSI and NVMe/TCP are told that it is gone.
    #[serde(default)]
    #[param(required = false, default = false)]
    pub force: bool,
}

impl Export {
    /// What it serves, and the name by which clients ask for it.
    pub fn path(&self) -> VolumePath {
        VolumePath { volume: self.volume.clone(), snapshot: self.snapshot.clone() }
    }
}

impl CreateExport {
    /// A request to serve `path` over `protocol`, to anybody, under any number.
    pub fn new(path: VolumePath, protocol: Protocol) -> Self {
        let VolumePath { volume, snapshot } = path;
        Self { volume, snapshot, protocol, host: None, host_group: None, number: None, read_only: false }
    }

    /// Checks all that can be judged without asking the node.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if self.host.is_some() && self.host_group.is_some() {
            return Err(InvalidRequest::contradiction("host", "give a host or a host group, not both"));
        }
        let least = match self.protocol {
            Protocol::Nbd if self.number.is_some() => {
                return Err(InvalidRequest::contradiction(
                    "number",
                    "an NBD export has a name and no number",
                ));
            }
            Protocol::VhostUser if self.number.is_some() => {
                return Err(InvalidRequest::contradiction(
                    "number",
                    "a vhost-user export has a socket and no number",
                ));
            }
            Protocol::VhostUser if self.host.is_some() || self.host_group.is_some() => {
                let message =
                    "who may open its socket may use a vhost-user export: hosts are for iscsi and nvme-tcp";
                return Err(InvalidRequest::contradiction("host", message));
            }
            Protocol::Nbd if self.host.is_some() || self.host_group.is_some() => {
                let message =
                    "NBD clients do not say who they are: export it to a host over iscsi or nvme-tcp";
                return Err(InvalidRequest::contradiction("host", message));
            }
            Protocol::NvmeTcp => 1,
            Protocol::Nbd | Protocol::Iscsi | Protocol::VhostUser => 0,
        };
        match self.number {
            Some(number) if !(least..=UNIT_NUMBER_MAX).contains(&number) => {
                let message = format!("{number} is not from {least} to {UNIT_NUMBER_MAX}");
                Err(InvalidRequest::contradiction("number", message))
            }
            _ => Ok(()),
        }
    }

    /// What is to be served.
    pub fn path(&self) -> VolumePath {
        VolumePath { volume: self.volume.clone(), snapshot: self.snapshot.clone() }
    }
}

/// What the query of an NBD URI may hold without being encoded, slashes kept for legibility.
const QUERY_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The NBD URI of `path` on a TCP listener: `nbd://HOST:PORT/VOLUME[@SNAPSHOT]`. A listener on all addresses is named by that of
/// loopback: no client can connect to `0.0.0.0`.
pub fn nbd_tcp_uri(mut address: SocketAddr, path: &VolumePath) -> String {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("nbd://{address}/{path}")
}

/// The NBD URI of `path` on a unix socket: `nbd+unix:///VOLUME[@SNAPSHOT]?socket=PATH`.
pub fn nbd_unix_uri(socket_path: &str, path: &VolumePath) -> String {
    format!("nbd+unix:///{path}?socket={}", utf8_percent_encode(socket_path, QUERY_VALUE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_hosts_are_for_fabrics() {
        let request = |protocol| CreateExport::new("v@s".parse().unwrap(), protocol);
        let numbered = |protocol, number| CreateExport { number: Some(number), ..request(protocol) };
        let host = || Some("web".parse().unwrap());
        for good in [
            request(Protocol::Nbd),
            request(Protocol::VhostUser),
            numbered(Protocol::Iscsi, 0),
            numbered(Protocol::Iscsi, 16383),
            CreateExport { host: host(), ..numbered(Protocol::NvmeTcp, 1) },
            CreateExport { host_group: host(), read_only: true, ..request(Protocol::Iscsi) },
        ] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        for (bad, part) in [
            (numbered(Protocol::Nbd, 1), "number: an NBD export has a name"),
            (numbered(Protocol::VhostUser, 1), "number: a vhost-user export has a socket"),
            (CreateExport { host_group: host(), ..request(Protocol::VhostUser) }, "host: who may open"),
            (numbered(Protocol::NvmeTcp, 0), "number: 0 is not from 1 to 16383"),
            (numbered(Protocol::Iscsi, 16384), "number: 16384 is not from 0 to 16383"),
            (CreateExport { host: host(), ..request(Protocol::Nbd) }, "host: NBD clients do not say"),
            (CreateExport { host: host(), host_group: host(), ..request(Protocol::Iscsi) }, "not both"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let json = serde_json::to_string(&request(Protocol::NvmeTcp)).unwrap();
        assert_eq!(json, r#"{"volume":"v","snapshot":"s","protocol":"nvme-tcp"}"#);
    }

    #[test]
    fn uris_are_what_nbd_clients_take() {
        let name: VolumePath = "vm-17".parse().unwrap();
        assert_eq!(nbd_tcp_uri("127.0.0.1:10809".parse().unwrap(), &name), "nbd://127.0.0.1:10809/vm-17");
        assert_eq!(nbd_tcp_uri("[::1]:10809".parse().unwrap(), &name), "nbd://[::1]:10809/vm-17");
        assert_eq!(nbd_tcp_uri("0.0.0.0:10809".parse().unwrap(), &name), "nbd://127.0.0.1:10809/vm-17");
        assert_eq!(nbd_tcp_uri("[::]:10809".parse().unwrap(), &name), "nbd://[::1]:10809/vm-17");
        assert_eq!(nbd_unix_uri("/run/q.sock", &name), "nbd+unix:///vm-17?socket=/run/q.sock");
        let snapshot = "vm-17@monday".parse().unwrap();
        assert_eq!(nbd_unix_uri("/run/q.sock", &snapshot), "nbd+unix:///vm-17@monday?socket=/run/q.sock");
        assert_eq!(nbd_unix_uri("/a b/é&", &name), "nbd+unix:///vm-17?socket=/a%20b/%C3%A9%26");
    }
}
