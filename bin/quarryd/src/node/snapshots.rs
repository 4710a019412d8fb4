//! Snapshots: taken, shown, changed, deleted. Those of several volumes at one point in time are in `snapshot_sets`.

use quarry_api_types::{
    ChangeSnapshot, Changes, ChangesQuery, CreateSnapshot, Name, Snapshot, SnapshotPath, Timestamp,
    VolumePath,
};
use quarry_engine::{NewSnapshot, SnapshotStatus};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::{SnapshotId, VolumeId};
use quarry_volume::Volume as _;

use super::volumes::{FoundVolume, parse_name};
use super::{DataNode, now};

/// A snapshot and the volume that has it.
pub(super) struct FoundSnapshot {
    pub(super) volume: FoundVolume,
    pub(super) id: SnapshotId,
}

impl DataNode {
    pub(super) async fn find_snapshot(&self, path: &SnapshotPath) -> Result<FoundSnapshot> {
        let volume = self.find_volume(&path.volume).await?;
        let id = self.find_snapshot_of(&volume, path).await?;
        Ok(FoundSnapshot { volume, id })
    }

    /// The snapshot of `volume` that `path` names.
    pub(super) async fn find_snapshot_of(
        &self,
        volume: &FoundVolume,
        path: &SnapshotPath,
    ) -> Result<SnapshotId> {
        let (id, name) = (volume.status.id, path.snapshot.clone());
        let what = format!("snapshot '{path}' was not looked up");
        let found = self
            .with_engine(volume, what, move |engine| async move { engine.snapshot_named(id, name.as_str()) })
            .await?;
        found.ok_or_else(|| {
            NodeError::not_found("snapshot", path)
                .with_next_step(format!("`quarry snapshot list {}` shows what exists.", path.volume))
        })
    }

    pub(super) async fn describe_all_snapshots(&self) -> Result<Vec<Snapshot>> {
        let mut all = Vec::new();
        for volume in self.volumes_of(None).await?.iter().filter(|volume| volume.status.snapshots > 0) {
            match self.snapshots_of(volume).await {
                Ok(snapshots) => all.extend(snapshots),
                // Deleted since the volumes were listed.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    pub(super) async fn describe_snapshots(&self, volume: &Name) -> Result<Vec<Snapshot>> {
        let volume = self.find_to_look_at(volume).await?;
        self.snapshots_of(&volume).await
    }

    pub(super) async fn snapshots_of(&self, volume: &FoundVolume) -> Result<Vec<Snapshot>> {
        let id = volume.status.id;
        let what = format!("the snapshots of volume '{}' were not listed", volume.status.name);
        let listed =
            self.with_engine(volume, what, move |engine| async move { engine.snapshots(id).await }).await?;
        let name = parse_name(&volume.status.name)?;
        listed.into_iter().map(|status| self.in_words(name.clone(), status)).collect()
    }

    pub(super) async fn describe_snapshot(&self, path: &SnapshotPath) -> Result<Snapshot> {
        let volume = self.find_to_look_at(&path.volume).await?;
        let id = self.find_snapshot_of(&volume, path).await?;
        self.describe_found(FoundSnapshot { volume, id }).await
    }

    pub(super) async fn describe_found(&self, found: FoundSnapshot) -> Result<Snapshot> {
        let FoundSnapshot { volume, id } = found;
        let what = format!("snapshot {id} of volume '{}' was not shown", volume.status.name);
        let status =
            self.with_engine(&volume, what, move |engine| async move { engine.snapshot(id).await }).await?;
        self.in_words(parse_name(&volume.status.name)?, status)
    }

    fn in_words(&self, volume: Name, status: SnapshotStatus) -> Result<Snapshot> {
        let at = |seconds: u64| Timestamp::from_unix_ms(seconds.saturating_mul(1000));
        let locked_until = Some(at(status.locked_until_s)).filter(|&end| end > now());
        Ok(Snapshot {
            id: status.id,
            name: parse_name(&status.name)?,
            volume,
            created: at(status.created_s),
            size_bytes: status.size_bytes,
            referenced_bytes: status.referenced_bytes,
            unique_bytes: status.unique_bytes,
            locked_until,
            clones: status.clones as u64,
            exported: self.is_served(VolumeId(status.id.0)),
            set_id: status.set.map(|set| set.id),
        })
    }

    pub(super) async fn make_snapshot(&self, volume: &Name, request: CreateSnapshot) -> Result<Snapshot> {
        let locked_until_s = lock_end(request.locked_until)?.unwrap_or(0);
        let volume = self.find_volume(volume).await?;
        let snapshot = FoundSnapshot { volume, id: SnapshotId(uuid::Uuid::new_v4()) };
        self.take_snapshot(&snapshot, &request.name, locked_until_s).await?;
        self.describe_found(snapshot).await
    }

    /// Takes a snapshot that has its id already.
    pub(super) async fn take_snapshot(
        &self,
        snapshot: &FoundSnapshot,
        name: &Name,
        locked_until_s: u64,
    ) -> Result<()> {
        let FoundSnapshot { volume, id } = snapshot;
        let new = NewSnapshot { id: *id, name: name.as_str().to_owned(), locked_until_s, set: None };
        let (volume_id, what) =
            (volume.status.id, format!("snapshot '{}@{name}' was not taken", volume.status.name));
        self.with_engine(
            volume,
            what,
            move |engine| async move { engine.create_snapshot(volume_id, new).await },
        )
        .await
    }

    pub(super) async fn alter_snapshot(
        &self,
        path: &SnapshotPath,
        request: ChangeSnapshot,
    ) -> Result<Snapshot> {
        request.check()?;
        let locked_until_s = lock_end(request.locked_until)?;
        let found = self.find_snapshot(path).await?;
        let name = request.name.filter(|name| *name != path.snapshot).map(String::from);
        if name.is_some() {
            self.check_snapshot_unexported(path)?;
        }
        let (id, what) = (found.id, format!("snapshot '{path}' was not changed"));
        self.with_engine(&found.volume, what, move |engine| async move {
            engine.change_snapshot(id, name, locked_until_s).await
        })
        .await?;
        self.describe_found(found).await
    }

    pub(super) async fn end_snapshot(&self, path: &SnapshotPath) -> Result<()> {
        let found = self.find_snapshot(path).await?;
        self.check_snapshot_unexported(path)?;
        let (id, what) = (found.id, format!("snapshot '{path}' was not deleted"));
        self.with_engine(&found.volume, what, move |engine| async move { engine.delete_snapshot(id).await })
            .await?;
        self.forget_reservations([VolumeId(id.0)]).await;
        Ok(())
    }

    pub(super) fn check_snapshot_unexported(&self, path: &SnapshotPath) -> Result<()> {
        let served = VolumePath::from(path.clone());
        self.check_unexported(|record| super::exports::path_of(record) == served)
    }

    pub(super) async fn describe_changes(&self, volume: &Name, query: ChangesQuery) -> Result<Changes> {
        let found = self.find_to_look_at(volume).await?;
        let mut ends = [None; 2];
        for (end, name) in ends.iter_mut().zip([query.from, query.to]) {
            if let Some(snapshot) = name {
                let path = SnapshotPath { volume: volume.clone(), snapshot };
                *end = Some(self.find_snapshot_of(&found, &path).await?);
            }
        }
        let [from, to] = ends;
        let (id, start) = (found.status.id, query.start);
        let what = format!("the changes of volume '{volume}' were not listed");
        self.with_engine(&found, what, move |engine| async move {
            let newer = match to {
                Some(to) => engine.snapshot_volume(to)?,
                None => engine.volume(id)?,
            };
            let size_bytes = newer.info().size_bytes;
            Ok(shown(engine.changes(id, (from, to), start).await?, size_bytes))
        })
        .await
    }
}

fn shown(changes: quarry_engine::Changes, size_bytes: u64) -> Changes {
    let range = |changed: quarry_engine::ChangedRange| quarry_api_types::ChangedRange {
        offset: changed.range.start,
        length: changed.range.end - changed.range.start,
        data: changed.data,
    };
    Changes { size_bytes, ranges: changes.ranges.into_iter().map(range).collect(), next: changes.next }
}

/// The end of a lock in seconds since 1970, rounded up. One in the past is a mistake: it would lock nothing.
pub(super) fn lock_end(until: Option<Timestamp>) -> Result<Option<u64>> {
    match until {
        Some(until) if until <= now() => {
            let what = format!("locked_until: {until} is in the past");
            Err(NodeError::new(ErrorKind::Contradictory, what)
                .with_next_step("Choose a later time, or no lock."))
        }
        until => Ok(until.map(|until| until.unix_ms().div_ceil(1000))),
    }
}
