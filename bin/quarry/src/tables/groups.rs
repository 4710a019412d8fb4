//! Consistency groups for people.

use quarry_api_types::{Group, GroupSnapshot, Name};

use super::{number, optional, optional_size, properties, size, table, text, yes_or_no};

pub fn groups(groups: &[Group]) -> String {
    let row = |group: &Group| {
        vec![
            text(&group.name),
            number(group.volumes.len()),
            number(group.offline_volumes.len()),
            text(group.created),
            text(list(&group.volumes)),
        ]
    };
    table(&["NAME", ">VOLUMES", ">OFFLINE", "CREATED", "MEMBERS"], groups.iter().map(row))
}

pub fn group(group: &Group) -> String {
    let mut rows =
        vec![("Name", text(&group.name)), ("Id", text(group.id)), ("Volumes", text(list(&group.volumes)))];
    if !group.offline_volumes.is_empty() {
        rows.push(("Offline", text(list(&group.offline_volumes))));
    }
    rows.push(("QoS", optional(group.qos.as_ref())));
    rows.push(("Created", text(group.created)));
    properties(rows)
}

pub fn snapshots(snapshots: &[GroupSnapshot]) -> String {
    let row = |snapshot: &GroupSnapshot| {
        vec![
            text(&snapshot.name),
            text(snapshot.created),
            number(snapshot.volumes.len()),
            text(list(&snapshot.missing)),
            size(snapshot.referenced_bytes),
            optional_size(snapshot.unique_bytes),
            text(yes_or_no(snapshot.exported)),
            optional(snapshot.locked_until),
        ]
    };
    let headings =
        ["SNAPSHOT", "CREATED", ">VOLUMES", "MISSING", ">REFERENCED", ">UNIQUE", "EXPORTED", "LOCKED UNTIL"];
    table(&headings, snapshots.iter().map(row))
}

fn list(names: &[Name]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.iter().map(Name::as_str).collect::<Vec<_>>().join(" "),
    }
}
