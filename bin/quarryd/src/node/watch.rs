//! The look at everything, again and again, that finds what has begun or ended. What that means is judged in `conditions`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quarry_iscsi::SoftThreshold;
use quarry_node_api::Result;
use quarry_types::PoolId;
use tokio::time::Instant;

use super::DataNode;
use super::anomalies::is_of_anomaly;
use super::conditions::{Quota, Seen, compare, is_filling};
use super::events::apply_changes;
use super::fill_warnings::is_of_forecast;
use super::policy_events::is_of_policy;
use super::volumes::FoundVolume;

/// How often everything is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After the last write that was refused a pool counts as full for so long: writers try again, and each try is not news.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// Refusals of a pool or a volume that have been seen.
struct Refusals {
    count: u64,
    last: Option<Instant>,
    /// The number of the look that has seen it last.
    look: u64,
}

/// All of them, by id.
#[derive(Default)]
struct Known(BTreeMap<uuid::Uuid, Refusals>);

impl Known {
    /// Whether there were refusals lately, when there are `count` now.
    fn note(&mut self, id: uuid::Uuid, count: u64, look: u64) -> bool {
        let known = self.0.entry(id).or_insert(Refusals { count, last: None, look });
        known.look = look;
        if std::mem::replace(&mut known.count, count) != count {
            known.last = Some(Instant::now());
        }
        known.last.is_some_and(|last| last.elapsed() < REFUSED_FOR)
    }

    /// Forgets what was not seen in this look.
    fn forget(&mut self, look: u64) {
        self.0.retain(|_, known| known.look == look);
    }
}

impl DataNode {
    /// Looks at everything and records what has begun or ended. Runs until the node ends.
    pub async fn watch(&self) {
        let is_of_others = |key: &str| is_of_policy(key) || is_of_anomaly(key) || is_of_forecast(key);
        let mut standing = self.conditions_before(|key| !is_of_others(key));
        let mut known = Known::default();
        for number in 0.. {
            match self.look(&mut known, number).await {
                Ok(seen) => {
                    let (events, changes) = compare(&standing, &seen);
                    apply_changes(&mut standing, &changes);
                    if !changes.is_empty() {
                        self.record(events, changes).await;
                    }
                    self.tell_thresholds(&standing, &seen);
                }
                // The next look tells more; while the node stops there is none.
                Err(error) => tracing::debug!(%error, "the pools could not be looked at"),
            }
            if let Err(error) = self.gather_slow().await {
                tracing::debug!(%error, "slow requests could not be gathered");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self, known: &mut Known, number: u64) -> Result<Vec<Seen>> {
        self.look_at_reservations().await?;
        let mut all = Vec::new();
        let pools = self.describe_pools().await?;
        self.track_jobs(&pools).await;
        for pool in pools {
            let engines = self.engine_statuses(Some(pool.id)).await?;
            let count = engines.iter().map(|engine| engine.refused_writes).sum();
            let refused = known.note(pool.id.0, count, number);
            let damaged = self.damaged_blocks(pool.id).await?;
            let (mut quotas, mut volumes) = (BTreeMap::new(), Vec::new());
            let (mut reservations, mut locked) = (BTreeMap::new(), 0);
            for FoundVolume { status, .. } in self.volumes_of(Some(pool.id)).await? {
                volumes.push(status.id);
                locked += usize::from(status.locked);
                if let Some(missed) = self.reservation_seen(status.id) {
                    reservations.insert(status.name.clone(), missed);
                }
                if status.settings.quota_bytes > 0 {
                    let refused = known.note(status.id.0, status.quota_refusals, number);
                    let (bytes, mapped_bytes) = (status.settings.quota_bytes, status.mapped_bytes);
                    quotas.insert(status.name, Quota { bytes, mapped_bytes, refused });
                }
            }
            all.push(Seen { pool, refused, damaged, quotas, reservations, locked, volumes });
        }
        known.forget(number);
        Ok(all)
    }

    /// Has initiators hear of pools that are fuller than their warning level.
    fn tell_thresholds(&self, standing: &BTreeMap<String, String>, seen: &[Seen]) {
        let Some(target) = self.iscsi.get() else { return };
        for Seen { pool, volumes, .. } in seen {
            let usable_bytes = pool.capacity.total_bytes.saturating_sub(pool.capacity.reserved_bytes);
            let threshold = SoftThreshold {
                used_bytes: usable_bytes / 100 * u64::from(pool.levels.warning_percent),
                is_reached: is_filling(standing, pool),
            };
            volumes.iter().for_each(|&volume| target.note_threshold(volume, threshold));
        }
    }

    /// First bytes of the blocks of a pool that are known to have no good copy, by volume or snapshot.
    pub(super) async fn damaged_blocks(&self, pool: PoolId) -> Result<BTreeMap<String, BTreeSet<u64>>> {
        let listing = (0..self.cores.count()).map(|core| {
            self.cores.call(core, move |state| async move {
                let engines = state.engines().into_iter().filter(|(id, _)| *id == pool);
                engines.flat_map(|(_, engine)| engine.damaged_blocks()).collect::<Vec<_>>()
            })
        });
        let mut all: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for listed in futures::future::join_all(listing).await {
            for place in listed? {
                all.entry(place.name).or_default().insert(place.offset);
            }
        }
        Ok(all)
    }
}
