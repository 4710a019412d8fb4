//! What opens a keyring.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::{KeyStoreError, file};

/// A passphrase; never empty. Wiped when it is dropped, and never shown.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// These bytes; white space behind them, such as a line end, is no part of it. `None` when nothing is left.
    pub fn new(mut bytes: Vec<u8>) -> Option<Self> {
        let length = bytes.trim_ascii_end().len();
        if length == 0 {
            return None;
        }
        // What is cut off stays within the buffer, which is wiped as a whole.
        bytes.truncate(length);
        Some(Self(Zeroizing::new(bytes)))
    }

    /// What the file at `path` holds.
    ///
    /// # Errors
    /// [`KeyStoreError::NoPassphrase`], [`KeyStoreError::Empty`], [`KeyStoreError::File`].
    pub fn read(path: &Path) -> Result<Self, KeyStoreError> {
        let missing = || KeyStoreError::NoPassphrase { path: path.to_owned() };
        let bytes = file::read(path)?.ok_or_else(missing)?;
        Self::new(bytes).ok_or_else(|| KeyStoreError::Empty { path: path.to_owned() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}
