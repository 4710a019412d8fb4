//! The node in one page.

use std::collections::BTreeSet;

use quarry_api_types::{
    Cause, Health, HealthLevel, InitiatorNames, ListenerProtocol, ListenerStatus, MemoryStatus, Pool,
    PoolDevice, PoolDeviceState, PoolState, PoolsStatus, ReadCacheStatus, Status, VolumesStatus,
};
use quarry_engine::RecordCacheStatus;
use quarry_network_disk::Host;
use quarry_node_api::Result;
use quarry_target::{Fabric, SessionInfo};

use super::DataNode;
use super::conditions::MAKE_SPACE;
use super::freeing::freeing;
use super::host_named;
use super::reopening::BRING_BACK;

impl DataNode {
    /// What the node serves, in a line.
    pub async fn summary(&self) -> String {
        let mut served = Vec::new();
        for (name, addresses) in [
            ("NBD", &self.settings.nbd),
            ("iSCSI", &self.settings.iscsi),
            ("NVMe/TCP", &self.settings.nvme_tcp),
        ] {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            if !addresses.is_empty() {
                served.push(format!("{name} on {}", addresses.join(" and ")));
            }
        }
        let volumes = self.volumes_of(None).await.map_or(0, |volumes| volumes.len()) + self.images().len();
        format!(
            "quarryd {} serves the API on https://{}, {}: {} pools, {volumes} volumes, {} exports, {} cores",
            env!("CARGO_PKG_VERSION"),
            self.api,
            served.join(", "),
            self.pools().len(),
            self.offer_count(),
            self.cores.count(),
        )
    }

    fn initiator_names(&self) -> InitiatorNames {
        let Host { iqn, nqn, .. } = host_named(self.id);
        InitiatorNames { iqn, nqn }
    }

    pub(super) async fn describe_node(&self) -> Result<Status> {
        let pools = self.describe_pools().await?;
        let volumes = self.volumes_of(None).await?;
        let engines = self.engine_statuses(None).await?;
        let buffers = self.buffer_bytes().await?;
        let used_bytes = engines.iter().map(|engine| engine.memory_bytes as u64).sum::<u64>()
            + buffers.iter().sum::<u64>();
        let of_caches = |value: fn(&RecordCacheStatus) -> u64| {
            engines.iter().map(|engine| value(&engine.read_cache)).sum::<u64>()
        };
        let images: Vec<u64> = self.images().values().map(|entry| entry.record.size_bytes).collect();
        let mut damaged = Vec::new();
        for pool in &pools {
            damaged.extend(damage_cause(
                pool,
                self.damaged_blocks(pool.id).await?.values().map(BTreeSet::len).sum(),
            ));
        }
        let in_state = |state: PoolState| pools.iter().filter(|pool| pool.state == state).count() as u64;
        Ok(Status {
            node_id: self.id,
            initiator: self.initiator_names(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.began.elapsed().as_secs(),
            cores: self.cores.count() as u16,
            memory: MemoryStatus {
                budget_bytes: self.settings.memory.bytes,
                used_bytes,
                read_cache: ReadCacheStatus {
                    budget_bytes: self.settings.memory.read_cache_bytes,
                    used_bytes: of_caches(|cache| cache.used_bytes as u64),
                    hits: of_caches(|cache| cache.hits),
                    misses: of_caches(|cache| cache.misses),
                },
            },
            cache_disk: self.cache_disk_status(),
            listeners: self.listeners(),
            pools: PoolsStatus {
                online: in_state(PoolState::Online),
                degraded: in_state(PoolState::Degraded),
                offline: in_state(PoolState::Offline),
                total_bytes: pools.iter().map(|pool| pool.capacity.total_bytes).sum(),
                used_bytes: pools.iter().map(|pool| pool.capacity.used_bytes).sum(),
                freeing: freeing(&engines),
            },
            volumes: VolumesStatus {
                count: (volumes.len() + images.len()) as u64,
                size_bytes: volumes.iter().map(|volume| volume.status.size_bytes).chain(images.clone()).sum(),
                used_bytes: volumes.iter().map(|volume| volume.status.mapped_bytes).chain(images).sum(),
            },
            exports: self.offer_count() as u64,
            health: Health::from_causes(
                pools
                    .iter()
                    .flat_map(causes)
                    .chain(damaged)
                    .chain(self.place_causes())
                    .chain(self.cache_disk_cause())
                    .chain(self.key_causes(volumes.iter().filter(|volume| volume.status.locked).count()))
                    .collect(),
            ),
        })
    }

    /// Bytes of I/O memory that each core has taken.
    pub(super) async fn buffer_bytes(&self) -> Result<Vec<u64>> {
        let asked = (0..self.cores.count())
            .map(|core| self.cores.call(core, |state| async move { state.env.buffers.slab_bytes() as u64 }));
        futures::future::join_all(asked).await.into_iter().collect()
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let api =
            ListenerStatus { protocol: ListenerProtocol::Api, address: self.api.to_string(), connections: 0 };
        let counts = self.session_counts();
        let served = [
            (ListenerProtocol::Nbd, &self.settings.nbd, counts.nbd),
            (ListenerProtocol::Iscsi, &self.settings.iscsi, counts.iscsi),
            (ListenerProtocol::NvmeTcp, &self.settings.nvme_tcp, counts.nvme_tcp),
        ];
        let listeners = served.into_iter().flat_map(|(protocol, addresses, connections)| {
            addresses.iter().map(move |address| ListenerStatus {
                protocol,
                address: address.to_string(),
                connections: connections as u32,
            })
        });
        let sockets = (!self.vhost_user.list().is_empty()).then(|| ListenerStatus {
            protocol: ListenerProtocol::VhostUser,
            address: self.settings.vhost_user.display().to_string(),
            connections: counts.vhost_user as u32,
        });
        std::iter::once(api).chain(listeners).chain(sockets).collect()
    }

    /// How many sessions there are of each protocol. Those that negotiate still, discover, or are I/O queues of an association that counts
    /// already do not.
    pub(super) fn session_counts(&self) -> SessionCounts {
        let mut counts = SessionCounts::default();
        for session in self.exports.sessions() {
            match session.login.map(|login| login.fabric) {
                None => counts.nbd += u64::from(session.export.is_some()),
                Some(Fabric::Iscsi) => counts.iscsi += 1,
                Some(Fabric::NvmeTcp) => counts.nvme_tcp += 1,
            }
        }
        let bound = |session: &SessionInfo| session.export.is_some();
        counts.vhost_user = self.vhost_user.sessions().iter().filter(|session| bound(session)).count() as u64;
        counts
    }
}

/// Sessions by protocol.
#[derive(Default)]
pub(super) struct SessionCounts {
    pub(super) nbd: u64,
    pub(super) iscsi: u64,
    pub(super) nvme_tcp: u64,
    pub(super) vhost_user: u64,
}

fn causes(pool: &Pool) -> Vec<Cause> {
    let mut causes = state_causes(pool);
    if let Some(scrub) = pool.scrub.as_ref().filter(|scrub| scrub.lost > 0) {
        causes.push(Cause {
            level: HealthLevel::Critical,
            message: format!("pool '{}' has {} blocks without a good copy", pool.name, scrub.lost),
            next_step: format!("`quarry pool show {}` names them; restore them from a backup.", pool.name),
        });
    }
    causes.extend(pool.devices.iter().flat_map(|device| device_causes(pool, device)));
    causes.extend(space_cause(pool));
    causes
}

/// What reads have met since the last scrub.
fn damage_cause(pool: &Pool, blocks: usize) -> Option<Cause> {
    let is_known = pool.scrub.as_ref().is_some_and(|scrub| scrub.lost > 0);
    (blocks > 0 && !is_known).then(|| Cause {
        level: HealthLevel::Critical,
        message: format!("{blocks} blocks of pool '{}' have no good copy", pool.name),
        next_step: format!(
            "`quarry events` names them, and `quarry pool scrub {} --wait` finds all; restore them from a backup.",
            pool.name
        ),
    })
}

/// What speaks against a device that takes part, or is about to; why others do not is a reason of the pool's state.
fn device_causes(pool: &Pool, device: &PoolDevice) -> Vec<Cause> {
    let takes_part = matches!(
        device.state,
        PoolDeviceState::Online | PoolDeviceState::Suspect | PoolDeviceState::Returned
    );
    let causes = device.health.causes.iter().filter(|_| takes_part);
    let named = |cause: &Cause| Cause {
        message: format!("device '{}' of pool '{}': {}", device.path, pool.name, cause.message),
        ..cause.clone()
    };
    causes.map(named).collect()
}

fn space_cause(pool: &Pool) -> Option<Cause> {
    let (name, fill, levels) = (&pool.name, pool.fill_percent, pool.levels);
    let (level, message) = if pool.full {
        (HealthLevel::Critical, format!("pool '{name}' is full: writes that need space are refused"))
    } else if fill >= levels.critical_percent {
        let percent = levels.critical_percent;
        (HealthLevel::Critical, format!("pool '{name}' is {fill} % full, its critical level is {percent} %"))
    } else if fill >= levels.warning_percent {
        let percent = levels.warning_percent;
        (HealthLevel::Warning, format!("pool '{name}' is {fill} % full, its warning level is {percent} %"))
    } else {
        return None;
    };
    Some(Cause { level, message, next_step: MAKE_SPACE.to_owned() })
}

fn state_causes(pool: &Pool) -> Vec<Cause> {
    let (level, next_step) = match pool.state {
        PoolState::Online => return Vec::new(),
        PoolState::Degraded => (
            HealthLevel::Warning,
            "Bring the device back: it is used again by itself. Or replace it: `quarry device replace POOL DEVICE NEW`.",
        ),
        PoolState::Offline => (HealthLevel::Critical, BRING_BACK),
    };
    let cause = |reason: &String| Cause {
        level,
        message: format!("pool '{}' is {}: {reason}", pool.name, pool.state),
        next_step: next_step.to_owned(),
    };
    pool.reasons.iter().map(cause).collect()
}
