//! Where an export is: NBD URIs (doc/uri.md beside proto.md).

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use quarry_env::Address;
use quarry_types::limits::{NBD_SCHEME, NBD_UNIX_SCHEME};

use crate::address::{AddressError, tcp};

/// The port that IANA has assigned to NBD.
const PORT: u16 = 10809;
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// A server and the name of an export.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ExportAddress {
    /// The server.
    pub server: Address,
    /// The export; the empty name is that server's default.
    pub export: String,
}

impl ExportAddress {
    /// Reads a URI.
    pub fn parse(path: &Path) -> Result<Self, AddressError> {
        let text = path.to_string_lossy();
        let wrong = |reason| AddressError {
            text: text.clone().into_owned(),
            what: "NBD export",
            reason,
            form: "nbd://ADDRESS:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH",
        };
        if let Some(rest) = text.strip_prefix(NBD_UNIX_SCHEME) {
            let (export, query) = rest.split_once('?').ok_or_else(|| wrong("there is no socket=PATH"))?;
            let socket = query.split('&').find_map(|part| part.strip_prefix("socket="));
            let socket = socket.filter(|path| path.starts_with('/') || path.starts_with("%2F"));
            let socket = socket.ok_or_else(|| wrong("socket= needs an absolute path"))?;
            let socket = OsString::from_vec(percent_decode_str(socket).collect());
            let export = export.strip_prefix('/').ok_or_else(|| wrong("a unix socket has no host"))?;
            return Ok(Self { server: Address::Unix(PathBuf::from(socket)), export: decode(export, wrong)? });
        }
        let rest = text.strip_prefix(NBD_SCHEME).ok_or_else(|| wrong("it begins otherwise"))?;
        let (host, export) = rest.split_once('/').unwrap_or((rest, ""));
        if export.contains('?') || host.contains('@') {
            return Err(wrong("users and options are not supported"));
        }
        let server = tcp(host, PORT)
            .ok_or_else(|| wrong("the server must be an IP address, with or without a port"))?;
        Ok(Self { server: Address::Tcp(server), export: decode(export, wrong)? })
    }
}

fn decode(export: &str, wrong: impl Fn(&'static str) -> AddressError) -> Result<String, AddressError> {
    let export =
        percent_decode_str(export).decode_utf8().map_err(|_| wrong("the export's name is no UTF-8"))?;
    if export.len() > quarry_nbd_wire::NAME_BYTES_MAX {
        return Err(wrong("the export's name is too long"));
    }
    Ok(export.into_owned())
}

/// The one way to write it: two addresses of one export under one name are equal as text.
impl fmt::Display for ExportAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let export = percent_encode(self.export.as_bytes(), ENCODED);
        match &self.server {
            Address::Tcp(address) => write!(f, "{NBD_SCHEME}{address}/{export}"),
            Address::Unix(path) => {
                let path = percent_encode(path.as_os_str().as_bytes(), ENCODED_PATH);
                write!(f, "{NBD_UNIX_SCHEME}/{export}?socket={path}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        ExportAddress::parse(Path::new(text))
            .map_or_else(|error| error.reason.to_owned(), |it| it.to_string())
    }

    #[test]
    fn addresses_have_one_canonical_form() {
        for (text, expected) in [
            ("nbd://10.0.0.7/disk", "nbd://10.0.0.7:10809/disk"),
            ("nbd://10.0.0.7:4000/a%20b%2fc", "nbd://10.0.0.7:4000/a%20b%2Fc"),
            ("nbd://localhost", "nbd://127.0.0.1:10809/"),
            ("nbd://localhost:7/", "nbd://127.0.0.1:7/"),
            ("nbd://[::1]/x", "nbd://[::1]:10809/x"),
            ("nbd://[2001:db8::1]:9/vol@monday", "nbd://[2001:db8::1]:9/vol@monday"),
            ("nbd+unix:///vol?socket=/run/a.sock", "nbd+unix:///vol?socket=/run/a.sock"),
            ("nbd+unix:///?socket=%2Frun%2Fa%26b", "nbd+unix:///?socket=/run/a%26b"),
        ] {
            assert_eq!(canonical(text), expected);
            assert_eq!(canonical(expected), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, reason) in [
            ("nbd://array.example/disk", "the server must be an IP address, with or without a port"),
            ("nbd://10.0.0.7:x/disk", "the server must be an IP address, with or without a port"),
            ("nbd://me@10.0.0.7/disk", "users and options are not supported"),
            ("nbd://10.0.0.7/disk?tls=1", "users and options are not supported"),
            ("nbd+unix:///vol", "there is no socket=PATH"),
            ("nbd+unix:///vol?socket=run/a", "socket= needs an absolute path"),
            ("nbd+unix://host/vol?socket=/run/a", "a unix socket has no host"),
            ("nbds://10.0.0.7/disk", "it begins otherwise"),
            ("nbd://10.0.0.7/%FF", "the export's name is no UTF-8"),
        ] {
            assert_eq!(canonical(text), reason, "{text}");
        }
    }
}
