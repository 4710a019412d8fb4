//! Snapshots and clones under load, and after a crash.

use std::rc::Rc;

use quarry_engine::{CloneOf, Engine, EngineVolume, NewSnapshot};
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{SnapshotId, VolumeId};
use quarry_volume::Volume;

use crate::model::{Finding, SnapshotKey};
use crate::node::text;
use crate::target::Target;
use crate::workload::{Door, Shared, report};

const SECTOR: u64 = SECTOR_BYTES as u64;
/// Snapshots that are kept at once.
const SNAPSHOTS_MAX: usize = 5;
/// Sectors that are read at once to look at a snapshot.
const LOOK_SECTORS: usize = 2048;

/// The id of a snapshot of the model.
pub fn id(seed: u64, key: SnapshotKey) -> SnapshotId {
    SnapshotId::from_random(u128::from(seed) << 64 | u128::from(key.number()))
}

/// Takes, reads, clones or deletes a snapshot.
pub async fn step(shared: &Shared, door: &Door) {
    let known = shared.model.borrow().snapshots();
    match shared.chance.below(10) {
        0..3 if known.len() < SNAPSHOTS_MAX => take(shared, door).await,
        3..5 if !known.is_empty() => delete(shared, door, *shared.chance.pick(&known)).await,
        5 if !known.is_empty() => clone(shared, door, *shared.chance.pick(&known)).await,
        6 => fork(shared, door).await,
        _ if !known.is_empty() => read(shared, door, *shared.chance.pick(&known)).await,
        _ => {}
    }
}

fn engine(shared: &Shared, door: &Door, key: SnapshotKey) -> Rc<Engine> {
    let volume = shared.model.borrow().snapshot_volume(key);
    door.engines[shared.scenario.volumes[volume].core].clone()
}

async fn take(shared: &Shared, door: &Door) {
    let volume = shared.chance.below(shared.scenario.volumes.len() as u64) as usize;
    let (key, since) = shared.model.borrow_mut().begin_snapshot(volume);
    let name = format!("s{}", key.number());
    let new = NewSnapshot { id: id(shared.scenario.seed, key), name, locked_until_s: 0, set: None };
    match engine(shared, door, key).create_snapshot(shared.scenario.volume_id(volume), new).await {
        // A flush that failed may have dropped what was acknowledged.
        Ok(()) if shared.scenario.beyond => {}
        Ok(()) => shared.model.borrow_mut().end_snapshot(key, since),
        Err(error) => report(shared, "snapshot", text(error)),
    }
}

async fn delete(shared: &Shared, door: &Door, key: SnapshotKey) {
    shared.model.borrow_mut().begin_delete(key);
    match engine(shared, door, key).delete_snapshot(id(shared.scenario.seed, key)).await {
        Ok(()) => shared.model.borrow_mut().end_delete(key),
        Err(error) => report(shared, "deleting a snapshot", text(error)),
    }
}

async fn read(shared: &Shared, door: &Door, key: SnapshotKey) {
    match engine(shared, door, key).snapshot_volume(id(shared.scenario.seed, key)) {
        Ok(volume) => check_some(shared, key, &volume).await,
        Err(error) => {
            shared.find(Finding(format!("a snapshot that was taken is not there: {}", text(error))))
        }
    }
}

/// Reads a part of a snapshot, or of a clone that nobody has written to.
async fn check_some(shared: &Shared, key: SnapshotKey, volume: &EngineVolume) {
    let zones = shared.model.borrow().snapshot_zones(key);
    let zone = shared.chance.pick(&zones).clone();
    let length = shared.chance.spread((zone.end - zone.start).min(256));
    let start = zone.start + shared.chance.below(zone.end - zone.start - length + 1);
    match volume.read(start * SECTOR, (length * SECTOR) as u32).await {
        Ok(views) => {
            let bytes: Vec<u8> = views.iter().flat_map(|view| view.iter().copied()).collect();
            let checked = shared.model.borrow_mut().check_snapshot(key, start, &bytes);
            if let Err(finding) = checked {
                shared.find(finding);
            }
        }
        Err(error) if shared.scenario.beyond => drop(error),
        Err(error) => shared.find(Finding(format!("read of a snapshot failed: {}", text(error)))),
    }
}

/// Clones a volume as it is while hosts write to it.
async fn fork(shared: &Shared, door: &Door) {
    let volume = shared.chance.below(shared.scenario.volumes.len() as u64) as usize;
    let (key, since) = shared.model.borrow_mut().begin_snapshot(volume);
    let engine = engine(shared, door, key);
    let fork = VolumeId::from_random(u128::from(since) << 32 | 2);
    let origin = CloneOf::Volume(shared.scenario.volume_id(volume));
    let made = engine.clone_volume(origin, fork, "fork").await;
    if made.is_ok() && !shared.scenario.beyond {
        shared.model.borrow_mut().end_snapshot(key, since);
    }
    // There is no snapshot of that name.
    shared.model.borrow_mut().end_delete(key);
    if let Err(error) = made {
        return report(shared, "clone of a volume", text(error));
    }
    let Ok(open) = engine.volume(fork) else {
        return shared.find(Finding("a clone that was made is not there".to_owned()));
    };
    for _ in 0..1 + shared.chance.below(3) {
        check_some(shared, key, &open).await;
        let pause = std::time::Duration::from_micros(shared.chance.spread(50_000));
        door.envs[0].clock.sleep(pause).await;
    }
    if shared.chance.percent(80)
        && let Err(error) = engine.delete_volume(fork, true).await
    {
        report(shared, "deleting a clone", text(error));
    }
}

/// Makes a clone, looks at it, writes to it, rolls it back, looks again, and deletes it, if nothing comes between.
async fn clone(shared: &Shared, door: &Door, key: SnapshotKey) {
    let (engine, snapshot) = (engine(shared, door, key), id(shared.scenario.seed, key));
    let moment = shared.model.borrow_mut().begin_read();
    let clone = VolumeId::from_random(u128::from(moment) << 32 | 1);
    if let Err(error) = engine.clone_volume(CloneOf::Snapshot(snapshot), clone, "clone").await {
        return report(shared, "clone", text(error));
    }
    let Ok(volume) = engine.volume(clone) else {
        return shared.find(Finding("a clone that was made is not there".to_owned()));
    };
    check_some(shared, key, &volume).await;
    let core = shared.scenario.volumes[shared.model.borrow().snapshot_volume(key)].core;
    let target = Target::Direct(door.envs[core].clone(), volume.clone());
    let size_bytes = target.size_bytes();
    for _ in 0..shared.chance.below(4) {
        let length = shared.chance.spread(64).min(size_bytes / SECTOR);
        let start = shared.chance.below(size_bytes / SECTOR - length + 1);
        if let Err(failed) = target.write(start * SECTOR, &vec![7; (length * SECTOR) as usize], false).await {
            shared.failed("write to a clone", failed);
        }
    }
    if shared.chance.percent(50) {
        match engine.roll_back_volume(clone, snapshot).await {
            Ok(()) => check_some(shared, key, &volume).await,
            Err(error) => report(shared, "rollback", text(error)),
        }
    }
    if shared.chance.percent(80)
        && let Err(error) = engine.delete_volume(clone, true).await
    {
        report(shared, "deleting a clone", text(error));
    }
}

/// Reads whole snapshots after a start; those that may be there or not are believed.
pub async fn look(
    engine: &Rc<Engine>,
    snapshot: SnapshotId,
    zones: &[std::ops::Range<u64>],
) -> Option<Vec<(u64, Result<Vec<u8>, String>)>> {
    let volume = engine.snapshot_volume(snapshot).ok()?;
    let mut all = Vec::new();
    for zone in zones {
        for start in zone.clone().step_by(LOOK_SECTORS) {
            let length = (zone.end - start).min(LOOK_SECTORS as u64) * SECTOR;
            let read = volume.read(start * SECTOR, length as u32).await;
            let bytes = read.map(|views| views.iter().flat_map(|view| view.iter().copied()).collect());
            all.push((start, bytes.map_err(text)));
        }
    }
    Some(all)
}
