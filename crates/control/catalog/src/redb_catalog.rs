//! The catalog of a node on its own: one redb file.

use std::path::{Path, PathBuf};

use quarry_api_types::{ExportId, Name, PoolId, Protocol};
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use serde::de::DeserializeOwned;

use crate::codec::{self, DecodeError, RECORD_VERSION_MAX, VERSION};
use crate::{
    ApplyRecord, AttachmentRecord, Catalog, CatalogError, Change, ExportRecord, FoundingRecord, GroupRecord,
    HostGroupRecord, HostRecord, ImageRecord, JobRecord, MigrationRecord, NodeRecord, PolicyRecord,
    PoolRecord, QosRecord, ReservationRecord, Result, file,
};

type Table = TableDefinition<'static, &'static str, &'static [u8]>;

const META: TableDefinition<'static, &'static str, u32> = TableDefinition::new("meta");
const META_VERSION: &str = "version";
const META_LAST_NAMESPACE_ID: &str = "last namespace id";
const NODE: Table = TableDefinition::new("node");
const NODE_KEY: &str = "self";
const POOLS: Table = TableDefinition::new("pools");
const FOUNDINGS: Table = TableDefinition::new("foundings");
const EXPORTS: Table = TableDefinition::new("exports");
const GROUPS: Table = TableDefinition::new("groups");
const HOSTS: Table = TableDefinition::new("hosts");
const HOST_GROUPS: Table = TableDefinition::new("host_groups");
const POLICIES: Table = TableDefinition::new("policies");
const ATTACHMENTS: Table = TableDefinition::new("attachments");
const QOS: Table = TableDefinition::new("qos");
const JOBS: Table = TableDefinition::new("jobs");
const APPLY: Table = TableDefinition::new("apply");
const APPLY_KEY: &str = "under-way";
const RESERVATIONS: Table = TableDefinition::new("reservations");
const IMAGES: Table = TableDefinition::new("images");
const MIGRATIONS: Table = TableDefinition::new("migrations");

/// [`Catalog`] over the file `catalog.redb` of a data directory.
pub struct RedbCatalog {
    database: Database,
    path: PathBuf,
}

impl RedbCatalog {
    /// Opens the catalog in `directory`; makes both when they do not exist. Verifies the checksum of every page
    /// and decodes every record, so that what opens can be read.
    ///
    /// # Errors
    /// [`CatalogError::InUse`], [`CatalogError::Corrupt`], [`CatalogError::Newer`], [`CatalogError::Io`].
    pub fn open(directory: &Path) -> Result<Self> {
        let path = file::path_in(directory);
        let database = file::open_or_create(directory, |new| prepare(new, &path))?;
        Self::verify(database, path)
    }

    /// Whether `directory` has a catalog.
    pub fn exists(directory: &Path) -> bool {
        file::exists(directory)
    }

    pub(crate) fn verify(mut database: Database, path: PathBuf) -> Result<Self> {
        // `false` means that the free-space records were rebuilt, which loses nothing.
        database.check_integrity().map_err(|error| CatalogError::from_redb("check", path.clone(), error))?;
        let catalog = Self { database, path };
        catalog.check_version()?;
        catalog.node()?;
        catalog.pools()?;
        catalog.exports()?;
        catalog.groups()?;
        catalog.hosts()?;
        catalog.host_groups()?;
        catalog.reservations()?;
        catalog.images()?;
        catalog.migrations()?;
        catalog.policies()?;
        catalog.attachments()?;
        catalog.qos()?;
        catalog.jobs()?;
        catalog.apply()?;
        Ok(catalog)
    }

    fn meta(&self, key: &str) -> Result<Option<u32>> {
        let transaction = self.begin_read()?;
        let table = transaction.open_table(META).map_err(|error| self.failed("read", error))?;
        let found = table.get(key).map_err(|error| self.failed("read", error))?;
        Ok(found.map(|value| value.value()))
    }

    fn check_version(&self) -> Result<()> {
        match self.meta(META_VERSION)? {
            Some(VERSION) => Ok(()),
            Some(found) if found > VERSION => {
                Err(CatalogError::Newer { path: self.path.clone(), found, supported: VERSION })
            }
            other => Err(self.corrupt(format!("version {other:?} is none that ever was"))),
        }
    }

    fn begin_read(&self) -> Result<ReadTransaction> {
        self.database.begin_read().map_err(|error| self.failed("read", error))
    }

    fn get<T: DeserializeOwned>(&self, table: Table, key: &str) -> Result<Option<T>> {
        let transaction = self.begin_read()?;
        let opened = match transaction.open_table(table) {
            Ok(opened) => opened,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        };
        let found = opened.get(key).map_err(|error| self.failed("read", error))?;
        found.map(|value| self.decode(table, key, value.value())).transpose()
    }

    fn list<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>> {
        let transaction = self.begin_read()?;
        let opened = match transaction.open_table(table) {
            Ok(opened) => opened,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("read", error)),
        };
        let rows = opened.iter().map_err(|error| self.failed("read", error))?;
        rows.map(|row| {
            let (key, value) = row.map_err(|error| self.failed("read", error))?;
            self.decode(table, key.value(), value.value())
        })
        .collect()
    }

    fn decode<T: DeserializeOwned>(&self, table: Table, key: &str, bytes: &[u8]) -> Result<T> {
        codec::decode(bytes).map_err(|error| match error {
            DecodeError::Newer(found) => {
                CatalogError::Newer { path: self.path.clone(), found, supported: RECORD_VERSION_MAX }
            }
            DecodeError::Corrupt(detail) => self.corrupt(format!("{table} {key}: {detail}")),
        })
    }

    fn corrupt(&self, detail: String) -> CatalogError {
        CatalogError::Corrupt { path: self.path.clone(), detail }
    }

    fn failed(&self, operation: &'static str, error: impl Into<redb::Error>) -> CatalogError {
        CatalogError::from_redb(operation, self.path.clone(), error)
    }
}

impl Catalog for RedbCatalog {
    fn node(&self) -> Result<Option<NodeRecord>> {
        self.get(NODE, NODE_KEY)
    }

    fn pool(&self, id: PoolId) -> Result<Option<PoolRecord>> {
        self.get(POOLS, &id.to_string())
    }

    fn pools(&self) -> Result<Vec<PoolRecord>> {
        let mut pools: Vec<PoolRecord> = self.list(POOLS)?;
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pools)
    }

    fn founding(&self, name: &Name) -> Result<Option<FoundingRecord>> {
        self.get(FOUNDINGS, name.as_str())
    }

    fn export(&self, id: ExportId) -> Result<Option<ExportRecord>> {
        self.get(EXPORTS, &id.to_string())
    }

    fn exports(&self) -> Result<Vec<ExportRecord>> {
        let mut exports: Vec<ExportRecord> = self.list(EXPORTS)?;
        let key = |export: &ExportRecord| {
            (export.volume.clone(), export.snapshot.clone(), export.protocol, export.created, export.id)
        };
        exports.sort_by_cached_key(key);
        Ok(exports)
    }

    fn last_namespace_id(&self) -> Result<u32> {
        Ok(self.meta(META_LAST_NAMESPACE_ID)?.unwrap_or(0))
    }

    fn groups(&self) -> Result<Vec<GroupRecord>> {
        let mut groups: Vec<GroupRecord> = self.list(GROUPS)?;
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    fn hosts(&self) -> Result<Vec<HostRecord>> {
        let mut hosts: Vec<HostRecord> = self.list(HOSTS)?;
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(hosts)
    }

    fn host_groups(&self) -> Result<Vec<HostGroupRecord>> {
        let mut groups: Vec<HostGroupRecord> = self.list(HOST_GROUPS)?;
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    fn reservations(&self) -> Result<Vec<ReservationRecord>> {
        self.list(RESERVATIONS)
    }

    fn images(&self) -> Result<Vec<ImageRecord>> {
        let mut images: Vec<ImageRecord> = self.list(IMAGES)?;
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    fn migrations(&self) -> Result<Vec<MigrationRecord>> {
        self.list(MIGRATIONS)
    }

    fn policies(&self) -> Result<Vec<PolicyRecord>> {
        let mut policies: Vec<PolicyRecord> = self.list(POLICIES)?;
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(policies)
    }

    fn attachments(&self) -> Result<Vec<AttachmentRecord>> {
        self.list(ATTACHMENTS)
    }

    fn qos(&self) -> Result<Vec<QosRecord>> {
        self.list(QOS)
    }

    fn jobs(&self) -> Result<Vec<JobRecord>> {
        self.list(JOBS)
    }

    fn apply(&self) -> Result<Option<ApplyRecord>> {
        self.get(APPLY, APPLY_KEY)
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        let transaction = begin_write(&self.database).map_err(|error| self.failed("write", error))?;
        for change in changes {
            apply(&transaction, change).map_err(|error| self.failed("write", error))?;
        }
        transaction.commit().map_err(|error| self.failed("write", error))
    }
}

/// Two-phase commit: the new state is durable before the one word that makes it count is written. Quick repair
/// makes a start after a crash as fast as any other.
fn begin_write(database: &Database) -> std::result::Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Puts what makes an empty database a catalog.
pub(crate) fn prepare(database: &Database, path: &Path) -> Result<()> {
    let write = || -> std::result::Result<(), redb::Error> {
        let transaction = begin_write(database)?;
        transaction.open_table(META)?.insert(META_VERSION, VERSION)?;
        Ok(transaction.commit()?)
    };
    write().map_err(|error| CatalogError::from_redb("create", path.to_owned(), error))
}

fn apply(transaction: &WriteTransaction, change: &Change) -> std::result::Result<(), redb::Error> {
    match change {
        Change::PutNode(record) => put(transaction, NODE, NODE_KEY, &codec::encode(record)),
        Change::PutPool(record) => put(transaction, POOLS, &record.id.to_string(), &codec::encode(record)),
        Change::PutFounding(record) => {
            put(transaction, FOUNDINGS, record.name.as_str(), &codec::encode(record))
        }
        Change::DeleteFounding(name) => delete(transaction, FOUNDINGS, name.as_str()),
        Change::DeletePool(id) => delete(transaction, POOLS, &id.to_string()),
        Change::PutExport(record) => put_export(transaction, record),
        Change::DeleteExport(id) => delete(transaction, EXPORTS, &id.to_string()),
        Change::PutGroup(record) => put(transaction, GROUPS, &record.id.to_string(), &codec::encode(record)),
        Change::DeleteGroup(id) => delete(transaction, GROUPS, &id.to_string()),
        Change::PutHost(record) => put(transaction, HOSTS, &record.id.to_string(), &codec::encode(record)),
        Change::DeleteHost(id) => delete(transaction, HOSTS, &id.to_string()),
        Change::PutHostGroup(record) => {
            put(transaction, HOST_GROUPS, &record.id.to_string(), &codec::encode(record))
        }
        Change::DeleteHostGroup(id) => delete(transaction, HOST_GROUPS, &id.to_string()),
        Change::PutReservation(record) => {
            put(transaction, RESERVATIONS, &record.volume_id.to_string(), &codec::encode(record))
        }
        Change::DeleteReservation(volume) => delete(transaction, RESERVATIONS, &volume.to_string()),
        Change::PutImage(record) => put(transaction, IMAGES, &record.id.to_string(), &codec::encode(record)),
        Change::DeleteImage(id) => delete(transaction, IMAGES, &id.to_string()),
        Change::PutMigration(record) => {
            put(transaction, MIGRATIONS, &record.volume_id.to_string(), &codec::encode(record))
        }
        Change::DeleteMigration(volume) => delete(transaction, MIGRATIONS, &volume.to_string()),
        Change::PutPolicy(record) => {
            put(transaction, POLICIES, &record.id.to_string(), &codec::encode(record))
        }
        Change::DeletePolicy(id) => delete(transaction, POLICIES, &id.to_string()),
        Change::PutAttachment(record) => {
            put(transaction, ATTACHMENTS, &record.key().to_string(), &codec::encode(record))
        }
        Change::PutQos(record) => {
            put(transaction, QOS, &record.volume_id.to_string(), &codec::encode(record))
        }
        Change::DeleteQos(volume) => delete(transaction, QOS, &volume.to_string()),
        Change::PutJob(record) => put(transaction, JOBS, &job_key(record.job.id), &codec::encode(record)),
        Change::DeleteJob(id) => delete(transaction, JOBS, &job_key(*id)),
        Change::PutApply(record) => put(transaction, APPLY, APPLY_KEY, &codec::encode(record)),
        Change::DeleteApply => delete(transaction, APPLY, APPLY_KEY),
        Change::DeleteAttachment(key) => delete(transaction, ATTACHMENTS, &key.to_string()),
    }
}

fn put_export(transaction: &WriteTransaction, record: &ExportRecord) -> std::result::Result<(), redb::Error> {
    let key = record.id.to_string();
    let is_new = transaction.open_table(EXPORTS)?.insert(&*key, &*codec::encode(record))?.is_none();
    if let (Protocol::NvmeTcp, Some(number), true) = (record.protocol, record.number, is_new) {
        transaction.open_table(META)?.insert(META_LAST_NAMESPACE_ID, number)?;
    }
    Ok(())
}

/// In the order of numbers.
fn job_key(id: u64) -> String {
    format!("{id:020}")
}

fn put(
    transaction: &WriteTransaction,
    table: Table,
    key: &str,
    value: &[u8],
) -> std::result::Result<(), redb::Error> {
    transaction.open_table(table)?.insert(key, value)?;
    Ok(())
}

fn delete(transaction: &WriteTransaction, table: Table, key: &str) -> std::result::Result<(), redb::Error> {
    transaction.open_table(table)?.remove(key)?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "they look at and damage real files")]
mod tests;
