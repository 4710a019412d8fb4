//! The keyring: who can open encrypted volumes.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::InvalidRequest;

words! {
    /// Whether the node can open encrypted volumes.
    pub enum KeyringState {
        /// It has its keys.
        Open = "open",
        /// There is a keyring, and its passphrase was not given, or a wrong one.
        Locked = "locked",
        /// There is none.
        None = "none",
    }
}

/// The node's keyring as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Keyring {
    /// Whether the node can open encrypted volumes.
    pub state: KeyringState,
    /// Why it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Encrypted volumes that take no reads and no writes, because their keys are not there.
    pub locked_volumes: u64,
}

/// A request to open the keyring of a node that runs. It carries a secret: only over a connection that nobody listens to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockKeyring {
    /// The passphrase; white space behind it is no part of it.
    #[schema(format = Password, write_only, min_length = 1, pattern = "[^\\x09\\x0a\\x0c\\x0d\\x20]")]
    pub passphrase: String,
}

impl UnlockKeyring {
    /// Checks all that can be judged without the keyring.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match self.passphrase.as_bytes().trim_ascii_end() {
            [] => Err(InvalidRequest::new("passphrase", "it is empty")),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for UnlockKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKeyring(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_not_empty_and_not_shown() {
        let unlock = |text: &str| UnlockKeyring { passphrase: text.to_owned() };
        assert_eq!(unlock("horse\n").check(), Ok(()));
        assert!(unlock(" \n").check().unwrap_err().to_string().contains("passphrase: it is empty"));
        assert!(!format!("{:?}", unlock("horse")).contains("horse"));
    }
}
