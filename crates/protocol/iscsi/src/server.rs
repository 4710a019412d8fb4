//! The server of one core: accepts connections, and takes over those of other cores whose volumes are here.

use std::net::SocketAddr;
use std::rc::Rc;

use quarry_env::{Env, Listener};
use quarry_scsi::{SoftThreshold, Units};
use quarry_target::{Access, Budget, Exports, HandOver, Reservations, Volumes, accept};
use quarry_types::VolumeId;

use crate::connection::{self, Connection};
use crate::sessions::Sessions;
use crate::targets::target_name;

/// Least memory of a core for commands and their answers: what one command may need.
pub const BUDGET_BYTES_MIN: u64 = 2 * quarry_scsi::limits::TRANSFER_BYTES_MAX as u64;

/// The target of a node: what its cores share. Clones are the same target.
#[derive(Clone)]
pub struct Target {
    /// Its iSCSI name.
    pub name: String,
    /// The addresses that discovery answers; those that initiators have connected to, if there are none.
    pub advertise: Vec<SocketAddr>,
    /// The node's connections.
    pub exports: Exports,
    /// Who sees what.
    pub access: Access,
    pub(crate) units: Units,
    pub(crate) sessions: Sessions,
}

impl Target {
    /// The target of the node that people call `node`.
    pub fn new(
        node: &str,
        advertise: Vec<SocketAddr>,
        exports: Exports,
        access: Access,
        reservations: Reservations,
    ) -> Self {
        Self {
            name: target_name(node),
            advertise,
            exports,
            access,
            units: Units::new(reservations),
            sessions: Sessions::default(),
        }
    }

    /// The pool behind a volume is so full. Initiators are told when that is too full.
    pub fn note_threshold(&self, volume: VolumeId, threshold: SoftThreshold) {
        self.units.note_threshold(volume, threshold);
    }

    /// How many initiators are logged in to it.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }
}

/// iSCSI on one core.
pub struct Server {
    pub(crate) env: Env,
    pub(crate) target: Target,
    pub(crate) volumes: Rc<dyn Volumes>,
    pub(crate) cores: Rc<dyn HandOver<Connection>>,
    pub(crate) budget: Budget,
}

impl Server {
    /// The server of the core of `env`. Its sessions hold at most `budget_bytes` of commands and answers, which is raised to
    /// [`BUDGET_BYTES_MIN`] where it is less.
    pub fn new(
        env: Env,
        target: Target,
        volumes: Rc<dyn Volumes>,
        cores: Rc<dyn HandOver<Connection>>,
        budget_bytes: u64,
    ) -> Rc<Self> {
        let budget = Budget::new(budget_bytes.max(BUDGET_BYTES_MIN), quarry_target::limits::SHARE);
        Rc::new(Self { env, target, volumes, cores, budget })
    }

    /// Accepts connections until [`Exports::stop`] is called. The sessions run on their own and end by themselves.
    pub async fn serve(self: Rc<Self>, listener: Rc<dyn Listener>) {
        let exports = &self.target.exports;
        accept(&self.env, exports, &*listener, |stream, session, peer| {
            let address = peer.parse::<SocketAddr>().ok().map(|address| address.ip());
            let served = connection::serve(self.clone(), stream, session, address);
            self.env.spawner.spawn(served).detach();
        })
        .await;
    }

    /// Serves a connection that another core has handed over.
    pub fn take_over(self: &Rc<Self>, connection: Connection) {
        self.env.spawner.spawn(connection::take_over(self.clone(), connection)).detach();
    }
}
