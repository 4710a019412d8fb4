//! The store: everything in one file, and in memory for the requests that ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, RwLock, RwLockReadGuard};

use quarry_api_types::{Name, Role, Secret, Timestamp};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;

use crate::record::{TenantRecord, TokenRecord, UserRecord, VERSION, decode, encode};
use crate::secret_token::Fresh;
use crate::{AccessError, Result, file};

const FILE_NAME: &str = "access.redb";
const DAMAGED_NAME: &str = "access.redb.damaged";
/// The user that the first token stands for.
const FIRST_USER: &str = "admin";

pub(crate) type Table = TableDefinition<'static, &'static str, &'static [u8]>;
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
pub(crate) const USERS: Table = TableDefinition::new("users");
pub(crate) const TOKENS: Table = TableDefinition::new("tokens");
pub(crate) const TENANTS: Table = TableDefinition::new("tenants");

/// What the file holds.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) users: BTreeMap<Name, UserRecord>,
    /// By id.
    pub(crate) tokens: BTreeMap<String, TokenRecord>,
    pub(crate) tenants: BTreeMap<Name, TenantRecord>,
}

/// One step of a change.
pub(crate) enum Step {
    PutUser(UserRecord),
    DeleteUser(Name),
    PutToken(TokenRecord),
    DeleteToken(String),
    PutTenant(TenantRecord),
    DeleteTenant(Name),
}

/// Users, tokens and tenants of a node.
pub struct AccessStore {
    database: Database,
    path: PathBuf,
    state: RwLock<State>,
    /// Held from looking to writing, so that checks and what they allow belong together.
    changing: Mutex<()>,
}

/// A store that was opened.
pub struct Opened {
    /// The store.
    pub store: AccessStore,
    /// Where a damaged one was moved to.
    pub damaged: Option<PathBuf>,
}

impl AccessStore {
    /// Opens the store in `directory`, which exists; makes it when there is none. A damaged one is moved to
    /// `access.redb.damaged`: users are made again then with a new first token, as only the owner of the directory can.
    ///
    /// # Errors
    /// [`AccessError::InUse`], [`AccessError::Newer`], [`AccessError::Io`], [`AccessError::Storage`].
    pub fn open(directory: &Path) -> Result<Opened> {
        let path = directory.join(FILE_NAME);
        match Self::open_file(&path) {
            Ok(store) => Ok(Opened { store, damaged: None }),
            Err(error @ (AccessError::InUse { .. } | AccessError::Newer { .. } | AccessError::Io { .. })) => {
                Err(error)
            }
            Err(error) => {
                let aside = directory.join(DAMAGED_NAME);
                if file::move_aside(&path, &aside).is_err() {
                    return Err(error);
                }
                Ok(Opened { store: Self::open_file(&path)?, damaged: Some(aside) })
            }
        }
    }

    /// Whether `directory` has a store, so that the node in it was started before.
    pub fn exists(directory: &Path) -> bool {
        file::exists(&directory.join(FILE_NAME))
    }

    /// A store that nobody keeps.
    pub fn in_memory() -> Result<Self> {
        let path = PathBuf::from("in memory");
        let made = Database::builder().create_with_backend(InMemoryBackend::new());
        Self::prepare(made.map_err(|error| failed("create", &path, error))?, path)
    }

    fn open_file(path: &Path) -> Result<Self> {
        Self::prepare(file::open(path)?, path.to_owned())
    }

    fn prepare(database: Database, path: PathBuf) -> Result<Self> {
        let prepared = || -> std::result::Result<u64, redb::Error> {
            let transaction = begin_write(&database)?;
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(META_VERSION)?.map(|version| version.value());
            if found.is_none() {
                meta.insert(META_VERSION, u64::from(VERSION))?;
            }
            drop(meta);
            for table in [USERS, TOKENS, TENANTS] {
                transaction.open_table(table)?;
            }
            transaction.commit()?;
            Ok(found.unwrap_or(u64::from(VERSION)))
        };
        let found = prepared().map_err(|error| failed("open", &path, error))?;
        if found > u64::from(VERSION) {
            return Err(AccessError::Newer { path, found, supported: u64::from(VERSION) });
        }
        let state = State {
            users: read(&database, &path, USERS, |user: &UserRecord| user.name.clone())?,
            tokens: read(&database, &path, TOKENS, |token: &TokenRecord| token.token.id.clone())?,
            tenants: read(&database, &path, TENANTS, |tenant: &TenantRecord| tenant.name.clone())?,
        };
        Ok(Self { database, path, state: RwLock::new(state), changing: Mutex::default() })
    }

    /// A token that may do everything, if there are no users yet: the first one of a node.
    pub fn first_token(&self, now: Timestamp) -> Result<Option<Secret>> {
        // Not within the `match`: what it looks at would stay locked for reading while a token is written.
        let has_users = !self.state().users.is_empty();
        match has_users {
            true => Ok(None),
            false => self.new_admin_token(now).map(Some),
        }
    }

    /// A token that may do everything, for whoever has the data directory in his hands. It stands for the user `admin`, who is made
    /// if he is not there, and who cannot log in before he has a password.
    pub fn new_admin_token(&self, now: Timestamp) -> Result<Secret> {
        let name: Name = FIRST_USER.parse().expect("it is a name");
        let fresh = Fresh::new();
        let text = fresh.text.clone();
        self.change(|state| {
            let role = Role::Admin;
            let token = fresh.record(&name, role, None, "made by quarryd for its data directory", now, None);
            let mut steps = vec![Step::PutToken(token)];
            if state.users.get(&name).is_none_or(|user| user.role != role) {
                let user =
                    UserRecord { name: name.clone(), role, tenant: None, password: None, created: now };
                steps.push(Step::PutUser(user));
            }
            Ok((steps, ()))
        })?;
        Ok(text)
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("nobody panics with this lock: a panic ends the process")
    }

    /// Does what `plan` says about what there is now: durable first, then for everybody to see.
    pub(crate) fn change<T>(&self, plan: impl FnOnce(&State) -> Result<(Vec<Step>, T)>) -> Result<T> {
        let _changing = self.changing.lock().expect("nobody panics with this lock: a panic ends the process");
        let (steps, answer) = plan(&self.state())?;
        let written = || -> std::result::Result<(), redb::Error> {
            let transaction = begin_write(&self.database)?;
            steps.iter().try_for_each(|step| step.write(&transaction))?;
            Ok(transaction.commit()?)
        };
        written().map_err(|error| failed("write", &self.path, error))?;
        let mut state = self.state.write().expect("nobody panics with this lock: a panic ends the process");
        steps.into_iter().for_each(|step| step.apply(&mut state));
        Ok(answer)
    }
}

impl Step {
    fn write(&self, transaction: &WriteTransaction) -> std::result::Result<(), redb::Error> {
        let put = |table: Table, key: &str, bytes: Vec<u8>| -> std::result::Result<(), redb::Error> {
            transaction.open_table(table)?.insert(key, &bytes[..])?;
            Ok(())
        };
        let delete = |table: Table, key: &str| -> std::result::Result<(), redb::Error> {
            transaction.open_table(table)?.remove(key)?;
            Ok(())
        };
        match self {
            Self::PutUser(user) => put(USERS, user.name.as_str(), encode(user)),
            Self::DeleteUser(name) => delete(USERS, name.as_str()),
            Self::PutToken(token) => put(TOKENS, &token.token.id, encode(token)),
            Self::DeleteToken(id) => delete(TOKENS, id),
            Self::PutTenant(tenant) => put(TENANTS, tenant.name.as_str(), encode(tenant)),
            Self::DeleteTenant(name) => delete(TENANTS, name.as_str()),
        }
    }

    fn apply(self, state: &mut State) {
        match self {
            Self::PutUser(user) => _ = state.users.insert(user.name.clone(), user),
            Self::DeleteUser(name) => _ = state.users.remove(&name),
            Self::PutToken(token) => _ = state.tokens.insert(token.token.id.clone(), token),
            Self::DeleteToken(id) => _ = state.tokens.remove(&id),
            Self::PutTenant(tenant) => _ = state.tenants.insert(tenant.name.clone(), tenant),
            Self::DeleteTenant(name) => _ = state.tenants.remove(&name),
        }
    }
}

/// Two-phase commit and quick repair, as in the catalog: durable before it counts, and no slow start after a crash.
fn begin_write(database: &Database) -> std::result::Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn read<K: Ord, T: DeserializeOwned>(
    database: &Database,
    path: &Path,
    table: Table,
    key_of: impl Fn(&T) -> K,
) -> Result<BTreeMap<K, T>> {
    let rows = || -> std::result::Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let opened = database.begin_read()?.open_table(table)?;
        let rows = opened.iter()?.map(|row| {
            let (key, value) = row?;
            Ok((key.value().to_owned(), value.value().to_vec()))
        });
        rows.collect()
    };
    let rows = rows().map_err(|error| failed("read", path, error))?;
    let decoded = rows.into_iter().map(|(key, bytes)| {
        let record = decode::<T>(&bytes).map_err(|why| AccessError::Corrupt {
            path: path.to_owned(),
            detail: format!("{table} {key}: {why}"),
        })?;
        Ok((key_of(&record), record))
    });
    decoded.collect()
}

fn failed(operation: &'static str, path: &Path, error: impl Into<redb::Error>) -> AccessError {
    AccessError::Storage { operation, path: path.to_owned(), source: Box::new(error.into()) }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "they look at and damage real files")]
mod tests;
