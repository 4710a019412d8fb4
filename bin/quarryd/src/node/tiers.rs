//! Tiers of pools: what lies where and why, what a device counts as, and to which tier a pool is pinned.

use std::time::Duration;

use async_trait::async_trait;
use quarry_api_types::{
    DeviceId, EventKind, EventSeverity, Name, ObjectKind, Pool, PoolTier, PoolTiers, SetTier, Tier,
    TierDecision, TierReason, Timestamp, VolumePlacement, VolumeTier,
};
use quarry_device::{DeviceClass as Class, TierPolicy};
use quarry_engine::{Placement, TierMoves};
use quarry_events::NewEvent;
use quarry_node_api::{ErrorKind, NodeError, Result, TierNode};
use quarry_pool::{HeatMap, heat_level};

use super::exposition::{Family, put};
use super::logs::tier_policy;
use super::membership::membership_error;
use super::places::Located;
use super::pools::class;
use super::{DataNode, OpenPool, now};

/// Decisions of each log that are shown of a pool.
const DECISIONS_SHOWN_MAX: usize = 32;

const TIER_TOTAL: Family =
    ("quarry_pool_tier_total_bytes", "gauge", "Bytes of a tier's devices that take new data.");
const TIER_FREE: Family = ("quarry_pool_tier_free_bytes", "gauge", "Of these, bytes that are free.");
const TIER_HOT: Family = (
    "quarry_pool_tier_hot_bytes",
    "gauge",
    "Bytes in a tier that are read enough for a faster one, every copy counted.",
);
const PROMOTED: Family =
    ("quarry_pool_promoted_segments_total", "counter", "Segments that went to a faster tier.");
const DEMOTED: Family =
    ("quarry_pool_demoted_segments_total", "counter", "Segments that went to a slower tier.");
const MOVED: Family =
    ("quarry_pool_tier_moved_bytes_total", "counter", "Bytes that were copied from one tier to another.");

/// What a log tells of its decisions: each with how long ago it was.
type Told = (Duration, quarry_engine::TierDecision);

impl DataNode {
    /// What was moved in a pool, and the last decisions of its logs.
    async fn moves_of(&self, open: &OpenPool) -> Result<(TierMoves, f32, Vec<Told>)> {
        let (pool, mut sum, mut heat_min, mut all) = (open.shared.id, TierMoves::default(), 0.0, Vec::new());
        for &(log, core) in &open.logs {
            let asking = self.cores.call(core, move |state| async move {
                let engine = state.engine(pool, log)?;
                let now = state.env.clock.now();
                let decisions = engine.tier_decisions(DECISIONS_SHOWN_MAX, |_| true).into_iter();
                let told: Vec<Told> = decisions.map(|one| (now.saturating_sub(one.at), one)).collect();
                Ok::<_, NodeError>((engine.tier_moves(), engine.heat_min(), told))
            });
            let (moves, least, told) = asking.await??;
            sum.promoted_chunks += moves.promoted_chunks;
            sum.demoted_chunks += moves.demoted_chunks;
            sum.copied_bytes += moves.copied_bytes;
            heat_min = least;
            all.extend(told);
        }
        all.sort_by_key(|(age, _)| *age);
        Ok((sum, heat_min, all))
    }

    async fn describe_tiers(&self, name: &Name) -> Result<PoolTiers> {
        let (_, open) = self.open_entry(name)?;
        let (moves, heat_min, told) = self.moves_of(&open).await?;
        let segment_bytes = open.shared.geometry.segment_bytes;
        Ok(PoolTiers {
            pool: name.clone(),
            placement: placement(open.shared.tier_policy()),
            tiers: tiers(&open, heat_min),
            heat_min: f64::from(heat_min),
            promoted_segments: moves.promoted_chunks,
            demoted_segments: moves.demoted_chunks,
            moved_bytes: moves.copied_bytes,
            decisions: told.iter().map(|told| in_words(told, segment_bytes)).collect(),
        })
    }

    async fn tell_tier(&self, object_kind: ObjectKind, object: String, message: String) {
        let event = NewEvent {
            severity: EventSeverity::Info,
            kind: EventKind::TierChanged,
            object_kind,
            object,
            message,
            cause: None,
            next_step: None,
        };
        self.record(vec![event], Vec::new()).await;
    }

    pub(super) async fn put_tiers(&self, text: &mut String) -> Result<()> {
        let open: Vec<(Name, OpenPool)> = self
            .pools()
            .values()
            .filter_map(|entry| Some((entry.record.name.clone(), entry.opened.clone().ok()?)))
            .collect();
        let (mut by_tier, mut by_pool) = (Vec::new(), Vec::new());
        for (name, open) in &open {
            let (moves, heat_min, _) = self.moves_of(open).await?;
            by_pool.push((format!("{{pool=\"{name}\"}}"), moves));
            let label = |tier: &PoolTier| format!("{{pool=\"{name}\",tier=\"{}\"}}", tier.tier);
            by_tier.extend(tiers(open, heat_min).into_iter().map(|tier| (label(&tier), tier)));
        }
        let mut of_tiers = |family: Family, value: fn(&PoolTier) -> u64| {
            put(text, family, by_tier.iter().map(|(label, tier)| (label.clone(), value(tier))));
        };
        of_tiers(TIER_TOTAL, |tier| tier.total_bytes);
        of_tiers(TIER_FREE, |tier| tier.free_bytes);
        of_tiers(TIER_HOT, |tier| tier.hot_bytes);
        let mut of_pools = |family: Family, value: fn(&TierMoves) -> u64| {
            put(text, family, by_pool.iter().map(|(label, moves)| (label.clone(), value(moves))));
        };
        of_pools(PROMOTED, |moves| moves.promoted_chunks);
        of_pools(DEMOTED, |moves| moves.demoted_chunks);
        of_pools(MOVED, |moves| moves.copied_bytes);
        Ok(())
    }
}

#[async_trait]
impl TierNode for DataNode {
    async fn show_tiers(&self, pool: &Name) -> Result<PoolTiers> {
        self.describe_tiers(pool).await
    }

    async fn place_pool(&self, pool: &Name, request: SetTier) -> Result<PoolTiers> {
        {
            let _changing = self.changing.lock().await;
            let (_, open) = self.open_entry(pool)?;
            let policy = tier_policy(request.tier);
            if open.shared.tier_policy() != policy {
                let setting =
                    self.at_home(&open, move |pool| async move { pool.set_tier_policy(policy).await });
                let what = format!("pool '{pool}' places its data as before");
                setting.await?.map_err(|error| membership_error(&what, &error))?;
                let message = match request.tier {
                    Tier::Automatic => format!("pool '{pool}' places its data by how much it is read"),
                    tier => format!("pool '{pool}' is pinned to {tier}"),
                };
                self.tell_tier(ObjectKind::Pool, pool.to_string(), message).await;
            }
        }
        self.describe_tiers(pool).await
    }

    async fn set_device_tier(&self, pool: &Name, device: DeviceId, request: SetTier) -> Result<Pool> {
        request.check_for_device()?;
        let _changing = self.changing.lock().await;
        let member = self.find_member(pool, device)?;
        let (index, class) = (member.status.index, class_of(request.tier));
        if member.status.class != class {
            let setting =
                self.at_home(&member.open, move |pool| async move { pool.set_class(index, class).await });
            let path = member.status.path.display().to_string();
            let what = format!("{path} counts as before");
            setting.await?.map_err(|error| membership_error(&what, &error))?;
            let message = format!("device {path} of pool '{pool}' counts as {} from now on", request.tier);
            self.tell_tier(ObjectKind::Device, path, message).await;
        }
        self.shown(pool).await
    }

    async fn show_placement(&self, name: &Name) -> Result<VolumePlacement> {
        let found = match self.locate(name).await? {
            Located::Pool(found) => found,
            Located::Device(image) => return Err(super::places::in_image_mode(name, &image.record.device)),
        };
        let (pool, log, id) = (found.pool, found.log, found.status.id);
        let asking = self.cores.call(found.core, move |state| async move {
            let volume = state.engine(pool, log)?.volume(id).map_err(|error| {
                NodeError::new(ErrorKind::NotFound, "the volume is not there any more").caused_by(&error)
            })?;
            let placement = volume.placement().await.map_err(|error| {
                NodeError::new(ErrorKind::Unavailable, "the volume's map cannot be read").caused_by(&error)
            })?;
            Ok::<_, NodeError>((state.env.clock.now(), placement))
        });
        let (at, lies) = asking.await??;
        let entry = self.pools().get(&pool).cloned();
        let entry = entry.ok_or_else(|| NodeError::not_found("volume", name))?;
        let open = entry.opened.map_err(|reason| super::scrub::offline(&entry.record.name, &reason))?;
        let segment_bytes = open.shared.geometry.segment_bytes;
        let decisions = lies.decisions.iter().map(|one| (at.saturating_sub(one.at), one.clone()));
        Ok(VolumePlacement {
            volume: name.clone(),
            pool: entry.record.name.clone(),
            placement: placement(open.shared.tier_policy()),
            sampled_blocks: lies.sampled_blocks,
            found_blocks: lies.found_blocks,
            exact: lies.is_exact,
            tiers: shares(&lies, found.status.mapped_bytes),
            decisions: decisions.map(|told| in_words(&told, segment_bytes)).collect(),
        })
    }
}

/// The class that a tier is of. Requests name no others.
pub(super) fn class_of(tier: Tier) -> Class {
    match tier {
        Tier::Pmem => Class::Pmem,
        Tier::Nvme => Class::Nvme,
        Tier::Hdd => Class::Hdd,
        Tier::Object => Class::Object,
        Tier::Ssd | Tier::Automatic => Class::Ssd,
    }
}

pub(super) fn placement(policy: TierPolicy) -> Tier {
    match policy {
        TierPolicy::Automatic => Tier::Automatic,
        TierPolicy::Pinned(Class::Pmem) => Tier::Pmem,
        TierPolicy::Pinned(Class::Nvme) => Tier::Nvme,
        TierPolicy::Pinned(Class::Hdd) => Tier::Hdd,
        TierPolicy::Pinned(Class::Object) => Tier::Object,
        TierPolicy::Pinned(Class::Ssd | Class::Unknown) => Tier::Ssd,
    }
}

fn tiers(open: &OpenPool, heat_min: f32) -> Vec<PoolTier> {
    let shared = &open.shared;
    let (segment_bytes, heat, known) = (shared.geometry.segment_bytes, shared.heat(), shared.tiers());
    let last = known.len().saturating_sub(1);
    let tier = |(rank, tier): (usize, &quarry_pool::Tier)| {
        let slots = shared.tier_slots(rank as u8);
        let kept = if rank == last { 0 } else { quarry_engine::kept_slots(slots) };
        let path = |index: &u16| Some(shared.member(*index)?.path.display().to_string());
        PoolTier {
            tier: class(tier.class),
            devices: tier.devices.iter().filter_map(path).collect(),
            total_bytes: slots.total * segment_bytes,
            used_bytes: (slots.total - slots.free.min(slots.total)) * segment_bytes,
            free_bytes: slots.free * segment_bytes,
            kept_bytes: kept * segment_bytes,
            hot_bytes: hot_slots(&heat, rank, heat_min) * segment_bytes,
        }
    };
    known.iter().enumerate().map(tier).collect()
}

fn hot_slots(heat: &HeatMap, rank: usize, heat_min: f32) -> u64 {
    heat.0.get(rank).map_or(0, |levels| levels[heat_level(heat_min)..].iter().sum())
}

fn shares(lies: &Placement, mapped_bytes: u64) -> Vec<VolumeTier> {
    let all = lies.found_blocks.max(1) as f64;
    let share = |tier: &quarry_engine::TierShare| VolumeTier {
        tier: class(tier.class),
        percent: (tier.blocks as f64 * 1000.0 / all).round() / 10.0,
        mapped_bytes: (mapped_bytes as f64 * (tier.blocks as f64 / all)) as u64,
        heat: f64::from(tier.heat),
    };
    lies.tiers.iter().map(share).collect()
}

fn in_words((age, one): &Told, segment_bytes: u64) -> TierDecision {
    use quarry_engine::TierReason as Reason;
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    TierDecision {
        number: one.number,
        log: one.log.0,
        time: Timestamp::from_unix_ms(now().unix_ms().saturating_sub(age_ms)),
        segments: one.chunks.len() as u64,
        from: class(one.from),
        to: class(one.to),
        reason: match one.reason {
            Reason::Hot => TierReason::Hot,
            Reason::Cold => TierReason::Cold,
            Reason::Room => TierReason::Room,
            Reason::Split => TierReason::Split,
            Reason::Pinned => TierReason::Pinned,
        },
        heat: f64::from(one.heat),
        other_heat: f64::from(one.other_heat),
        free_bytes: one.free_slots * segment_bytes,
        waiting_bytes: one.waiting_slots * segment_bytes,
        bytes: one.bytes,
        completed: one.moved,
    }
}

#[cfg(test)]
mod tests;
