//! Quality of service: what was asked for is in the catalog and told to the cores; what came of it is looked at here.
//!
//! What volumes get is kept by their ids beside the pools, because volumes in image mode and groups have it, too, and because it belongs
//! to the node: another one is not as fast. The clock of a limit lives as long as the limit is the same; a change begins a new one with
//! nothing saved up, so that nobody gets a burst by changing it.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use quarry_api_types::{GroupId, Name, QosCause, QosStatus, QosWait, QualityOfService, Volume, tenant_of};
use quarry_catalog::{Catalog, CatalogError, Change, QosRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_qos::{Cause, GateStats, Place, Rates, Scope, ScopeKind, Share, Table};
use quarry_types::VolumeId;
use tokio::time::Instant;

use super::DataNode;

/// A reservation is missed when so many looks in a row have found less than this part of it.
const LOOKS_IN_VAIN: u32 = 3;
const KEPT_PERCENT: u64 = 90;
/// A host that had nothing to do for longer than this part of the time did not ask for all of it.
const IDLE_PERCENT: u32 = 2;

/// Whose bounds and promises.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    Volume(VolumeId),
    Group(GroupId),
    Tenant(Name),
}

impl Owner {
    fn kind(&self) -> ScopeKind {
        match self {
            Self::Volume(_) => ScopeKind::Volume,
            Self::Group(_) => ScopeKind::Group,
            Self::Tenant(_) => ScopeKind::Tenant,
        }
    }
}

/// What is asked for, as in the catalog and in the store of tenants.
#[derive(Default)]
pub(super) struct QosTable {
    volumes: BTreeMap<VolumeId, QualityOfService>,
    tenants: BTreeMap<Name, QualityOfService>,
    seen: BTreeMap<VolumeId, SeenReservation>,
}

/// What cores were told.
#[derive(Default)]
pub(super) struct Spread {
    scopes: BTreeMap<Owner, Arc<Scope>>,
    table: Arc<Table>,
}

/// A volume with a reservation, as of the last look.
struct SeenReservation {
    stats: GateStats,
    at: Instant,
    in_vain: u32,
    missed: Option<Missed>,
}

/// What a volume got instead of what was promised.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Missed {
    pub(super) promised: String,
    pub(super) got: String,
}

/// A volume as the scheduler has to know it.
struct Known {
    id: VolumeId,
    name: String,
    core: usize,
}

impl QosTable {
    /// What the catalog has.
    pub(super) fn read(catalog: &dyn Catalog) -> std::result::Result<Self, CatalogError> {
        let volumes = catalog.qos()?.into_iter().map(|record| (record.volume_id, record.qos)).collect();
        Ok(Self { volumes, ..Self::default() })
    }
}

/// What was asked for, in the words of the scheduler.
fn rates(owner: &Owner, qos: &QualityOfService) -> Rates {
    let is_several = !matches!(owner, Owner::Volume(_));
    Rates {
        iops_min: qos.iops_min,
        iops_max: qos.iops_max,
        bytes_min: qos.bytes_per_s_min,
        bytes_max: qos.bytes_per_s_max,
        burst: Duration::from_secs(u64::from(qos.burst_s.unwrap_or(0))),
        weight: qos.weight.filter(|_| is_several),
    }
}

impl DataNode {
    fn qos_table(&self) -> RwLockReadGuard<'_, QosTable> {
        self.qos.read().expect("nobody panics with this lock: a panic ends the process")
    }

    fn qos_table_mut(&self) -> RwLockWriteGuard<'_, QosTable> {
        self.qos.write().expect("nobody panics with this lock: a panic ends the process")
    }

    /// What a volume is to get; `None` when nothing was asked for.
    pub(super) fn qos_of(&self, id: VolumeId) -> Option<QualityOfService> {
        self.qos_table().volumes.get(&id).cloned()
    }

    /// Gives a volume this, from now on. Cores are told by [`Self::spread_qos`].
    pub(super) async fn put_qos(&self, id: VolumeId, qos: QualityOfService) -> Result<()> {
        if self.qos_of(id).unwrap_or_default() == qos {
            return Ok(());
        }
        let change = match qos.is_empty() {
            true => Change::DeleteQos(id),
            false => Change::PutQos(QosRecord { volume_id: id, qos: qos.clone() }),
        };
        self.commit(vec![change]).await?;
        let mut table = self.qos_table_mut();
        match qos.is_empty() {
            true => _ = table.volumes.remove(&id),
            false => _ = table.volumes.insert(id, qos),
        }
        Ok(())
    }

    /// The volume is gone. A record that stays behind does no harm.
    pub(super) async fn forget_qos(&self, id: VolumeId) {
        if let Err(error) = self.put_qos(id, QualityOfService::default()).await {
            tracing::warn!(volume = %id, %error, "the catalog has settings of a volume that is gone");
        }
    }

    /// Fails when a volume would be promised more than its group or its tenant may have at all.
    pub(super) fn check_promise(&self, id: VolumeId, name: &str, qos: &QualityOfService) -> Result<()> {
        let groups = self.group_records();
        let group = groups.iter().find(|group| group.members.iter().any(|member| member.volume_id == id));
        let of_group = group.and_then(|group| Some((format!("group '{}'", group.name), group.qos.clone()?)));
        let table = self.qos_table();
        let tenant = tenant_of(name)
            .and_then(|tenant| table.tenants.iter().find(|(known, _)| known.as_str() == tenant));
        let of_tenant = tenant.map(|(tenant, qos)| (format!("tenant '{tenant}'"), qos.clone()));
        for (whose, bounds) in of_group.into_iter().chain(of_tenant) {
            for (what, min, max) in [
                ("I/Os", qos.iops_min, bounds.iops_max),
                ("bytes", qos.bytes_per_s_min, bounds.bytes_per_s_max),
            ] {
                let (Some(min), Some(max)) = (min, max) else { continue };
                if min > max {
                    let what = format!(
                        "qos: volume '{name}' cannot be promised {min} {what} a second: {whose} gets {max} at most"
                    );
                    return Err(NodeError::new(ErrorKind::Conflict, what)
                        .with_next_step(format!("Promise less, or raise the maximum of {whose} first.")));
                }
            }
        }
        Ok(())
    }

    /// What each tenant gets, all of them.
    pub(super) async fn put_tenants_qos(&self, tenants: Vec<(Name, QualityOfService)>) -> Result<()> {
        self.qos_table_mut().tenants = tenants.into_iter().filter(|(_, qos)| !qos.is_empty()).collect();
        self.spread_qos().await
    }

    /// Tells every core what counts now, where that is something else than before.
    pub(super) async fn spread_qos(&self) -> Result<()> {
        let mut spread = self.qos_spread.lock().await;
        let groups = self.group_records();
        let is_asked = {
            let table = self.qos_table();
            let of_groups = groups.iter().any(|group| group.qos.is_some());
            of_groups || !table.volumes.is_empty() || !table.tenants.is_empty()
        };
        let known = if is_asked { self.known_to_qos().await? } else { Vec::new() };
        let now_ns =
            self.cores.call(0, |state| async move { state.env.clock.now().as_nanos() as u64 }).await?;
        let mut scopes = BTreeMap::new();
        let mut volumes = BTreeMap::new();
        for Known { id, name, core } in known {
            let asked = self.asked_for(&groups, id, &name);
            let own = asked.iter().find(|(owner, _)| *owner == Owner::Volume(id));
            let weight = own.and_then(|(_, qos)| qos.weight);
            // The volume's own, or that of its group, or of its tenant.
            let target_us = asked.iter().find_map(|(_, qos)| qos.latency_target_us);
            let of_share = asked.iter().map(|(owner, qos)| {
                let before = spread.scopes.get(owner).filter(|scope| scope.rates == rates(owner, qos));
                let new =
                    || before.cloned().unwrap_or_else(|| Scope::new(owner.kind(), rates(owner, qos), now_ns));
                scopes.entry(owner.clone()).or_insert_with(new).clone()
            });
            let share =
                Share::new(weight, target_us.map(Duration::from_micros), of_share.collect::<Vec<_>>());
            let share = (!asked.is_empty()).then_some(share);
            volumes.insert(id, Place { core: Some(core), share });
        }
        let shares = volumes.values().filter_map(|place| place.share.as_ref());
        let table = Table { is_sharing: shares.into_iter().any(Share::is_sharing), volumes };
        if table.is_same(&spread.table) {
            return Ok(());
        }
        let table = Arc::new(table);
        for core in 0..self.cores.count() {
            let table = table.clone();
            self.cores.call(core, move |state| async move { state.qos.apply(table) }).await?;
        }
        *spread = Spread { scopes, table };
        Ok(())
    }

    /// [`Self::spread_qos`] after a change that is done already: another look at it comes soon.
    pub(super) async fn spread_qos_soon(&self) {
        if let Err(error) = self.spread_qos().await {
            tracing::debug!(%error, "cores will hear later what volumes get");
        }
    }

    async fn known_to_qos(&self) -> Result<Vec<Known>> {
        let in_pools = self.volumes_of(None).await?.into_iter();
        let in_pools =
            in_pools.map(|found| Known { id: found.status.id, name: found.status.name, core: found.core });
        let images = self.images();
        let in_image_mode = images.values().map(|entry| {
            let (id, name) = (entry.record.id, entry.record.name.to_string());
            Known { id, name, core: entry.core }
        });
        Ok(in_pools.chain(in_image_mode).collect())
    }

    /// All that is asked for that a volume has a part in.
    fn asked_for(
        &self,
        groups: &[quarry_catalog::GroupRecord],
        id: VolumeId,
        name: &str,
    ) -> Vec<(Owner, QualityOfService)> {
        let table = self.qos_table();
        let own = table.volumes.get(&id).map(|qos| (Owner::Volume(id), qos.clone()));
        let group = groups.iter().find(|group| group.members.iter().any(|member| member.volume_id == id));
        let of_group = group.and_then(|group| Some((Owner::Group(group.id), group.qos.clone()?)));
        let tenant = tenant_of(name)
            .and_then(|tenant| table.tenants.iter().find(|(known, _)| known.as_str() == tenant));
        let of_tenant = tenant.map(|(tenant, qos)| (Owner::Tenant(tenant.clone()), qos.clone()));
        own.into_iter().chain(of_group).chain(of_tenant).collect()
    }

    /// Figures of every volume for which something is asked, alone or with others.
    pub(super) async fn qos_stats(&self) -> Result<BTreeMap<VolumeId, GateStats>> {
        let asked: Arc<Table> = self.qos_spread.lock().await.table.clone();
        if asked.volumes.values().all(|place| place.share.is_none()) {
            return Ok(BTreeMap::new());
        }
        let mut all = BTreeMap::new();
        for core in 0..self.cores.count() {
            let of_core = self.cores.call(core, |state| async move { state.qos.stats() }).await?;
            let is_asked = |id: &VolumeId| asked.volumes.get(id).is_some_and(|place| place.share.is_some());
            all.extend(of_core.into_iter().filter(|(id, _)| is_asked(id)));
        }
        Ok(all)
    }

    /// How much each core lets be under way, in units of cost; nothing where requests do not take turns.
    pub(super) async fn qos_windows(&self) -> Result<Vec<(usize, u64)>> {
        let mut all = Vec::new();
        for core in 0..self.cores.count() {
            let units = self.cores.call(core, |state| async move { state.qos.window_units() }).await?;
            all.extend(units.map(|units| (core, units)));
        }
        Ok(all)
    }

    /// A volume with how its requests fare.
    pub(super) async fn with_qos_status(&self, volume: Volume) -> Result<Volume> {
        let stats = self.qos_stats().await?.remove(&volume.id);
        let missed = self.qos_table().seen.get(&volume.id).is_some_and(|seen| seen.missed.is_some());
        let qos_status = stats.map(|stats| status(&stats, missed));
        Ok(Volume { qos_status, ..volume })
    }

    /// Looks at how reservations are kept; called again and again.
    pub(super) async fn look_at_reservations(&self) -> Result<()> {
        self.spread_qos().await?;
        let stats = self.qos_stats().await?;
        let mut table = self.qos_table_mut();
        let QosTable { volumes, seen, .. } = &mut *table;
        let promised = |id: &VolumeId| {
            volumes.get(id).filter(|qos| qos.iops_min.is_some() || qos.bytes_per_s_min.is_some())
        };
        seen.retain(|id, _| stats.contains_key(id) && promised(id).is_some());
        for (id, stats) in stats {
            let Some(qos) = promised(&id) else { continue };
            let new = || SeenReservation { stats, at: Instant::now(), in_vain: 0, missed: None };
            let known = seen.entry(id).or_insert_with(new);
            let time = known.at.elapsed();
            if time < Duration::from_secs(1) {
                continue;
            }
            let missed = judge(qos, &known.stats, &stats, time);
            known.in_vain = if missed.is_some() { known.in_vain + 1 } else { 0 };
            known.missed = missed.filter(|_| known.in_vain >= LOOKS_IN_VAIN);
            (known.stats, known.at) = (stats, Instant::now());
        }
        Ok(())
    }

    /// Whether a volume has a reservation, and what it got instead if that is missed.
    pub(super) fn reservation_seen(&self, id: VolumeId) -> Option<Option<Missed>> {
        self.qos_table().seen.get(&id).map(|seen| seen.missed.clone())
    }
}

/// What a volume got between two looks, if that is less than promised and its host asked for it.
fn judge(qos: &QualityOfService, before: &GateStats, now: &GateStats, time: Duration) -> Option<Missed> {
    let idle = now.idle.saturating_sub(before.idle);
    if now.ios < before.ios || idle > time * IDLE_PERCENT / 100 {
        return None;
    }
    let rate = |before: u64, now: u64| (now.saturating_sub(before) as f64 / time.as_secs_f64()) as u64;
    let (ios, bytes) = (rate(before.ios, now.ios), rate(before.bytes, now.bytes));
    let is_kept = |promised: Option<u64>, got: u64| {
        promised
            .is_none_or(|promised| u128::from(got) * 100 >= u128::from(promised) * u128::from(KEPT_PERCENT))
    };
    if is_kept(qos.iops_min, ios) && is_kept(qos.bytes_per_s_min, bytes) {
        return None;
    }
    let promised = QualityOfService {
        iops_min: qos.iops_min,
        bytes_per_s_min: qos.bytes_per_s_min,
        ..QualityOfService::default()
    };
    let got = QualityOfService {
        iops_min: qos.iops_min.map(|_| ios),
        bytes_per_s_min: qos.bytes_per_s_min.map(|_| bytes),
        ..QualityOfService::default()
    };
    let without_least = |qos: QualityOfService| qos.to_string().replace("at least ", "");
    Some(Missed { promised: without_least(promised), got: without_least(got) })
}

fn status(stats: &GateStats, reservation_missed: bool) -> QosStatus {
    let cause = |cause: Cause| match cause {
        Cause::Volume => QosCause::Volume,
        Cause::Group => QosCause::Group,
        Cause::Tenant => QosCause::Tenant,
        Cause::Share => QosCause::Share,
    };
    let waited = Cause::ALL.into_iter().zip(stats.waited).filter(|(_, waited)| waited.as_micros() > 0);
    let waited = waited
        .map(|(for_what, waited)| QosWait { cause: cause(for_what), waited_us: waited.as_micros() as u64 });
    QosStatus {
        ios: stats.ios,
        bytes: stats.bytes,
        waiting: stats.waiting,
        in_flight: stats.in_flight,
        waited: waited.collect(),
        reservation_missed,
    }
}

#[cfg(test)]
mod tests;
