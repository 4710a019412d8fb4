//! NBD URIs (doc/uri.md beside proto.md): what a client is given to find an export.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use quarry_env::Address;

/// The port that IANA has assigned to NBD; a URI need not name it.
pub const PORT: u16 = 10809;

/// RFC 3986 "unreserved" stays as it is, and the at sign, which a path may have and which is easier to read. Everything else
/// is encoded, also the slash: it may be part of a name.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');
/// In the path of a socket the slash is easier to read, and allowed in a query.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// `nbd://host:port/export`, `nbds://` where connections over TCP are encrypted, or `nbd+unix:///export?socket=path`. A server that
/// listens on every address of the machine is named by its loopback address.
pub fn uri(address: &Address, export: &str, has_tls: bool) -> String {
    let export = percent_encode(export.as_bytes(), ENCODED);
    let scheme = if has_tls { "nbds" } else { "nbd" };
    match address {
        Address::Unix(path) => {
            let path = percent_encode(path.as_os_str().as_bytes(), ENCODED_PATH);
            format!("nbd+unix:///{export}?socket={path}")
        }
        Address::Tcp(address) => match reachable(*address) {
            address if address.port() == PORT => {
                let host = SocketAddr::new(address.ip(), 0).to_string();
                format!("{scheme}://{}/{export}", host.trim_end_matches(":0"))
            }
            address => format!("{scheme}://{address}/{export}"),
        },
    }
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_what_a_client_can_reach() {
        let tcp = |text: &str| Address::Tcp(text.parse().expect("an address"));
        let unix = |path: &str| Address::Unix(path.into());
        for (address, export, expected) in [
            (tcp("127.0.0.1:10809"), "vol", "nbd://127.0.0.1/vol"),
            (tcp("127.0.0.1:4000"), "vol@monday", "nbd://127.0.0.1:4000/vol@monday"),
            (tcp("127.0.0.1:4000"), "vol", "nbd://127.0.0.1:4000/vol"),
            (tcp("0.0.0.0:4000"), "a b/c", "nbd://127.0.0.1:4000/a%20b%2Fc"),
            (tcp("[::]:10809"), "", "nbd://[::1]/"),
            (tcp("[2001:db8::1]:1"), "ä", "nbd://[2001:db8::1]:1/%C3%A4"),
            (unix("/run/quarry/nbd.sock"), "vol", "nbd+unix:///vol?socket=/run/quarry/nbd.sock"),
            (unix("/tmp/a&b?.sock"), "v%", "nbd+unix:///v%25?socket=/tmp/a%26b%3F.sock"),
        ] {
            assert_eq!(uri(&address, export, false), expected);
            let encrypted = expected.replace("nbd://", "nbds://");
            assert_eq!(uri(&address, export, true), encrypted, "but for a unix socket");
        }
    }
}
