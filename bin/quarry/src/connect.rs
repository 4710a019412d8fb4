//! The way to the node: what this process proves itself with, and by what it knows the node.
//!
//! A token is looked for in this order: `--token-file`, `QUARRY_TOKEN`, what `quarry login` has saved for the endpoint, and, for an
//! endpoint on this machine, the data directory of the node, if it may be read: the one that `QUARRY_DATA_DIR` names, or the one to
//! which the node has left a link. Whoever finds the token there finds the node's authority as well, and then TLS is spoken even
//! where the endpoint says http: the token goes to that node and to nobody who has taken its port.

use std::path::{Path, PathBuf};

use quarry_client::{Client, Endpoint, Identity};
use quarry_local::{Credentials, find, read_credentials, read_private, write_private};

use crate::arguments::Arguments;
use crate::failure::{Exit, Failure};
use crate::secrets;

/// A client of the node that the arguments name.
pub fn connect(arguments: &Arguments) -> Result<Client, Failure> {
    let Way { endpoint, identity } = way(arguments)?;
    if identity.token.is_some() && !endpoint.is_encrypted() && !endpoint.is_loopback() {
        return Err(Failure {
            exit: Exit::Usage,
            message: "a token is not sent over a network in clear".to_owned(),
            cause: Some(format!("{endpoint} is not encrypted")),
            next_step: format!(
                "Use {}, with --ca-file for a node that has made its own certificate.",
                endpoint.encrypted()
            ),
        });
    }
    Ok(Client::new(endpoint, identity)?)
}

/// A client that proves nothing yet: one that logs in.
pub fn connect_as_stranger(arguments: &Arguments) -> Result<Client, Failure> {
    let Way { endpoint, identity } = way(arguments)?;
    Ok(Client::new(endpoint, Identity { token: None, ..identity })?)
}

struct Way {
    endpoint: Endpoint,
    identity: Identity,
}

fn way(arguments: &Arguments) -> Result<Way, Failure> {
    let endpoint = arguments.endpoint.clone();
    let saved = Saved::of(&endpoint);
    let named = match arguments.ca_file() {
        Some(path) => Some(secrets::read(Some(path), "the certificate of the authority")?),
        None => saved.as_ref().and_then(|saved| read_private(&saved.authority).ok().flatten()),
    };
    let given = match arguments.token_file() {
        Some(path) => Some(text(secrets::read(Some(path), "the token")?)?),
        None => std::env::var("QUARRY_TOKEN").ok().filter(|token| !token.is_empty()),
    };
    let kept = || saved.as_ref().and_then(|saved| text(read_private(&saved.token).ok()??).ok());
    if let Some(token) = given.or_else(kept) {
        return Ok(Way { endpoint, identity: Identity { token: Some(token), authorities: named } });
    }
    match local(&endpoint) {
        Some(Credentials { token, authority: Some(authority) }) => {
            let identity = Identity { token: Some(token), authorities: Some(named.unwrap_or(authority)) };
            Ok(Way { endpoint: endpoint.encrypted(), identity })
        }
        // Its certificate is from elsewhere: it is known by --ca-file, or by the authorities of the system.
        Some(Credentials { token, authority: None }) => {
            Ok(Way { endpoint, identity: Identity { token: Some(token), authorities: named } })
        }
        None => Ok(Way { endpoint, identity: Identity { token: None, authorities: named } }),
    }
}

/// What a node of this machine has for those who may read its data directory.
fn local(endpoint: &Endpoint) -> Option<Credentials> {
    if !endpoint.is_loopback() {
        return None;
    }
    let named = std::env::var_os("QUARRY_DATA_DIR").map(PathBuf::from);
    read_credentials(&named.or_else(|| find(endpoint.port()))?)
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    let text =
        String::from_utf8(bytes).map(|text| text.trim().to_owned()).ok().filter(|text| !text.is_empty());
    text.ok_or_else(|| Failure {
        exit: Exit::Usage,
        message: "the file has no token".to_owned(),
        cause: None,
        next_step: "Name the file that the text of a token was written to.".to_owned(),
    })
}

/// Where a login is saved: a folder of the user's own, a file for each endpoint.
pub struct Saved {
    token: PathBuf,
    authority: PathBuf,
}

impl Saved {
    /// `None` when there is no home.
    pub fn of(endpoint: &Endpoint) -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?.join("quarry");
        let host: String = endpoint
            .host()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' })
            .collect();
        let name = format!("{host}_{}", endpoint.port());
        Some(Self {
            token: folder.join(format!("{name}.token")),
            authority: folder.join(format!("{name}.ca.pem")),
        })
    }

    /// Where the token is.
    pub fn path(&self) -> &Path {
        &self.token
    }

    /// Saves a token, and the authority by which the node was known.
    pub fn write(&self, token: &str, authority: Option<&[u8]>) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::local(&format!("cannot save the token in '{}'", self.token.display()), &error)
        };
        make_folder(&self.token).map_err(failed)?;
        write_private(&self.token, format!("{token}\n").as_bytes()).map_err(failed)?;
        match authority {
            Some(authority) => write_private(&self.authority, authority).map_err(failed),
            None => Ok(()),
        }
    }

    /// Forgets both.
    pub fn remove(&self) -> Result<(), Failure> {
        for path in [&self.token, &self.authority] {
            remove_file(path)
                .map_err(|error| Failure::local(&format!("cannot remove '{}'", path.display()), &error))?;
        }
        Ok(())
    }
}

fn make_folder(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    let folder = file.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[expect(clippy::disallowed_methods, reason = "a command's own file")]
fn remove_file(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
