//! Where this machine reaches an export of the node, and that it is this node which answers there.
//!
//! The command may run on another machine than the node, and the endpoint may be a tunnel: then `127.0.0.1` or the path of a
//! socket lead to whatever runs here, perhaps another node with an export of the same name. So a place counts only if the
//! node sees a session more on the export while we hold one there.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use quarry_api_types::{Export, VolumePath, nbd_unix_uri};
use quarry_client::Client;

use super::probe::Probe;
use crate::failure::{Exit, Failure};

/// The port of NBD where a URI names none.
const PORT: u16 = 10809;

/// An address of an NBD server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A host's name or address, and a port.
    Tcp { host: String, port: u16 },
    /// A unix socket of this machine.
    Unix { path: PathBuf },
}

/// The URI by which this machine reaches `export` of the node behind `client`.
pub async fn reach(client: &Client, export: &Export) -> Result<String, Failure> {
    let (path, mut refused) = (export.path(), Vec::new());
    let places = export.uris.iter().filter_map(|uri| place(uri));
    for place in places.filter_map(|place| seen_from_here(client, place)) {
        let uri = place.uri(&path);
        match refusal(client, export, &place).await? {
            None => return Ok(uri),
            Some(reason) => refused.push(format!("{uri}: {reason}")),
        }
    }
    Err(Failure {
        exit: Exit::Unavailable,
        message: format!("'{path}' is exported, but this machine cannot reach it"),
        cause: (!refused.is_empty()).then(|| refused.join("; ")),
        next_step:
            "Run the command on the node, or let the node serve NBD on an address that this machine reaches: \
                    `quarryd --nbd ADDR:PORT`."
                .to_owned(),
    })
}

/// The place of a URI as the node prints them.
fn place(uri: &str) -> Option<Place> {
    if let Some((_, socket)) = uri.strip_prefix("nbd+unix:///").and_then(|rest| rest.split_once("?socket=")) {
        let path = percent_decode_str(socket).decode_utf8().ok()?;
        return Some(Place::Unix { path: PathBuf::from(path.as_ref()) });
    }
    let (authority, _) = uri.strip_prefix("nbd://")?.split_once('/')?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Place::Tcp { host: host.to_owned(), port })
}

/// The place as this machine would have to name it: the node's own loopback is reached by the name of the node.
fn seen_from_here(client: &Client, place: Place) -> Option<Place> {
    let endpoint = client.endpoint();
    if endpoint.is_loopback() {
        return Some(place);
    }
    match place {
        Place::Unix { .. } => None,
        Place::Tcp { host, port } if is_loopback(&host) => {
            Some(Place::Tcp { host: endpoint.host().to_owned(), port })
        }
        Place::Tcp { host, port } => Some(Place::Tcp { host, port }),
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why `place` does not lead to `export`, if it does not.
async fn refusal(client: &Client, export: &Export, place: &Place) -> Result<Option<String>, Failure> {
    let before = sessions(client, export).await?;
    let probe = match Probe::connect(place, &export.path().to_string()).await {
        Ok(probe) => probe,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let during = sessions(client, export).await;
    probe.disconnect().await;
    Ok((during? <= before).then(|| "another node answers there".to_owned()))
}

async fn sessions(client: &Client, export: &Export) -> Result<u32, Failure> {
    let exports = client.list_exports().await?;
    Ok(exports.iter().find(|other| other.id == export.id).map_or(0, |export| export.sessions))
}

impl Place {
    fn uri(&self, path: &VolumePath) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("nbd://[{host}]:{port}/{path}"),
            Self::Tcp { host, port } => format!("nbd://{host}:{port}/{path}"),
            Self::Unix { path: socket } => nbd_unix_uri(&socket.to_string_lossy(), path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(endpoint: &str) -> Client {
        Client::new(endpoint.parse().unwrap(), quarry_client::Identity::default()).unwrap()
    }

    #[test]
    fn places_are_read_from_the_nodes_uris() {
        let path: VolumePath = "v@s".parse().unwrap();
        for (uri, full) in [
            ("nbd://127.0.0.1/v@s", "nbd://127.0.0.1:10809/v@s"),
            ("nbd://[::1]/v@s", "nbd://[::1]:10809/v@s"),
            ("nbd://[::1]:9/v@s", "nbd://[::1]:9/v@s"),
            ("nbd://10.0.0.7:10810/v@s", "nbd://10.0.0.7:10810/v@s"),
            ("nbd+unix:///v@s?socket=/a%20b/c.sock", "nbd+unix:///v@s?socket=/a%20b/c.sock"),
        ] {
            assert_eq!(place(uri).map(|place| place.uri(&path)).as_deref(), Some(full));
        }
        for uri in ["iscsi://h/x", "nbd://h:x/v", "nbd+unix:///v"] {
            assert_eq!(place(uri), None, "{uri}");
        }
    }

    #[test]
    fn the_loopback_of_another_machine_is_reached_by_its_name() {
        let uris = ["nbd+unix:///v?socket=/s", "nbd://127.0.0.1:1/v", "nbd://10.0.0.7:1/v"];
        let seen = |endpoint| {
            let places = uris.iter().filter_map(|uri| seen_from_here(&client(endpoint), place(uri)?));
            places.map(|place| place.uri(&"v".parse().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(seen("http://localhost:7480"), uris);
        assert_eq!(seen("http://node7:7480"), ["nbd://node7:1/v", "nbd://10.0.0.7:1/v"]);
        assert_eq!(seen("http://[fd00::7]:7480")[0], "nbd://[fd00::7]:1/v");
    }
}
