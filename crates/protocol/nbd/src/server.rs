//! The server of one core: accepts connections, and takes over those of other cores whose volumes are here.

use std::rc::Rc;

use quarry_env::{Address, Env, Listener};
use quarry_target::{Budget, Exports, HandOver, Reservations, Volumes, accept};
use quarry_tls::ServerTls;

use crate::limits::{PAYLOAD_BYTES_MAX, SHARE};
use crate::session::{self, Connection};

/// Least memory of a core for requests and replies: what one request may need.
pub const BUDGET_BYTES_MIN: u64 = PAYLOAD_BYTES_MAX as u64;

/// NBD on one core.
pub struct Server {
    pub(crate) env: Env,
    pub(crate) exports: Exports,
    pub(crate) volumes: Rc<dyn Volumes>,
    pub(crate) cores: Rc<dyn HandOver<Connection>>,
    pub(crate) reservations: Reservations,
    pub(crate) budget: Budget,
    /// What connections over TCP have to be encrypted with.
    tls: Option<ServerTls>,
}

impl Server {
    /// The server of the core of `env`. What `reservations` forbid to a host without a key is refused. Its sessions hold at most `budget_bytes` of requests and replies, which is
    /// raised to [`BUDGET_BYTES_MIN`] where it is less.
    pub fn new(
        env: Env,
        exports: Exports,
        volumes: Rc<dyn Volumes>,
        cores: Rc<dyn HandOver<Connection>>,
        reservations: Reservations,
        budget_bytes: u64,
        tls: Option<ServerTls>,
    ) -> Rc<Self> {
        let budget = Budget::new(budget_bytes.max(BUDGET_BYTES_MIN), SHARE);
        Rc::new(Self { env, exports, volumes, cores, reservations, budget, tls })
    }

    /// Accepts connections until [`Exports::stop`] is called. The sessions run on their own and end by themselves.
    pub async fn serve(self: Rc<Self>, listener: Rc<dyn Listener>) {
        // Who may open a unix socket, its file says, and nobody else hears what passes.
        let tls = self.tls.clone().filter(|_| matches!(listener.local_address(), Address::Tcp(_)));
        let exports = &self.exports;
        accept(&self.env, exports, &*listener, |stream, session, _| {
            let served = session::serve(self.clone(), stream, session, tls.clone());
            self.env.spawner.spawn(served).detach();
        })
        .await;
    }

    /// Serves a connection that another core has handed over.
    pub fn take_over(self: &Rc<Self>, connection: Connection) {
        self.env.spawner.spawn(session::take_over(self.clone(), connection)).detach();
    }
}
