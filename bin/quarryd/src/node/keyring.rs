//! The keyring of a node that runs: shown, and opened when it was started without its passphrase.

use std::sync::Arc;

use quarry_api_types::{Keyring, KeyringState, UnlockKeyring};
use quarry_keys::{KeyStore, KeyStoreError, LocalKeyring, Passphrase};
use quarry_node_api::{ErrorKind, NodeError, Result};

use super::DataNode;
use super::keys::keyring_path;

impl DataNode {
    pub(super) async fn describe_keyring(&self) -> Result<Keyring> {
        let volumes = self.volumes_of(None).await?;
        let locked_volumes = volumes.iter().filter(|volume| volume.status.locked).count() as u64;
        let (state, reason) = match self.keys() {
            Ok(_) => (KeyringState::Open, None),
            Err(reason) => {
                let path = keyring_path(&self.settings.data_dir);
                let exists = run(move || LocalKeyring::exists(&path)).await.map_err(keyring_error)?;
                (if exists { KeyringState::Locked } else { KeyringState::None }, Some(reason))
            }
        };
        Ok(Keyring { state, reason, locked_volumes })
    }

    pub(super) async fn open_keyring(&self, request: UnlockKeyring) -> Result<Keyring> {
        request.check()?;
        if self.keys().is_ok() {
            return Err(NodeError::new(ErrorKind::Conflict, "the keyring is open already")
                .with_next_step("`quarry keyring show` shows whether any volume is locked all the same."));
        }
        let path = keyring_path(&self.settings.data_dir);
        let empty = || NodeError::new(ErrorKind::Invalid, "the passphrase is empty");
        let passphrase = Passphrase::new(request.passphrase.into_bytes()).ok_or_else(empty)?;
        let opened = run(move || LocalKeyring::open(&path, &passphrase)).await;
        if matches!(opened, Err(KeyStoreError::Passphrase { .. })) {
            tracing::warn!("somebody tried to unlock the keyring with a wrong passphrase");
        }
        let keyring: Arc<dyn KeyStore> = Arc::new(opened.map_err(keyring_error)?);
        self.set_keys(Ok(keyring));
        tracing::info!("the keyring was unlocked");
        self.unlock_volumes().await;
        self.describe_keyring().await
    }
}

/// Deriving a key and reading a file are no work for a thread that serves others.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, KeyStoreError> + Send + 'static,
) -> std::result::Result<T, KeyStoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(KeyStoreError::Stopping))
}

fn keyring_error(error: KeyStoreError) -> NodeError {
    let (kind, next_step) = match &error {
        KeyStoreError::Passphrase { .. } => {
            (ErrorKind::Invalid, "Try again with the passphrase that the keyring has now.")
        }
        KeyStoreError::NoKeyring { .. } => {
            (ErrorKind::NotFound, "Start quarryd once with --keyring-passphrase-file FILE: that makes one.")
        }
        KeyStoreError::Damaged { .. } => (ErrorKind::Unavailable, "Put a copy of keyring.json in its place."),
        _ => (ErrorKind::Unavailable, "Correct the cause and try again."),
    };
    NodeError::new(kind, "the keyring was not opened").caused_by(&error).with_next_step(next_step)
}
