//! Devices that join a pool, leave it, grow, and come back; how many copies a pool keeps.
//!
//! The core of a pool's first log changes the labels, then every core takes note, then the device is used: see `quarry_pool`. What
//! is to leave for good is remembered in the catalog, and a task ends its membership when it is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quarry_api_types::{AddDevice, DeviceId, Name, Pool, Rebuild};
use quarry_catalog::{Change, DeviceRecord};
use quarry_device::JoinRequest;
use quarry_engine::Rehoming;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_pool::{DeviceHealth, DeviceStatus, HeldBytes, MembershipError, PoolShared};
use quarry_types::{PoolId, Protection};
use tokio::time::Instant;

use super::device_health::is_served;
use super::member_looks::Looks;
use super::{DataNode, OpenPool, PoolEntry};
use crate::core_state::CoreState;

/// How often it is looked whether a device is empty that is to leave, or is back that was gone.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A device that has gone and come so often is not taken back without somebody's word.
const RETURNS_MAX: usize = 5;
/// Until it is tried again to use a device that is back and could not be used; each time twice as long, up to the second.
const RETURN_AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(600)];

/// Devices that were taken back by themselves, and those for which that did not work, with when to try again.
#[derive(Default)]
struct Returns {
    done: Vec<DeviceId>,
    again_at: BTreeMap<DeviceId, (Instant, Duration)>,
}

/// A device of an open pool.
pub(super) struct Member {
    pub(super) entry: PoolEntry,
    pub(super) open: OpenPool,
    pub(super) status: DeviceStatus,
}

impl DataNode {
    /// The open pool of a name.
    pub(super) fn open_entry(&self, name: &Name) -> Result<(PoolEntry, OpenPool)> {
        let entry = self.pool_entry(name)?;
        let open = entry.opened.clone().map_err(|reason| super::scrub::offline(name, &reason))?;
        Ok((entry, open))
    }

    pub(super) fn find_member(&self, pool: &Name, device: DeviceId) -> Result<Member> {
        let (entry, open) = self.open_entry(pool)?;
        let found = open.shared.devices().into_iter().find(|status| status.id == device);
        let status = found.ok_or_else(|| {
            NodeError::new(ErrorKind::NotFound, format!("pool '{pool}' has no device {device}"))
                .with_next_step(format!("`quarry pool show {pool}` lists its devices."))
        })?;
        Ok(Member { entry, open, status })
    }

    /// Does something on the core that changes the labels of a pool.
    pub(super) async fn at_home<T, F>(
        &self,
        open: &OpenPool,
        work: impl FnOnce(Rc<quarry_pool::Pool>) -> F + Send + 'static,
    ) -> Result<std::result::Result<T, MembershipError>>
    where
        T: Send + 'static,
        F: Future<Output = std::result::Result<T, MembershipError>> + 'static,
    {
        let shared = open.shared.clone();
        self.cores
            .call(open.home(), move |state| async move {
                let pool = state.pool(&shared).await?;
                Ok::<_, NodeError>(work(pool).await)
            })
            .await?
    }

    /// Lets every core that has a pool open take note of something.
    async fn on_all_cores<F>(
        &self,
        shared: &Arc<PoolShared>,
        work: impl Fn(Rc<quarry_pool::Pool>) -> F + Clone + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = ()> + 'static,
    {
        for core in 0..self.cores.count() {
            let (shared, work) = (shared.clone(), work.clone());
            let noting = self.cores.call(core, move |state: Rc<CoreState>| async move {
                if let Some(pool) = state.opened_pool(shared.id) {
                    work(pool).await;
                }
            });
            noting.await?;
        }
        Ok(())
    }

    /// Opens a member on every core and uses it.
    async fn use_member(&self, open: &OpenPool, index: u16) -> Result<()> {
        let attach = move |pool: Rc<quarry_pool::Pool>| async move {
            if let Err(error) = pool.attach_member(index).await {
                tracing::error!(%error, "a device that joins cannot be opened on every core");
            }
        };
        self.on_all_cores(&open.shared, attach).await?;
        let admitted = self.at_home(open, move |pool| async move { pool.admit_member(index) }).await?;
        admitted.map_err(|error| membership_error("the device is not used", &error))
    }

    pub(super) async fn remember_devices(
        &self,
        id: PoolId,
        change: impl FnOnce(&mut Vec<DeviceRecord>),
    ) -> Result<()> {
        let Some(mut record) = self.pools().get(&id).map(|entry| entry.record.clone()) else { return Ok(()) };
        change(&mut record.devices);
        self.commit(vec![Change::PutPool(record.clone())]).await?;
        if let Some(entry) = self.pools_mut().get_mut(&id) {
            entry.record = record;
        }
        Ok(())
    }

    pub(super) async fn shown(&self, pool: &Name) -> Result<Pool> {
        let entry = self.pool_entry(pool)?;
        self.describe_pool(&entry).await
    }

    pub(super) async fn join_device(&self, pool: &Name, request: AddDevice) -> Result<Pool> {
        request.check()?;
        let (entry, open) = self.open_entry(pool)?;
        self.join(&entry, &open, request).await?;
        self.shown(pool).await
    }

    async fn join(&self, entry: &PoolEntry, open: &OpenPool, request: AddDevice) -> Result<DeviceId> {
        self.check_not_outside(std::slice::from_ref(&request.path)).await?;
        let path = PathBuf::from(&request.path);
        let join = JoinRequest {
            path,
            directory_file_bytes: None,
            force: request.force,
            in_use: self.devices_not_to_touch(),
        };
        let added = self.at_home(open, move |pool| async move { pool.add_member(&join).await }).await?;
        let what = format!("{} was not added to pool '{}'", request.path, entry.record.name);
        let status = added.map_err(|error| membership_error(&what, &error))?;
        let (id, path) = (status.id, status.path.display().to_string());
        let added = self
            .remember_devices(entry.record.id, |devices| {
                devices.push(DeviceRecord { id, path, removing: false, behind_since: None })
            })
            .await;
        // It is a member whether the catalog knows or not: the labels of the others lead to it.
        self.use_member(open, status.index).await?;
        added.map(|()| id)
    }

    pub(super) async fn begin_drain(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let member = self.find_member(pool, device)?;
        self.set_leaving(&member, true).await?;
        self.shown(pool).await
    }

    async fn set_leaving(&self, member: &Member, leaving: bool) -> Result<()> {
        let held = self.held_bytes(member.open.shared.id).await?;
        let index = member.status.index;
        let setting = self
            .at_home(&member.open, move |pool| async move { pool.set_leaving(index, leaving, &held).await });
        let what = format!("{} stays as it is", member.status.path.display());
        setting.await?.map_err(|error| membership_error(&what, &error))
    }

    pub(super) async fn end_drain(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let member = self.find_member(pool, device)?;
        self.remember_removal(&member, false).await?;
        self.set_leaving(&member, false).await?;
        self.shown(pool).await
    }

    async fn remember_removal(&self, member: &Member, removing: bool) -> Result<()> {
        let id = member.status.id;
        self.remember_devices(member.entry.record.id, |devices| {
            let known = devices.iter_mut().filter(|device| device.id == id);
            known.for_each(|device| device.removing = removing);
        })
        .await
    }

    pub(super) async fn begin_removal(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let member = self.find_member(pool, device)?;
        self.check_last_copies(&member).await?;
        self.set_leaving(&member, true).await?;
        self.remember_removal(&member, true).await?;
        self.shown(pool).await
    }

    pub(super) async fn exchange_device(
        &self,
        pool: &Name,
        device: DeviceId,
        request: AddDevice,
    ) -> Result<Pool> {
        request.check()?;
        let member = self.find_member(pool, device)?;
        self.check_last_copies(&member).await?;
        let path = request.path.clone();
        let newcomer = self.join(&member.entry, &member.open, request).await?;
        let begun = self.begin_removal(pool, device).await;
        if begun.is_err()
            && let Err(error) = self.begin_removal(pool, newcomer).await
        {
            tracing::warn!(%pool, device = path, %error, "a device that was to replace another one, which stays, has joined");
        }
        begun
    }

    pub(super) async fn grow_member(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let member = self.find_member(pool, device)?;
        let index = member.status.index;
        let growing = self.at_home(&member.open, move |pool| async move { pool.grow_member(index).await });
        let what = format!("{} stays as it is", member.status.path.display());
        if growing.await?.map_err(|error| membership_error(&what, &error))? {
            self.use_member(&member.open, index).await?;
        }
        self.shown(pool).await
    }

    pub(super) async fn take_back(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let member = self.find_member(pool, device)?;
        let index = member.status.index;
        if !member.open.shared.is_failed(index) {
            return self.shown(pool).await;
        }
        let give_up = move |pool: Rc<quarry_pool::Pool>| async move { pool.give_up_changes(index) };
        self.on_all_cores(&member.open.shared, give_up).await?;
        // Nobody relies any more on what it was sent and may have lost.
        let id = member.open.shared.id;
        for &(log, core) in &member.open.logs {
            let forgetting = self.cores.call(core, move |state| async move {
                let forgotten = state.engine(id, log)?.forget_device(index).await;
                forgotten.map_err(|error| {
                    NodeError::new(ErrorKind::Unavailable, "a checkpoint cannot be written").caused_by(&error)
                })
            });
            forgetting.await??;
        }
        let returning = self.at_home(&member.open, move |pool| async move { pool.take_back(index).await });
        let what = format!("{} cannot be used", member.status.path.display());
        returning.await?.map_err(|error| membership_error(&what, &error))?;
        self.use_member(&member.open, index).await?;
        self.shown(pool).await
    }

    /// What each log of a pool holds.
    pub(super) async fn held_bytes(&self, pool: PoolId) -> Result<HeldBytes> {
        let engines = self.engine_statuses(Some(pool)).await?;
        Ok(engines.iter().map(|engine| (engine.log, engine.held_bytes())).collect())
    }

    /// Changes how a pool keeps what it holds, but for volumes that are kept in their own way.
    pub(super) async fn change_protection(&self, name: &Name, protection: Protection) -> Result<()> {
        let (_, open) = self.open_entry(name)?;
        let held = self.held_bytes(open.shared.id).await?;
        let changing =
            self.at_home(&open, move |pool| async move { pool.change_protection(protection, &held).await });
        let what = format!("pool '{name}' stays as it is kept now");
        changing.await?.map_err(|error| membership_error(&what, &error))
    }

    /// Bounds what is copied in a second for all logs of a pool together.
    pub(super) async fn set_rebuild_rate(&self, open: &OpenPool, rate_bytes: Option<u64>) -> Result<()> {
        let share = rate_bytes.map(|rate| (rate / open.logs.len().max(1) as u64).max(1));
        let pool = open.shared.id;
        for &(log, core) in &open.logs {
            let setting = self.cores.call(core, move |state| async move {
                state.engine(pool, log)?.set_rehoming_rate(share);
                Ok::<_, NodeError>(())
            });
            setting.await??;
        }
        Ok(())
    }

    pub(super) async fn rehoming(&self, open: &OpenPool) -> Result<Vec<Rehoming>> {
        let (pool, mut all) = (open.shared.id, Vec::new());
        for &(log, core) in &open.logs {
            let asking = self.cores.call(core, move |state| async move {
                Ok::<_, NodeError>(state.engine(pool, log)?.rehoming())
            });
            all.push(asking.await??);
        }
        Ok(all)
    }

    /// What of a pool does not lie where it should.
    pub(super) async fn rebuild_of(&self, open: &OpenPool) -> Result<Rebuild> {
        Ok(together(&self.rehoming(open).await?))
    }

    /// Looks after devices and pools. Runs until the node ends.
    pub async fn tend_devices(&self) {
        // A pool that is slow to open keeps no other waiting.
        tokio::join!(self.tend_members(), self.open_offline_pools());
    }

    /// Looks at devices in use, ends the membership of those that are to leave when they are empty, and takes back those that were gone
    /// and are there again.
    async fn tend_members(&self) {
        let (mut gone, mut returns, mut looks) = (BTreeSet::new(), Returns::default(), Looks::default());
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look_at_members(&mut looks).await;
            let entries: Vec<PoolEntry> = self.pools().values().cloned().collect();
            for entry in entries {
                let Ok(open) = &entry.opened else { continue };
                if let Err(error) = self.complete_removals(&entry, open).await {
                    tracing::warn!(pool = %entry.record.name, %error, "a device that is empty does not leave yet");
                }
                self.notice_returns(&entry, open, &mut gone, &mut returns).await;
                if let Err(error) = self.keep_behind(&entry, open).await {
                    tracing::warn!(pool = %entry.record.name, %error, "nobody takes note of what a device has missed");
                }
            }
        }
    }

    async fn complete_removals(&self, entry: &PoolEntry, open: &OpenPool) -> Result<()> {
        let removing = entry.record.devices.iter().filter(|device| device.removing);
        for record in removing {
            let status = open.shared.devices().into_iter().find(|status| status.id == record.id);
            match status {
                Some(status) if open.shared.used_slots(status.index) > 0 => continue,
                Some(status) => self.end_membership(entry, open, &status).await?,
                // The labels said so before the catalog.
                None => {}
            }
            let id = record.id;
            let _changing = self.changing.lock().await;
            self.remember_devices(entry.record.id, |devices| devices.retain(|device| device.id != id))
                .await?;
        }
        Ok(())
    }

    async fn end_membership(&self, entry: &PoolEntry, open: &OpenPool, status: &DeviceStatus) -> Result<()> {
        let _changing = self.changing.lock().await;
        let (index, is_readable) = (status.index, !open.shared.is_failed(status.index));
        let removing = self.at_home(open, move |pool| async move { pool.remove_member(index).await });
        let what = format!("{} stays in the pool", status.path.display());
        removing.await?.map_err(|error| membership_error(&what, &error))?;
        let detach = move |pool: Rc<quarry_pool::Pool>| async move { pool.detach_member(index) };
        self.on_all_cores(&open.shared, detach).await?;
        tracing::info!(pool = %entry.record.name, device = %status.path.display(), "a device has left");
        if is_readable {
            let (pool, path, id) = (open.shared.id, status.path.clone(), status.id);
            let releasing = self.cores.call(0, move |state: Rc<CoreState>| async move {
                quarry_device::release_device(&state.env, &path, pool, id).await
            });
            if let Err(error) = releasing.await? {
                tracing::warn!(%error, "a device that has left still carries its label: use it again with --force");
            }
        }
        Ok(())
    }

    async fn is_there(&self, path: &std::path::Path) -> bool {
        let path = path.to_owned();
        let looking =
            self.cores.call(0, move |state: Rc<CoreState>| async move { state.env.disks.exists(&path) });
        // While the node stops nothing has gone.
        looking.await.unwrap_or(true)
    }

    /// A device whose path was gone and is there again was pulled out and put back. That of a server may be back at any time.
    async fn notice_returns(
        &self,
        entry: &PoolEntry,
        open: &OpenPool,
        gone: &mut BTreeSet<DeviceId>,
        returns: &mut Returns,
    ) {
        for status in open.shared.devices().into_iter().filter(|status| status.failure.is_some()) {
            let Some(health) = self.health_of(open, status.index).await else { return };
            if health.was_silent {
                // To look at its path might take for ever.
                if health.answers_again {
                    self.return_once(entry, &status, returns).await;
                }
                continue;
            }
            // Of an address of a server nobody can tell but by connecting.
            if is_served(&status.path) {
                returns.again_at.entry(status.id).or_insert_with(|| again_after(RETURN_AGAIN_AFTER[0]));
                self.return_once(entry, &status, returns).await;
                continue;
            }
            if !self.is_there(&status.path).await {
                gone.insert(status.id);
                continue;
            }
            if gone.contains(&status.id) && self.return_once(entry, &status, returns).await {
                gone.remove(&status.id);
            }
        }
    }

    /// How a device answers; `None` while the node stops.
    async fn health_of(&self, open: &OpenPool, index: u16) -> Option<DeviceHealth> {
        let shared = open.shared.clone();
        let asking = self.cores.call(0, move |state: Rc<CoreState>| async move {
            shared.device_health(index, state.env.clock.now())
        });
        asking.await.ok()
    }

    /// Uses a device again that is back, unless it was back and gone again often. Says whether nothing is left to be done about it.
    async fn return_once(&self, entry: &PoolEntry, status: &DeviceStatus, returns: &mut Returns) -> bool {
        if returns.done.iter().filter(|id| **id == status.id).count() >= RETURNS_MAX {
            return true;
        }
        if returns.again_at.get(&status.id).is_some_and(|(at, _)| Instant::now() < *at) {
            return false;
        }
        let _changing = self.changing.lock().await;
        let path = status.path.display();
        match self.take_back(&entry.record.name, status.id).await {
            Ok(_) => {
                tracing::info!(pool = %entry.record.name, device = %path, "a device is back");
                returns.again_at.remove(&status.id);
                returns.done.push(status.id);
                true
            }
            Err(error) => {
                tracing::warn!(device = %path, %error, "a device is back and cannot be used yet");
                let [least, most] = RETURN_AGAIN_AFTER;
                let before = returns.again_at.get(&status.id).map(|(_, after)| *after);
                let after = before.map_or(least, |before| (2 * before).min(most));
                returns.again_at.insert(status.id, again_after(after));
                false
            }
        }
    }
}

fn again_after(after: Duration) -> (Instant, Duration) {
    (Instant::now() + after, after)
}

/// What the logs of a pool have to do, taken together.
fn together(logs: &[Rehoming]) -> Rebuild {
    let sum = |figure: fn(&Rehoming) -> u64| logs.iter().map(figure).sum::<u64>();
    let busy = || logs.iter().filter(|log| log.chunks > 0);
    let left_s =
        |log: &Rehoming| (!log.stuck && log.bytes_per_s > 0).then(|| log.bytes.div_ceil(log.bytes_per_s));
    // The slowest log is done last; nobody can tell when one does not move.
    let slowest = busy().map(left_s).collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max());
    Rebuild {
        chunks: sum(|log| log.chunks),
        exposed_chunks: sum(|log| log.exposed_chunks + log.short_chunks),
        lost_chunks: sum(|log| log.lost_chunks),
        left_bytes: sum(|log| log.bytes),
        copied_bytes: sum(|log| log.copied_bytes),
        bytes_per_s: busy().map(|log| log.bytes_per_s).sum(),
        left_s: slowest,
        stuck: busy().next().is_some() && busy().all(|log| log.stuck),
    }
}

pub(super) fn membership_error(what: &str, error: &MembershipError) -> NodeError {
    let (kind, next_step) = match error {
        MembershipError::NoMember { .. } => {
            (ErrorKind::NotFound, "`quarry pool show` lists the pool's devices.")
        }
        MembershipError::TooFewDevices { .. } => (
            ErrorKind::Conflict,
            "Add a device first (`quarry device add POOL PATH`), or choose a protection that needs fewer.",
        ),
        MembershipError::NoRoom { .. } => {
            (ErrorKind::NoSpace, "Add a device first (`quarry device add POOL PATH`), or delete something.")
        }
        MembershipError::Late { .. } => (
            ErrorKind::InUse,
            "Wait until it has ended them: it is used again by itself then. Where it never will, replace it, or restart quarryd.",
        ),
        MembershipError::NotEmpty { .. } => (ErrorKind::InUse, "Wait until it is drained."),
        MembershipError::Format(error) => {
            return NodeError::new(super::pools::format_error_kind(error), what)
                .caused_by(error)
                .with_next_step("No device was changed. Correct the path and try again.");
        }
        MembershipError::Open(quarry_device::OpenError::OtherDevice { .. }) => {
            (ErrorKind::Conflict, "Put the device back where it was.")
        }
        MembershipError::NoLabel { .. } | MembershipError::Open(_) | MembershipError::Device(_) => {
            (ErrorKind::Unavailable, "Look at the device and its cabling, then try again.")
        }
    };
    NodeError::new(kind, what).caused_by(error).with_next_step(next_step)
}

#[cfg(test)]
mod tests;
