//! Hosts: made, shown, changed, ended. Their secrets go into the catalog and into the table that logins ask, and nowhere else.

use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use quarry_api_types::{
    ChangeHost, Chap, ChapProof, ChapUser, CreateHost, HOST_INITIATORS_MAX, HOST_NETWORKS_MAX, Host, HostId,
    Name, check_somebody,
};
use quarry_catalog::{Change, ChapRecord, ExportRecord, HostRecord, ProofRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_target::{AccessError, Clients};

use super::exports::path_of;
use super::host_table::{HostTable, to_target};
use super::{DataNode, now};

impl DataNode {
    pub(super) fn hosts(&self) -> RwLockReadGuard<'_, HostTable> {
        self.hosts.read().expect("nobody panics with this lock: a panic ends the process")
    }

    pub(super) fn hosts_mut(&self) -> RwLockWriteGuard<'_, HostTable> {
        self.hosts.write().expect("nobody panics with this lock: a panic ends the process")
    }

    pub(super) async fn make_host(&self, request: CreateHost) -> Result<Host> {
        request.check()?;
        let CreateHost { name, initiators, networks, chap } = request;
        let record = HostRecord {
            id: HostId(uuid::Uuid::new_v4()),
            name,
            initiators,
            networks,
            chap: chap.map(kept),
            created: now(),
        };
        {
            let table = self.hosts();
            if table.host(&record.name).is_ok() {
                return Err(NodeError::name_taken("host", &record.name));
            }
            table.check_host(&record)?;
            if table.hosts.len() >= quarry_target::limits::HOSTS_MAX {
                return Err(access_error(&AccessError::TooManyHosts));
            }
        }
        self.save_host(record.clone()).await?;
        self.describe_host(&record.name).await
    }

    async fn save_host(&self, record: HostRecord) -> Result<()> {
        self.commit(vec![Change::PutHost(record.clone())]).await?;
        self.access.set_host(to_target(&record)).map_err(|error| access_error(&error))?;
        self.hosts_mut().hosts.insert(record.id, record);
        Ok(())
    }

    pub(super) async fn alter_host(&self, name: &Name, request: ChangeHost) -> Result<Host> {
        request.check()?;
        let mut record = self.hosts().host(name)?.clone();
        remove(&mut record.initiators, &request.remove_initiators, name)?;
        remove(&mut record.networks, &request.remove_networks, name)?;
        add(&mut record.initiators, request.add_initiators, name, HOST_INITIATORS_MAX)?;
        add(&mut record.networks, request.add_networks, name, HOST_NETWORKS_MAX)?;
        check_somebody(&record.initiators, &record.networks)?;
        self.hosts().check_host(&record)?;
        if request.remove_chap || request.chap.is_some() {
            record.chap = request.chap.map(kept);
        }
        self.save_host(record).await?;
        self.describe_host(name).await
    }

    pub(super) async fn end_host(&self, name: &Name) -> Result<()> {
        let (id, groups) = {
            let table = self.hosts();
            let id = table.host(name)?.id;
            (id, table.groups_of(id).cloned().collect::<Vec<_>>())
        };
        let exports = self.export_records()?;
        let names_it =
            |record: &&ExportRecord| record.audience == Some(quarry_catalog::AudienceRecord::Host(id));
        if let Some(record) = exports.iter().find(names_it) {
            return Err(named_by("host", name, record));
        }
        let mut changes = vec![Change::DeleteHost(id)];
        let mut after = self.hosts().clone();
        after.hosts.remove(&id);
        for mut group in groups {
            group.hosts.retain(|host| *host != id);
            after.groups.insert(group.id, group.clone());
            changes.push(Change::PutHostGroup(group));
        }
        self.commit(changes).await?;
        let shrunk = self.audiences_that_change(&exports, &after);
        *self.hosts_mut() = after;
        // Nobody sees more than before, so neither can be refused.
        self.access.set_audiences(shrunk).map_err(|error| access_error(&error))?;
        self.access.remove_host(name.as_str()).map_err(|error| access_error(&error))
    }

    pub(super) async fn describe_hosts(&self) -> Result<Vec<Host>> {
        let (exports, clients) = (self.export_records()?, self.clients());
        let table = self.hosts();
        let mut hosts: Vec<Host> =
            table.hosts.values().map(|record| in_words(&table, record, &exports, &clients)).collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(hosts)
    }

    pub(super) async fn describe_host(&self, name: &Name) -> Result<Host> {
        let (exports, clients) = (self.export_records()?, self.clients());
        let table = self.hosts();
        Ok(in_words(&table, table.host(name)?, &exports, &clients))
    }

    /// Who is logged in over fabrics.
    pub(super) fn clients(&self) -> Clients {
        let logins: Vec<_> =
            self.exports.sessions().into_iter().filter_map(|session| session.login).collect();
        self.access.clients(&logins)
    }
}

fn in_words(table: &HostTable, record: &HostRecord, exports: &[ExportRecord], clients: &Clients) -> Host {
    let mut groups: Vec<Name> = table.groups_of(record.id).map(|group| group.name.clone()).collect();
    groups.sort_unstable();
    let chap = record.chap.as_ref();
    Host {
        id: record.id,
        name: record.name.clone(),
        initiators: record.initiators.clone(),
        networks: record.networks.clone(),
        chap: chap.map(|chap| ChapUser { user: chap.initiator.user.clone(), mutual: chap.mutual.is_some() }),
        groups,
        exports: exports.iter().filter(|export| table.is_for(export, record.id)).count() as u64,
        sessions: clients.by_host.get(record.name.as_str()).copied().unwrap_or(0) as u32,
        created: record.created,
    }
}

fn kept(chap: Chap) -> ChapRecord {
    let proof = |user: String, secret: &quarry_api_types::ChapSecret| ProofRecord {
        user,
        secret: secret.reveal().to_owned(),
    };
    let Chap { user, secret, mutual } = chap;
    let mutual = mutual.map(|ChapProof { user, secret }| proof(user, &secret));
    ChapRecord { initiator: proof(user, &secret), mutual }
}

fn remove<T: PartialEq + std::fmt::Display>(items: &mut Vec<T>, gone: &[T], host: &Name) -> Result<()> {
    if let Some(stranger) = gone.iter().find(|item| !items.contains(item)) {
        let what = format!("host '{host}' has no '{stranger}'");
        return Err(NodeError::new(ErrorKind::NotFound, what)
            .with_next_step(format!("`quarry host show {host}` shows what it has.")));
    }
    items.retain(|item| !gone.contains(item));
    Ok(())
}

fn add<T: PartialEq + std::fmt::Display>(
    items: &mut Vec<T>,
    new: Vec<T>,
    host: &Name,
    count_max: usize,
) -> Result<()> {
    if let Some(known) = new.iter().find(|item| items.contains(item)) {
        let what = format!("host '{host}' has '{known}' already");
        return Err(NodeError::new(ErrorKind::Conflict, what)
            .with_next_step(format!("`quarry host show {host}` shows what it has.")));
    }
    items.extend(new);
    if items.len() > count_max {
        let what = format!("host '{host}' would have {} of a sort, more than {count_max}", items.len());
        return Err(NodeError::new(ErrorKind::Contradictory, what)
            .with_next_step("Remove some, or make another host and put both into a host group."));
    }
    Ok(())
}

/// Something is named by an export, so it stays.
pub(super) fn named_by(sort: &str, name: &Name, record: &ExportRecord) -> NodeError {
    let (id, path) = (record.id, path_of(record));
    let what = format!("{sort} '{name}' is named by export {id} of '{path}' over {}", record.protocol);
    NodeError::new(ErrorKind::InUse, what)
        .with_next_step(format!("End the export first: `quarry export delete {id}`."))
}

/// The table that sessions ask has refused.
pub(super) fn access_error(error: &AccessError) -> NodeError {
    let (kind, next_step) = match error {
        AccessError::NoHost { .. } => (ErrorKind::NotFound, "`quarry host list` shows what exists."),
        AccessError::NoMapping { .. } => (ErrorKind::NotFound, "`quarry export list` shows what exists."),
        AccessError::NumberTaken { .. } | AccessError::Mapped { .. } => {
            (ErrorKind::Conflict, "`quarry export list` shows what is taken.")
        }
        AccessError::BadNumber { .. } => (ErrorKind::Contradictory, "Choose another number, or none."),
        AccessError::TooManyHosts => (ErrorKind::NoSpace, "Delete hosts that are no longer needed."),
        AccessError::TooManyMappings => (ErrorKind::NoSpace, "End exports that are no longer needed."),
    };
    NodeError::new(kind, error.to_string()).with_next_step(next_step)
}
