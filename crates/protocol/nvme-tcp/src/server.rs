//! The server of one core: accepts connections, and takes over I/O queues of other cores whose volumes are here.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use quarry_env::{Env, Listener, Stream};
use quarry_nvme::Subsystem;
use quarry_nvme::limits::{TRANSFER_BYTES_MAX, WORKING_BYTES_MAX};
use quarry_target::{Budget, Exports, HandOver, Volumes};

use crate::limits::{ACCEPT_PAUSE, SHARE};
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
        let mut pause = ACCEPT_PAUSE.0;
        let mut stopped = self.exports.stop_signal().stopped();
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

    /// Serves an I/O queue that another core has handed over.
    pub fn take_over(self: &Rc<Self>, connection: Connection) {
        self.env.spawner.spawn(session::take_over(self.clone(), connection)).detach();
    }

    fn begin(self: &Rc<Self>, stream: Rc<dyn Stream>, peer: String) {
        match self.exports.admit(peer.clone()) {
            Ok(session) => {
                self.env.spawner.spawn(session::serve(self.clone(), stream, session, peer)).detach();
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
