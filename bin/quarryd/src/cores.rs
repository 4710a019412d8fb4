//! The threads of the data plane, and calls into them.

use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use quarry_cache_disk::CacheDisk;
use quarry_env_linux::{Core, CoreConfig, CoreHandle, CoreRemote};
use quarry_network_disk::{Host, Remotes, with_network_disks};
use quarry_node_api::{ErrorKind, NodeError};
use quarry_object_disk::{Buckets, with_objects};
use quarry_qos::Board;
use quarry_target::{Access, Exports, HandOver, Reservations, Stop};

use crate::core_state::{self, CoreState};

/// What sessions on all cores ask, and the control plane changes. Clones are the same tables.
#[derive(Clone, Default)]
pub struct Tables {
    /// Volumes by name, and everybody who is connected.
    pub exports: Exports,
    /// Volumes that are served over vhost-user, by name, and the machines that use them.
    pub vhost_user: Exports,
    /// Volumes by number, for whom.
    pub access: Access,
    /// Who has reserved which volume.
    pub reservations: Reservations,
    /// The node's cache disk, once it is open.
    pub cache_disk: Arc<OnceLock<Arc<CacheDisk>>>,
}

/// All cores of the node. Cheap to clone.
#[derive(Clone)]
pub struct Cores {
    remotes: Arc<[CoreRemote]>,
    network_disks: Remotes,
    buckets: Buckets,
    stop: Stop,
}

/// Memory of the data plane, or of one of its cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// All of it.
    pub bytes: u64,
    /// Of that, what data may take that is read again.
    pub read_cache_bytes: u64,
    /// Of that, what finding records on a cache disk may take.
    pub cache_index_bytes: u64,
}

impl Memory {
    /// What is left for maps and buffers.
    pub fn beside_caches(self) -> u64 {
        self.bytes - self.read_cache_bytes - self.cache_index_bytes
    }

    fn share(self, count: u64) -> Self {
        Self {
            bytes: self.bytes / count,
            read_cache_bytes: self.read_cache_bytes / count,
            cache_index_bytes: self.cache_index_bytes / count,
        }
    }
}

impl Cores {
    /// Starts `count` cores with `memory` in all, of a node that is `host` to the servers of its devices; the handles end
    /// after [`Cores::stop`].
    pub fn start(
        count: usize,
        memory: Memory,
        tables: &Tables,
        host: Host,
    ) -> anyhow::Result<(Self, Vec<CoreHandle<()>>)> {
        let config = CoreConfig { pin: count > 1, ..CoreConfig::default() };
        let stop = Stop::default();
        let network_disks = Remotes::new(count, host);
        let buckets = Buckets::default();
        let board = Board::new(count);
        let mut handles: Vec<CoreHandle<()>> = Vec::new();
        for index in 0..count {
            let (stop, tables, network_disks) = (stop.clone(), tables.clone(), network_disks.clone());
            let (board, buckets) = (board.clone(), buckets.clone());
            let share = memory.share(count as u64);
            let core = Core::start(&format!("core-{index}"), index, &config, move |env| async move {
                let env = with_objects(&with_network_disks(&env, &network_disks), &buckets);
                let stopped = stop.stopped();
                core_state::install(Rc::new(CoreState::new(index, env, tables, share, board)));
                stopped.await;
                core_state::clear();
            });
            handles.push(core.with_context(|| {
                format!(
                    "core {index} cannot be started: io_uring is needed (Linux 5.19 or later, not disabled)"
                )
            })?);
        }
        let remotes: Arc<[CoreRemote]> = handles.iter().map(CoreHandle::remote).collect();
        let cores = Self { remotes, network_disks, buckets, stop };
        Ok((cores, handles))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.remotes.len()
    }

    /// Waits until connections to devices behind a network that were closed have ended and their claims are given back, in bounded time.
    pub async fn let_go_of_network_devices(&self) {
        const WAIT_MAX: Duration = Duration::from_secs(5);
        let closed = async {
            while !self.network_disks.are_closed() || !self.buckets.are_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(WAIT_MAX, closed).await.is_err() {
            tracing::warn!(
                "a server of a device does not answer; who opens that device next waits until nothing can come from this node"
            );
        }
    }

    /// The disks of servers that are devices.
    pub fn network_disks(&self) -> &Remotes {
        &self.network_disks
    }

    /// The places in buckets that are devices of pools.
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// Runs `task` on core `index` with what lives there.
    pub async fn call<T, F, Fut>(&self, index: usize, task: F) -> Result<T, NodeError>
    where
        T: Send + 'static,
        F: FnOnce(Rc<CoreState>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let gone = || NodeError::new(ErrorKind::Unavailable, "the node is stopping");
        let called = self.remotes[index].call(move |_| async move {
            match core_state::current() {
                Some(state) => Some(task(state).await),
                None => None,
            }
        });
        called.await.map_err(|_| gone())?.ok_or_else(gone)
    }

    /// Ends the cores.
    pub fn stop(&self) {
        self.stop.stop();
    }
}

/// The way of a connection from one core to another.
pub struct ToCores {
    pub index: usize,
    pub cores: Cores,
}

impl ToCores {
    /// Runs `take_over` with what lives on another core, for a connection that was negotiated on this one.
    fn hand_over(&self, core: usize, take_over: impl FnOnce(&CoreState) + Send + 'static) {
        let sent = self.cores.remotes[core].spawn(move |_| async move {
            if let Some(state) = core_state::current() {
                take_over(&state);
            }
        });
        if sent.is_err() {
            tracing::warn!(core, "a connection for a core that has ended was dropped");
        }
    }
}

impl HandOver<quarry_nbd::Connection> for ToCores {
    fn core(&self) -> usize {
        self.index
    }

    fn hand_over(&self, core: usize, connection: quarry_nbd::Connection) {
        self.hand_over(core, move |state| {
            if let Some(server) = state.server() {
                server.take_over(connection);
            }
        });
    }
}

impl HandOver<quarry_nvme_tcp::Connection> for ToCores {
    fn core(&self) -> usize {
        self.index
    }

    fn hand_over(&self, core: usize, connection: quarry_nvme_tcp::Connection) {
        self.hand_over(core, move |state| {
            if let Some(server) = state.nvme_tcp_server() {
                server.take_over(connection);
            }
        });
    }
}

impl HandOver<quarry_iscsi::Connection> for ToCores {
    fn core(&self) -> usize {
        self.index
    }

    fn hand_over(&self, core: usize, connection: quarry_iscsi::Connection) {
        self.hand_over(core, move |state| {
            if let Some(server) = state.iscsi_server() {
                server.take_over(connection);
            }
        });
    }
}
