//! What snapshots may hold: for each sector what a read could have returned while the snapshot was being taken; once it was
//! seen, that and nothing else.

use std::ops::Range;

use quarry_types::SECTOR_BYTES;
use quarry_types::limits::BLOCK_SECTORS;
use smallvec::SmallVec;

use super::{Base, Finding, Model};

/// A snapshot of the model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SnapshotKey(usize);

impl SnapshotKey {
    /// A number that no other snapshot of this model has.
    pub fn number(self) -> u64 {
        self.0 as u64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// It was asked for; nobody knows whether it is there.
    Asked,
    There,
    /// It was asked to go; nobody knows whether it is there.
    Going,
    Gone,
}

/// What a sector may hold; `None` for anything.
type Allowed = Option<SmallVec<[u64; 2]>>;

pub(super) struct Snapshot {
    volume: usize,
    life: Life,
    zones: Vec<(Range<u64>, Vec<Allowed>)>,
}

impl Model {
    /// A snapshot of `volume` is asked for.
    pub fn begin_snapshot(&mut self, volume: usize) -> (SnapshotKey, u64) {
        let anything = |zone: &Range<u64>| (zone.clone(), vec![None; (zone.end - zone.start) as usize]);
        let zones = self.zones(volume).iter().map(anything).collect();
        self.snapshots.push(Snapshot { volume, life: Life::Asked, zones });
        (SnapshotKey(self.snapshots.len() - 1), self.tick())
    }

    /// The snapshot that was asked for at `since` is there.
    pub fn end_snapshot(&mut self, key: SnapshotKey, since: u64) {
        self.tick();
        let snapshot = &self.snapshots[key.0];
        let volume = snapshot.volume;
        let ranges: Vec<Range<u64>> = snapshot.zones.iter().map(|(range, _)| range.clone()).collect();
        let zones = ranges.into_iter().map(|range| {
            let allowed = range.clone().map(|sector| self.allowed(volume, sector, since)).collect();
            (range, allowed)
        });
        let zones = zones.collect();
        let snapshot = &mut self.snapshots[key.0];
        (snapshot.life, snapshot.zones) = (Life::There, zones);
    }

    fn allowed(&self, volume: usize, sector: u64, since: u64) -> Allowed {
        let known = self.sector(volume, sector)?;
        let Base::Version(base) = known.base else { return None };
        let mut versions: SmallVec<[u64; 2]> = std::iter::once(base)
            .chain(known.ops.iter().map(|&op| self.op(op).value))
            .filter(|&version| self.allows(known, version, since))
            .collect();
        versions.sort_unstable();
        versions.dedup();
        Some(versions)
    }

    /// Snapshots that are there for certain.
    pub fn snapshots(&self) -> Vec<SnapshotKey> {
        self.with_life(|life| life == Life::There)
    }

    /// Every snapshot that was ever asked for.
    pub fn all_snapshots(&self) -> Vec<SnapshotKey> {
        self.with_life(|_| true)
    }

    fn with_life(&self, wanted: impl Fn(Life) -> bool) -> Vec<SnapshotKey> {
        let all = self.snapshots.iter().enumerate();
        all.filter(|(_, snapshot)| wanted(snapshot.life)).map(|(index, _)| SnapshotKey(index)).collect()
    }

    /// The volume of a snapshot.
    pub fn snapshot_volume(&self, key: SnapshotKey) -> usize {
        self.snapshots[key.0].volume
    }

    /// The sectors of a snapshot on which there was I/O.
    pub fn snapshot_zones(&self, key: SnapshotKey) -> Vec<Range<u64>> {
        self.snapshots[key.0].zones.iter().map(|(range, _)| range.clone()).collect()
    }

    /// A snapshot is asked to go.
    pub fn begin_delete(&mut self, key: SnapshotKey) {
        self.snapshots[key.0].life = Life::Going;
    }

    /// A snapshot is gone.
    pub fn end_delete(&mut self, key: SnapshotKey) {
        self.snapshots[key.0].life = Life::Gone;
    }

    /// Checks whether a snapshot may be there after a crash, or not be there, and believes it.
    pub fn recovered_snapshot(&mut self, key: SnapshotKey, is_there: bool) -> Result<(), Finding> {
        let snapshot = &mut self.snapshots[key.0];
        match (snapshot.life, is_there) {
            (Life::There, false) => Err(Finding(format!("snapshot {} is lost", key.0))),
            (Life::Gone, true) => Err(Finding(format!("snapshot {} is back", key.0))),
            _ => {
                snapshot.life = if is_there { Life::There } else { Life::Gone };
                Ok(())
            }
        }
    }

    /// Checks what a read of a snapshot has returned, and believes it: it never changes.
    pub fn check_snapshot(
        &mut self,
        key: SnapshotKey,
        first_sector: u64,
        bytes: &[u8],
    ) -> Result<(), Finding> {
        let volume = self.snapshots[key.0].volume;
        for (sector, bytes) in (first_sector..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
            let in_zone = |(zone, _): &&(Range<u64>, Vec<Allowed>)| zone.contains(&sector);
            if !self.snapshots[key.0].zones.iter().any(|zone| in_zone(&zone)) {
                continue;
            }
            let version = self.version(volume, sector, bytes)?;
            let zones = &mut self.snapshots[key.0].zones;
            let (zone, allowed) =
                zones.iter_mut().find(|zone| in_zone(&&**zone)).expect("it was found above");
            let allowed = &mut allowed[(sector - zone.start) as usize];
            if allowed.as_ref().is_some_and(|allowed| !allowed.contains(&version)) {
                return Err(Finding(format!(
                    "snapshot {} of volume {volume}, sector {sector} (block {}) holds version {version}, not one of \
                     {allowed:?}",
                    key.0,
                    sector / u64::from(BLOCK_SECTORS)
                )));
            }
            *allowed = Some(SmallVec::from_slice(&[version]));
        }
        Ok(())
    }
}
