//! The NVM subsystem of a node and its discovery subsystem: which controllers exist, and who may have one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use quarry_target::{Access, Fabric, Reservations, View};

use crate::connect::{ANY_CONTROLLER, Connect, Refused};
use crate::controller::{Controller, Host, IoMember, Kind};
use crate::identity::Identity;
use crate::limits::{ADMIN_ENTRIES_MAX, CONTROLLER_ID_MAX};
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::DISCOVERY_NQN;

#[derive(Default)]
struct Table {
    controllers: BTreeMap<u16, Arc<Controller>>,
    last: u16,
}

impl Table {
    /// Whether a host with another name has the identifier of `host`, to which its reservations belong.
    fn is_taken(&self, host: &Host) -> bool {
        let mut others = self.controllers.values().filter(|one| one.kind() == Kind::Io).map(|one| one.host());
        host.has_id() && others.any(|other| other.id == host.id && other.nqn != host.nqn)
    }

    /// The next id that is free, round and round: a host that comes back late must not find a stranger's controller.
    fn next_id(&self) -> Option<u16> {
        let behind = self.last.saturating_add(1)..=CONTROLLER_ID_MAX;
        behind.chain(1..=self.last).find(|id| !self.controllers.contains_key(id))
    }
}

struct Inner {
    identity: Identity,
    access: Access,
    reservations: Reservations,
    advertised: Vec<SocketAddr>,
    table: Mutex<Table>,
}

/// What a node shows over NVMe. Clones are the same subsystem.
#[derive(Clone)]
pub struct Subsystem(Arc<Inner>);

/// A queue that was opened.
pub enum Opened {
    /// The admin queue of a new controller.
    Admin(AdminMember),
    /// An I/O queue of a controller.
    Io(IoMember),
}

/// The admin queue's place in the subsystem. Dropping it ends the controller with all of its I/O queues.
pub struct AdminMember {
    subsystem: Subsystem,
    controller: Arc<Controller>,
}

impl AdminMember {
    /// The controller.
    pub fn controller(&self) -> &Arc<Controller> {
        &self.controller
    }

    /// The subsystem.
    pub fn subsystem(&self) -> &Subsystem {
        &self.subsystem
    }
}

impl Drop for AdminMember {
    fn drop(&mut self) {
        self.controller.end();
        self.subsystem.table().controllers.remove(&self.controller.id());
    }
}

impl Subsystem {
    /// The subsystem called `identity` that shows what `access` says, at `advertised` or, where that is empty, at the
    /// address at which a host asks.
    pub fn new(
        identity: Identity,
        access: Access,
        reservations: Reservations,
        advertised: Vec<SocketAddr>,
    ) -> Self {
        Self(Arc::new(Inner { identity, access, reservations, advertised, table: Mutex::default() }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().expect("nothing panics while it holds the table of controllers")
    }

    /// What it says of itself.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Who sees what.
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    /// Who has reserved what.
    pub(crate) fn reservations(&self) -> &Reservations {
        &self.0.reservations
    }

    /// The controllers of the host with this identifier.
    pub(crate) fn controllers_of(&self, host_id: [u8; 16]) -> Vec<u16> {
        let table = self.table();
        let controllers = table.controllers.values().filter(|one| one.kind() == Kind::Io);
        controllers.filter(|one| one.host().id == host_id).map(|one| one.id()).collect()
    }

    /// What a host sees.
    pub fn view(&self, host: &Host) -> View {
        self.0.access.view(Fabric::NvmeTcp, &host.nqn, host.address)
    }

    /// Where the subsystem can be reached, for a host that asked at `portal`.
    pub(crate) fn addresses(&self, portal: Option<SocketAddr>) -> Vec<SocketAddr> {
        match self.0.advertised.is_empty() {
            true => portal.into_iter().collect(),
            false => self.0.advertised.clone(),
        }
    }

    /// How many controllers exist.
    pub fn controllers(&self) -> usize {
        self.table().controllers.len()
    }

    /// Opens a queue for a host at `address`.
    ///
    /// What is opened here needs no further proof of who the host is. Where one is to be demanded (DH-HMAC-CHAP, Base 2.0,
    /// 8.13), it comes between this and the first other command, and the answer to Connect says so; until then
    /// authentication commands are refused as unknown.
    pub fn connect(&self, connect: &Connect, address: Option<IpAddr>) -> Result<Opened, Refused> {
        let kind = match connect.subsystem.as_str() {
            DISCOVERY_NQN => Kind::Discovery,
            nqn if nqn == self.0.identity.nqn => Kind::Io,
            _ => return Err(Refused::subsystem()),
        };
        match connect.queue {
            0 => self.open_controller(kind, connect, address).map(Opened::Admin),
            _ => self.open_queue(kind, connect, address).map(Opened::Io),
        }
    }

    fn open_controller(
        &self,
        kind: Kind,
        connect: &Connect,
        address: Option<IpAddr>,
    ) -> Result<AdminMember, Refused> {
        if connect.controller != ANY_CONTROLLER {
            return Err(Refused::controller());
        }
        if connect.entries > ADMIN_ENTRIES_MAX {
            return Err(Refused::entries());
        }
        let host = Host { nqn: connect.host.clone(), id: connect.host_id, address };
        if kind == Kind::Io && self.view(&host).units.is_empty() {
            return Err(Refused::because(Status::CONNECT_HOST));
        }
        let mut table = self.table();
        if kind == Kind::Io && table.is_taken(&host) {
            return Err(Refused::host_id());
        }
        let id = table.next_id().ok_or(Refused::because(Status::CONNECT_BUSY))?;
        let controller = Controller::new(id, kind, host);
        table.controllers.insert(id, controller.clone());
        table.last = id;
        Ok(AdminMember { subsystem: self.clone(), controller })
    }

    fn open_queue(
        &self,
        kind: Kind,
        connect: &Connect,
        address: Option<IpAddr>,
    ) -> Result<IoMember, Refused> {
        let controller = self.table().controllers.get(&connect.controller).cloned();
        let controller = controller.filter(|found| found.kind() == kind).ok_or(Refused::controller())?;
        if kind == Kind::Discovery {
            return Err(Refused::queue());
        }
        // From where it connects it must be the same host, too: its name and identifier are no secrets.
        let host_of = |view: &View| view.host.as_ref().map(|host| host.name.clone());
        let here = Host { nqn: connect.host.clone(), id: connect.host_id, address };
        let (here, there) = (self.view(&here), self.view(controller.host()));
        if host_of(&here) != host_of(&there) {
            return Err(Refused::because(Status::CONNECT_HOST));
        }
        controller.join(connect)
    }
}
