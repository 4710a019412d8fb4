//! Pools: made, opened, shown, ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use quarry_api_types::{
    Capacity, ChangePool, Commitment, CreatePool, DeviceClass, DeviceKind, Freeing, Name, Pool, PoolData,
    PoolDevice, PoolDeviceState, PoolGroups, PoolState, Protection, Rebuild,
};
use quarry_catalog::{Change, DeviceRecord, FoundingRecord, PoolRecord};
use quarry_device::{Content, FormatError, FormatRequest, PathError, Probe, format_devices, probe};
use quarry_engine::EngineStatus;
use quarry_env::{DiskKind, Env};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_pool::{LogState, PoolShared};
use quarry_types::{DeviceId, LogId, PoolId};

use super::capacity::{capacity, data_capacity_bytes, fill_percent};
use super::device_health::{MemberFacts, kind_at, member};
use super::freeing::freeing;
use super::promises::commitment;
use super::reopening::BRING_BACK;
use super::{DataNode, OpenPool, PoolEntry, behind, now};
use crate::causes::whole;
use crate::core_state::CoreState;

impl DataNode {
    pub(super) async fn make_pool(&self, request: CreatePool) -> Result<Pool> {
        request.check()?;
        if self.pools().values().any(|entry| entry.record.name == request.name) {
            return Err(NodeError::name_taken("pool", &request.name));
        }
        self.check_not_outside(&request.devices).await?;
        let in_use = self.devices_not_to_touch();
        let home = self.pools().len() % self.cores.count();
        let (name, levels) = (request.name.clone(), request.levels());
        let protection = request.wanted_protection()?;
        let overcommit_limit_percent = Some(request.overcommit_limit_percent).filter(|&percent| percent > 0);
        let id = self.found_pool(&request).await?;
        let formatting = self.cores.call(home, move |state| format_pool(state, request, id, in_use));
        let shared = match formatting.await.flatten() {
            Ok(shared) => shared,
            Err(error) => {
                self.commit(vec![Change::DeleteFounding(name)]).await?;
                return Err(error);
            }
        };
        shared.set_device_patience(self.settings.device_patience);
        let logs = self.first_logs(&shared);
        let mut placed = Vec::new();
        for index in 0..logs {
            let (log, core) = (LogId(index), (home + usize::from(index)) % self.cores.count());
            let pool = shared.clone();
            self.cores
                .call(core, move |state| async move { state.create_log(&pool, log, logs).await })
                .await??;
            placed.push((log, core));
        }
        let devices = shared
            .devices()
            .into_iter()
            .map(|device| DeviceRecord {
                id: device.id,
                path: device.path.display().to_string(),
                removing: false,
                behind_since: None,
            })
            .collect();
        let record = PoolRecord {
            id: shared.id,
            name,
            copies: protection.0.copies() as u8,
            protection: Some(protection),
            devices,
            created: now(),
            scrubbed: None,
            scrub: None,
            levels,
            overcommit_limit_percent,
            rebuild_rate_bytes: None,
            incarnations: Vec::new(),
        };
        let founded = Change::DeleteFounding(record.name.clone());
        self.commit(vec![Change::PutPool(record.clone()), founded]).await?;
        let entry = PoolEntry { record, opened: Ok(OpenPool { shared, logs: placed }) };
        self.pools_mut().insert(entry.record.id, entry.clone());
        self.describe_pool(&entry).await
    }

    /// The id of a new pool: that of an attempt to make the same one which was cut off, or a new one.
    async fn found_pool(&self, request: &CreatePool) -> Result<PoolId> {
        let before = self.catalog.founding(&request.name).map_err(|error| super::catalog_error(&error))?;
        if let Some(before) = before.filter(|before| before.devices == request.devices) {
            return Ok(before.id);
        }
        let (id, name, devices) =
            (PoolId(uuid::Uuid::new_v4()), request.name.clone(), request.devices.clone());
        self.commit(vec![Change::PutFounding(FoundingRecord { id, name, devices })]).await?;
        Ok(id)
    }

    /// Devices of all pools of this node.
    pub(super) fn devices_in_use(&self) -> BTreeMap<DeviceId, PathBuf> {
        let pools = self.pools();
        let records = pools.values().flat_map(|entry| entry.record.devices.iter());
        records.map(|device| (device.id, PathBuf::from(&device.path))).collect()
    }

    /// Devices that may not be given to anybody: those of [`Self::devices_in_use`], and those that have left and may still carry out what
    /// they were sent. One that is out of use is known by its label alone: what lies at its path else may take its place.
    pub(super) fn devices_not_to_touch(&self) -> BTreeMap<DeviceId, PathBuf> {
        let mut all = self.devices_in_use();
        let pools = self.pools();
        for open in pools.values().filter_map(|entry| entry.opened.as_ref().ok()) {
            let late = open.shared.late_devices();
            let out_of_use = open.shared.devices().into_iter().filter(|status| status.failure.is_some());
            let replaceable = out_of_use.map(|status| status.id).filter(|id| !late.contains(id));
            all.extend(replaceable.map(|id| (id, PathBuf::new())));
            late.iter().for_each(|id| _ = all.entry(*id).or_default());
        }
        all
    }

    /// Opens every pool of the catalog. One that does not open is kept with the reason, and the node serves the others.
    pub async fn open_pools(&self) -> Result<()> {
        let mut records = self.catalog.pools().map_err(|error| super::catalog_error(&error))?;
        // All at once: one whose devices are slow to answer keeps no other waiting.
        let opening = records
            .iter_mut()
            .enumerate()
            .map(|(home, record)| self.open_pool(home % self.cores.count(), record));
        let opened = futures::future::join_all(opening).await;
        for (record, opened) in records.into_iter().zip(opened) {
            if let Err(error) = &opened {
                tracing::error!(pool = %record.name, %error, "a pool does not open; the node goes on without it");
            }
            let opened = opened.map_err(|error| error.to_string());
            self.pools_mut().insert(record.id, PoolEntry { record, opened });
        }
        self.tell_all_uncounted().await?;
        self.finish_sets().await?;
        self.load_exports().await
    }

    pub(super) async fn open_pool(&self, home: usize, record: &mut PoolRecord) -> Result<OpenPool> {
        let id = record.id;
        let known = record.clone();
        let (shared, states) = self.cores.call(home, move |state| find_pool(state, known)).await??;
        // Opening a log writes.
        let noted = match behind::check_incarnations(record, &shared, &states) {
            Ok(()) => self.note_missing(record, &shared).await,
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            self.close_on_all_cores(Some(id)).await?;
            return Err(error);
        }
        let incarnations = states.iter().map(|state| (state.log, state.image.incarnation.next().0)).collect();
        shared.set_device_patience(self.settings.device_patience);
        let logs = states.len() as u16;
        shared.hold_back_slots();
        let mut opening = Vec::new();
        for state in states {
            let core = (home + usize::from(state.log.0)) % self.cores.count();
            let (log, pool) = (state.log, shared.clone());
            let opened =
                self.cores.call(core, move |core| async move { core.open_log(&pool, state, logs).await });
            opening.push(async move { opened.await?.map(|()| (log, core)) });
        }
        let opened = futures::future::join_all(opening).await.into_iter().collect::<Result<Vec<_>>>();
        match opened {
            Ok(logs) => {
                shared.let_slots_go();
                let open = OpenPool { shared, logs };
                self.set_rebuild_rate(&open, record.rebuild_rate_bytes).await?;
                record.incarnations = incarnations;
                self.commit(vec![Change::PutPool(record.clone())]).await?;
                Ok(open)
            }
            Err(error) => {
                self.close_on_all_cores(Some(id)).await?;
                Err(error)
            }
        }
    }

    async fn close_on_all_cores(&self, pool: Option<PoolId>) -> Result<()> {
        let closing = (0..self.cores.count())
            .map(|core| self.cores.call(core, move |state| async move { state.close(pool).await }));
        for closed in futures::future::join_all(closing).await {
            closed??;
        }
        Ok(())
    }

    /// Writes the checkpoints of all logs and closes all devices.
    pub async fn close_pools(&self) -> Result<()> {
        self.close_images().await?;
        self.close_on_all_cores(None).await
    }

    pub(super) async fn alter_pool(&self, name: &Name, request: ChangePool) -> Result<Pool> {
        request.check()?;
        let mut record = self.pool_entry(name)?.record;
        record.levels = request.levels(record.levels);
        record.levels.check()?;
        if let Some(protection) = request.wanted_protection()? {
            self.change_protection(name, protection.0).await?;
            (record.copies, record.protection) = (protection.0.copies() as u8, Some(protection));
        }
        if let Some(rate) = request.rebuild_rate_bytes_per_s {
            let (_, open) = self.open_entry(name)?;
            record.rebuild_rate_bytes = Some(rate).filter(|&rate| rate > 0);
            self.set_rebuild_rate(&open, record.rebuild_rate_bytes).await?;
        }
        if let Some(percent) = request.overcommit_limit_percent {
            record.overcommit_limit_percent = Some(percent).filter(|&percent| percent > 0);
        }
        self.commit(vec![Change::PutPool(record.clone())]).await?;
        if let Some(entry) = self.pools_mut().get_mut(&record.id) {
            entry.record = record;
        }
        let entry = self.pool_entry(name)?;
        self.describe_pool(&entry).await
    }

    pub(super) async fn end_pool(&self, name: &Name) -> Result<()> {
        let entry = self.pool_entry(name)?;
        let OpenPool { shared, .. } = entry.opened.map_err(|reason| {
            NodeError::new(
                ErrorKind::Unavailable,
                format!("pool '{name}' is offline: nobody can tell what is in it"),
            )
            .with_cause(reason)
            .with_next_step("Bring its devices back: it opens by itself, and can be deleted then.")
        })?;
        let id = shared.id;
        let volumes: Vec<String> =
            self.all_volumes_of(Some(id)).await?.into_iter().map(|volume| volume.status.name).collect();
        if !volumes.is_empty() {
            let what = format!("pool '{name}' has {} volumes: {}", volumes.len(), volumes.join(", "));
            return Err(NodeError::new(ErrorKind::InUse, what)
                .with_next_step("Delete these volumes first (`quarry volume delete NAME`)."));
        }
        if !shared.late_devices().is_empty() {
            let what =
                format!("pool '{name}' has devices that may still carry out writes that they were sent");
            return Err(NodeError::new(ErrorKind::InUse, what)
                .with_cause("they did not answer and were taken out of use")
                .with_next_step(
                    "Wait until they answer again or are gone, or restart quarryd; then delete the pool.",
                ));
        }
        let keys = self.keys_of_pool(id).await?;
        self.commit(vec![Change::DeletePool(id)]).await?;
        self.destroy_keys(keys).await;
        self.pools_mut().remove(&id);
        self.close_on_all_cores(Some(id)).await?;
        let paths: Vec<PathBuf> = shared.devices().into_iter().map(|device| device.path).collect();
        drop(shared);
        self.cores.call(0, move |state| release_devices(state, id, paths)).await?
    }

    pub(super) async fn describe_pools(&self) -> Result<Vec<Pool>> {
        let entries: Vec<PoolEntry> = self.pools().values().cloned().collect();
        let mut pools = Vec::with_capacity(entries.len());
        for entry in &entries {
            pools.push(self.describe_pool(entry).await?);
        }
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pools)
    }

    pub(super) async fn describe_pool(&self, entry: &PoolEntry) -> Result<Pool> {
        let record = &entry.record;
        let mut pool = Pool {
            id: record.id,
            name: record.name.clone(),
            copies: record.copies,
            protection: record.protection(),
            groups: PoolGroups::default(),
            state: PoolState::Offline,
            reasons: Vec::new(),
            created: record.created,
            devices: Vec::new(),
            capacity: Capacity::default(),
            fill_percent: 0,
            levels: record.levels,
            full: false,
            commitment: Commitment::default(),
            data: PoolData::default(),
            freeing: Freeing::default(),
            rebuild: Rebuild::default(),
            rebuild_rate_bytes_per_s: record.rebuild_rate_bytes,
            segment_bytes: 0,
            logs: 0,
            volumes: 0,
            scrub: None,
        };
        match &entry.opened {
            Err(reason) => {
                pool.reasons.push(reason.clone());
                pool.devices = record.devices.iter().map(unopened_member).collect();
            }
            Ok(open) => {
                pool.copies = open.shared.protection().copies() as u8;
                pool.protection = Protection(open.shared.protection());
                self.describe_open_pool(open, record.overcommit_limit_percent, &mut pool).await?;
                for device in &mut pool.devices {
                    let known = record.devices.iter().find(|known| known.id == device.id);
                    device.removing = known.is_some_and(|known| known.removing);
                }
            }
        }
        Ok(pool)
    }

    async fn facts(&self, open: &OpenPool) -> Result<BTreeMap<u16, MemberFacts>> {
        let shared = open.shared.clone();
        let asking =
            self.cores.call(open.home(), move |state| async move { member_facts(&state, &shared).await });
        let mut facts = asking.await??;
        for device in open.shared.devices() {
            if let Some(facts) = facts.get_mut(&device.index) {
                facts.has_strayed = self.has_strayed(device.id);
            }
        }
        Ok(facts)
    }

    /// Units of I/O of the devices of all open pools.
    pub(super) async fn sector_sizes(&self) -> Result<BTreeMap<DeviceId, u32>> {
        let open: Vec<OpenPool> =
            self.pools().values().filter_map(|entry| entry.opened.as_ref().ok().cloned()).collect();
        let mut sizes = BTreeMap::new();
        for pool in &open {
            let facts = self.facts(pool).await?;
            for device in pool.shared.devices() {
                sizes.extend(facts.get(&device.index).map(|facts| (device.id, facts.sector_bytes)));
            }
        }
        Ok(sizes)
    }

    async fn describe_open_pool(
        &self,
        open: &OpenPool,
        limit_percent: Option<u32>,
        pool: &mut Pool,
    ) -> Result<()> {
        let shared = &open.shared;
        let engines = self.engine_statuses(Some(shared.id)).await?;
        let facts = self.facts(open).await?;
        for device in shared.devices() {
            let used_bytes = shared.used_slots(device.index) * shared.geometry.segment_bytes;
            pool.reasons.extend(
                device.failure.as_ref().map(|reason| format!("device {}: {reason}", device.path.display())),
            );
            let drive = self.drive_at(&device.path);
            let member = member(&device, facts.get(&device.index), used_bytes, drive);
            let waits = facts.get(&device.index).is_some_and(MemberFacts::makes_hosts_wait);
            let waiting = member.health.causes.first().filter(|_| waits && device.failure.is_none());
            pool.reasons.extend(waiting.map(|cause| format!("device {}: {}", member.path, cause.message)));
            pool.devices.push(member);
        }
        pool.reasons.extend(engines.iter().filter_map(|engine| engine.stopped.clone()));
        pool.rebuild = self.rebuild_of(open).await?;
        pool.reasons.extend(shared.degraded_reason());
        pool.reasons.extend(exposed_reason(&pool.rebuild));
        pool.state = if pool.reasons.is_empty() { PoolState::Online } else { PoolState::Degraded };
        pool.capacity = capacity(shared, &engines);
        pool.groups = groups(&engines);
        pool.fill_percent = fill_percent(&pool.capacity);
        pool.full = engines.iter().any(|engine| engine.full);
        pool.freeing = freeing(&engines);
        pool.segment_bytes = shared.geometry.segment_bytes;
        pool.logs = open.logs.len() as u16;
        let volumes = self.each_once(self.all_volumes_of(Some(shared.id)).await?);
        pool.volumes = volumes.len() as u64;
        pool.commitment = commitment(shared, volumes.iter(), data_capacity_bytes(shared), limit_percent);
        pool.data = data(&engines, volumes.iter().map(|volume| volume.status.mapped_bytes).sum());
        pool.scrub = self.scrub_of(open).await?;
        Ok(())
    }
}

/// What it means for data that is there that devices are out of use.
fn exposed_reason(rebuild: &Rebuild) -> Option<String> {
    let Rebuild { exposed_chunks, lost_chunks, .. } = *rebuild;
    let lost = (lost_chunks > 0).then(|| format!("{lost_chunks} segments have no copy that can be read"));
    let exposed = || (exposed_chunks > 0).then(|| format!("{exposed_chunks} segments have too few copies"));
    lost.or_else(exposed)
}

fn data(engines: &[EngineStatus], mapped_bytes: u64) -> PoolData {
    let sum = |figure: fn(&EngineStatus) -> u64| engines.iter().map(figure).sum();
    PoolData {
        mapped_bytes,
        stored_bytes: sum(|engine| engine.live_bytes),
        written_bytes: sum(|engine| engine.written_bytes),
        reduced_from_bytes: sum(|engine| engine.reduced_from_bytes),
        reduced_zero_bytes: sum(|engine| engine.reduced_zero_bytes),
        deduplicated_bytes: sum(|engine| engine.deduplicated_bytes),
        reduced_to_bytes: sum(|engine| engine.reduced_to_bytes),
    }
}

fn groups(engines: &[EngineStatus]) -> PoolGroups {
    PoolGroups {
        groups: engines.iter().map(|engine| engine.groups).sum(),
        grouped_segments: engines.iter().map(|engine| engine.grouped_chunks).sum(),
        ungrouped_segments: engines.iter().map(|engine| engine.ungrouped_chunks).sum(),
    }
}

fn unopened_member(device: &DeviceRecord) -> PoolDevice {
    PoolDevice {
        id: device.id,
        path: device.path.clone(),
        kind: kind_at(Path::new(&device.path)),
        class: DeviceClass::Unknown,
        state: PoolDeviceState::Missing,
        size_bytes: 0,
        used_bytes: 0,
        removing: device.removing,
        health: Default::default(),
        latency: Default::default(),
        in_flight: 0,
        late_writes: 0,
        drive: None,
    }
}

pub(super) fn class(class: quarry_device::DeviceClass) -> DeviceClass {
    match class {
        quarry_device::DeviceClass::Pmem => DeviceClass::Pmem,
        quarry_device::DeviceClass::Nvme => DeviceClass::Nvme,
        quarry_device::DeviceClass::Ssd => DeviceClass::Ssd,
        quarry_device::DeviceClass::Hdd => DeviceClass::Hdd,
        quarry_device::DeviceClass::Object => DeviceClass::Object,
        quarry_device::DeviceClass::Unknown => DeviceClass::Unknown,
    }
}

pub(super) fn kind(kind: DiskKind) -> DeviceKind {
    match kind {
        DiskKind::File => DeviceKind::File,
        DiskKind::Block => DeviceKind::Block,
        DiskKind::Pmem => DeviceKind::Pmem,
        DiskKind::Network => DeviceKind::Network,
        DiskKind::Object => DeviceKind::Object,
    }
}

async fn member_facts(state: &Rc<CoreState>, shared: &Arc<PoolShared>) -> Result<BTreeMap<u16, MemberFacts>> {
    let pool = state.pool(shared).await?;
    let now = state.env.clock.now();
    Ok(shared
        .devices()
        .into_iter()
        .filter_map(|status| {
            let device = pool.device(status.index)?;
            let facts = MemberFacts {
                kind: kind(device.geometry().kind),
                fault: match device.state() {
                    quarry_device::DeviceState::Healthy => None,
                    quarry_device::DeviceState::Suspect(fault)
                    | quarry_device::DeviceState::Failed(fault) => Some(fault.to_string()),
                },
                health: shared.device_health(status.index, now),
                size_bytes: device.size_bytes(),
                sector_bytes: device.sector_bytes(),
                has_strayed: false,
            };
            Some((status.index, facts))
        })
        .collect())
}

/// Makes the devices into a pool, which stays open on this core.
async fn format_pool(
    state: Rc<CoreState>,
    request: CreatePool,
    id: PoolId,
    in_use: BTreeMap<DeviceId, PathBuf>,
) -> Result<Arc<PoolShared>> {
    let env: &Env = &state.env;
    let protection = request.wanted_protection()?.0;
    let force = request.force || was_cut_off(env, &request, id).await;
    let format = FormatRequest {
        pool: id,
        pool_name: request.name.as_str().to_owned(),
        protection,
        paths: request.devices.iter().map(PathBuf::from).collect(),
        directory_file_bytes: None,
        force,
        in_use,
    };
    let devices = format_devices(env, &format).await.map_err(|error| format_error(&request.name, &error))?;
    let pool = quarry_pool::from_devices(env, devices);
    state.add_pool(pool.clone());
    Ok(pool.shared.clone())
}

/// Whether an attempt to make this very pool was cut off: devices carry its labels, and nothing else is on any of them.
async fn was_cut_off(env: &Env, request: &CreatePool, id: PoolId) -> bool {
    let mut is_labelled = false;
    for path in &request.devices {
        match probe(env, Path::new(path)).await {
            Ok(Probe::Directory { .. }) => {}
            Ok(Probe::Disk(disk)) => match disk.content {
                Content::Empty => {}
                Content::Quarry(label) if label.pool == id => is_labelled = true,
                _ => return false,
            },
            _ => return false,
        }
    }
    is_labelled
}

/// Of a device that a request names: its address names nothing, or it cannot be used as it is now.
pub(super) fn path_error_kind(error: &PathError) -> ErrorKind {
    match error.source.kind() {
        std::io::ErrorKind::InvalidInput => ErrorKind::Contradictory,
        _ => ErrorKind::Conflict,
    }
}

pub(super) fn format_error_kind(error: &FormatError) -> ErrorKind {
    match error {
        FormatError::DeviceCount { .. }
        | FormatError::Protection { .. }
        | FormatError::Name { .. }
        | FormatError::Same { .. }
        | FormatError::Root { .. }
        | FormatError::TooSmall { .. }
        | FormatError::SectorSize { .. } => ErrorKind::Contradictory,
        FormatError::Missing { .. } => ErrorKind::NotFound,
        FormatError::DirectoryFull { .. } => ErrorKind::NoSpace,
        FormatError::Occupied { .. }
        | FormatError::InUse { .. }
        | FormatError::InOpenPool { .. }
        | FormatError::Changed { .. } => ErrorKind::Conflict,
        FormatError::Path(error) => path_error_kind(error),
    }
}

fn format_error(name: &Name, error: &FormatError) -> NodeError {
    NodeError::new(format_error_kind(error), format!("pool '{name}' was not created"))
        .caused_by(error)
        .with_next_step("No device was changed. Correct the list of devices and try again.")
}

/// Opens the devices of a pool on this core and reads what its logs left.
async fn find_pool(state: Rc<CoreState>, record: PoolRecord) -> Result<(Arc<PoolShared>, Vec<LogState>)> {
    let (id, name) = (record.id, &record.name);
    let paths: Vec<PathBuf> = record.devices.iter().map(|device| PathBuf::from(&device.path)).collect();
    let are_current = |here: &[DeviceId]| behind::check_newest(&record, here);
    let opened = quarry_pool::open_if(&state.env, id, &paths, &are_current).await.map_err(|error| {
        // Whoever shows it says of which pool.
        NodeError::new(ErrorKind::Unavailable, whole(&error)).with_next_step(BRING_BACK)
    })?;
    if opened.logs.is_empty() {
        let is_whole = opened.pool.shared.devices().iter().all(|device| device.failure.is_none());
        let (what, next_step) = match is_whole {
            true => (
                "has no log: its creation was interrupted",
                "Create it again over the same devices with --force; nothing was ever stored in it.",
            ),
            false => ("has no log on the devices that are there", "Bring its other devices back."),
        };
        return Err(
            NodeError::new(ErrorKind::Unavailable, format!("pool '{name}' {what}")).with_next_step(next_step)
        );
    }
    state.add_pool(opened.pool.clone());
    Ok((opened.pool.shared.clone(), opened.logs))
}

/// Ends the labels of a pool that nobody has open any more.
async fn release_devices(state: Rc<CoreState>, id: PoolId, paths: Vec<PathBuf>) -> Result<()> {
    let failed = |what: String| {
        NodeError::new(ErrorKind::Internal, "the pool is gone, but a device still carries its label")
            .with_cause(what)
            .with_next_step("Use that device again with --force.")
    };
    let members = quarry_device::open_members(&state.env, id, &paths)
        .await
        .map_err(|error| failed(error.to_string()))?;
    quarry_device::end_pool(&state.env, members.devices)
        .await
        .map_err(|errors| failed(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}
