//! Snapshots, clones and changes of the node in memory.

use quarry_api_types::*;
use quarry_node_api::{ErrorKind, NodeError, Result};

use super::{NOW_MS, State};

/// What one answer about changes covers, so that longer volumes take several.
const CHANGES_BYTES: u64 = 1 << 30;

fn now() -> Timestamp {
    Timestamp::from_unix_ms(NOW_MS)
}

impl State {
    pub fn snapshots_of(&mut self, volume: &Name) -> Result<Vec<Snapshot>> {
        self.volume(volume)?;
        Ok(self.snapshots.iter().filter(|snapshot| snapshot.volume == *volume).cloned().collect())
    }

    pub fn snapshot(&mut self, path: &SnapshotPath) -> Result<&mut Snapshot> {
        self.volume(&path.volume)?;
        let found = self.snapshots.iter_mut().find(|snapshot| snapshot.path() == *path);
        found.ok_or_else(|| NodeError::not_found("snapshot", path))
    }

    fn check_lock(until: Option<Timestamp>) -> Result<()> {
        match until.filter(|&until| until <= now()) {
            Some(until) => Err(NodeError::new(ErrorKind::Contradictory, format!("{until} is in the past"))),
            None => Ok(()),
        }
    }

    fn check_new_snapshot(&mut self, path: &SnapshotPath) -> Result<()> {
        match self.snapshot(path) {
            Ok(_) => Err(NodeError::name_taken("snapshot", path)),
            Err(_) => self.volume(&path.volume).map(drop),
        }
    }

    pub fn take_snapshots(&mut self, request: CreateSnapshotSet) -> Result<Vec<Snapshot>> {
        let set_id = (request.volumes.len() > 1).then(|| SnapshotSetId::from_random(self.id()));
        self.take(request, set_id)
    }

    /// As a set, even when it is one snapshot only.
    pub fn take_together(&mut self, request: CreateSnapshotSet) -> Result<Vec<Snapshot>> {
        let set_id = SnapshotSetId::from_random(self.id());
        self.take(request, Some(set_id))
    }

    fn take(&mut self, request: CreateSnapshotSet, set_id: Option<SnapshotSetId>) -> Result<Vec<Snapshot>> {
        let CreateSnapshotSet { name, volumes, locked_until } = request;
        Self::check_lock(locked_until)?;
        for volume in &volumes {
            self.check_new_snapshot(&SnapshotPath { volume: volume.clone(), snapshot: name.clone() })?;
        }
        let mut taken = Vec::new();
        for volume in volumes {
            let (id, size_bytes) = (self.id(), self.volume(&volume)?.size_bytes);
            taken.push(Snapshot {
                id: SnapshotId::from_random(id),
                name: name.clone(),
                volume,
                created: now(),
                size_bytes,
                referenced_bytes: 8192,
                unique_bytes: Some(4096),
                locked_until,
                clones: 0,
                exported: false,
                set_id,
            });
        }
        self.snapshots.extend(taken.iter().cloned());
        // By volume; the sort is stable, so it keeps the order of age in each.
        self.snapshots.sort_by(|a, b| a.volume.cmp(&b.volume));
        self.refresh();
        Ok(taken)
    }

    pub fn change_snapshot(&mut self, path: &SnapshotPath, request: ChangeSnapshot) -> Result<Snapshot> {
        Self::check_lock(request.locked_until)?;
        let snapshot = self.snapshot(path)?.clone();
        let is_shorter = |until: Timestamp| snapshot.locked_until.is_some_and(|now| until < now);
        if request.locked_until.is_some_and(is_shorter) {
            return Err(locked(&snapshot));
        }
        let name = request.name.unwrap_or_else(|| path.snapshot.clone());
        let new_path = SnapshotPath { volume: path.volume.clone(), snapshot: name.clone() };
        if new_path != *path {
            if snapshot.exported {
                return Err(exported("snapshot", path));
            }
            self.check_new_snapshot(&new_path)?;
        }
        for volume in &mut self.volumes {
            if volume.origin == Some(path.clone().into()) {
                volume.origin = Some(new_path.clone().into());
            }
        }
        let snapshot = self.snapshot(path)?;
        snapshot.name = name;
        snapshot.locked_until = request.locked_until.or(snapshot.locked_until);
        Ok(snapshot.clone())
    }

    pub fn delete_snapshot(&mut self, path: &SnapshotPath) -> Result<()> {
        let snapshot = self.snapshot(path)?;
        if snapshot.exported {
            return Err(exported("snapshot", path));
        }
        if snapshot.locked_until.is_some() {
            return Err(locked(snapshot));
        }
        self.snapshots.retain(|snapshot| snapshot.path() != *path);
        for volume in &mut self.volumes {
            if volume.origin == Some(path.clone().into()) {
                volume.origin = Some(VolumePath { volume: path.volume.clone(), snapshot: None });
            }
        }
        self.refresh();
        Ok(())
    }

    pub fn check_unexported(&self, volume: &Name) -> Result<()> {
        match self.exports.iter().find(|export| export.volume == *volume) {
            Some(Export { snapshot: None, .. }) => Err(exported("volume", volume)),
            Some(export) => Err(exported("snapshot", export.path())),
            None => Ok(()),
        }
    }

    pub fn delete_volume(&mut self, name: &Name, with_snapshots: bool) -> Result<()> {
        self.volume(name)?;
        self.check_unexported(name)?;
        let snapshots = self.snapshots_of(name)?;
        if let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.locked_until.is_some()) {
            return Err(locked(snapshot));
        }
        if !snapshots.is_empty() && !with_snapshots {
            let message = format!("volume '{name}' has {} snapshots", snapshots.len());
            return Err(NodeError::new(ErrorKind::InUse, message)
                .with_next_step("Add --with-snapshots to delete them too, or delete them first."));
        }
        self.snapshots.retain(|snapshot| snapshot.volume != *name);
        self.volumes.retain(|volume| volume.name != *name);
        for volume in &mut self.volumes {
            volume.origin = volume.origin.take().filter(|origin| origin.volume != *name);
        }
        self.groups.iter_mut().for_each(|group| group.volumes.retain(|volume| volume != name));
        Ok(())
    }

    pub fn rename_volume(&mut self, name: &Name, new_name: Name) -> Result<Volume> {
        self.volume(name)?;
        if *name != new_name {
            self.check_unexported(name)?;
            if self.volume(&new_name).is_ok() {
                return Err(NodeError::name_taken("volume", &new_name));
            }
        }
        self.volume(name)?.name = new_name.clone();
        let origins = self.volumes.iter_mut().filter_map(|volume| volume.origin.as_mut());
        let owners = self.snapshots.iter_mut().map(|snapshot| &mut snapshot.volume);
        let members = self.groups.iter_mut().flat_map(|group| &mut group.volumes);
        for known in origins.map(|origin| &mut origin.volume).chain(owners).chain(members) {
            if known == name {
                *known = new_name.clone();
            }
        }
        self.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        self.snapshots.sort_by(|a, b| a.volume.cmp(&b.volume));
        self.volume(&new_name).cloned()
    }

    pub fn clone_volume(&mut self, origin: &Name, request: CloneVolume) -> Result<Volume> {
        request.check()?;
        if request.at.is_some() {
            return Err(NodeError::new(ErrorKind::NotFound, format!("volume '{origin}' has no history")));
        }
        let mut clone = self.volume(origin)?.clone();
        if let Some(snapshot) = request.snapshot.clone() {
            let path = SnapshotPath { volume: origin.clone(), snapshot };
            clone.size_bytes = self.snapshot(&path)?.size_bytes;
        }
        if self.volume(&request.name).is_ok() {
            return Err(NodeError::name_taken("volume", &request.name));
        }
        clone.id = VolumeId::from_random(self.id());
        clone.origin = Some(VolumePath { volume: origin.clone(), snapshot: request.snapshot });
        clone.name = request.name;
        clone.group = None;
        self.volumes.push(clone.clone());
        self.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        self.refresh();
        self.volume(&clone.name).cloned()
    }

    pub fn roll_back_volume(&mut self, name: &Name, request: RollBackVolume) -> Result<Volume> {
        request.check()?;
        let Some(snapshot) = request.snapshot else {
            return Err(NodeError::new(ErrorKind::NotFound, format!("volume '{name}' has no history")));
        };
        let path = SnapshotPath { volume: name.clone(), snapshot };
        let size_bytes = self.snapshot(&path)?.size_bytes;
        let served = VolumePath { volume: name.clone(), snapshot: None };
        if self.exports.iter().any(|export| export.path() == served && export.sessions > 0) {
            return Err(NodeError::new(ErrorKind::InUse, format!("volume '{name}' has connected clients")));
        }
        let volume = self.volume(name)?;
        volume.size_bytes = size_bytes;
        Ok(volume.clone())
    }

    /// The snapshots up to the one that the clone stands on are its own from now on.
    pub fn promote_volume(&mut self, name: &Name) -> Result<Volume> {
        let Some(origin) = self.volume(name)?.origin.clone() else {
            return Err(NodeError::new(ErrorKind::Conflict, format!("volume '{name}' is no clone")));
        };
        if self.exports.iter().any(|export| export.volume == origin.volume && export.snapshot.is_some()) {
            return Err(exported("a snapshot of volume", &origin.volume));
        }
        let older = self.snapshots_of(&origin.volume)?;
        let last = older.iter().position(|snapshot| Some(&snapshot.name) == origin.snapshot.as_ref());
        let moving: Vec<SnapshotPath> =
            older.iter().take(last.map_or(0, |last| last + 1)).map(Snapshot::path).collect();
        for path in moving {
            self.snapshot(&path)?.volume = name.clone();
        }
        self.snapshots.sort_by(|a, b| a.volume.cmp(&b.volume));
        self.volume(&origin.volume)?.origin =
            Some(VolumePath { volume: name.clone(), snapshot: origin.snapshot });
        self.volume(name)?.origin = None;
        self.refresh();
        self.volume(name).cloned()
    }

    /// As if everything had been written since the older state.
    pub fn list_changes(&mut self, volume: &Name, query: &ChangesQuery) -> Result<Changes> {
        let mut size_bytes = self.volume(volume)?.size_bytes;
        for snapshot in [&query.from, &query.to].into_iter().flatten() {
            let path = SnapshotPath { volume: volume.clone(), snapshot: snapshot.clone() };
            let found = self.snapshot(&path)?;
            if Some(snapshot) == query.to.as_ref() {
                size_bytes = found.size_bytes;
            }
        }
        let offset = query.start / 4096 * 4096;
        let length = size_bytes.saturating_sub(offset).min(CHANGES_BYTES);
        let ranges = (length > 0).then_some(ChangedRange { offset, length, data: true });
        let next = Some(offset + length).filter(|&next| next < size_bytes);
        Ok(Changes { size_bytes, ranges: ranges.into_iter().collect(), next })
    }

    /// What follows from other things: counts and who is exported.
    pub fn refresh(&mut self) {
        for volume in &mut self.volumes {
            let path = VolumePath { volume: volume.name.clone(), snapshot: None };
            let its = self.groups.iter().find(|group| group.volumes.contains(&volume.name));
            volume.group = its.map(|group| group.name.clone());
            volume.exported = self.exports.iter().any(|export| export.path() == path);
            volume.snapshots =
                self.snapshots.iter().filter(|snapshot| snapshot.volume == volume.name).count() as u64;
        }
        for snapshot in &mut self.snapshots {
            let path = VolumePath::from(snapshot.path());
            snapshot.exported = self.exports.iter().any(|export| export.path() == path);
            let clones = self.volumes.iter().filter(|volume| volume.origin.as_ref() == Some(&path));
            snapshot.clones = clones.count() as u64;
        }
        self.refresh_hosts();
    }
}

fn exported(sort: &str, path: impl std::fmt::Display) -> NodeError {
    NodeError::new(ErrorKind::InUse, format!("{sort} '{path}' is exported"))
        .with_next_step(format!("End its export first: `quarry export delete {path}`."))
}

fn locked(snapshot: &Snapshot) -> NodeError {
    let until = snapshot.locked_until.map_or_else(String::new, |until| until.to_string());
    NodeError::new(ErrorKind::Conflict, format!("snapshot '{}' is locked until {until}", snapshot.path()))
        .with_next_step("Wait until then: a lock can be prolonged, but not shortened.")
}
