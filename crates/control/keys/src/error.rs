//! What a key store can fail with.

use std::path::PathBuf;

/// Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The store has no such key: it was destroyed, or this is another store.
    #[error(
        "the key store has no key '{name}': it was destroyed, or the volume comes from a node with another key store"
    )]
    NotFound {
        /// The key.
        name: String,
    },
    /// The key does not open what was wrapped under it.
    #[error(
        "what was wrapped under key '{name}' does not open: it is damaged, or the key is another one of that name"
    )]
    Refused {
        /// The key.
        name: String,
    },
    /// The store cannot be asked now, or refuses for the moment: it is tried again with the next request. What a store over a network says of
    /// a connection that fails, a time-out, a seal, or a token of its own that has ended.
    #[error("the key store {store} cannot be used now: {reason}")]
    Unavailable {
        /// Which, for people.
        store: String,
        /// Why not; no secret.
        reason: String,
    },
    /// The secret is not the one with which the keyring was made.
    #[error("the passphrase does not open the keyring {path}: give the one with which it was made")]
    Passphrase {
        /// The keyring.
        path: PathBuf,
    },
    /// There is a keyring file, but it is none.
    #[error("{path} is no keyring of this version: {reason}; restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be used.
    #[error("{what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is no keyring.
    #[error(
        "there is no keyring {path}: it is made when quarryd is started with a passphrase for the first time"
    )]
    NoKeyring {
        /// Where it would be.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("there is no file {path} with the passphrase of the keyring")]
    NoPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// A secret that protects nothing.
    #[error("the passphrase in {path} is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}
