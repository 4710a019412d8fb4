//! Exports: volumes and snapshots served over a protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quarry_types::VolumeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ExportId, Name, Timestamp, VolumePath};

words! {
    /// How hosts reach an export.
    pub enum Protocol {
        /// Network Block Device, over TCP or a unix socket.
        Nbd = "nbd",
    }
}

words! {
    /// Whether an export can be used.
    pub enum ExportState {
        /// Clients can connect.
        Serving = "serving",
        /// Intended, but its volume is not there, because its pool is offline.
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
    /// Where clients connect, the preferred one first. Empty only when it is offline.
    pub uris: Vec<String>,
    /// Whether it can be used.
    pub state: ExportState,
    /// Client sessions open now.
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
}

impl Export {
    /// What it serves, and the name by which clients ask for it.
    pub fn path(&self) -> VolumePath {
        VolumePath { volume: self.volume.clone(), snapshot: self.snapshot.clone() }
    }
}

impl CreateExport {
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
