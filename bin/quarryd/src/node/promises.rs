//! What a pool may promise: how far its volumes may over-commit it, and what it can keep for one of them.

use std::rc::Rc;

use quarry_api_types::{ChangeVolume, Commitment, Name, Volume, check_bounds, ratio};
use quarry_device::LogPolicy;
use quarry_engine::{Engine, with_overhead};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_pool::PoolShared;
use quarry_types::{ByteSize, PoolId, Protection, VolumeId};

use super::logs::changed;
use super::volumes::FoundVolume;
use super::{DataNode, PoolEntry};

/// So many bytes as they would be if they took as much kept as the pool keeps what it holds.
fn weighed(shared: &PoolShared, protection: Protection, bytes: u64) -> u64 {
    let own = shared.protection();
    if own == protection { bytes } else { own.data_bytes(protection.stored_bytes(bytes)) }
}

/// What the volumes of a pool have been promised; `capacity_bytes` is what it holds with its copies.
pub(super) fn commitment<'a>(
    shared: &PoolShared,
    volumes: impl Iterator<Item = &'a FoundVolume> + Clone,
    capacity_bytes: u64,
    limit_percent: Option<u32>,
) -> Commitment {
    let sum = |bytes: fn(&FoundVolume) -> u64| {
        let weigh = |volume: &FoundVolume| weighed(shared, shared.protection_of(volume.log), bytes(volume));
        volumes.clone().map(weigh).sum::<u64>()
    };
    let volumes_bytes = sum(|volume| volume.status.size_bytes);
    let reserved_bytes = sum(|volume| volume.status.settings.reserved_bytes);
    let percent = (u128::from(volumes_bytes) * 100 / u128::from(capacity_bytes.max(1))) as u64;
    Commitment { volumes_bytes, reserved_bytes, percent, limit_percent }
}

/// Who says how far a pool may be over-committed.
#[derive(Clone, Copy)]
enum Limit<'a> {
    OfPool(&'a Name),
    OfPolicy(&'a Name),
}

/// Whether the sizes of a pool's volumes may grow by so many bytes.
fn check_commitment(by: Limit<'_>, now: &Commitment, capacity_bytes: u64, more_bytes: u64) -> Result<()> {
    let Some(limit) = now.limit_percent else { return Ok(()) };
    let allowed = (u128::from(capacity_bytes) * u128::from(limit) / 100) as u64;
    let wanted = now.volumes_bytes.saturating_add(more_bytes);
    if more_bytes == 0 || wanted <= allowed {
        return Ok(());
    }
    let left = ByteSize(allowed.saturating_sub(now.volumes_bytes));
    let ratio = ratio(u64::from(limit));
    let (what, raise) = match by {
        Limit::OfPool(name) => (
            format!("pool '{name}' would be over-committed beyond its limit of {ratio}"),
            format!("raise the limit: `quarry pool set {name} --overcommit RATIO`."),
        ),
        Limit::OfPolicy(name) => (
            format!(
                "pool '{name}' would be over-committed beyond the {ratio} that the volume's policy allows"
            ),
            "choose another policy or pool.".to_owned(),
        ),
    };
    Err(NodeError::new(ErrorKind::NoSpace, what)
        .with_cause(format!(
            "its volumes would have {} in all, it holds {}; {left} more may be promised",
            ByteSize(wanted),
            ByteSize(capacity_bytes)
        ))
        .with_next_step(format!("Choose a smaller size, delete volumes, or {raise}")))
}

/// Whether a pool of which so much is available can keep what a volume with a reservation of so many bytes that maps
/// `mapped_bytes` has not used, beyond the `kept_bytes` that it keeps for it already.
fn check_reservation(
    pool: &Name,
    available_bytes: u64,
    reserved_bytes: u64,
    (mapped_bytes, kept_bytes): (u64, u64),
) -> Result<()> {
    let wanted = with_overhead(reserved_bytes.saturating_sub(mapped_bytes)).saturating_sub(kept_bytes);
    if wanted <= available_bytes {
        return Ok(());
    }
    // The largest reservation that would be honoured.
    let most = ByteSize(mapped_bytes + (available_bytes + kept_bytes) / 13 * 12);
    let what = format!("pool '{pool}' cannot keep {} for the volume", ByteSize(reserved_bytes));
    Err(NodeError::new(ErrorKind::NoSpace, what)
        .with_cause(format!("with what others use and were promised, {most} is the most"))
        .with_next_step(
            "Ask for less, or make space: delete volumes or snapshots, or lower other reservations.",
        ))
}

impl DataNode {
    /// The entry of a pool by its id.
    fn entry_of(&self, id: PoolId) -> Result<PoolEntry> {
        let found = self.pools().get(&id).cloned();
        found.ok_or_else(|| NodeError::new(ErrorKind::Unavailable, "the volume's pool is being deleted"))
    }

    /// So many bytes of a volume of a pool, which keeps them in its own way if one is given, as the pool would keep them.
    pub(super) fn weighed(&self, pool: PoolId, protection: Option<Protection>, bytes: u64) -> Result<u64> {
        let shared = self.opened_pool(pool)?.shared;
        Ok(weighed(&shared, protection.unwrap_or(shared.protection()), bytes))
    }

    /// Whether the volumes of a pool may have so many bytes more, by the pool's own limit and by that of the policy under which it is asked for.
    pub(super) async fn check_growth(
        &self,
        (pool, limit_percent): (PoolId, Option<u32>),
        more_bytes: u64,
    ) -> Result<()> {
        let pool = self.describe_pool(&self.entry_of(pool)?).await?;
        let capacity_bytes = pool.protection.0.data_bytes(pool.capacity.total_bytes);
        let (own, name) = (&pool.commitment, &pool.name);
        check_commitment(Limit::OfPool(name), own, capacity_bytes, more_bytes)?;
        let meant = Commitment { limit_percent, ..*own };
        check_commitment(Limit::OfPolicy(name), &meant, capacity_bytes, more_bytes)
    }

    /// How large the volumes of a volume's pool may be together by what is meant for the volume, in percent of what the pool holds.
    pub(super) fn overcommit_limit(&self, volume: VolumeId) -> Option<u32> {
        let intended = self.intended();
        let limit = intended.governing(volume)?.settings.overcommit_limit_percent;
        limit.filter(|&percent| percent > 0)
    }

    /// Whether a pool can keep so much for a new volume that is kept so.
    pub(super) async fn check_new_reservation(
        &self,
        pool: PoolId,
        policy: LogPolicy,
        reserved_bytes: u64,
    ) -> Result<()> {
        match reserved_bytes {
            0 => Ok(()),
            _ => self.check_more_reserved(pool, policy, reserved_bytes, (0, 0)).await,
        }
    }

    async fn check_more_reserved(
        &self,
        id: PoolId,
        policy: LogPolicy,
        reserved_bytes: u64,
        used: (u64, u64),
    ) -> Result<()> {
        let pool = self.describe_pool(&self.entry_of(id)?).await?;
        let protection = policy.protection.unwrap_or(pool.protection.0);
        let available = protection.data_bytes(pool.protection.0.stored_bytes(pool.capacity.available_bytes));
        // Copies lie on distinct devices.
        let room = with_overhead(self.room_for(id, policy).await?);
        check_reservation(&pool.name, available.min(room), reserved_bytes, used)
    }

    pub(super) async fn alter_volume(&self, name: &Name, request: ChangeVolume) -> Result<Volume> {
        request.check()?;
        let qos = request.qos.clone();
        if let Some(qos) = &qos {
            self.check_promise(self.locate(name).await?.id(), name.as_str(), qos)?;
        }
        // It belongs to no pool: a volume may have it wherever it is, and while it moves.
        if request != (ChangeVolume { qos: qos.clone(), ..ChangeVolume::default() }) {
            self.alter_in_pool(name, request).await?;
        }
        if let Some(qos) = qos {
            self.put_qos(self.locate(name).await?.id(), qos).await?;
            self.spread_qos().await?;
        }
        self.describe_volume(name).await
    }

    async fn alter_in_pool(&self, name: &Name, request: ChangeVolume) -> Result<()> {
        if self.go_on_inside(name, &request).await? {
            return Ok(());
        }
        let found = self.find_volume(name).await?;
        let status = &found.status;
        let before = status.settings;
        let mut settings = before;
        settings.durability = request.durability.map_or(before.durability, Into::into);
        settings.quota_bytes = request.quota_bytes.unwrap_or(before.quota_bytes);
        settings.reserved_bytes = request.reserved_bytes.unwrap_or(before.reserved_bytes);
        settings.compression = request.compression.map_or(before.compression, Into::into);
        settings.deduplication = request.deduplication.map_or(before.deduplication, Into::into);
        settings.read_cache = request.read_cache.map_or(before.read_cache, Into::into);
        settings.history_s = request.history_s.unwrap_or(before.history_s);
        check_bounds(status.size_bytes, settings.quota_bytes, settings.reserved_bytes)?;
        if settings.reserved_bytes > before.reserved_bytes {
            let policy = self.opened_pool(found.pool)?.shared.log_policy(found.log);
            let kept = with_overhead(before.reserved_bytes.saturating_sub(status.mapped_bytes));
            let used = (status.mapped_bytes, kept);
            self.check_more_reserved(found.pool, policy, settings.reserved_bytes, used).await?;
        }
        let (id, what) = (status.id, format!("volume '{name}' was not changed"));
        if settings != before {
            let change = move |engine: Rc<Engine>| async move { engine.change_volume(id, settings).await };
            self.with_engine(&found, what, change).await?;
        }
        let policy = self.opened_pool(found.pool)?.shared.log_policy(found.log);
        let wanted = changed(policy, request.protection, request.tier);
        match wanted == policy {
            true => Ok(()),
            // With what has just been changed of it.
            false => self.keep_otherwise(&self.find_volume(name).await?, wanted).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_on_promises_counts_sizes_against_what_the_pool_holds() {
        let name: Name = "tank".parse().unwrap();
        let now = |volumes_bytes, limit_percent| Commitment {
            volumes_bytes,
            limit_percent,
            ..Commitment::default()
        };
        for (volumes, limit, more, allowed) in [
            (0, None, u64::MAX, true),
            (0, Some(100), 1000, true),
            (0, Some(100), 1001, false),
            (2500, Some(300), 500, true),
            (2500, Some(300), 501, false),
            (9000, Some(300), 0, true),
            (9000, Some(300), 1, false),
        ] {
            let checked = check_commitment(Limit::OfPool(&name), &now(volumes, limit), 1000, more);
            assert_eq!(checked.is_ok(), allowed, "{volumes} {limit:?} {more}");
        }
        let error = check_commitment(Limit::OfPolicy(&name), &now(2500, Some(250)), 1000, 600).unwrap_err();
        assert!(error.message.contains("beyond the 2.50 that the volume's policy allows"), "{error}");
        let error = check_commitment(Limit::OfPool(&name), &now(2500, Some(250)), 1000, 600).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoSpace);
        assert!(error.to_string().contains("beyond its limit of 2.50"), "{error}");
    }
}
