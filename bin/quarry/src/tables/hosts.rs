//! Hosts and host groups for people.

use std::fmt::Display;

use quarry_api_types::{ChapUser, Host, HostGroup};

use super::{Columns, number, optional, properties, table, text};

const HOSTS: Columns<'_, Host> = Columns {
    headings: &["NAME", ">EXPORTS", ">SESSIONS", "CHAP", "GROUPS", "NETWORKS", "INITIATORS"],
    row: |host| {
        vec![
            text(&host.name),
            number(host.exports),
            number(host.sessions),
            text(host.chap.as_ref().map_or("-", |chap| if chap.mutual { "mutual" } else { "yes" })),
            text(list(&host.groups, "-")),
            text(list(&host.networks, "any")),
            text(list(&host.initiators, "any")),
        ]
    },
    more_headings: &["CHAP USER", "CREATED", "ID"],
    more: |host| vec![optional(host.chap.as_ref().map(|chap| &chap.user)), text(host.created), text(host.id)],
};

pub fn hosts(hosts: &[Host]) -> String {
    HOSTS.table(hosts)
}

pub fn host(host: &Host) -> String {
    let mut rows = vec![("Name", text(&host.name)), ("Id", text(host.id))];
    match host.initiators.is_empty() {
        true => rows.push(("Initiator", text("any"))),
        false => rows.extend(host.initiators.iter().map(|name| ("Initiator", text(name)))),
    }
    match host.networks.is_empty() {
        true => rows.push(("Network", text("any"))),
        false => rows.extend(host.networks.iter().map(|network| ("Network", text(network)))),
    }
    match &host.chap {
        None => rows.push(("CHAP", text("no"))),
        Some(ChapUser { user, mutual }) => {
            rows.push(("CHAP", text(format!("user {user}"))));
            rows.push(("Mutual", text(super::yes_or_no(*mutual))));
        }
    }
    rows.extend([
        ("Groups", text(list(&host.groups, "-"))),
        ("Exports", number(host.exports)),
        ("Sessions", number(host.sessions)),
        ("Created", text(host.created)),
    ]);
    properties(rows)
}

pub fn groups(groups: &[HostGroup]) -> String {
    let row = |group: &HostGroup| {
        vec![
            text(&group.name),
            number(group.hosts.len()),
            number(group.exports),
            text(group.created),
            text(list(&group.hosts, "-")),
        ]
    };
    table(&["NAME", ">HOSTS", ">EXPORTS", "CREATED", "MEMBERS"], groups.iter().map(row))
}

pub fn group(group: &HostGroup) -> String {
    properties(vec![
        ("Name", text(&group.name)),
        ("Id", text(group.id)),
        ("Hosts", text(list(&group.hosts, "-"))),
        ("Exports", number(group.exports)),
        ("Created", text(group.created)),
    ])
}

fn list<T: Display>(items: &[T], none: &str) -> String {
    match items {
        [] => none.to_owned(),
        items => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}
