//! Exports for people.

use quarry_api_types::{Export, Protocol};

use super::{Columns, number, optional, properties, state, text, yes_or_no};

const EXPORTS: Columns<'_, Export> = Columns {
    headings: &["VOLUME", "PROTOCOL", ">NUMBER", "HOST", "ACCESS", "STATE", ">SESSIONS", "ID", "URI"],
    row: |export| {
        vec![
            text(export.path()),
            text(export.protocol),
            number(export.number.map_or_else(|| "-".to_owned(), |number| number.to_string())),
            text(audience(export)),
            text(access(export)),
            state(export.state),
            number(export.sessions),
            text(export.id),
            optional((!export.uris.is_empty()).then(|| export.uris.join(" "))),
        ]
    },
    more_headings: &["CREATED", "VOLUME ID"],
    more: |export| vec![text(export.created), text(export.volume_id)],
};

pub fn exports(exports: &[Export]) -> String {
    EXPORTS.table(exports)
}

/// One after the other, each with all that is known of it.
pub fn each(exports: &[Export]) -> String {
    exports.iter().map(export).collect::<Vec<_>>().join("\n")
}

fn export(export: &Export) -> String {
    let mut rows =
        vec![("Volume", text(export.path())), ("Id", text(export.id)), ("Protocol", text(export.protocol))];
    rows.extend(export.number.map(|number| (number_name(export.protocol), self::number(number))));
    rows.extend([
        ("Host", text(audience(export))),
        ("Read-only", text(yes_or_no(export.read_only))),
        ("State", state(export.state)),
        ("Sessions", number(export.sessions)),
        ("Created", text(export.created)),
    ]);
    rows.extend(export.uris.iter().map(|uri| ("URI", text(uri))));
    properties(rows)
}

fn number_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::NvmeTcp => "Namespace",
        Protocol::Iscsi | Protocol::Nbd | Protocol::VhostUser => "LUN",
    }
}

/// Whether whoever reaches the node may use it.
pub fn is_for_anybody(export: &Export) -> bool {
    export.host.is_none() && export.host_group.is_none()
}

/// Who sees it. No name has an `@`, so a group is not taken for a host.
fn audience(export: &Export) -> String {
    match (&export.host, &export.host_group) {
        (Some(host), _) => host.to_string(),
        (None, Some(group)) => format!("@{group}"),
        (None, None) => "any".to_owned(),
    }
}

fn access(export: &Export) -> &'static str {
    if export.read_only { "read" } else { "write" }
}
