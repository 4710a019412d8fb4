//! Which host sees which volume under which number: LUNs of iSCSI, namespaces of NVMe.
//!
//! One table for all cores, off the I/O path: a session takes a [`View`] when it begins, and another one when
//! [`Access::generation`] says that something has changed, which costs it one load of an atomic.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use quarry_types::VolumeId;
use quarry_volume::VolumeInfo;

use crate::host::Host;
use crate::limits::{EXPORTS_MAX, HOSTS_MAX, UNIT_NUMBER_MAX};
use crate::{AccessError, Login, Stop, Stopped};

/// Protocols by which a host reaches many volumes over one connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fabric {
    /// Volumes are logical units; numbers begin at 0.
    Iscsi,
    /// Volumes are namespaces; numbers begin at 1.
    NvmeTcp,
}

impl Fabric {
    /// The numbers that a volume may have.
    pub fn numbers(self) -> std::ops::RangeInclusive<u32> {
        match self {
            Self::Iscsi => 0..=UNIT_NUMBER_MAX,
            Self::NvmeTcp => 1..=UNIT_NUMBER_MAX,
        }
    }
}

/// Who sees a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Every initiator, also one that no host of the table is.
    Everyone,
    /// The hosts with these names.
    Hosts(Vec<String>),
}

impl Audience {
    fn has(&self, host: Option<&Host>) -> bool {
        match (self, host) {
            (Self::Everyone, _) => true,
            (Self::Hosts(names), Some(host)) => names.contains(&host.name),
            (Self::Hosts(_), None) => false,
        }
    }

    /// Whether somebody may be of both.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hosts(ours), Self::Hosts(theirs)) => ours.iter().any(|name| theirs.contains(name)),
            _ => true,
        }
    }
}

/// A volume under a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// What people call the export.
    pub export: String,
    /// By which protocol.
    pub fabric: Fabric,
    /// For whom.
    pub audience: Audience,
    /// LUN or namespace id.
    pub number: u32,
    /// The volume as it was when it was mapped or last resized.
    pub volume: VolumeInfo,
    /// The core that owns it.
    pub core: usize,
    /// Whether these hosts may only read, whatever the volume allows.
    pub read_only: bool,
}

/// What one initiator sees.
#[derive(Clone, Debug)]
pub struct View {
    /// The state of the table that this shows.
    pub generation: u64,
    /// Which host the initiator is; `None` for one that nobody has told us of.
    pub host: Option<Arc<Host>>,
    /// Its volumes, by number.
    pub units: Vec<Arc<Mapping>>,
}

/// How many sessions are logged in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Clients {
    /// Those of each host, by its name.
    pub by_host: BTreeMap<String, usize>,
    /// Those that see each mapping, by what people call the export.
    pub by_export: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Table {
    hosts: BTreeMap<String, Arc<Host>>,
    mappings: Vec<Arc<Mapping>>,
    /// Given and replaced at each change.
    changed: Stop,
}

impl Table {
    /// The host that an initiator is. One that names it comes before one that is known by its networks alone, and then that of the
    /// nearest network.
    fn host_of(&self, initiator: &str, address: Option<IpAddr>) -> Option<&Arc<Host>> {
        let matching = self.hosts.values().filter(|host| host.is(initiator, address));
        matching.max_by_key(|host| (host.names(initiator), host.prefix_bits(address)))
    }

    /// Fails when somebody of the audience of `mapping` sees another volume under its number.
    fn check_free(&self, mapping: &Mapping) -> Result<(), AccessError> {
        let taken = |other: &&Arc<Mapping>| {
            (other.fabric, other.number) == (mapping.fabric, mapping.number)
                && other.export != mapping.export
                && other.audience.meets(&mapping.audience)
        };
        match self.mappings.iter().find(taken) {
            Some(other) => {
                Err(AccessError::NumberTaken { number: mapping.number, volume: other.volume.name.clone() })
            }
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct Inner {
    generation: AtomicU64,
    table: Mutex<Table>,
}

/// The hosts of a node and what they see. Clones are the same table.
#[derive(Clone, Default)]
pub struct Access(Arc<Inner>);

impl Access {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().expect("nothing panics while it holds the table of hosts")
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> Result<T, AccessError>) -> Result<T, AccessError> {
        let mut table = self.table();
        let done = change(&mut table)?;
        self.0.generation.fetch_add(1, Ordering::Release);
        std::mem::take(&mut table.changed).stop();
        Ok(done)
    }

    /// Grows with every change.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Resolves when the table is newer than `seen`.
    pub fn changed_since(&self, seen: u64) -> Stopped {
        let table = self.table();
        if self.generation() == seen {
            return table.changed.stopped();
        }
        let already = Stop::default();
        already.stop();
        already.stopped()
    }

    /// Adds a host, or puts another one in its place.
    pub fn set_host(&self, host: Host) -> Result<(), AccessError> {
        self.change(|table| {
            if table.hosts.len() >= HOSTS_MAX && !table.hosts.contains_key(&host.name) {
                return Err(AccessError::TooManyHosts);
            }
            table.hosts.insert(host.name.clone(), Arc::new(host));
            Ok(())
        })
    }

    /// Removes a host, and what was mapped for it alone is seen by nobody.
    pub fn remove_host(&self, name: &str) -> Result<(), AccessError> {
        let missing = || AccessError::NoHost { name: name.to_owned() };
        self.change(|table| table.hosts.remove(name).map(drop).ok_or_else(missing))
    }

    /// Maps a volume. No host may see two volumes under one number.
    pub fn map(&self, mapping: Mapping) -> Result<(), AccessError> {
        let number = mapping.number;
        if !mapping.fabric.numbers().contains(&number) {
            return Err(AccessError::BadNumber { number, fabric: mapping.fabric });
        }
        self.change(|table| {
            if table.mappings.len() >= EXPORTS_MAX {
                return Err(AccessError::TooManyMappings);
            }
            if table.mappings.iter().any(|other| other.export == mapping.export) {
                return Err(AccessError::Mapped { export: mapping.export });
            }
            table.check_free(&mapping)?;
            table.mappings.push(Arc::new(mapping));
            table.mappings.sort_by_key(|mapping| (mapping.fabric, mapping.number));
            Ok(())
        })
    }

    /// Gives exports other audiences: all of them, or none when that would show somebody two volumes under one number.
    pub fn set_audiences(&self, audiences: Vec<(String, Audience)>) -> Result<(), AccessError> {
        self.change(|table| {
            let before = table.mappings.clone();
            let done = audiences.into_iter().try_for_each(|(export, audience)| {
                let found = table.mappings.iter_mut().find(|mapping| mapping.export == export);
                let mapping = found.ok_or(AccessError::NoMapping { export })?;
                Arc::make_mut(mapping).audience = audience;
                Ok(())
            });
            let checked =
                done.and_then(|()| table.mappings.iter().try_for_each(|mapping| table.check_free(mapping)));
            if checked.is_err() {
                table.mappings = before;
            }
            checked
        })
    }

    /// The lowest number under which nobody of `audience` sees a volume.
    pub fn free_number(&self, fabric: Fabric, audience: &Audience) -> Option<u32> {
        let table = self.table();
        let theirs = |mapping: &&Arc<Mapping>| mapping.fabric == fabric && mapping.audience.meets(audience);
        let taken: Vec<u32> = table.mappings.iter().filter(theirs).map(|mapping| mapping.number).collect();
        fabric.numbers().find(|number| !taken.contains(number))
    }

    /// Ends what people call `export`: those who saw its volume do so no more. What they have asked for already is done.
    pub fn unmap(&self, export: &str) -> Result<(), AccessError> {
        self.change(|table| {
            let before = table.mappings.len();
            table.mappings.retain(|mapping| mapping.export != export);
            let gone = table.mappings.len() < before;
            gone.then_some(()).ok_or_else(|| AccessError::NoMapping { export: export.to_owned() })
        })
    }

    /// Lets everybody who sees a volume see its new size.
    pub fn update_size(&self, volume: VolumeId, size_bytes: u64) {
        let resized = self.change(|table| {
            for mapping in table.mappings.iter_mut().filter(|mapping| mapping.volume.id == volume) {
                Arc::make_mut(mapping).volume.size_bytes = size_bytes;
            }
            Ok(())
        });
        resized.expect("nothing above fails");
    }

    /// What an initiator sees that calls itself `initiator` and connects from `address`.
    pub fn view(&self, fabric: Fabric, initiator: &str, address: Option<IpAddr>) -> View {
        let table = self.table();
        let host = table.host_of(initiator, address).cloned();
        let sees =
            |mapping: &&Arc<Mapping>| mapping.fabric == fabric && mapping.audience.has(host.as_deref());
        let units = table.mappings.iter().filter(sees).cloned().collect();
        View { generation: self.generation(), host, units }
    }

    /// Who is logged in, by what they are and by what they see.
    pub fn clients(&self, logins: &[Login]) -> Clients {
        let table = self.table();
        let mut clients = Clients::default();
        for login in logins {
            let host = table.host_of(&login.initiator, login.address).map(Arc::as_ref);
            if let Some(host) = host {
                *clients.by_host.entry(host.name.clone()).or_default() += 1;
            }
            let sees = |mapping: &&Arc<Mapping>| mapping.fabric == login.fabric && mapping.audience.has(host);
            for mapping in table.mappings.iter().filter(sees) {
                *clients.by_export.entry(mapping.export.clone()).or_default() += 1;
            }
        }
        clients
    }

    /// All that is mapped, by protocol and number.
    pub fn mappings(&self) -> Vec<Arc<Mapping>> {
        self.table().mappings.clone()
    }

    /// What people call `export`, if it is mapped.
    pub fn mapping(&self, export: &str) -> Option<Arc<Mapping>> {
        self.table().mappings.iter().find(|mapping| mapping.export == export).cloned()
    }

    /// One of the mappings of a volume, which says what the volume is and which core owns it.
    pub fn mapping_of(&self, volume: VolumeId) -> Option<Arc<Mapping>> {
        self.table().mappings.iter().find(|mapping| mapping.volume.id == volume).cloned()
    }
}
