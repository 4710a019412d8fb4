//! Keys of encrypted volumes: made, opened when a pool is, wrapped anew, and destroyed when nothing uses them any more.
//!
//! The data key of a volume is in the log, wrapped under a key-encryption key of its own that the key store has. So destroying that
//! erases the volume wherever its blocks still lie. The order: nothing uses the key, its key-encryption key is destroyed, the log
//! forgets it; after a crash in between the rest is done at the next look.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quarry_api_types::{Cause, HealthLevel, Name, Volume};
use quarry_engine::{DataKey, KeyRecord, NewKey};
use quarry_keys::{KeyStore, KeyStoreError, LocalKeyring, Passphrase, random_key};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::{KeyId, LogId, PoolId};

use super::conditions::OPEN_KEYS;
use super::engine_error::engine_error;
use super::{DataNode, OpenPool};
use crate::causes::whole;

/// The keyring's file in the data directory.
const FILE_NAME: &str = "keyring.json";
/// How the passphrase is called among systemd's credentials.
const CREDENTIAL: &str = "quarry-keyring";
/// How often keys are looked for that nothing uses.
const ERASE_INTERVAL: Duration = Duration::from_secs(10);

/// The node's key store, or why it has none.
pub type Keys = std::result::Result<Arc<dyn KeyStore>, String>;

/// The file with the keyring's passphrase: the one that was given, or systemd's credential.
pub fn passphrase_file(given: Option<PathBuf>) -> Option<PathBuf> {
    let credential = || {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
        let path = Path::new(&directory).join(CREDENTIAL);
        path.try_exists().unwrap_or(false).then_some(path)
    };
    given.or_else(credential)
}

/// Where a data directory has its keyring.
pub fn keyring_path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// Opens the key store. That this fails stops no volume that needs none. `may_be_new`: nothing is known whose key would be in it, so it is made when
/// there is none; else the keys that it had would seem to be gone for good.
pub async fn open_keys(data_dir: &Path, passphrase: Option<PathBuf>, may_be_new: bool) -> Keys {
    let Some(passphrase) = passphrase else {
        return Err("no key store: quarryd was started without --keyring-passphrase-file FILE".to_owned());
    };
    let path = keyring_path(data_dir);
    let open = move || {
        let passphrase = Passphrase::read(&passphrase)?;
        match may_be_new {
            true => LocalKeyring::open_or_create(&path, &passphrase),
            false => LocalKeyring::open(&path, &passphrase),
        }
    };
    let opened = tokio::task::spawn_blocking(open).await;
    let opened = opened.unwrap_or(Err(KeyStoreError::Stopping)).map_err(|error| match error {
        // Only where none may be made.
        KeyStoreError::NoKeyring { path } => format!(
            "the keyring {} is missing, and no new one is made: volumes have keys that were in it, or a pool is offline that may have such \
             volumes; put back what is missing and restart quarryd",
            path.display()
        ),
        error => whole(&error),
    });
    if let Err(error) = &opened {
        tracing::error!(%error, "the key store does not open; encrypted volumes stay closed");
    }
    opened.map(|keyring| Arc::new(keyring) as Arc<dyn KeyStore>)
}

/// A log and the core that has it.
#[derive(Clone, Copy)]
struct Place {
    pool: PoolId,
    log: LogId,
    core: usize,
}

impl DataNode {
    fn key_store(&self, what: &str) -> Result<Arc<dyn KeyStore>> {
        self.keys().map_err(|reason| {
            NodeError::new(ErrorKind::Conflict, what).with_cause(reason).with_next_step(
                "Open its keyring by `quarry keyring unlock`, or start quarryd with --keyring-passphrase-file or with the \
                 systemd credential 'quarry-keyring', which makes a keyring when there is none.",
            )
        })
    }

    pub(super) fn keys(&self) -> Keys {
        self.keys.read().expect("nobody panics with this lock: a panic ends the process").clone()
    }

    /// Takes a key store into use.
    pub fn set_keys(&self, keys: Keys) {
        *self.keys.write().expect("nobody panics with this lock: a panic ends the process") = keys;
    }

    /// A key for a new volume, and the key-encryption key under which it is wrapped.
    pub(super) async fn new_key(&self, volume: &Name) -> Result<NewKey> {
        let what = format!("volume '{volume}' was not created");
        let store = self.key_store(&what)?;
        let failed = |error: KeyStoreError| NodeError::new(ErrorKind::Unavailable, &what).caused_by(&error);
        let key = random_key();
        let name = store.create().await.map_err(failed)?;
        let wrapped = store.wrap(&name, &key).await.map_err(failed)?;
        Ok(NewKey { name, key, wrapped })
    }

    fn places(&self) -> Vec<Place> {
        let pools = self.pools();
        let open = pools.values().filter_map(|entry| entry.opened.as_ref().ok());
        let places = |OpenPool { shared, logs }: &OpenPool| {
            let pool = shared.id;
            logs.iter().map(move |&(log, core)| Place { pool, log, core }).collect::<Vec<_>>()
        };
        open.flat_map(places).collect()
    }

    async fn keys_of(&self, place: Place) -> Result<Vec<(KeyRecord, bool)>> {
        let Place { pool, log, core } = place;
        self.cores.call(core, move |state| async move { Ok(state.engine(pool, log)?.keys()) }).await?
    }

    /// Whether a keyring may be made: every pool can be asked, and no volume has a key.
    pub async fn may_make_keyring(&self) -> bool {
        if self.pools().values().any(|entry| entry.opened.is_err()) {
            return false;
        }
        for place in self.places() {
            if !self.keys_of(place).await.is_ok_and(|keys| keys.is_empty()) {
                return false;
            }
        }
        true
    }

    /// What speaks against the node for its keys, of which so many volumes lack theirs.
    pub(super) fn key_causes(&self, locked: usize) -> Option<Cause> {
        let path = keyring_path(&self.settings.data_dir);
        let (level, message, next_step) = match self.keys() {
            Err(reason) if locked > 0 => (
                HealthLevel::Critical,
                format!("{locked} encrypted volumes are not served: {reason}"),
                OPEN_KEYS.to_owned(),
            ),
            Ok(_) if locked > 0 => (
                HealthLevel::Critical,
                format!("{locked} encrypted volumes are not served: their keys are not in {}", path.display()),
                "Put a copy of the keyring that had them in its place and restart quarryd.".to_owned(),
            ),
            Ok(_) if !path.try_exists().unwrap_or(false) => (
                HealthLevel::Critical,
                format!("the keyring {} is missing: after a restart encrypted volumes would not be served", path.display()),
                "Put a copy of it back, or have it written anew from memory by `quarry volume rotate-key VOLUME`.".to_owned(),
            ),
            _ => return None,
        };
        Some(Cause { level, message, next_step })
    }

    /// Opens the keys of all volumes as far as the key store has them. A volume whose key is not there stays closed.
    pub async fn unlock_volumes(&self) {
        for place in self.places() {
            if let Err(error) = self.unlock_in(place).await {
                tracing::error!(%error, "the encrypted volumes of a log stay closed");
            }
        }
    }

    async fn unlock_in(&self, place: Place) -> Result<()> {
        for (record, is_open) in self.keys_of(place).await? {
            if is_open {
                continue;
            }
            let key = match self.keys() {
                Ok(store) => store.unwrap(&record.name, &record.wrapped).await.map_err(|e| whole(&e)),
                Err(reason) => Err(reason),
            };
            match key {
                Ok(key) => self.open_key(place, record.key, key).await?,
                Err(error) => {
                    tracing::error!(key = %record.name, error, "the volumes under this key stay closed");
                }
            }
        }
        Ok(())
    }

    async fn open_key(&self, Place { pool, log, core }: Place, id: KeyId, key: DataKey) -> Result<()> {
        self.cores
            .call(core, move |state| async move {
                state.engine(pool, log)?.open_key(id, key);
                Ok(())
            })
            .await?
    }

    /// Gives a volume, with all that shares its data key, another key-encryption key, and destroys the old one.
    pub(super) async fn change_key(&self, name: &Name) -> Result<Volume> {
        let found = self.find_volume(name).await?;
        let what = format!("the key of volume '{name}' was not changed");
        let Some(id) = found.status.key else {
            return Err(NodeError::new(ErrorKind::Conflict, what)
                .with_cause("it is not encrypted")
                .with_next_step("Create an encrypted volume and copy the data to it."));
        };
        let store = self.key_store(&what)?;
        let failed = |error: KeyStoreError| NodeError::new(ErrorKind::Unavailable, &what).caused_by(&error);
        let (place, told) = (Place { pool: found.pool, log: found.log, core: found.core }, what.clone());
        let old =
            self.keys_of(place).await?.into_iter().map(|(record, _)| record).find(|record| record.key == id);
        let missing = || NodeError::new(ErrorKind::Unavailable, &what).with_cause("its key is not open");
        let old = old.ok_or_else(missing)?;
        let key = store.unwrap(&old.name, &old.wrapped).await.map_err(failed)?;
        let new_name = store.create().await.map_err(failed)?;
        let wrapped = store.wrap(&new_name, &key).await.map_err(failed)?;
        // The old one is named until it is gone: whatever comes between, somebody will destroy it.
        let record = KeyRecord { key: id, name: new_name, wrapped, previous: old.name };
        let rewrapped = record.clone();
        self.with_engine(&found, told, move |engine| async move { engine.rewrap_key(rewrapped).await })
            .await?;
        self.destroy_previous(place, record).await?;
        tracing::info!(volume = %name, "the key-encryption key was replaced");
        self.describe_volume(name).await
    }

    /// Destroys, from time to time, the keys of volumes that are gone.
    pub async fn erase_by_and_by(&self) {
        loop {
            tokio::time::sleep(ERASE_INTERVAL).await;
            if let Err(error) = self.erase_unused_keys().await {
                tracing::warn!(%error, "keys that nothing uses could not be destroyed; tried again later");
            }
        }
    }

    /// Does what there is to do in each log; one in trouble stops no other.
    async fn erase_unused_keys(&self) -> Result<()> {
        if self.keys().is_err() {
            return Ok(());
        }
        let mut result = Ok(());
        for place in self.places() {
            let erased = self.erase_in(place).await;
            result = result.and(erased);
        }
        result
    }

    async fn erase_in(&self, place: Place) -> Result<()> {
        for (record, _) in self.keys_of(place).await? {
            if !record.previous.is_empty() {
                self.destroy_previous(place, record).await?;
            }
        }
        let Place { pool, log, core } = place;
        let unused = self.cores.call(core, move |state| async move {
            let what = "keys that nothing uses were not looked for".to_owned();
            state.engine(pool, log)?.unused_keys().await.map_err(|error| engine_error(what, &error))
        });
        for record in unused.await?? {
            let KeyRecord { key, name, .. } = record;
            self.destroy(&name).await?;
            let what = format!("key '{name}' was not forgotten");
            let forgotten = self.cores.call(core, move |state| async move {
                let forgotten = state.engine(pool, log)?.forget_key(key).await;
                forgotten.map_err(|error| engine_error(what, &error))
            });
            forgotten.await??;
            tracing::info!(key = %name, "a key that nothing used was destroyed");
        }
        Ok(())
    }

    async fn destroy(&self, name: &str) -> Result<()> {
        let what = format!("key '{name}' was not destroyed");
        let store = self.key_store(&what)?;
        let failed = |error: KeyStoreError| NodeError::new(ErrorKind::Unavailable, &what).caused_by(&error);
        store.destroy(name).await.map_err(failed)
    }

    /// Destroys the key-encryption key that a rotation has left behind.
    async fn destroy_previous(&self, Place { pool, log, core }: Place, record: KeyRecord) -> Result<()> {
        self.destroy(&record.previous).await?;
        let what = format!("that key '{}' was destroyed was not noted", record.previous);
        let record = KeyRecord { previous: String::new(), ..record };
        let noted = self.cores.call(core, move |state| async move {
            let noted = state.engine(pool, log)?.rewrap_key(record).await;
            noted.map_err(|error| engine_error(what, &error))
        });
        noted.await?
    }

    /// The key-encryption keys of a pool, to be destroyed with it.
    pub(super) async fn keys_of_pool(&self, id: PoolId) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for place in self.places().into_iter().filter(|place| place.pool == id) {
            for (record, _) in self.keys_of(place).await? {
                names.extend([record.name, record.previous]);
            }
        }
        names.retain(|name| !name.is_empty());
        Ok(names)
    }

    /// Destroys the keys of a pool that is gone.
    pub(super) async fn destroy_keys(&self, names: Vec<String>) {
        for name in names {
            if let Err(error) = self.destroy(&name).await {
                tracing::error!(key = %name, %error, "a key of a deleted pool is still there");
            }
        }
    }
}
