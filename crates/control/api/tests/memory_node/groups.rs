//! Consistency groups of the node in memory.

use quarry_api_types::*;
use quarry_node_api::{ErrorKind, NodeError, Result};

use super::State;

impl State {
    pub fn group(&mut self, name: &Name) -> Result<&mut Group> {
        let found = self.groups.iter_mut().find(|group| group.name == *name);
        found.ok_or_else(|| NodeError::not_found("group", name))
    }

    fn check_new_group(&mut self, name: &Name) -> Result<()> {
        match self.group(name) {
            Ok(_) => Err(NodeError::name_taken("group", name)),
            Err(_) => Ok(()),
        }
    }

    fn check_joining(&mut self, volumes: &[Name]) -> Result<()> {
        for name in volumes {
            if let Some(group) = &self.volume(name)?.group {
                let message = format!("volume '{name}' is in group '{group}' already");
                return Err(NodeError::new(ErrorKind::Conflict, message));
            }
        }
        Ok(())
    }

    pub fn create_group(&mut self, request: CreateGroup) -> Result<Group> {
        self.check_new_group(&request.name)?;
        self.check_joining(&request.volumes)?;
        let id = GroupId::from_random(self.id());
        let created = Timestamp::from_unix_ms(super::NOW_MS);
        let CreateGroup { name, volumes, qos } = request;
        let group = Group {
            id,
            name,
            volumes,
            offline_volumes: vec![],
            qos: qos.filter(|qos| !qos.is_empty()),
            created,
        };
        self.groups.push(group.clone());
        self.groups.sort_by(|a, b| a.name.cmp(&b.name));
        self.refresh();
        Ok(group)
    }

    pub fn change_group(&mut self, name: &Name, request: ChangeGroup) -> Result<Group> {
        let mut changed = self.group(name)?.clone();
        if let Some(new_name) = request.name.filter(|new_name| new_name != name) {
            self.check_new_group(&new_name)?;
            changed.name = new_name;
        }
        if let Some(stranger) = request.remove.iter().find(|out| !changed.volumes.contains(out)) {
            let message = format!("volume '{stranger}' is not in group '{name}'");
            return Err(NodeError::new(ErrorKind::NotFound, message));
        }
        self.check_joining(&request.add)?;
        changed.volumes.retain(|volume| !request.remove.contains(volume));
        changed.volumes.extend(request.add);
        if let Some(qos) = request.qos {
            changed.qos = Some(qos).filter(|qos| !qos.is_empty());
        }
        *self.group(name)? = changed.clone();
        self.groups.sort_by(|a, b| a.name.cmp(&b.name));
        self.refresh();
        Ok(changed)
    }

    pub fn delete_group(&mut self, name: &Name) -> Result<()> {
        self.group(name)?;
        self.groups.retain(|group| group.name != *name);
        self.refresh();
        Ok(())
    }

    pub fn snapshot_group(&mut self, name: &Name, request: CreateSnapshot) -> Result<GroupSnapshot> {
        let volumes = self.group(name)?.volumes.clone();
        if volumes.is_empty() {
            let message = format!("group '{name}' has no volumes");
            return Err(NodeError::new(ErrorKind::Conflict, message));
        }
        let CreateSnapshot { name, locked_until } = request;
        let taken = self.take_together(CreateSnapshotSet { name, volumes: volumes.clone(), locked_until })?;
        Ok(in_words(&volumes, &taken))
    }

    pub fn group_snapshots(&mut self, name: &Name) -> Result<Vec<GroupSnapshot>> {
        let volumes = self.group(name)?.volumes.clone();
        let of_group = |snapshot: &&Snapshot| volumes.contains(&snapshot.volume) && snapshot.set_id.is_some();
        let all: Vec<Snapshot> = self.snapshots.iter().filter(of_group).cloned().collect();
        let mut shown: Vec<GroupSnapshot> = Vec::new();
        for snapshot in &all {
            if shown
                .iter()
                .all(|known| (Some(known.set_id), &known.name) != (snapshot.set_id, &snapshot.name))
            {
                let is_one =
                    |other: &&Snapshot| (other.set_id, &other.name) == (snapshot.set_id, &snapshot.name);
                shown.push(in_words(&volumes, &all.iter().filter(is_one).cloned().collect::<Vec<_>>()));
            }
        }
        Ok(shown)
    }

    fn paths_in_group(&mut self, name: &Name, snapshot: &Name) -> Result<Vec<SnapshotPath>> {
        let volumes = self.group(name)?.volumes.clone();
        let path = |volume| SnapshotPath { volume, snapshot: snapshot.clone() };
        let mut paths: Vec<SnapshotPath> = volumes.into_iter().map(path).collect();
        paths.retain(|path| self.snapshot(path).is_ok());
        if paths.is_empty() {
            let message = format!("group '{name}' has no snapshot '{snapshot}'");
            return Err(NodeError::new(ErrorKind::NotFound, message));
        }
        Ok(paths)
    }

    /// In a copy first, so that all are deleted or none.
    pub fn delete_group_snapshot(&mut self, name: &Name, snapshot: &Name) -> Result<()> {
        let before = self.snapshots.clone();
        for path in self.paths_in_group(name, snapshot)? {
            if let Err(error) = self.delete_snapshot(&path) {
                self.snapshots = before;
                return Err(error);
            }
        }
        Ok(())
    }

    pub fn roll_back_group(&mut self, name: &Name, request: RollBackGroup) -> Result<Group> {
        let paths = self.paths_in_group(name, &request.snapshot)?;
        let group = self.group(name)?.clone();
        if paths.len() < group.volumes.len() {
            let message = format!("a volume of group '{name}' has no snapshot '{}'", request.snapshot);
            return Err(NodeError::new(ErrorKind::Conflict, message));
        }
        for SnapshotPath { volume, snapshot } in paths {
            self.roll_back_volume(&volume, RollBackVolume::to_snapshot(snapshot))?;
        }
        Ok(group)
    }
}

fn in_words(volumes: &[Name], snapshots: &[Snapshot]) -> GroupSnapshot {
    let has = |volume: &Name| snapshots.iter().any(|snapshot| snapshot.volume == *volume);
    let (volumes, missing) = volumes.iter().cloned().partition(has);
    GroupSnapshot {
        name: snapshots[0].name.clone(),
        set_id: snapshots[0].set_id.expect("it was taken with others"),
        created: snapshots[0].created,
        volumes,
        missing,
        referenced_bytes: snapshots.iter().map(|snapshot| snapshot.referenced_bytes).sum(),
        unique_bytes: snapshots.iter().map(|snapshot| snapshot.unique_bytes).sum(),
        locked_until: snapshots.iter().filter_map(|snapshot| snapshot.locked_until).max(),
        exported: snapshots.iter().any(|snapshot| snapshot.exported),
    }
}
