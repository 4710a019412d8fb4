//! Devices that have missed something. They themselves do not know, so the catalog does: a pool of which only such devices are there would
//! show an older state as if it were the last one.
//!
//! A device counts as behind from before the pool goes on without it; from its failure while the pool is open, within [`LOOK_EVERY`]. It
//! is behind no more when it is used and every log has had a checkpoint since.
//!
//! [`LOOK_EVERY`]: super::membership::LOOK_EVERY

use quarry_api_types::DeviceId;
use quarry_catalog::{Change, DeviceRecord, PoolRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_pool::{LogState, PoolShared};
use quarry_types::LogId;

use super::reopening::BRING_BACK;
use super::{DataNode, OpenPool, PoolEntry, now};

fn in_use(shared: &PoolShared) -> Vec<DeviceId> {
    let devices = shared.devices().into_iter();
    devices.filter(|device| device.failure.is_none()).map(|device| device.id).collect()
}

/// Refuses devices of a pool whose newest state is on others, which are not among them; before anything is written to them.
pub(super) fn check_newest(record: &PoolRecord, here: &[DeviceId]) -> std::result::Result<(), String> {
    let (here, away): (Vec<&DeviceRecord>, Vec<&DeviceRecord>) =
        record.devices.iter().partition(|device| here.contains(&device.id));
    let newer: Vec<&str> =
        away.iter().filter(|device| device.behind_since.is_none()).map(|device| &*device.path).collect();
    let Some(since) = here.iter().map(|device| device.behind_since).min().flatten() else { return Ok(()) };
    if newer.is_empty() {
        return Ok(());
    }
    Err(format!(
        "pool '{}' is not opened: the devices that are here have missed what was written since {since}: it is on {}, and none of these \
         is there; if they are lost for good, quarry-extract reads the older state from those that are",
        record.name,
        newer.join(", ")
    ))
}

/// Refuses logs that are older than when they were opened last, as long as devices are missing on which they may be newer: those that are here
/// were put back to what they were at another time. Where all are here there is nothing newer.
pub(super) fn check_incarnations(record: &PoolRecord, shared: &PoolShared, logs: &[LogState]) -> Result<()> {
    let found =
        |log: LogId| logs.iter().find(|state| state.log == log).map(|state| state.image.incarnation.0);
    let older = |(log, opened): &(LogId, u64)| found(*log).is_none_or(|found| found < *opened);
    if !record.incarnations.iter().any(older) {
        return Ok(());
    }
    let missing: Vec<String> = shared
        .devices()
        .iter()
        .filter(|device| device.failure.is_some())
        .map(|device| device.path.display().to_string())
        .collect();
    let what = format!("pool '{}' is older than when it was opened last", record.name);
    if missing.is_empty() {
        tracing::warn!("{what}: all its devices were put back to another time");
        return Ok(());
    }
    Err(NodeError::new(ErrorKind::Unavailable, format!("{what}, and is not opened"))
        .with_cause(format!(
            "the devices that are here were put back to what they were at another time, from a copy or a snapshot; what came later may be on {}; \
             if these are lost for good, quarry-extract reads the older state from those that are here",
            missing.join(", ")
        ))
        .with_next_step(BRING_BACK))
}

/// Says of each device whether it is behind; whether that is news.
fn mark(devices: &mut [DeviceRecord], in_use: &[DeviceId], caught_up: bool) -> bool {
    let mut is_news = false;
    for device in devices {
        let before = device.behind_since;
        match in_use.contains(&device.id) {
            true if caught_up => device.behind_since = None,
            true => {}
            // Who failed last has all of it.
            false if in_use.is_empty() => {}
            false => device.behind_since = before.or_else(|| Some(now())),
        }
        is_news |= device.behind_since != before;
    }
    is_news
}

impl DataNode {
    /// Takes note of devices that are not there, before anything is written without them.
    pub(super) async fn note_missing(&self, record: &mut PoolRecord, shared: &PoolShared) -> Result<()> {
        let mut renewed = record.clone();
        if mark(&mut renewed.devices, &in_use(shared), false) {
            self.commit(vec![Change::PutPool(renewed.clone())]).await?;
            *record = renewed;
        }
        Ok(())
    }

    /// Takes note of devices that have failed or are used again since the last look.
    pub(super) async fn keep_behind(&self, entry: &PoolEntry, open: &OpenPool) -> Result<()> {
        let used = in_use(&open.shared);
        let mut devices = entry.record.devices.clone();
        if !mark(&mut devices, &used, true) {
            return Ok(());
        }
        let has_returned = |device: &DeviceRecord| device.behind_since.is_some() && used.contains(&device.id);
        let have_returned = entry.record.devices.iter().any(has_returned);
        if have_returned {
            self.write_checkpoints(open).await?;
        }
        let now_used = in_use(&open.shared);
        // Who has failed meanwhile may have missed the checkpoints.
        let caught_up = have_returned && now_used == used;
        self.remember_devices(entry.record.id, |devices| _ = mark(devices, &now_used, caught_up)).await
    }

    async fn write_checkpoints(&self, open: &OpenPool) -> Result<()> {
        for &(log, core) in &open.logs {
            let pool = open.shared.id;
            let checkpoint = self.cores.call(core, move |state| async move {
                state.engine(pool, log)?.checkpoint().await.map_err(|error| {
                    let what = format!("log {log} writes no checkpoint");
                    NodeError::new(ErrorKind::Unavailable, what).caused_by(&error)
                })
            });
            checkpoint.await??;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
