//! The server of one core: accepts connections, and takes over those of other cores whose volumes are here.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use quarry_env::{Env, Listener, Stream};
use quarry_scsi::Units;
use quarry_target::{Access, Budget, Exports, HandOver, Reservations, Volumes};

use crate::connection::{self, Connection};
use crate::limits::ACCEPT_PAUSE;
use crate::sessions::Sessions;
use crate::strangers::Strangers;
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
    pub(crate) strangers: Strangers,
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
            strangers: Strangers::default(),
        }
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
        let mut pause = ACCEPT_PAUSE.0;
        let mut stopped = self.target.exports.stop_signal().stopped();
        loop {
            let accepted = match select(listener.accept(), stopped).await {
                Either::Left((accepted, still)) => {
                    stopped = still;
                    accepted
                }
                Either::Right(_) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE.0;
                    self.begin(stream, peer);
                }
                Err(error) => self.rest(&error, &mut pause).await,
            }
        }
    }

    /// Serves a connection that another core has handed over.
    pub fn take_over(self: &Rc<Self>, connection: Connection) {
        self.env.spawner.spawn(connection::take_over(self.clone(), connection)).detach();
    }

    fn begin(self: &Rc<Self>, stream: Rc<dyn Stream>, peer: String) {
        let address = peer.parse::<SocketAddr>().ok().map(|address| address.ip());
        match self.target.exports.admit(peer) {
            Ok(session) => {
                let served = connection::serve(self.clone(), stream, session, address);
                self.env.spawner.spawn(served).detach();
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was refused");
                stream.shutdown();
            }
        }
    }

    /// Waits after a failed accept, longer each time: file descriptors may have run out, which others must free.
    async fn rest(&self, error: &io::Error, pause: &mut Duration) {
        tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "cannot accept connections");
        self.env.clock.sleep(*pause).await;
        *pause = (*pause * 2).min(ACCEPT_PAUSE.1);
    }
}
