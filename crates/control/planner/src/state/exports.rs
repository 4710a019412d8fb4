//! Exports of a document.

use quarry_api_types::{CreateExport, Export, SnapshotPath, StatedAction, StatedExport, StatedKind};

use super::present::{self, version_of};
use super::{Planner, StateStep, Thing};

/// How an export is named where it has no name.
fn name_of(stated: &StatedExport) -> String {
    let StatedExport { volume, protocol, host, host_group, .. } = stated;
    match (host, host_group) {
        (Some(host), _) => format!("{volume} over {protocol} to {host}"),
        (None, Some(group)) => format!("{volume} over {protocol} to group {group}"),
        (None, None) => format!("{volume} over {protocol}"),
    }
}

fn is_it(stated: &StatedExport, export: &Export) -> bool {
    let is = present::export(export);
    (&is.volume, is.protocol, &is.host, &is.host_group)
        == (&stated.volume, stated.protocol, &stated.host, &stated.host_group)
}

impl Planner<'_> {
    pub(super) fn exports(&mut self) {
        for (index, stated) in self.wanted.exports.iter().enumerate() {
            self.export(index, stated);
        }
    }

    fn export(&mut self, index: usize, stated: &StatedExport) {
        let found = self.present.exports.iter().find(|export| is_it(stated, export));
        let action = if found.is_some() { StatedAction::Change } else { StatedAction::Create };
        let thing = Thing::new(StatedKind::Export, index, name_of(stated), action);
        let request = CreateExport {
            volume: stated.volume.volume.clone(),
            snapshot: stated.volume.snapshot.clone(),
            protocol: stated.protocol,
            host: stated.host.clone(),
            host_group: stated.host_group.clone(),
            number: stated.number,
            read_only: stated.read_only,
        };
        if let Err(invalid) = request.check() {
            self.refuse(&thing, invalid.field, invalid.message);
        }
        if self.wanted.exports[..index].iter().any(|other| name_of(other) == name_of(stated)) {
            self.refuse(&thing, "volume", "it is stated twice");
        }
        let again = "it is not changed while hosts use it: `quarry export delete` it first";
        match found.map(present::export) {
            Some(is) => {
                if stated.number.is_some() && is.number != stated.number {
                    self.refuse(&thing, "number", format!("it is {}; {again}", is.number.unwrap_or(0)));
                }
                if is.read_only != stated.read_only && stated.volume.snapshot.is_none() {
                    self.refuse(&thing, "read_only", format!("it is {}; {again}", is.read_only));
                }
                self.check_version(&thing, stated.version.as_ref(), version_of(&is));
            }
            None => {
                self.check_references(&thing, stated);
                self.check_version(&thing, stated.version.as_ref(), None);
                self.push(StateStep::CreateExport(request));
            }
        }
        self.done_with(thing);
    }

    fn check_references(&mut self, thing: &Thing, stated: &StatedExport) {
        let (wanted, present) = (self.wanted, self.present);
        let volume = &stated.volume.volume;
        let is_volume = wanted.volumes.iter().any(|one| one.name == *volume)
            || present.volumes.iter().any(|one| one.name == *volume);
        let is_host = stated.host.as_ref().is_none_or(|host| {
            wanted.hosts.iter().any(|one| one.name == *host)
                || present.hosts.iter().any(|one| one.name == *host)
        });
        let is_group = stated.host_group.as_ref().is_none_or(|group| {
            wanted.host_groups.iter().any(|one| one.name == *group)
                || present.host_groups.iter().any(|one| one.name == *group)
        });
        let path =
            stated.volume.snapshot.clone().map(|snapshot| SnapshotPath { volume: volume.clone(), snapshot });
        if let Some(path) = path.filter(|path| is_volume && !present.snapshots.contains(path)) {
            let message = format!("there is no snapshot '{path}', and a document makes none");
            self.refuse(thing, "volume", message);
        }
        if present.unserved.contains(&stated.protocol) {
            let message =
                format!("the node does not serve {0}: start quarryd with --{0} ADDR", stated.protocol);
            self.refuse(thing, "protocol", message);
        }
        for (is_there, field) in [(is_volume, "volume"), (is_host, "host"), (is_group, "host_group")] {
            if !is_there {
                let message =
                    format!("there is no such {}, and the document states none", field.replace('_', " "));
                self.refuse(thing, field, message);
            }
        }
    }
}
