//! How a node is found by its clients on the same machine, so that nobody types a token there.
//!
//! What it is: the names of two files in a data directory, [`TOKEN_FILE`] and [`AUTHORITY_FILE`]; and a link in a folder for what
//! lives as long as the machine runs, which leads from the port of an API to the data directory of the node that listens there.
//! What it is not: no permission. Whoever may read the files of a data directory may do everything with its node anyhow; the link
//! opens nothing to anybody else.
//!
//! Invariants:
//! - A link is believed only where nobody but the administrator and the asker himself could have put it.
//! - The token goes with the authority: a client that has found both speaks TLS with whoever proves to be that node, so a program
//!   that has taken the port of a dead node is told nothing.

mod files;
mod link;

pub use files::{AUTHORITY_FILE, Credentials, TOKEN_FILE, read_credentials, read_private, write_private};
pub use link::{Link, find, publish};
