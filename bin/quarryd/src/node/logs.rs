//! Which log of a pool a volume goes to: one that keeps it as it is meant to be kept, made where there is none.
//!
//! Volumes that are kept as their pool share its first logs. Those with a protection or a tier of their own share other ones, of which the labels say how they
//! are kept ([`LogPolicy`]). A log is said to be kept so before it is made, and one that was not made then is the next time.

use quarry_api_types::{OwnProtection, OwnTier, Protection, Tier};
use quarry_device::{LogPolicy, TierPolicy};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_pool::{LOG_CHUNKS_MIN, PoolShared};
use quarry_types::limits::LOGS_MAX;
use quarry_types::{LogId, PoolId};

use super::membership::membership_error;
use super::tiers::{class_of, placement};
use super::volumes::FoundVolume;
use super::{DataNode, OpenPool};

/// A pool with fewer chunks than this for each log would spend too much of them on each log's reserve.
const CHUNKS_PER_LOG_MIN: u64 = 128;

/// How a log is kept that has such volumes.
pub(super) fn policy(protection: Option<Protection>, tier: Option<Tier>) -> LogPolicy {
    LogPolicy { protection: protection.map(|own| own.0), tier_policy: tier.map(tier_policy) }
}

/// Where data of that tier lies.
pub(super) fn tier_policy(tier: Tier) -> TierPolicy {
    match tier {
        Tier::Automatic => TierPolicy::Automatic,
        tier => TierPolicy::Pinned(class_of(tier)),
    }
}

/// How a volume is to be kept that is kept in some way `before`.
pub(super) fn changed(
    before: LogPolicy,
    protection: Option<OwnProtection>,
    tier: Option<OwnTier>,
) -> LogPolicy {
    LogPolicy {
        protection: protection.map_or(before.protection, |own| own.0.map(|own| own.0)),
        tier_policy: tier.map_or(before.tier_policy, |own| own.0.map(tier_policy)),
    }
}

/// Logs of a pool and what is in them.
struct Logs<'a> {
    open: &'a OpenPool,
    volumes: &'a [FoundVolume],
}

impl Logs<'_> {
    fn count(&self, log: LogId) -> usize {
        self.volumes.iter().filter(|volume| volume.log == log).count()
    }

    fn policy(&self, log: LogId) -> LogPolicy {
        self.open.shared.log_policy(log)
    }

    fn alike(&self, policy: LogPolicy) -> impl Iterator<Item = (LogId, usize)> {
        self.open.logs.iter().copied().filter(move |(log, _)| self.policy(*log) == policy)
    }

    /// The one that keeps what it holds so, rather on the core `near`, then the one with the fewest volumes.
    fn best(&self, policy: LogPolicy, near: Option<usize>) -> Option<(LogId, usize)> {
        let rank =
            |(log, core): &(LogId, usize)| (near.is_some_and(|near| near != *core), self.count(*log), *log);
        self.alike(policy).min_by_key(rank)
    }

    /// One in which nothing is. Each core that has a log for volumes that are kept as the pool keeps one.
    fn unused(&self) -> Option<(LogId, usize)> {
        let is_plain = |log: LogId| self.policy(log).is_as_pool();
        let has_other = |log: LogId, core: usize| {
            self.open.logs.iter().any(|&(other, on)| other < log && on == core && is_plain(other))
        };
        let to_spare = |(log, core): &(LogId, usize)| {
            self.count(*log) == 0 && (!is_plain(*log) || has_other(*log, *core))
        };
        self.open.logs.iter().copied().filter(to_spare).max_by_key(|(log, _)| (!is_plain(*log), *log))
    }

    /// One that can be made, and the core that it gets, which is the same after a restart.
    fn to_be_made(&self, policy: LogPolicy, near: Option<usize>, cores: usize) -> Option<(LogId, usize)> {
        let (first, of_first) = self.open.logs[0];
        let core = |log: u16| (of_first + cores + usize::from(log) - usize::from(first.0) % cores) % cores;
        let is_free = |log: &u16| self.open.logs.iter().all(|(known, _)| known.0 != *log);
        let rank = |(log, core): &(LogId, usize)| {
            let alike = self.alike(policy).filter(|(_, on)| on == core).count();
            (near.is_some_and(|near| near != *core), alike, *log)
        };
        (0..LOGS_MAX).filter(is_free).map(|log| (LogId(log), core(log))).min_by_key(rank)
    }
}

impl DataNode {
    /// With how many logs a pool begins.
    pub(super) fn first_logs(&self, shared: &PoolShared) -> u16 {
        let wanted = shared.capacity().total_chunks / CHUNKS_PER_LOG_MIN;
        wanted.clamp(1, (self.cores.count() as u64).min(u64::from(LOGS_MAX))) as u16
    }

    pub(super) fn opened_pool(&self, id: PoolId) -> Result<OpenPool> {
        let entry = self.pools().get(&id).cloned();
        let entry =
            entry.ok_or_else(|| NodeError::new(ErrorKind::Unavailable, "the pool is being deleted"))?;
        entry.opened.map_err(|reason| super::scrub::offline(&entry.record.name, &reason))
    }

    /// A log that keeps what it holds so, and its core: rather the core `near`, then the one with the fewest volumes.
    pub(super) async fn log_for(
        &self,
        pool: PoolId,
        policy: LogPolicy,
        near: Option<usize>,
    ) -> Result<(LogId, usize)> {
        let open = self.opened_pool(pool)?;
        let volumes = self.all_volumes_of(Some(pool)).await?;
        let logs = Logs { open: &open, volumes: &volumes };
        let best = logs.best(policy, near);
        if let Some((log, core)) = best {
            let shared = &open.shared;
            let chunks = shared.capacity_for(log).total_chunks / (open.logs.len() as u64 + 1);
            // One of its first may be kept otherwise now.
            let logs_max = match policy.is_as_pool() {
                true => usize::from(self.first_logs(shared)),
                false => self.cores.count(),
            };
            let may_have_more = logs.alike(policy).count() < logs_max && chunks >= CHUNKS_PER_LOG_MIN;
            let is_lent =
                shared.log_policies().keys().any(|log| open.logs.iter().any(|(known, _)| known == log));
            if logs.count(log) == 0 || !may_have_more || (policy.is_as_pool() && !is_lent) {
                return Ok((log, core));
            }
        }
        match (self.make_log(&logs, policy, near).await, best) {
            (Err(error), Some(best)) => {
                tracing::info!(%error, "volumes that are kept alike share a log");
                Ok(best)
            }
            (made, _) => made,
        }
    }

    /// How many bytes more volumes that are kept so can have in a pool, beside all that it holds and keeps for others.
    pub(super) async fn room_for(&self, pool: PoolId, policy: LogPolicy) -> Result<u64> {
        let open = self.opened_pool(pool)?;
        let volumes = self.all_volumes_of(Some(pool)).await?;
        let logs = Logs { open: &open, volumes: &volumes };
        let used = logs.best(policy, None).or_else(|| logs.unused());
        let Some((log, _)) = used.or_else(|| logs.to_be_made(policy, None, self.cores.count())) else {
            return Ok(0);
        };
        let held = self.held_bytes(pool).await?;
        let looking = self.at_home(&open, move |pool| async move { pool.room_for(log, policy, &held) });
        looking.await?.map_err(|error| membership_error("its room is not known", &error))
    }

    /// Makes a log that keeps what it holds so, or has one do so in which nothing is.
    async fn make_log(
        &self,
        logs: &Logs<'_>,
        policy: LogPolicy,
        near: Option<usize>,
    ) -> Result<(LogId, usize)> {
        let open = logs.open;
        let (shared, id, cores) = (&open.shared, open.shared.id, self.cores.count());
        if let Some((log, core)) = logs.unused() {
            self.keep_log(open, log, policy).await?;
            return Ok((log, core));
        }
        let Some((log, core)) = logs.to_be_made(policy, near, cores) else {
            let what = format!("pool '{}' has {LOGS_MAX} logs, which is the most", shared.name);
            return Err(NodeError::new(ErrorKind::NoSpace, what)
                .with_next_step("Keep this volume as others are kept that are there."));
        };
        let protection = policy.protection.unwrap_or(shared.protection());
        let chunks = shared.chunks_for_another_log(protection);
        if chunks < LOG_CHUNKS_MIN {
            let what = format!("pool '{}' has no room for volumes that are kept so", shared.name);
            let missing = quarry_types::ByteSize(
                (LOG_CHUNKS_MIN - chunks) * shared.geometry.segment_bytes * protection.copies() as u64,
            );
            return Err(NodeError::new(ErrorKind::NoSpace, what)
                .with_cause(format!(
                    "they have checkpoints and a cleaner of their own, for which {missing} more must be free on {} devices",
                    protection.devices()
                ))
                .with_next_step("Keep the volume as others are kept that are there (`quarry volume list -o wide`), or add a device: `quarry device add`."));
        }
        self.keep_log(open, log, policy).await?;
        let count = open.logs.len() as u16 + 1;
        let pool = shared.clone();
        self.cores
            .call(core, move |state| async move { state.create_log(&pool, log, count).await })
            .await??;
        for core in 0..cores {
            self.cores.call(core, move |state| async move { state.set_logs(id, count) }).await?;
        }
        let rate = {
            let mut pools = self.pools_mut();
            let entry = pools.get_mut(&id);
            entry.and_then(|entry| {
                entry.opened.as_mut().map(|open| open.logs.push((log, core))).ok()?;
                entry.record.rebuild_rate_bytes
            })
        };
        self.set_rebuild_rate(&self.opened_pool(id)?, rate).await?;
        Ok((log, core))
    }

    /// Logs in which nothing lies any more are kept as their pool: its devices need not do for them what nobody wants.
    pub(super) async fn forget_unused_policies(&self) {
        let differs = |open: &OpenPool| !open.shared.log_policies().is_empty();
        let opened: Vec<OpenPool> =
            self.pools().values().filter_map(|entry| entry.opened.clone().ok()).filter(differs).collect();
        if opened.is_empty() {
            return;
        }
        let _changing = self.changing.lock().await;
        for open in opened {
            let Ok(volumes) = self.all_volumes_of(Some(open.shared.id)).await else { continue };
            let is_used = |log: &LogId| volumes.iter().any(|volume| volume.log == *log);
            let policies = open.shared.log_policies();
            for log in policies.into_keys().filter(|log| !is_used(log)) {
                if let Err(error) = self.keep_log(&open, log, LogPolicy::default()).await {
                    tracing::debug!(pool = open.shared.name, %log, %error, "an unused log stays as it is kept");
                }
            }
        }
    }

    /// Has a log keep what it holds so from now on.
    async fn keep_log(&self, open: &OpenPool, log: LogId, policy: LogPolicy) -> Result<()> {
        let held = self.held_bytes(open.shared.id).await?;
        let keeping =
            self.at_home(open, move |pool| async move { pool.change_log_policy(log, policy, &held).await });
        let what = format!("pool '{}' cannot keep a volume so", open.shared.name);
        keeping.await?.map_err(|error| membership_error(&what, &error))
    }

    /// How a volume is kept: its protection and its tier, and whether they are its own.
    pub(super) fn keeping_of(&self, found: &FoundVolume) -> Option<((Protection, bool), (Tier, bool))> {
        let OpenPool { shared, .. } = self.opened_pool(found.pool).ok()?;
        let own = shared.log_policy(found.log);
        let protection = Protection(shared.protection_of(found.log));
        let tier = placement(own.tier_policy.unwrap_or(shared.tier_policy()));
        Some(((protection, own.protection.is_some()), (tier, own.tier_policy.is_some())))
    }

    /// Keeps a volume otherwise: where it is if it is alone in its log, else beside others that are kept so, to where it moves.
    pub(super) async fn keep_otherwise(&self, found: &FoundVolume, wanted: LogPolicy) -> Result<()> {
        let open = self.opened_pool(found.pool)?;
        let before = open.shared.log_policy(found.log);
        if wanted == before {
            return Ok(());
        }
        let (pool, size_bytes) = (found.pool, found.status.size_bytes);
        let promised = |policy: LogPolicy| self.weighed(pool, policy.protection, size_bytes);
        let limit = self.overcommit_limit(found.status.id);
        self.check_growth((pool, limit), promised(wanted)?.saturating_sub(promised(before)?)).await?;
        let volumes = self.all_volumes_of(Some(pool)).await?;
        let is_other = |other: &FoundVolume| other.log == found.log && other.status.id != found.status.id;
        if !volumes.iter().any(is_other) {
            return self.keep_log(&open, found.log, wanted).await;
        }
        let name = super::volumes::parse_name(&found.status.name)?;
        self.check_moves_inside(&name).await?;
        self.check_comes(found, pool, wanted).await?;
        let log = self.log_for(pool, wanted, Some(found.core)).await?;
        self.migrate_to_log(&name, log).await
    }

    /// Whether a pool has room for a volume that comes and is kept so.
    pub(super) async fn check_comes(
        &self,
        found: &FoundVolume,
        pool: PoolId,
        policy: LogPolicy,
    ) -> Result<()> {
        let engines = self.engine_statuses(Some(found.pool)).await?;
        let engine = engines.iter().find(|engine| engine.log == found.log);
        let volumes = self.all_volumes_of(Some(found.pool)).await?;
        let beside = volumes.iter().filter(|volume| volume.log == found.log);
        let mapped_bytes: u64 = beside.map(|volume| volume.status.mapped_bytes).sum();
        let stored_bytes = engine.map_or(mapped_bytes, |engine| engine.live_bytes.min(mapped_bytes));
        // As compressible as what lies beside it.
        let share = u128::from(stored_bytes) * u128::from(found.status.mapped_bytes);
        let data_bytes = (share / u128::from(mapped_bytes.max(1))) as u64;
        let wanted = data_bytes.max(found.status.settings.reserved_bytes);
        let room = self.room_for(pool, policy).await?;
        if wanted <= room {
            return Ok(());
        }
        let (volume, name) = (&found.status.name, &self.opened_pool(pool)?.shared.name);
        let what = format!("pool '{name}' has no room for volume '{volume}' kept so");
        let (wanted, room) = (quarry_types::ByteSize(wanted), quarry_types::ByteSize(room));
        Err(NodeError::new(ErrorKind::NoSpace, what)
            .with_cause(format!(
                "it takes {wanted} before copies, also while it lies where it was, and there is room for {room}"
            ))
            .with_next_step("Delete volumes or snapshots, lower reservations, or add a device: `quarry device add`."))
    }
}
