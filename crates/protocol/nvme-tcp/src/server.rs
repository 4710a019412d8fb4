//! The server of one core: accepts connections, and takes over I/O queues of other cores whose volumes are here.

use std::rc::Rc;

use quarry_env::{Env, Listener};
use quarry_nvme::Subsystem;
use quarry_nvme::limits::{TRANSFER_BYTES_MAX, WORKING_BYTES_MAX};
use quarry_target::{Budget, Exports, HandOver, Volumes, accept};

use crate::limits::SHARE;
use crate::session::{self, Connection};

/// Least memory of a core for commands and answers: what one command may need.
pub const BUDGET_BYTES_MIN: u64 = TRANSFER_BYTES_MAX as u64 + WORKING_BYTES_MAX;

/// NVMe/TCP on one core.
pub struct Server {
    pub(crate) env: Env,
    pub(crate) exports: Exports,
    pub(crate) subsystem: Subsystem,
    pub(crate) volumes: Rc<dyn Volumes>,
    pub(crate) cores: Rc<dyn HandOver<Connection>>,
    pub(crate) budget: Budget,
}

impl Server {
    /// The server of the core of `env`, for a subsystem that all cores share. Its sessions hold at most `budget_bytes` of
    /// commands and answers, which is raised to [`BUDGET_BYTES_MIN`] where it is less.
    pub fn new(
        env: Env,
        exports: Exports,
        subsystem: Subsystem,
        volumes: Rc<dyn Volumes>,
        cores: Rc<dyn HandOver<Connection>>,
        budget_bytes: u64,
    ) -> Rc<Self> {
        let budget = Budget::new(budget_bytes.max(BUDGET_BYTES_MIN), SHARE);
        Rc::new(Self { env, exports, subsystem, volumes, cores, budget })
    }

    /// Accepts connections until [`Exports::stop`] is called. The sessions run on their own and end by themselves.
    pub async fn serve(self: Rc<Self>, listener: Rc<dyn Listener>) {
        let exports = &self.exports;
        accept(&self.env, exports, &*listener, |stream, session, peer| {
            self.env.spawner.spawn(session::serve(self.clone(), stream, session, peer)).detach();
        })
        .await;
    }

    /// Serves an I/O queue that another core has handed over.
    pub fn take_over(self: &Rc<Self>, connection: Connection) {
        self.env.spawner.spawn(session::take_over(self.clone(), connection)).detach();
    }
}
