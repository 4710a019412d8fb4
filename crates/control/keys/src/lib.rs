//! Who holds the key-encryption keys.
//!
//! What it is: the trait [`KeyStore`], and the one that needs nothing else, a [`LocalKeyring`] in a file. Vault and KMIP will be
//! others. What it is not: data keys live in the logs of the volumes that use them, wrapped; here are the keys under which they
//! are wrapped, one for each encrypted volume, so that destroying one erases a volume for good.
//!
//! Invariants:
//! - A key-encryption key is durable before anything is wrapped under it, and gone for good once its destruction has returned.
//! - Nothing here is needed for a volume that is open: a store that is lost stops nobody.
//! - No secret is logged, shown or written in clear.

mod content;
mod error;
mod file;
mod keyring;
mod passphrase;
mod store;
#[cfg(test)]
mod tests;

pub use error::KeyStoreError;
pub use keyring::LocalKeyring;
pub use passphrase::Passphrase;
pub use store::{KeyStore, random_key};
